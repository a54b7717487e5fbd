/** A piece of JSON Schema, as far as it is looked at. */
export interface Schema {
  description?: string
  type?: string
  enum?: unknown[]
  examples?: unknown[]
  properties?: Record<string, Schema>
  additionalProperties?: boolean | Schema
  oneOf?: Schema[]
}

export interface Option {
  label: string
  detail?: string
  info?: string
  /** What is put in, where it is more than the label. */
  apply?: string
}

/** The keys that a line of a YAML file is below, outermost first: by indentation, and in braces on its own line. */
export function pathAt(lines: string[], line: number, column: number): string[] {
  const path: string[] = []
  let indent = column
  const own = lines[line] ?? ''
  const before = own.slice(0, column)
  const lead = before.length - before.trimStart().length
  const flow = /^(\s*)([\w-]+):\s*\{[^}]*$/.exec(before)
  if (flow) {
    path.unshift(flow[2]!)
    indent = flow[1]!.length
  } else indent = before.trim() === '' ? column : lead
  for (let i = line - 1; i >= 0 && indent > 0; i--) {
    const m = /^(\s*)([\w-]+):\s*(#.*)?$/.exec(lines[i]!)
    if (m && m[1]!.length < indent) {
      path.unshift(m[2]!)
      indent = m[1]!.length
    }
  }
  return path
}

/** All shapes that a value at a path may have. */
function shapes(schema: Schema, path: string[]): Schema[] {
  const here = [schema, ...(schema.oneOf ?? [])]
  const [key, ...rest] = path
  if (key === undefined) return here
  return here.flatMap((s) => {
    const next = s.properties?.[key] ?? (typeof s.additionalProperties === 'object' ? s.additionalProperties : undefined)
    return next ? shapes(next, rest) : []
  })
}

/** What may stand as a key below a path. */
export function keysAt(schema: Schema, path: string[]): Option[] {
  const found = new Map<string, Option>()
  for (const s of shapes(schema, path)) {
    for (const [key, p] of Object.entries(s.properties ?? {})) {
      const block = p.type === 'object' && !p.oneOf
      found.set(key, { label: key, info: p.description, apply: block ? `${key}:\n${'  '.repeat(path.length + 1)}` : `${key}: ` })
    }
  }
  return [...found.values()]
}

/** What may stand as the value of the key that ends a path. */
export function valuesAt(schema: Schema, path: string[]): Option[] {
  const values = shapes(schema, path).flatMap((s) => [...(s.enum ?? []), ...(s.examples ?? [])].map(String))
  return [...new Set(values)].map((label) => ({ label }))
}

/** The words of conditions. */
export function words(metrics: string[], key: string, inPromote: boolean): Option[] {
  if (inPromote) {
    return metrics.flatMap((m) => [
      { label: `candidate.${m}`, detail: 'what the challenger scored' },
      { label: `champion.${m}`, detail: 'what the champion scored' },
    ])
  }
  const functions: Option[] = [
    { label: 'avg', apply: 'avg(', detail: '(x, "24h") or (x, 30)', info: 'Over a window by time or by events, weighed by sample counts.' },
    { label: 'sum', apply: 'sum(', detail: '(x, window)' },
    { label: 'stddev', apply: 'stddev(', detail: '(x, window)' },
    { label: 'min', apply: 'min(', detail: '(x, window)' },
    { label: 'max', apply: 'max(', detail: '(x, window)' },
    { label: 'count', apply: 'count(', detail: '(x, window)', info: 'Counts samples.' },
    { label: 'quantile', apply: 'quantile(', detail: '(x, 0.9, window)' },
    { label: 'absent', apply: 'absent(', detail: '(x, "6h")', info: 'No event of x came for that long.' },
    { label: 'm_of_n', apply: 'm_of_n(', detail: '(cond, 2, 3)', info: 'The condition held at 2 of the last 3 events that could tell.' },
    { label: 'age', detail: 'how long ago the champion was promoted' },
  ]
  const previous = key === 'rollback'
  return [
    ...metrics.map((label) => ({ label, detail: 'the newest value' })),
    ...metrics.map((m) => ({ label: `baseline.${m}`, detail: 'when the champion was new' })),
    ...(previous ? metrics.map((m) => ({ label: `previous.${m}`, detail: 'what the replaced champion scored' })) : []),
    ...functions,
  ]
}

/** What fits at a place of a policy file, and where the word under the cursor begins. */
export function complete(text: string, at: number, schema: Schema, metrics: string[]): { from: number; options: Option[] } | undefined {
  const lines = text.split('\n')
  const line = text.slice(0, at).split('\n').length - 1
  const start = text.lastIndexOf('\n', at - 1) + 1
  const before = text.slice(start, at)
  const word = /[\w.-]*$/.exec(before)![0]
  const from = at - word.length
  const condition = /(?:^|[\s{,])(when|unless):\s+\S*.*$/.exec(before) ?? /(?:^|[\s{,])(when|unless):\s+$/.exec(before)
  const path = pathAt(lines, line, before.length - (before.trim() === word ? word.length : 0))
  if (condition) return { from, options: words(metrics, path[0] ?? '', path[0] === 'promote') }
  const value = /(?:^|[\s{,])([\w-]+):\s+[\w.-]*$/.exec(before)
  if (value) {
    const key = value[1]!
    if (key === 'model') return undefined
    return { from, options: valuesAt(schema, path.at(-1) === key ? path : [...path, key]) }
  }
  if (/^\s*[\w-]*$/.test(before) || /[{,]\s*[\w-]*$/.test(before)) return { from, options: keysAt(schema, path) }
  return undefined
}
