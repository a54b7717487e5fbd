import { afterAll, beforeAll, expect, it } from 'vitest'
import { ago } from './scene'
import { closeBrowser, openBrowser, Server, tab } from './world'

// A fleet of ten thousand. The figures go to docs/benchmarks.md; here the shape is held: few rows in the page, whatever is scrolled.

const server = new Server()
const models = 10_000

beforeAll(async () => {
  server.file('all.yaml', 'models: ["*"]\nretrain: {when: accuracy < 0.8, cooldown: 1h}\ntrain: {run: "true"}\n')
  await server.start()
  for (let from = 0; from < models; from += 1000) {
    const events = Array.from({ length: 1000 }, (_, i) => `model-${String(from + i).padStart(5, '0')}`).flatMap((model) =>
      [30, 20, 10, 0].map((m) => ({ model, metric: 'accuracy', value: 0.9 + m / 1000, time: ago(m) })),
    )
    await server.publish(...events)
  }
  await openBrowser()
}, 120_000)

afterAll(async () => {
  await closeBrowser()
  await server.close()
})

it('ten thousand models scroll', async () => {
  const { page, context, faults } = await tab('about:blank')
  await page.waitForTimeout(1500) // lists may lag by a second behind what was acknowledged
  const began = Date.now()
  await page.goto(server.url + '#/?sort=name')
  await page.getByRole('link', { name: 'model-00000' }).waitFor()
  const first = Date.now() - began
  await page.getByText('10,000 models').waitFor()
  const rows = page.locator('[data-rows]')
  expect(await rows.getByRole('row').count()).toBeLessThan(60)
  const jump = Date.now()
  await rows.evaluate((e) => (e.scrollTop = e.scrollHeight))
  await page.getByRole('link', { name: 'model-09999' }).waitFor()
  const jumped = Date.now() - jump
  expect(await rows.getByRole('row').count()).toBeLessThan(60)
  // Ten screens, frame by frame: how long the longest frame took.
  const frames = await rows.evaluate(async (e) => {
    const took: number[] = []
    let last = performance.now()
    for (let i = 0; i < 120; i++) {
      e.scrollTop -= 60
      await new Promise(requestAnimationFrame)
      took.push(performance.now() - last)
      last = performance.now()
    }
    return took.sort((a, b) => a - b)
  })
  await rows.evaluate((e) => (e.scrollTop = 0))
  await page.locator('[data-stream=live]').waitFor()
  const came: number[] = []
  for (let i = 1; i <= 10; i++) {
    const sent = Date.now()
    await server.publish({ model: 'model-00001', metric: 'accuracy', value: 0.5 + i / 1000 })
    await page.getByRole('row', { name: new RegExp(`model-00001.*0\\.${String(500 + i).replace(/0$/, '')}`) }).waitFor()
    came.push(Date.now() - sent)
  }
  came.sort((a, b) => a - b)
  const search = Date.now()
  await page.getByRole('searchbox', { name: 'Search models' }).fill('4242')
  await page.getByRole('link', { name: 'model-04242' }).waitFor()
  const searched = Date.now() - search
  const at = (q: number) => frames[Math.floor(q * (frames.length - 1))]!.toFixed(1)
  console.log(`10,000 models: first row ${first} ms, jump to the end ${jumped} ms, search ${searched} ms, an event on screen p50 ${came[5]} ms, most ${came[9]} ms, frames while scrolling p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`)
  expect(faults).toEqual([])
  await context.close()
})
