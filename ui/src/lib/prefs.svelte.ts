type Theme = 'light' | 'dark' | 'system'

const stored = (name: string) => localStorage.getItem('visutility.' + name) ?? ''
const store = (name: string, value: string) => localStorage.setItem('visutility.' + name, value)
const night = matchMedia('(prefers-color-scheme: dark)')

/** What this browser likes. */
class Prefs {
  theme = $state<Theme>((stored('theme') as Theme) || 'system')
  utc = $state(stored('utc') === 'true')
  dark = $state(false)
  /** The clock of the page, a few seconds coarse: it drives "3m ago". */
  now = $state(Date.now())

  constructor() {
    this.#paint()
    night.addEventListener('change', () => this.#paint())
    setInterval(() => (this.now = Date.now()), 5000)
  }

  turnTheme() {
    this.theme = this.dark ? 'light' : 'dark'
    store('theme', this.theme)
    this.#paint()
  }

  turnZone() {
    this.utc = !this.utc
    store('utc', String(this.utc))
  }

  #paint() {
    this.dark = this.theme === 'dark' || (this.theme === 'system' && night.matches)
    document.documentElement.dataset.theme = this.dark ? 'dark' : 'light'
  }
}

export const prefs = new Prefs()
