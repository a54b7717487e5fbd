import type { RunDetail } from '../api/client'
import { instant } from './time'

export interface Step {
  state: string
  /** done: passed through; now: it is here; ahead: it may come; end: it ended here. */
  at: 'done' | 'now' | 'ahead' | 'end'
  /** When it was entered, and for how long it stayed, in milliseconds. */
  since?: number
  took?: number
  note?: string
}

const road = ['pending', 'training', 'validating', 'registering', 'awaiting_approval', 'promoting', 'watching', 'succeeded']
const ended = ['succeeded', 'failed', 'rejected', 'canceled', 'rolled_back']

export const isEnded = (state: string) => ended.includes(state)
export const canCancel = (state: string) => road.indexOf(state) >= 0 && road.indexOf(state) < road.indexOf('promoting')

/** The life of a run: the stations it passed, where it is, and those that would come if all goes well. */
export function life(run: Pick<RunDetail, 'state' | 'created_at' | 'transitions'>, now: number): Step[] {
  const steps: Step[] = [{ state: 'pending', at: 'done', since: instant(run.created_at) }]
  for (const t of run.transitions) {
    const last = steps.at(-1)!
    const at = instant(t.time)
    if (t.from === t.to) continue
    if (last.since !== undefined && at !== undefined) last.took = Math.max(0, at - last.since)
    steps.push({ state: t.to, at: 'done', since: at, note: t.note })
  }
  const last = steps.at(-1)!
  if (isEnded(run.state)) {
    last.at = 'end'
    return steps
  }
  last.at = 'now'
  if (last.since !== undefined) last.took = Math.max(0, now - last.since)
  for (const state of road.slice(road.indexOf(last.state) + 1)) {
    // Not every policy asks for approval or watches: those are shown once they are reached.
    if (state !== 'awaiting_approval' && state !== 'watching') steps.push({ state, at: 'ahead' })
  }
  return steps
}
