import { Reader, type Message } from '../lib/sse'
import { base, send } from './client'
import { session } from './session.svelte'

/** Something that happened: the data of a message of the stream. */
export interface Activity {
  seq: number
  time: string
  kind: 'decision' | 'run' | 'progress' | 'alias' | 'model' | 'policy'
  model: string
  id: string
  data: unknown
}

export interface Measurement {
  model: string
  metric: string
  version?: string
  labels?: Record<string, string>
  time: string
  value: number
  count: number
}

/** Why the stream began: for the first time, after it was lost, or because other models are looked at. */
export type Beginning = 'first' | 'resumed' | 'aimed'

export interface Listener {
  activity?(a: Activity): void
  measurements?(items: Measurement[], dropped: number): void
  /** From now on nothing is missed; what was loaded before may be old. */
  begin?(how: Beginning): void
}

const silence = 40_000 // the server says something every 15 s
const longest = 10_000 // between two tries

/** The one stream of this tab. */
class Live {
  state = $state<'connecting' | 'live' | 'lost'>('connecting')
  #listeners = new Set<Listener>()
  #aim: 'all' | string[] = []
  #last = ''
  #tries = 0
  #began = false
  #how: Beginning = 'first'
  #abort?: AbortController
  #timer?: ReturnType<typeof setTimeout>

  /** Listens until the returned function is called. */
  listen(l: Listener): () => void {
    this.#listeners.add(l)
    return () => this.#listeners.delete(l)
  }

  /** Asks for the measurements of these models from now on. */
  aim(models: 'all' | string[]) {
    if (JSON.stringify(models) === JSON.stringify(this.#aim)) return
    this.#aim = models
    if (this.#abort) this.open('aimed')
  }

  open(how: Beginning = this.#began ? 'resumed' : 'first') {
    this.close()
    this.#how = how
    void this.#read((this.#abort = new AbortController()))
  }

  close() {
    clearTimeout(this.#timer)
    this.#abort?.abort()
    this.#abort = undefined
  }

  /** Whether there is a stream, or another try to come. */
  get running(): boolean {
    return this.#abort !== undefined
  }

  async #read(abort: AbortController) {
    let watchdog: ReturnType<typeof setTimeout> | undefined
    const alive = () => {
      clearTimeout(watchdog)
      watchdog = setTimeout(() => abort.abort(), silence)
    }
    const reader = new Reader((m) => this.#tell(m))
    let lost = true
    try {
      alive()
      const headers: Record<string, string> = this.#last ? { 'Last-Event-ID': this.#last } : {}
      const r = await send(this.#address(), { headers, signal: abort.signal })
      const text = r.body!.pipeThrough(new TextDecoderStream()).getReader()
      for (let first = true; ; first = false) {
        const { done, value } = await text.read()
        if (done) break
        alive()
        if (first) this.#begin()
        reader.push(value)
      }
    } catch {
      lost = this.#abort === abort // else another stream has taken its place
    } finally {
      clearTimeout(watchdog)
    }
    if (!lost || this.#abort !== abort || session.asking) return
    this.state = 'lost'
    this.#timer = setTimeout(() => this.open('resumed'), Math.min(longest, reader.retry * 0.25 * 2 ** this.#tries++))
  }

  #begin() {
    this.#tries = 0
    this.#began = true
    this.state = 'live'
    for (const l of this.#listeners) l.begin?.(this.#how)
  }

  #address(): string {
    const q = new URLSearchParams()
    if (this.#aim === 'all') q.set('measurements', 'true')
    else for (const model of this.#aim) q.append('measurements_of', model)
    return `${base}events?${q}`
  }

  #tell(m: Message) {
    if (m.id) this.#last = m.id
    let data: unknown
    try {
      data = JSON.parse(m.data)
    } catch {
      return // not of this server
    }
    if (m.event === 'measurements') {
      const { items, dropped } = data as { items: Measurement[]; dropped: number }
      for (const l of this.#listeners) l.measurements?.(items, dropped)
    } else {
      for (const l of this.#listeners) l.activity?.(data as Activity)
    }
  }
}

export const live = new Live()
