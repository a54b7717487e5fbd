import { describe, expect, it } from 'vitest'
import { thresholds } from './terms'

const term = (expr: string, value: unknown = null, terms: any[] = []): any => ({ expr, value, terms })

describe('thresholds', () => {
  it('are numbers as written', () => {
    expect(thresholds([term('wmape > 0.30', true, [term('wmape', 0.4)])], 'wmape')).toEqual([{ value: 0.3, label: '> 0.30' }])
    expect(thresholds([term('0.8 > auc')], 'auc')).toEqual([{ value: 0.8, label: '< 0.8' }])
  })
  it('or what an expression came to', () => {
    const t = term('avg(auc, "24h") < baseline.auc - 0.02', false, [term('avg(auc, "24h")', 0.9), term('baseline.auc - 0.02', 0.88)])
    expect(thresholds([t], 'auc')).toEqual([{ value: 0.88, label: '< baseline.auc - 0.02' }])
  })
  it('are found inside', () => {
    const t = term('auc < 0.8 && samples >= 500', true, [term('auc < 0.8', true), term('samples >= 500', true)])
    expect(thresholds([t], 'auc')).toEqual([{ value: 0.8, label: '< 0.8' }])
    expect(thresholds([t], 'samples')).toEqual([{ value: 500, label: '>= 500' }])
  })
  it('are not made up', () => {
    for (const expr of ['count(auc, "1h") < 5', 'stddev(auc, 9) > 1', 'auc_2 < 1', 'auc', 'adwin(auc)', 'auc < other', 'm_of_n(auc < 0.8, 2, 3)']) {
      expect(thresholds([term(expr, true)], 'auc')).toEqual([])
    }
  })
})
