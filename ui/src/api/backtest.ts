import { base, postTo, Refusal } from './client'
import type { Decision } from './client'

/** What would have happened: the report of a backtest, as far as the page shows it. */
export interface Report {
  from: string
  to: string
  events: number
  models: number
  watched: number
  incidents: number
  plans: Plan[]
  caveats: string[]
}

export interface Plan {
  /** policy, against, never, weekly, monthly. */
  name: string
  policies: string[]
  runs: { id: string; model: string; policy: string; time: string; state: string; reason: string; incident: boolean }[] | null
  runs_per_month: number
  in_breach_seconds: number
  breach_share: number
  suppressed: Record<string, number> | null
  detection?: { found: number; missed: number; outside: number }
  decisions?: Decision[]
}

interface Ask {
  policies: { name: string; source: string }[]
  model: string
  from?: string
  to?: string
}

export async function backtest(ask: Ask, signal: AbortSignal): Promise<Report> {
  try {
    return (await (await postTo(base + 'backtest', ask, signal)).json()) as Report
  } catch (e) {
    if (e instanceof Refusal && e.status === 404 && e.problem?.detail?.startsWith('there is nothing here')) {
      throw new Refusal('This server cannot backtest. On the command line: visutility backtest FILE --data EVENTS.', 404)
    }
    throw e
  }
}
