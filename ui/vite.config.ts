import { svelte } from '@sveltejs/vite-plugin-svelte'
import tailwindcss from '@tailwindcss/vite'
import { defineConfig } from 'vitest/config'
import { gzip } from './gzip.ts'

// In development the API is that of a server that runs beside.
const server = process.env.VISUTILITY_SERVER ?? 'http://127.0.0.1:8080'

export default defineConfig({
  plugins: [svelte(), tailwindcss(), gzip()],
  base: './', // works under any path: routes are in the fragment
  build: {
    target: 'es2022',
    assetsInlineLimit: 0, // the content security policy knows no data: but for images
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { '/api': server } },
  test: {
    projects: [
      { extends: true, test: { name: 'unit', include: ['src/**/*.test.ts'] } },
      {
        extends: true,
        test: { name: 'e2e', include: ['e2e/*.spec.ts'], testTimeout: 60_000, hookTimeout: 60_000, fileParallelism: false },
      },
      {
        extends: true,
        test: { name: 'screenshots', include: ['e2e/screenshots.ts'], testTimeout: 300_000, hookTimeout: 120_000 },
      },
    ],
  },
})
