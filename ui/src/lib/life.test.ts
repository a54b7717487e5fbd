import { describe, expect, it } from 'vitest'
import { canCancel, life } from './life'

const at = (s: number) => new Date(s * 1000).toISOString()
const step = (from: string, to: string, s: number) => ({ from, to, time: at(s) }) as never

describe('the life of a run', () => {
  it('shows what is ahead', () => {
    const steps = life({ state: 'training', created_at: at(0), transitions: [step('pending', 'training', 2)] } as never, 10_000)
    expect(steps.map((s) => `${s.state} ${s.at} ${s.took ?? ''}`.trim())).toEqual([
      'pending done 2000', 'training now 8000', 'validating ahead', 'registering ahead', 'promoting ahead', 'succeeded ahead',
    ])
  })
  it('ends where it ended', () => {
    const steps = life({ state: 'rejected', created_at: at(0), transitions: [step('pending', 'training', 1), step('training', 'validating', 3), step('validating', 'rejected', 4)] } as never, 9e9)
    expect(steps.at(-1)).toMatchObject({ state: 'rejected', at: 'end' })
    expect(steps).toHaveLength(4)
  })
  it('may be canceled until it is promoted', () => {
    expect(['pending', 'training', 'awaiting_approval', 'promoting', 'watching', 'failed'].map(canCancel)).toEqual([true, true, true, false, false, false])
  })
})
