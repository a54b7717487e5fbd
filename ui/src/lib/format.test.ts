import { describe, expect, it } from 'vitest'
import { better, bytes, change, count, goDuration, number, percent, span } from './format'

describe('numbers', () => {
  it('are short', () => {
    expect([0, 0.12345, 0.9, 1.5, 12.345, 123.456, 12345.6, 0.00001, 1e9, -0.5, null, NaN].map(number)).toEqual([
      '0', '0.1235', '0.9', '1.5', '12.35', '123.5', '12346', '1.00e-5', '1.00e+9', '-0.5', '–', '–',
    ])
    expect([1, 0, 1000].map((n) => count(n, 'model'))).toEqual(['1 model', '0 models', '1,000 models'])
    expect([5, 2048, 10 << 20, 10 * 2 ** 30].map(bytes)).toEqual(['5 B', '2 KiB', '10 MiB', '10 GiB'])
  })
  it('say how far and which way', () => {
    expect(change(0.22, 0.2)).toBeCloseTo(0.1)
    expect(change(1, 0)).toBeUndefined()
    expect(change(-1, -2)).toBeCloseTo(0.5)
    expect([0.021, -0.14, 0.0001, 99, -99].map(percent)).toEqual(['+2.1 %', '−14 %', '0 %', '> +999 %', '< −999 %'])
    expect(better(0.1, 'lower_is_better')).toBe(false)
    expect(better(-0.1, 'lower_is_better')).toBe(true)
    expect(better(0.1, 'higher_is_better')).toBe(true)
    expect(better(0.1, undefined)).toBeUndefined()
    expect(better(0, 'higher_is_better')).toBeUndefined()
  })
})

it('lengths of time have two units at most', () => {
  expect([5, 1500, 61_000, 3_600_000, 90_000_000, 864_000_000].map(span)).toEqual(['5 ms', '1s', '1m 1s', '1h', '1d 1h', '10d'])
  expect(['168h0m0s', '1h30m0s', '45s', 'odd'].map(goDuration)).toEqual(['7d', '1h 30m', '45s', 'odd'])
})
