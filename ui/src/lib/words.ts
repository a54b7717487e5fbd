/** What something is, for the eye: a tone has a colour, and with it always goes an icon and a word. */
export type Tone = 'good' | 'warn' | 'bad' | 'busy' | 'still'
export type Icon =
  | 'check' | 'alert' | 'clock' | 'spin' | 'pause' | 'hand' | 'dash' | 'cross' | 'back' | 'up' | 'dot' | 'eye' | 'shield' | 'minus' | 'play'

export interface Sign {
  word: string
  tone: Tone
  icon: Icon
  /** What it means, in a sentence. */
  means: string
}

const unknown = (word: string): Sign => ({ word, tone: 'still', icon: 'dot', means: '' })

const states: Record<string, Sign> = {
  awaiting_approval: { word: 'awaiting approval', tone: 'warn', icon: 'hand', means: 'A run waits for a person to say yes.' },
  firing: { word: 'firing', tone: 'bad', icon: 'alert', means: 'The condition holds; a guardrail stands against a run.' },
  breach: { word: 'breach', tone: 'warn', icon: 'clock', means: 'The condition holds, not yet for long enough.' },
  retraining: { word: 'retraining', tone: 'busy', icon: 'spin', means: 'A run is under way.' },
  paused: { word: 'paused', tone: 'still', icon: 'pause', means: 'No run is started by itself.' },
  holding: { word: 'ok', tone: 'good', icon: 'check', means: 'A policy watches, and nothing is wrong.' },
  unwatched: { word: 'no policy', tone: 'still', icon: 'dash', means: 'No policy watches this model.' },
}

const runs: Record<string, Sign> = {
  pending: { word: 'pending', tone: 'busy', icon: 'clock', means: 'Opened, not yet launched.' },
  training: { word: 'training', tone: 'busy', icon: 'spin', means: 'The trainer is at work.' },
  validating: { word: 'validating', tone: 'busy', icon: 'spin', means: 'The challenger is held against the champion.' },
  registering: { word: 'registering', tone: 'busy', icon: 'spin', means: 'The challenger becomes a version.' },
  awaiting_approval: states.awaiting_approval!,
  promoting: { word: 'promoting', tone: 'busy', icon: 'up', means: 'The champion alias moves.' },
  watching: { word: 'watching', tone: 'busy', icon: 'eye', means: 'Promoted; rolled back if it does worse.' },
  succeeded: { word: 'succeeded', tone: 'good', icon: 'check', means: 'Promoted, and kept.' },
  failed: { word: 'failed', tone: 'bad', icon: 'cross', means: 'The trainer, or a step after it, gave up.' },
  rejected: { word: 'rejected', tone: 'warn', icon: 'shield', means: 'The challenger did not pass the gate.' },
  canceled: { word: 'canceled', tone: 'still', icon: 'minus', means: 'Somebody stopped it.' },
  rolled_back: { word: 'rolled back', tone: 'warn', icon: 'back', means: 'Promoted, did worse, and taken back.' },
}

const outcomes: Record<string, Sign> = {
  noted: { word: 'noted', tone: 'still', icon: 'dot', means: 'The verdict changed, and that was all.' },
  fired: { word: 'fired', tone: 'busy', icon: 'play', means: 'A run was opened.' },
  suppressed: { word: 'suppressed', tone: 'warn', icon: 'shield', means: 'The verdict was to retrain; a guardrail stood against it.' },
  rollback: { word: 'rollback', tone: 'bad', icon: 'back', means: 'The champion did worse and is taken back.' },
}

const verdicts: Record<string, Sign> = {
  hold: { word: 'hold', tone: 'good', icon: 'check', means: 'Nothing is wrong, as far as the data says.' },
  breach: states.breach!,
  fire: { word: 'fire', tone: 'bad', icon: 'alert', means: 'Retrain, if the guardrails allow.' },
}

const observers: Record<string, Sign> = {
  running: { word: 'running', tone: 'good', icon: 'check', means: '' },
  retrying: { word: 'retrying', tone: 'warn', icon: 'clock', means: 'The last try failed; the next is soon.' },
  quarantined: { word: 'quarantined', tone: 'bad', icon: 'alert', means: 'It keeps failing, and is tried now and then.' },
  hung: { word: 'hung', tone: 'bad', icon: 'clock', means: 'It is in a call that takes too long.' },
}

const pick = (table: Record<string, Sign>) => (name: string) => table[name] ?? unknown(name)

export const stateSign = pick(states)
export const runSign = pick(runs)
export const outcomeSign = pick(outcomes)
export const verdictSign = pick(verdicts)
export const observerSign = pick(observers)

export const stateNames = Object.keys(states)
export const runNames = Object.keys(runs)

const guardrails: Record<string, string> = {
  paused: 'the model is paused',
  active_run: 'a run is under way',
  no_new_data: 'nothing was measured since the last run',
  cooldown: 'cooldown',
  budget: 'budget',
  unless: 'the unless condition holds',
}

export const guardrail = (name: string) => guardrails[name] ?? name

/** The first eight characters tell ids apart for people. */
export const short = (id: string) => (id.length > 12 ? id.slice(0, 8) : id)
