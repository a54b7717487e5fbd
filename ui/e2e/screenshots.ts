import { spawn } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ago, bikes, day, policy, trainer } from './scene'
import { closeBrowser, openBrowser, Server, tab, until } from './world'

// Pictures of every screen, light and dark, wide and narrow, in ui/screenshots: for people to look at.

const to = join(import.meta.dirname, '../screenshots')
const server = new Server()
const past = new Server() // two years are replayed there: a history takes no events that are years older than others
let decision = ''
let suppressed = ''
const runs: Record<string, string> = {}

beforeAll(async () => {
  rmSync(to, { recursive: true, force: true })
  mkdirSync(to)
  const replay = bikes(past)
  server.file('train.sh', trainer)
  server.file('fraud.yaml', policy('fraud'))
  server.file('churn.yaml', policy('churn', { approval: true }))
  server.file('ranking.yaml', policy('ranking', { hold: 'let-ranking-go' }))
  server.file('spam.yaml', policy('spam', { gate: 'candidate.accuracy > 0.95' }))
  server.file('fleet.yaml', `models: ["eu-*", "us-*"]\nretrain:\n  when: avg(f1_score, "6h") < baseline.f1_score - 0.05\n  for: 2h\ntrain:\n  run: ./train.sh\n`)
  await server.start()
  await past.start('--history-retention', '3650d')
  const played = spawn(replay, ['replay'], { env: { ...process.env, VISUTILITY_SERVER: past.url, BIKE_DATA: 'generated' }, stdio: 'ignore' })
  const done = new Promise((end) => played.once('exit', end))
  for (const model of ['fraud', 'churn', 'ranking', 'spam']) await server.publish(...day(model))
  for (const region of ['eu-north', 'eu-south', 'us-east', 'us-west'])
    await server.publish(...day(`${region}-search`, 0.8 + region.length / 100).map((e) => ({ ...e, metric: 'f1_score' })))
  await server.publish({ model: 'embedding', metric: 'drift_score', value: 0.12, time: ago(3) })
  for (const model of ['fraud', 'churn', 'ranking', 'spam']) await server.publish({ model, metric: 'accuracy', value: 0.71, time: ago(5), count: 180 })
  runs.succeeded = (await server.run('fraud', 'succeeded')).id
  runs.awaiting = (await server.run('churn', 'awaiting_approval')).id
  runs.rejected = (await server.run('spam', 'rejected')).id
  runs.training = (await server.run('ranking', 'training')).id
  await server.publish({ model: 'fraud', metric: 'accuracy', value: 0.74, time: ago(1) })
  suppressed = await until('a suppressed decision', async () => (await server.api('decisions?model=fraud&outcome=suppressed')).items[0]?.id)
  await done
  decision = (await past.api('decisions?model=bike-demand&outcome=fired')).items[0].id
  await server.api('models/embedding/pause', { by: 'ada', reason: 'labels are late' })
  await openBrowser()
})

afterAll(async () => {
  writeFileSync(join(server.dir, 'let-ranking-go'), '')
  await closeBrowser()
  await server.close()
  await past.close()
})

// Those that begin with bike are of the past.
const screens: Record<string, () => string> = {
  fleet: () => '#/',
  'bike': () => '#/models/bike-demand',
  'bike-decisions': () => '#/models/bike-demand/decisions',
  'bike-runs': () => '#/models/bike-demand/runs',
  'bike-versions': () => '#/models/bike-demand/versions',
  'model-policy': () => '#/models/eu-north-search/policy',
  'model-firing': () => '#/models/fraud?range=6h',
  decisions: () => '#/decisions',
  'bike-decision': () => `#/decisions/${decision}`,
  'decision-suppressed': () => `#/decisions/${suppressed}`,
  runs: () => '#/runs',
  'run-succeeded': () => `#/runs/${runs.succeeded}`,
  'run-training': () => `#/runs/${runs.training}`,
  'run-awaiting': () => `#/runs/${runs.awaiting}`,
  'run-rejected': () => `#/runs/${runs.rejected}`,
  'bike-playground': () => '#/playground?model=bike-demand&policy=bike-demand',
  settings: () => '#/settings',
  nothing: () => '#/models/nobody',
}

for (const theme of ['light', 'dark'] as const) {
  for (const width of [1280, 390]) {
    it(`${theme}, ${width} wide`, async () => {
      const { page, context, faults } = await tab(server.url, { colorScheme: theme, viewport: { width, height: width === 390 ? 844 : 800 }, deviceScaleFactor: width === 390 ? 2 : 1 })
      await page.locator('[data-stream=live]').waitFor()
      for (const [name, address] of Object.entries(screens)) {
        if (width === 390 && theme === 'dark' && !['fleet', 'bike'].includes(name)) continue
        const site = name.startsWith('bike') ? past.url : server.url
        if (!page.url().startsWith(site)) {
          await page.goto(site)
          await page.locator('[data-stream=live]').waitFor()
        }
        await page.evaluate((a) => (location.hash = a), address())
        await page.waitForTimeout(700)
        if (name === 'bike-playground') {
          await page.getByRole('button', { name: 'Backtest' }).click()
          await page.waitForTimeout(800)
        }
        await page.screenshot({ path: join(to, `${name}-${theme}${width === 390 ? '-narrow' : ''}.png`) })
      }
      if (width === 1280) {
        await page.evaluate(() => (location.hash = '#/'))
        await page.keyboard.press('Control+k')
        await page.getByPlaceholder('Model, view or command').fill('s')
        await page.waitForTimeout(700)
        await page.screenshot({ path: join(to, `palette-${theme}.png`) })
      }
      expect(faults).toEqual([])
      await context.close()
    })
  }
}
