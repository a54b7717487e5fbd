import type { Decision, Promotion, Run, Series } from '../api/client'
import type { Icon, Tone } from './words'
import { guardrail, runSign, short } from './words'
import { instant } from './time'
import { to } from './route'

/** Lines over one axis of time, in seconds, as uPlot wants them. */
export interface Lines {
  times: number[]
  lines: { name: string; values: (number | null)[]; counts: number[] }[]
}

/** What tells a series from others of the same metric: its labels; versions are one line, since bands tell them apart. */
export function lineName(s: Pick<Series, 'labels'>): string {
  return Object.entries(s.labels ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([k, v]) => `${k}=${v}`)
    .join(' ')
}

/** Joins series to lines. Where two versions were measured at one time, the later in the list counts. */
export function align(series: Series[]): Lines {
  const rows = new Map<number, Map<string, { value: number; count: number }>>()
  const names = new Set<string>()
  for (const s of series) {
    const name = lineName(s)
    names.add(name)
    for (const p of s.points ?? []) {
      const t = Date.parse(p.time) / 1000
      let row = rows.get(t)
      if (!row) rows.set(t, (row = new Map()))
      row.set(name, { value: p.last, count: p.count })
    }
  }
  const times = [...rows.keys()].sort((a, b) => a - b)
  return {
    times,
    lines: [...names].sort().map((name) => ({
      name,
      values: times.map((t) => rows.get(t)!.get(name)?.value ?? null),
      counts: times.map((t) => rows.get(t)!.get(name)?.count ?? 0),
    })),
  }
}

/**
 * Adds a measurement to the point of its step, in seconds, and returns the series anew. Points stay in the
 * order of time. Adding one that is in already changes nothing: the history may have known it.
 */
export function addPoint(series: Series[], step: number, m: { metric: string; version?: string; labels?: Record<string, string>; time: string; value: number; count: number }): Series[] {
  const same = (s: Series) => s.metric === m.metric && (s.version ?? '') === (m.version ?? '') && lineName(s) === lineName(m)
  const long = 1000 * (step || 1)
  const at = Math.floor(Date.parse(m.time) / long) * long
  const point = { time: new Date(at).toISOString(), last: m.value, min: m.value, max: m.value, count: m.count }
  if (!series.some(same)) return [...series, { metric: m.metric, version: m.version, labels: m.labels, points: [point] }]
  return series.map((s) => {
    if (!same(s)) return s
    const points = s.points ?? []
    let i = points.length
    while (i > 0 && Date.parse(points[i - 1]!.time) > at) i--
    const before = points[i - 1]
    if (!before || Date.parse(before.time) < at) return { ...s, points: [...points.slice(0, i), point, ...points.slice(i)] }
    const both = { ...point, min: Math.min(before.min, m.value), max: Math.max(before.max, m.value), count: Math.max(before.count, m.count) }
    return { ...s, points: [...points.slice(0, i - 1), both, ...points.slice(i)] }
  })
}

/** A stretch of time during which one version served. Ends are in milliseconds; open at the right while it serves. */
export interface Band {
  version: string
  from: number
  to: number
}

/**
 * promotions are newest first, as the API lists them. One that is placed after its successor (the first
 * version of a model may be older than its events) began before all that is known.
 */
export function bands(promotions: Promotion[]): Band[] {
  const list: Band[] = []
  let next = Infinity
  for (const p of promotions) {
    const at = instant(p.event_time) ?? instant(p.time) ?? next
    const from = at < next || next === Infinity ? at : p.from ? next : -Infinity
    list.unshift({ version: p.to, from, to: next })
    next = from
  }
  const first = promotions.at(-1)
  if (first?.from) list.unshift({ version: first.from, from: -Infinity, to: next })
  return list
}

/** Something that happened, in a chart. */
export interface Mark {
  at: number
  icon: Icon
  tone: Tone
  word: string
  text: string
  /** Where more is told of it. */
  href?: string
}

export function marks(decisions: Decision[], runs: Run[], promotions: Promotion[], model: string): Mark[] {
  const list: Mark[] = []
  for (const d of decisions) {
    const at = instant(d.event_time) ?? instant(d.time)
    if (at === undefined || d.outcome === 'noted') continue
    const suppressed = d.outcome === 'suppressed'
    list.push({
      at,
      icon: suppressed ? 'shield' : d.outcome === 'rollback' ? 'back' : 'play',
      tone: suppressed ? 'still' : d.outcome === 'rollback' ? 'bad' : 'busy',
      word: d.outcome,
      text: suppressed ? `not retrained: ${guardrail(d.suppressed_by ?? '')}` : d.reason,
      href: to.decision(d.id),
    })
  }
  for (const r of runs) {
    const sign = runSign(r.state)
    const opened = instant(r.created_at)
    const ended = instant(r.ended_at)
    const upTo = instant(r.window.to) ?? opened
    if (!['failed', 'rejected', 'canceled'].includes(r.state) || upTo === undefined) continue
    list.push({
      at: upTo + Math.max(0, (ended ?? 0) - (opened ?? 0)),
      icon: sign.icon,
      tone: sign.tone,
      word: 'run ' + sign.word,
      text: `run ${short(r.id)} ${sign.word}${r.error ? ': ' + r.error : ''}`,
      href: to.run(r.id),
    })
  }
  for (const p of promotions) {
    const at = instant(p.event_time) ?? instant(p.time)
    if (at === undefined) continue
    const back = p.kind === 'rolled_back' || p.again === true
    list.push({
      at,
      icon: back ? 'back' : 'up',
      tone: back ? 'warn' : 'good',
      word: back ? 'rolled back' : 'promoted',
      text: `${p.to} ${back ? 'serves again' : 'promoted'}${p.kind === 'by_hand' ? ' by hand' : ''}`,
      href: p.run ? to.run(p.run) : to.model(model, 'versions'),
    })
  }
  return list.sort((a, b) => a.at - b.at)
}

/** Marks that would overlap, as one. x is where they are, in pixels. */
export interface Cluster {
  x: number
  marks: Mark[]
}

export function cluster(list: Mark[], x: (at: number) => number, width: number, gap = 18): Cluster[] {
  const clusters: Cluster[] = []
  for (const mark of list) {
    const at = x(mark.at)
    if (!(at >= 0 && at <= width)) continue
    const last = clusters.at(-1)
    if (last && at - last.x < gap) last.marks.push(mark)
    else clusters.push({ x: at, marks: [mark] })
  }
  return clusters
}

const hour = 3_600_000
export const ranges: Record<string, number> = { '1h': hour, '6h': 6 * hour, '24h': 24 * hour, '7d': 168 * hour, '30d': 720 * hour }

/** The stretch to show, from the query of a link: from and to in milliseconds, or a range back from the newest event. */
export function stretch(query: URLSearchParams, newest: number | undefined): { from?: number; to?: number } {
  const from = Number(query.get('from'))
  const until = Number(query.get('to'))
  if (from > 0 && until > from) return { from, to: until }
  const length = ranges[query.get('range') ?? '']
  if (!length || newest === undefined) return {}
  return { from: newest - length }
}
