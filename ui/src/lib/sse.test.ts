import { expect, it } from 'vitest'
import { Reader, type Message } from './sse'

function read(...pieces: string[]): Message[] {
  const got: Message[] = []
  const reader = new Reader((m) => got.push(m))
  for (const piece of pieces) reader.push(piece)
  return got
}

it('reads messages however they are cut', () => {
  const text = 'retry: 10\n\n: alive\n\nid: 7\nevent: run\ndata: {"a":1}\n\ndata: x\ndata: y\n\n'
  const want = [
    { id: '7', event: 'run', data: '{"a":1}' },
    { id: '', event: 'message', data: 'x\ny' },
  ]
  expect(read(text)).toEqual(want)
  expect(read(...text)).toEqual(want)
})

it('tells nothing of a message that is not whole', () => {
  expect(read('id: 7\ndata: x\n')).toEqual([])
})
