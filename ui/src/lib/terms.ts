import type { Term } from '../api/client'

/** A line in a chart that a condition holds a metric against. */
export interface Threshold {
  value: number
  /** What the condition asks for, "< 0.8". */
  label: string
}

const comparison = /^(.*?)\s*(<=|>=|<|>)\s*([^<>=]+)$/

/**
 * The thresholds that conditions hold a metric against: a number as it is written, or what an
 * expression came to. Only comparisons of the metric itself, or of an aggregate of it on the
 * same scale, are lines that mean something in its chart.
 */
export function thresholds(terms: Term[], metric: string): Threshold[] {
  const found: Threshold[] = []
  for (const term of terms) {
    const t = threshold(term, metric)
    if (t && !found.some((f) => f.label === t.label)) found.push(t)
    for (const below of thresholds(term.terms ?? [], metric)) {
      if (!found.some((f) => f.label === below.label)) found.push(below)
    }
  }
  return found
}

function threshold(term: Term, metric: string): Threshold | undefined {
  const m = comparison.exec(term.expr)
  if (!m || /&&|\|\||\?/.test(term.expr)) return undefined
  const [, left = '', sign = '', right = ''] = m
  const side = onScale(left, metric) ? right : onScale(right, metric) ? left : undefined
  if (side === undefined) return undefined
  const value = valueOf(side.trim(), term.terms ?? [])
  if (value === undefined) return undefined
  const shown = side === right ? sign : sign.replace(/[<>]/, (c) => (c === '<' ? '>' : '<'))
  return { value, label: `${shown} ${side.trim()}` }
}

function onScale(expr: string, metric: string): boolean {
  const name = escape(metric)
  return new RegExp(`^\\s*(${name}|(avg|min|max|quantile)\\(\\s*${name}\\b[^()]*\\))\\s*$`).test(expr)
}

function valueOf(expr: string, terms: Term[]): number | undefined {
  if (/^-?[\d.]+(e-?\d+)?$/i.test(expr)) return Number(expr)
  const term = terms.find((t) => t.expr === expr)
  return typeof term?.value === 'number' ? term.value : undefined
}

/** The metric of a model that a policy's condition names first, or its text, or what comes first in the list. */
export function firstMetric(source: string, metrics: string[]): string | undefined {
  const when = /when:[^\n]*/.exec(source)?.[0] ?? ''
  const first = (text: string) => {
    const at = (name: string) => text.search(new RegExp(`(?<![\\w.])${escape(name)}(?!\\w)`))
    return metrics.filter((m) => at(m) >= 0).sort((a, b) => at(a) - at(b))[0]
  }
  return first(when) ?? first(source) ?? metrics[0]
}

/** A name as part of a regular expression. */
export const escape = (name: string) => name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
