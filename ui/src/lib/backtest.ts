import type { Plan } from '../api/backtest'
import type { Mark } from './chart'
import { escape, type Threshold } from './terms'
import { guardrail } from './words'
import { instant } from './time'

const names: Record<string, string> = {
  policy: 'this policy',
  against: 'the one in force',
  running: 'the one in force',
  never: 'never',
  weekly: 'every week',
  monthly: 'every month',
}

export const planName = (name: string) => names[name] ?? name

/** Where the policy would have fired, and where a guardrail would have stood against it. */
export function playedMarks(plan: Plan | undefined): Mark[] {
  if (!plan) return []
  const runs: Mark[] = (plan.runs ?? []).flatMap((r) => {
    const at = instant(r.time)
    return at === undefined ? [] : [{ at, icon: 'play', tone: 'busy', word: 'would have fired', text: r.reason } as Mark]
  })
  const held: Mark[] = (plan.decisions ?? []).flatMap((d) => {
    const at = instant(d.event_time) ?? instant(d.time)
    if (d.outcome !== 'suppressed' || at === undefined) return []
    return [{ at, icon: 'shield', tone: 'still', word: 'would have been held back', text: guardrail(d.suppressed_by ?? '') } as Mark]
  })
  return [...runs, ...held].sort((a, b) => a.at - b.at)
}

/** The numbers that a policy text holds a metric against, for the chart; what must be computed has no line. */
export function writtenThresholds(source: string, metric: string): Threshold[] {
  const when = /retrain:[\s\S]*?when:\s*([^\n]*)/.exec(source)?.[1] ?? ''
  const name = escape(metric)
  const found = when.matchAll(new RegExp(`(?<![\\w.])(?:${name}|(?:avg|min|max|quantile)\\(\\s*${name}[^()]*\\))\\s*(<=|>=|<|>)\\s*(-?[\\d.]+)(?![\\w."]*\\s*[*/+-])`, 'g'))
  return [...found].map(([, sign, value]) => ({ value: Number(value), label: `${sign} ${value}` }))
}
