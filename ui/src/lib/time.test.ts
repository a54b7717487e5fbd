import { expect, it } from 'vitest'
import { ago, clock, instant, stamp } from './time'

it('knows absent times', () => {
  expect(instant('0001-01-01T00:00:00Z')).toBeUndefined()
  expect(instant(undefined)).toBeUndefined()
  expect(instant('nonsense')).toBeUndefined()
  expect(instant('1970-01-01T00:00:01Z')).toBe(1000)
})

it('says when', () => {
  expect(stamp(Date.UTC(2026, 10, 26, 4, 3, 5), true)).toBe('26 Nov 2026, 04:03:05 UTC')
  expect(clock(Date.UTC(2026, 10, 26, 4, 3, 5), true)).toBe('04:03')
  const now = Date.UTC(2026, 0, 1)
  expect([0, 30_000, 3_600_000 * 5, 86_400_000 * 3, 86_400_000 * 800].map((d) => ago(now - d, now))).toEqual([
    'now', '30s ago', '5h ago', '3d ago', '2y ago',
  ])
  expect(ago(now + 120_000, now)).toBe('in 2m')
})
