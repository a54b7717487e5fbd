import { get, type FleetRow } from '../api/client'
import type { Measurement } from '../api/live.svelte'

export const pageSize = 50

export interface View {
  q: string
  state: string
  sort: string
}

/** The newest measurement by model and metric, and when it came. */
type Latest = Map<string, { m: Measurement; at: number }>

const lag = 5_000 // ms: the server's list is behind the stream by less

/** A row with what the stream has told since the list was made. */
function merged(row: FleetRow, latest: Latest): FleetRow {
  const came = row.lead && latest.get(row.name + '\n' + row.lead.metric)
  if (!came || !row.lead || came.m.time <= row.lead.time) return row
  const { time, value } = came.m
  const points = [...(row.lead.points ?? []), { time, value }].slice(-64)
  return { ...row, last_event_at: new Date(came.at).toISOString(), lead: { ...row.lead, value, time, points } }
}

/** The rows of the fleet, loaded page by page as they come into view. */
export class Rows {
  error = $state.raw<Error>()
  #pages = $state.raw(new Map<number, FleetRow[]>())
  #view: View = { q: '', state: '', sort: '' }
  #range: [number, number] = [0, 0]
  #aborts = new Map<number, AbortController>()
  #recent: Latest = new Map()

  at(i: number): FleetRow | undefined {
    return this.#pages.get(Math.floor(i / pageSize))?.[i % pageSize]
  }

  /** Whether nothing has come yet. */
  get empty(): boolean {
    return this.#pages.size === 0
  }

  /** Begins anew with another view of the fleet. */
  show(view: View) {
    this.stop()
    this.#view = view
    this.#pages = new Map()
    this.see(this.#range[0], this.#range[1], true)
  }

  /** Rows from first to last are in view. */
  see(first: number, last: number, again = false) {
    const pages: [number, number] = [Math.floor(Math.max(0, first) / pageSize), Math.floor(Math.max(0, last) / pageSize)]
    this.#range = [first, last]
    for (const [n, abort] of this.#aborts) if (n < pages[0] - 1 || n > pages[1] + 1) abort.abort()
    for (let n = pages[0]; n <= pages[1]; n++) if (again || (!this.#pages.has(n) && !this.#aborts.has(n))) void this.#load(n)
  }

  /** Loads what is in view again. Pages out of view are forgotten: they are loaded when they are seen. */
  refresh() {
    const [first, last] = [Math.floor(this.#range[0] / pageSize), Math.floor(this.#range[1] / pageSize)]
    this.#pages = new Map([...this.#pages].filter(([n]) => n >= first && n <= last))
    this.see(this.#range[0], this.#range[1], true)
  }

  stop() {
    for (const abort of this.#aborts.values()) abort.abort()
    this.#aborts.clear()
  }

  /** Takes measurements into the rows that they are about. */
  measured(items: Measurement[]) {
    const now = Date.now()
    for (const [key, { at }] of this.#recent) if (now - at > lag) this.#recent.delete(key)
    const latest = new Map(items.map((m) => [m.model + '\n' + m.metric, { m, at: now }]))
    for (const [key, value] of latest) this.#recent.set(key, value)
    this.#pages = new Map([...this.#pages].map(([n, rows]) => [n, rows.map((row) => merged(row, latest))]))
  }

  async #load(n: number) {
    this.#aborts.get(n)?.abort()
    const abort = new AbortController()
    this.#aborts.set(n, abort)
    const { q, state, sort } = this.#view
    try {
      const query = { q: q || undefined, state: (state || undefined) as never, sort: (sort || undefined) as never, offset: n * pageSize, limit: pageSize }
      const { items } = await get('/api/v1/fleet', { query, signal: abort.signal })
      this.#pages = new Map(this.#pages).set(n, items.map((row) => merged(row, this.#recent)))
      this.error = undefined
    } catch (e) {
      if (!abort.signal.aborted) this.error = e as Error
    } finally {
      if (this.#aborts.get(n) === abort) this.#aborts.delete(n)
    }
  }
}
