import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { binary, closeBrowser, openBrowser, tab, until } from './world'

// The demo, as a person starts it, but shorter: its page from the first chart to the end.
const dir = mkdtempSync(join(tmpdir(), 'visutility-e2e-'))
let demo: ChildProcess
let said = ''
const began = Date.now()

beforeAll(async () => {
  demo = spawn(binary, ['demo', '--listen', '127.0.0.1:0', '--weeks', '32', '--speed', '6', '--train-time', '1s'], { cwd: dir, env: { ...process.env, TMPDIR: dir }, stdio: ['ignore', 'pipe', 'pipe'] })
  for (const out of [demo.stdout!, demo.stderr!]) out.on('data', (b) => (said += b))
  await openBrowser()
})

afterAll(async () => {
  demo.kill('SIGKILL')
  await closeBrowser()
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
})

it('the demo closes the loop before your eyes, and leaves nothing behind', async () => {
  const url = await until('the address', () => /page +(http:\S+)/.exec(said)?.[1])
  const { page, context, faults } = await tab(url + '/#/models/bike-demand')
  const chart = page.getByRole('img', { name: /^wmape, \d+ points/ })
  await chart.waitFor({ timeout: 30_000 })
  console.log(`the demo's first chart, with the start of the browser: ${Date.now() - began} ms`)
  await page.getByText('retraining', { exact: true }).waitFor({ timeout: 30_000 })
  await page.getByText('v2 serves').waitFor({ timeout: 30_000 })
  await page.getByRole('list', { name: 'What happened' }).getByRole('listitem').first().waitFor()
  await until('the end of the demo', () => said.includes('The server goes on at'), 60_000)

  const api = async (path: string) => (await (await fetch(`${url}/api/v1/${path}`)).json()) as any
  const champion = (await api('models/bike-demand')).champion as string
  const visit = (hash: string) => page.evaluate((h) => (location.hash = h), hash)
  await visit('#/')
  await page.getByRole('row', { name: new RegExp(`bike-demand.*${champion}`) }).waitFor()
  await visit('#/models/bike-demand/decisions')
  await page.getByRole('row', { name: /fired.*wmape > 0.30/ }).first().waitFor()
  await page.getByRole('row', { name: /fired.*wmape > 0.30/ }).first().click()
  await page.getByRole('heading', { name: 'Retrained' }).waitFor()
  await page.getByText('wmape > 0.3', { exact: true }).waitFor()
  await page.getByRole('link', { name: /^r[a-z0-9]{7}$/ }).click()
  await page.getByText('Promoted, and kept.').waitFor()
  await page.getByRole('log').getByText(/\d/).first().waitFor()
  await page.getByText(/% better/).waitFor()
  await visit('#/models/bike-demand/runs')
  await page.getByRole('row', { name: /succeeded/ }).first().waitFor()
  await visit('#/models/bike-demand/versions')
  await page.getByRole('row', { name: new RegExp(`${champion} champion`) }).waitFor()
  await visit('#/models/bike-demand/policy')
  await page.getByText('candidate.wmape < champion.wmape').first().waitFor()
  await visit('#/playground?model=bike-demand&policy=bike-demand')
  await page.getByText('This policy is good.').waitFor()
  await page.getByRole('button', { name: 'Backtest' }).click()
  await page.getByRole('row', { name: /the one in force [1-9]/ }).waitFor()
  await visit('#/settings')
  await page.getByRole('row', { name: /trigger.*running/ }).waitFor()
  expect(faults).toEqual([])
  await context.close()

  demo.kill('SIGINT')
  await until('the demo to end', () => demo.exitCode !== null || demo.signalCode !== null)
  expect(demo.exitCode, said).toBe(0)
  expect(readdirSync(dir)).toEqual([])
}, 150_000)
