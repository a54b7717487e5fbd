import { describe, expect, it } from 'vitest'
import { complete, pathAt, type Schema } from './complete'

const schema: Schema = {
  properties: {
    model: { type: 'string' },
    metrics: { type: 'object', additionalProperties: { oneOf: [{ enum: ['higher_is_better', 'lower_is_better'] }, { properties: { goal: { enum: ['higher_is_better'] } } }] } },
    retrain: { type: 'object', properties: { when: { type: 'string' }, for: { examples: ['2h'] }, cooldown: { oneOf: [{ type: 'string' }, { properties: { after_success: {} } }] } } },
    promote: { type: 'object', properties: { when: {}, approval: { enum: ['auto', 'required'] } } },
  },
}

/** Completes at the bar. */
function at(text: string): string[] | undefined {
  const i = text.indexOf('|')
  return complete(text.replace('|', ''), i, schema, ['auc'])?.options.map((o) => o.label)
}

describe('completion', () => {
  it('knows keys', () => {
    expect(at('|')).toEqual(['model', 'metrics', 'retrain', 'promote'])
    expect(at('model: m\nretrain:\n  |')).toEqual(['when', 'for', 'cooldown'])
    expect(at('retrain:\n  wh|')).toEqual(['when', 'for', 'cooldown'])
    expect(at('retrain: {|')).toEqual(['when', 'for', 'cooldown'])
    expect(at('retrain:\n  cooldown: {|')).toEqual(['after_success'])
    expect(at('retrain:\n  when: auc < 1\nre|')).toEqual(['model', 'metrics', 'retrain', 'promote'])
  })
  it('knows values', () => {
    expect(at('promote:\n  approval: |')).toEqual(['auto', 'required'])
    expect(at('metrics:\n  auc: |')).toEqual(['higher_is_better', 'lower_is_better'])
    expect(at('retrain:\n  for: |')).toEqual(['2h'])
    expect(at('model: |')).toBeUndefined()
  })
  it('knows the words of conditions', () => {
    expect(at('retrain:\n  when: au|')).toContain('auc')
    expect(at('retrain: {when: avg(|')).toContain('baseline.auc')
    expect(at('promote:\n  when: cand|')).toEqual(['candidate.auc', 'champion.auc'])
    expect(at('retrain:\n  unless: ab|')).toContain('absent')
  })
})

it('paths follow the indentation', () => {
  expect(pathAt(['a:', '  b:', '    c: 1', ''], 3, 4)).toEqual(['a', 'b'])
  expect(pathAt(['a:', '  b: 1', '  '], 2, 2)).toEqual(['a'])
  expect(pathAt(['a:', '  b: 1', ''], 2, 0)).toEqual([])
})
