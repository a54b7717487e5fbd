import { spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from 'playwright-core'

const root = resolve(import.meta.dirname, '../..')
export const binary = join(root, 'bin/visutility')

/** Waits for something, asked for again and again, with a deadline. */
export async function until<T>(what: string, ask: () => Promise<T | undefined | false> | T | undefined | false, patience = 20_000): Promise<T> {
  for (const end = Date.now() + patience; ; ) {
    const got = await ask()
    if (got) return got
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`)
    await new Promise((go) => setTimeout(go, 50))
  }
}

/** A server, the real one, with a data directory of its own. */
export class Server {
  readonly dir = mkdtempSync(join(tmpdir(), 'visutility-e2e-'))
  #process?: ChildProcess
  #said = ''
  url = ''
  #flags: string[] = []

  constructor() {
    mkdirSync(join(this.dir, 'policies'))
  }

  /** Writes a file into the directory of policies. */
  file(name: string, text: string) {
    const path = join(this.dir, 'policies', name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
    if (text.startsWith('#!')) chmodSync(path, 0o755)
  }

  /** Starts it; again at the same address. */
  async start(...flags: string[]): Promise<void> {
    if (flags.length > 0) this.#flags = flags
    const addr = join(this.dir, 'addr')
    rmSync(addr, { force: true })
    const listen = this.url ? new URL(this.url).host : '127.0.0.1:0'
    const p = spawn(
      binary,
      ['serve', '--data', join(this.dir, 'data'), '--policies', join(this.dir, 'policies'), '--listen', listen, '--addr-file', addr, '--log-level', 'warn', ...this.#flags],
      { cwd: this.dir, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, VISUTILITY_TEST_DIR: this.dir } },
    )
    for (const out of [p.stdout, p.stderr]) out.on('data', (b) => (this.#said += b))
    this.#process = p
    await until('the server to start', () => {
      if (p.exitCode !== null) throw new Error('the server ended:\n' + this.#said)
      return existsSync(addr)
    })
    this.url = 'http://' + readFileSync(addr, 'utf8').trim() + '/'
  }

  async stop(signal: NodeJS.Signals = 'SIGINT'): Promise<void> {
    const p = this.#process
    if (!p || p.exitCode !== null || p.signalCode !== null) return
    const ended = new Promise((done) => p.once('exit', done))
    p.kill(signal)
    await ended
  }

  async close(): Promise<void> {
    await this.stop()
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 })
  }

  async api<T = any>(path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
    const r = await fetch(this.url + 'api/v1/' + path, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    if (!r.ok) throw new Error(`${path}: ${r.status} ${await r.text()}`)
    return (await r.json()) as T
  }

  publish(...events: object[]): Promise<unknown> {
    return this.api('metrics', events)
  }

  /** The newest run of a model in a state. */
  run(model: string, state: string): Promise<any> {
    return until(`a run of ${model} to be ${state}`, async () => (await this.api(`runs?model=${encodeURIComponent(model)}&state=${state}`)).items[0])
  }
}

let browser: Browser | undefined

export async function openBrowser(): Promise<void> {
  browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: process.getuid?.() === 0 ? ['--no-sandbox'] : [] })
}

export async function closeBrowser(): Promise<void> {
  await browser?.close()
}

/** A tab that fails the test for anything that a person would not see: errors, and what the content security policy forbade. */
export async function tab(url: string, options: BrowserContextOptions = {}): Promise<{ page: Page; context: BrowserContext; faults: string[] }> {
  const context = await browser!.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-GB', timezoneId: 'Europe/Berlin', ...options })
  context.setDefaultTimeout(15_000)
  const page = await context.newPage()
  const faults: string[] = []
  page.on('pageerror', (e) => faults.push(String(e)))
  page.on('console', (m) => {
    // A server that is away, and answers that are refusals, are part of some tests.
    if (m.type() === 'error' && !/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|Failed to load resource/.test(m.text())) faults.push(m.text())
  })
  await page.goto(url)
  return { page, context, faults }
}

const axe = readFileSync(join(root, 'ui/node_modules/axe-core/axe.min.js'), 'utf8')

/** What axe finds, in words. */
export async function accessible(page: Page): Promise<string[]> {
  if (!(await page.evaluate('typeof axe !== "undefined"'))) await inject(page)
  const found = (await page.evaluate(`axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'], resultTypes: ['violations'] })`)) as any
  return found.violations.flatMap((v: any) => v.nodes.map((n: any) => `${v.id}: ${n.target.join(' ')} ${n.failureSummary.split('\n').slice(1, 2).join('').trim()}`))
}

/** Puts axe into the page past its policy, which forbids foreign script. */
async function inject(page: Page) {
  const session = await page.context().newCDPSession(page)
  await session.send('Runtime.evaluate', { expression: axe })
  await session.detach()
}

/** What makes the page wider than the window. */
export async function tooWide(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const width = document.documentElement.clientWidth
    if (document.documentElement.scrollWidth <= width) return []
    const wide = [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > width + 1)
    return wide.slice(0, 5).map((e) => `${e.tagName} ${e.className} ${e.getBoundingClientRect().right}`)
  })
}
