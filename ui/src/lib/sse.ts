/** A message of a stream of server-sent events. */
export interface Message {
  id: string
  event: string
  data: string
}

/** Reads server-sent events bit by bit, as the HTML standard has them. */
export class Reader {
  #rest = ''
  #id = ''
  #event = ''
  #data: string[] = []
  /** How long to wait before coming back, in milliseconds, as the server asked. */
  retry = 2000

  constructor(private readonly tell: (message: Message) => void) {}

  push(text: string) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r/)
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.#line(line)
  }

  #line(line: string) {
    if (line === '') {
      if (this.#data.length > 0) this.tell({ id: this.#id, event: this.#event || 'message', data: this.#data.join('\n') })
      this.#event = ''
      this.#id = ''
      this.#data = []
      return
    }
    const colon = line.indexOf(':')
    if (colon === 0) return // a comment: the server lives
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (field === 'data') this.#data.push(value)
    else if (field === 'event') this.#event = value
    else if (field === 'id') this.#id = value
    else if (field === 'retry' && /^\d+$/.test(value)) this.retry = Number(value)
  }
}
