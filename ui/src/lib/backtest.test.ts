import { expect, it } from 'vitest'
import { playedMarks, writtenThresholds } from './backtest'
import { firstMetric } from './terms'

it('knows what a text is about', () => {
  const text = 'metrics: {auc: higher_is_better}\nretrain:\n  when: avg(recall, "1h") < 0.7 && auc < 0.8\n'
  expect(firstMetric(text, ['auc', 'recall'])).toBe('recall')
  expect(firstMetric(text, ['call'])).toBe('call')
  expect(firstMetric('model: x', [])).toBeUndefined()
  expect(writtenThresholds(text, 'recall')).toEqual([{ value: 0.7, label: '< 0.7' }])
  expect(writtenThresholds(text, 'auc')).toEqual([{ value: 0.8, label: '< 0.8' }])
  expect(writtenThresholds('retrain: {when: auc < 0.9 * baseline.auc}', 'auc')).toEqual([])
})

it('marks fires and what held them back', () => {
  const marks = playedMarks({
    runs: [{ time: '2026-01-02T00:00:00Z', reason: 'auc < 0.8' }],
    decisions: [{ outcome: 'suppressed', event_time: '2026-01-01T00:00:00Z', suppressed_by: 'cooldown' }, { outcome: 'fired' }],
  } as never)
  expect(marks.map((m) => m.word)).toEqual(['would have been held back', 'would have fired'])
  expect(playedMarks(undefined)).toEqual([])
})
