import { untrack } from 'svelte'
import { live, type Activity, type Beginning } from './live.svelte'
import { session } from './session.svelte'

type Load<T> = (signal: AbortSignal) => Promise<T>

interface Options {
  /** Whether an activity changes what was loaded. Defaults to never. */
  on?(a: Activity): boolean
  /** Whether a beginning of the stream does. Defaults to all but 'aimed', when nothing was missed. */
  begin?(how: Beginning): boolean
}

const settle = 120 // ms: several events in a row are one reload

/** What a screen shows of the server: loaded, kept up to date, with its error in words. */
export class Loader<T> {
  data = $state.raw<T>()
  error = $state.raw<Error>()
  busy = $state(false)
  #load: Load<T> | undefined
  #abort?: AbortController
  #timer?: ReturnType<typeof setTimeout>

  /** plan reads what the request depends on and returns the request; undefined for none. Call it from a component. */
  constructor(plan: () => Load<T> | undefined, options: Options = {}) {
    $effect(() => {
      void session.epoch
      this.#load = plan()
      untrack(() => {
        this.data = undefined
        this.error = undefined
        void this.reload()
      })
      return () => this.#abort?.abort()
    })
    $effect(() => {
      const stop = live.listen({
        activity: (a) => options.on?.(a) && this.soon(),
        begin: (how) => (options.begin ?? ((h) => h !== 'aimed'))(how) && this.soon(),
      })
      return () => {
        stop()
        clearTimeout(this.#timer)
      }
    })
  }

  /** Loads again before long, what is there stays until then. */
  soon() {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.reload(), settle)
  }

  async reload(): Promise<void> {
    this.#abort?.abort()
    if (!this.#load) return
    const abort = (this.#abort = new AbortController())
    this.busy = true
    try {
      const data = await this.#load(abort.signal)
      if (abort.signal.aborted) return
      this.data = data
      this.error = undefined
    } catch (e) {
      if (abort.signal.aborted) return
      this.error = e instanceof Error ? e : new Error(String(e))
    }
    this.busy = false
  }
}
