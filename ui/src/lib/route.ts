/** A place in the app: every view is one, and its address is the fragment of the page's. */
export interface Place {
  /** The steps of the path, decoded. */
  path: string[]
  query: URLSearchParams
}

export function parse(hash: string): Place {
  const [path = '', query = ''] = hash.replace(/^#?\/?/, '').split(/\?(.*)/s)
  return { path: path.split('/').filter(Boolean).map(decode), query: new URLSearchParams(query) }
}

function decode(step: string): string {
  try {
    return decodeURIComponent(step)
  } catch {
    return step // a link that was cut
  }
}

type Query = Record<string, string | number | undefined>

/** The address of a place. What is empty is left out of the query. */
export function link(path: string[], query: Query = {}): string {
  const q = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') q.set(name, String(value))
  }
  const text = q.toString()
  return '#/' + path.map(encodeURIComponent).join('/') + (text ? '?' + text : '')
}

export type Tab = 'metrics' | 'decisions' | 'runs' | 'versions' | 'policy'

export const to = {
  fleet: (query: Query = {}) => link([], query),
  model: (name: string, tab: Tab = 'metrics', query: Query = {}) =>
    link(tab === 'metrics' ? ['models', name] : ['models', name, tab], query),
  decisions: (query: Query = {}) => link(['decisions'], query),
  decision: (id: string) => link(['decisions', id]),
  runs: (query: Query = {}) => link(['runs'], query),
  run: (id: string) => link(['runs', id]),
  playground: (query: Query = {}) => link(['playground'], query),
  settings: () => link(['settings']),
}
