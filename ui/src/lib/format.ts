/** A measurement for people: four significant digits, no more than needed. */
export function number(v: number | null | undefined): string {
  if (v === null || v === undefined || !Number.isFinite(v)) return '–'
  const size = Math.abs(v)
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return v.toExponential(2)
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4
  return trimZeros(v.toFixed(digits))
}

function trimZeros(s: string): string {
  return s.includes('.') ? s.replace(/\.?0+$/, '') : s
}

const grouped = new Intl.NumberFormat('en')

export function whole(n: number): string {
  return grouped.format(n)
}

export function count(n: number, noun: string): string {
  return `${whole(n)} ${noun}${n === 1 ? '' : noun.endsWith('s') ? 'es' : 's'}`
}

export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let i = 0
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024
    i++
  }
  return `${trimZeros(n.toFixed(1))} ${units[i]}`
}

/** How far a value is from what it is compared with, as a part of that. */
export function change(value: number, baseline: number | undefined): number | undefined {
  if (baseline === undefined || baseline === 0) return undefined
  return (value - baseline) / Math.abs(baseline)
}

/** +2.1 %, −14 %, 0 %. */
export function percent(part: number): string {
  const p = part * 100
  const size = Math.abs(p)
  if (size >= 1000) return p > 0 ? '> +999 %' : '< −999 %'
  const text = trimZeros(size.toFixed(size >= 10 ? 0 : 1))
  return `${text === '0' ? '' : p < 0 ? '−' : '+'}${text} %`
}

/** Whether a change is for the better: undefined where it is not known which way is, or it is less than a hundredth. */
export function better(part: number | undefined, goal: string | undefined): boolean | undefined {
  if (part === undefined || !goal || Math.abs(part) < 0.01) return undefined
  return part > 0 === (goal === 'higher_is_better')
}

/** The form of Go's durations, "168h0m0s", for people. */
export function goDuration(text: string): string {
  const m = /^(?:(\d+)h)?(?:(\d+)m)?(?:([\d.]+)s)?$/.exec(text)
  if (!m) return text
  return span((Number(m[1] ?? 0) * 3600 + Number(m[2] ?? 0) * 60 + Number(m[3] ?? 0)) * 1000)
}

/** A length of time: the two largest units of it. */
export function span(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`
  const units: [string, number][] = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1000],
  ]
  const i = units.findIndex(([, size]) => ms >= size)
  const [name, size] = units[i]!
  const first = Math.floor(ms / size)
  const next = units[i + 1]
  const second = next && first < 10 ? Math.floor((ms % size) / next[1]) : 0
  return second > 0 ? `${first}${name} ${second}${next![0]}` : `${first}${name}`
}
