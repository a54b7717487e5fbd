import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { closeBrowser, openBrowser, Server, tab } from './world'

const server = new Server()
const token = 'correct-horse-battery-staple'

beforeAll(async () => {
  const file = join(server.dir, 'token')
  writeFileSync(file, token, { mode: 0o600 })
  await server.start('--token-file', file)
  await server.api('metrics', { model: 'secret-model', metric: 'accuracy', value: 0.9 }, { Authorization: 'Bearer ' + token })
  await openBrowser()
})

afterAll(async () => {
  await closeBrowser()
  await server.close()
})

it('a token is asked for, refused when it is wrong, kept for the tab and never in an address', async () => {
  const { page, context, faults } = await tab(server.url)
  const addresses: string[] = []
  page.on('request', (r) => addresses.push(r.url()))
  await page.getByText('This server wants a token').waitFor()
  await page.getByRole('textbox', { name: 'Token' }).fill('wrong-token-wrong-token')
  await page.keyboard.press('Enter')
  await page.getByText('That token was refused.').waitFor()
  await page.getByRole('textbox', { name: 'Token' }).fill(token)
  await page.keyboard.press('Enter')
  await page.getByRole('link', { name: 'secret-model' }).waitFor()
  await page.locator('[data-stream=live]').waitFor()
  await page.reload()
  await page.getByRole('link', { name: 'secret-model' }).waitFor()
  expect(addresses.filter((a) => a.includes(token))).toEqual([])
  expect(await page.evaluate(() => [Object.keys(localStorage).join(), document.cookie])).toEqual(['', ''])
  const other = await context.newPage()
  await other.goto(server.url)
  await other.getByText('This server wants a token').waitFor()
  expect(faults).toEqual([])
  await context.close()
})

it('pages of other sites change nothing', async () => {
  const r = await fetch(server.url + 'api/v1/models/secret-model/pause', {
    method: 'POST', headers: { Authorization: 'Bearer ' + token, 'Content-Type': 'application/json', 'Sec-Fetch-Site': 'cross-site' }, body: '{}',
  })
  expect(r.status).toBe(403)
})
