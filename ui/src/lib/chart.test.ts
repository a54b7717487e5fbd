import { describe, expect, it } from 'vitest'
import { addPoint, align, bands, cluster, marks, stretch } from './chart'

const iso = (s: number) => new Date(s * 1000).toISOString()
const point = (s: number, v: number) => ({ time: iso(s), last: v, min: v, max: v, count: 1 })
const series = (labels: Record<string, string> | undefined, version: string, ...points: ReturnType<typeof point>[]): any => ({ metric: 'auc', version, labels, points })

describe('lines', () => {
  it('join versions and keep segments apart', () => {
    const a = align([series(undefined, 'v1', point(1, 0.1), point(2, 0.2)), series(undefined, 'v2', point(2, 0.3), point(4, 0.4)), series({ country: 'DE' }, 'v2', point(2, 0.9))])
    expect(a.times).toEqual([1, 2, 4])
    expect(a.lines.map((l) => [l.name, l.values])).toEqual([
      ['', [0.1, 0.3, 0.4]],
      ['country=DE', [null, 0.9, null]],
    ])
  })
  it('take what comes late', () => {
    const m = (s: number, value: number, version = 'v1') => ({ metric: 'auc', version, time: iso(s), value, count: 1 })
    let list: any[] = [series(undefined, 'v1', point(1, 0.1), point(5, 0.5))]
    list = addPoint(list, 1, m(3, 0.3))
    list = addPoint(list, 1, m(5, 0.6))
    list = addPoint(list, 1, m(7, 0.7))
    list = addPoint(list, 1, m(8, 0.8, 'v2'))
    expect(list.map((s) => s.points.map((p: any) => [Date.parse(p.time) / 1000, p.last]))).toEqual([
      [[1, 0.1], [3, 0.3], [5, 0.6], [7, 0.7]],
      [[8, 0.8]],
    ])
  })
  it('take what comes into the step that it belongs to, once', () => {
    const m = { metric: 'auc', version: 'v1', time: iso(71.25), value: 0.7, count: 3 }
    const once = addPoint([series(undefined, 'v1', point(0, 0.1), point(60, 0.9))], 60, m)
    expect(once[0]!.points).toEqual([point(0, 0.1), { time: iso(60), last: 0.7, min: 0.7, max: 0.9, count: 3 }])
    expect(addPoint(once, 60, m)).toEqual(once)
    expect(addPoint([], 0, m)[0]!.points).toEqual([{ time: iso(71), last: 0.7, min: 0.7, max: 0.7, count: 3 }])
  })
})

it('bands follow the champion, back too', () => {
  const move = (from: string, to: string, s: number): any => ({ from, to, time: iso(s), event_time: iso(s), kind: 'promoted' })
  expect(bands([move('v2', 'v1', 30), move('v1', 'v2', 20), move('', 'v1', 10)])).toEqual([
    { version: 'v1', from: 10_000, to: 20_000 },
    { version: 'v2', from: 20_000, to: 30_000 },
    { version: 'v1', from: 30_000, to: Infinity },
  ])
  expect(bands([move('v1', 'v2', 10), move('', 'v1', 99)])).toEqual([
    { version: 'v1', from: -Infinity, to: 10_000 },
    { version: 'v2', from: 10_000, to: Infinity },
  ])
  expect(bands([move('v3', 'v4', 10)])[0]).toEqual({ version: 'v3', from: -Infinity, to: 10_000 })
})

it('marks are in order, and one where they would overlap', () => {
  const decision = (outcome: string, s: number): any => ({ id: outcome, outcome, event_time: iso(s), time: iso(9999), reason: 'r', suppressed_by: 'cooldown' })
  const list = marks(
    [decision('suppressed', 30), decision('fired', 10), decision('noted', 5)],
    [{ id: 'r', state: 'rejected', created_at: iso(100), ended_at: iso(102), window: { from: iso(0), to: iso(10) } } as any],
    [{ kind: 'rolled_back', from: 'v2', to: 'v1', time: iso(9), event_time: iso(20), run: 'r1' } as any],
    'm',
  )
  expect(list.map((m) => [m.at / 1000, m.word])).toEqual([[10, 'fired'], [12, 'run rejected'], [20, 'rolled back'], [30, 'suppressed']])
  const found = cluster(list, (at) => at / 1000, 25, 5)
  expect(found.map((c) => [c.x, c.marks.length])).toEqual([[10, 2], [20, 1]])
})

it('a link says what stretch to show', () => {
  const of = (q: string, newest?: number) => stretch(new URLSearchParams(q), newest)
  expect(of('from=10&to=20')).toEqual({ from: 10, to: 20 })
  expect(of('from=20&to=10')).toEqual({})
  expect(of('range=1h', 4_000_000)).toEqual({ from: 400_000 })
  expect(of('range=1h')).toEqual({})
  expect(of('range=x', 1)).toEqual({})
})
