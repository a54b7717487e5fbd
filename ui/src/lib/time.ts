/** Where a time of the API has no value it is absent, or the first of January of the year 1. */
export function instant(text: string | undefined): number | undefined {
  if (!text || text.startsWith('0001-')) return undefined
  const ms = Date.parse(text)
  return Number.isNaN(ms) ? undefined : ms
}

/** 26 Nov 2026, 14:03:05 – with the zone when it is UTC. */
export function stamp(ms: number, utc: boolean): string {
  const d = new Date(ms)
  const day = d.toLocaleDateString('en-GB', { day: '2-digit', month: 'short', year: 'numeric', timeZone: zone(utc) })
  return `${day}, ${clock(ms, utc, true)}${utc ? ' UTC' : ''}`
}

export function clock(ms: number, utc: boolean, seconds = false): string {
  return new Date(ms).toLocaleTimeString('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
    second: seconds ? '2-digit' : undefined,
    timeZone: zone(utc),
  })
}

function zone(utc: boolean): string | undefined {
  return utc ? 'UTC' : undefined
}

/** 3h ago, in 5m, now: one unit. */
export function ago(ms: number, now: number): string {
  const distance = Math.abs(now - ms)
  if (distance < 5000) return 'now'
  const text = one(distance)
  return ms <= now ? `${text} ago` : `in ${text}`
}

function one(ms: number): string {
  const units: [string, number][] = [
    ['y', 365 * 86_400_000],
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
  ]
  for (const [name, size] of units) if (ms >= size) return `${Math.floor(ms / size)}${name}`
  return `${Math.floor(ms / 1000)}s`
}
