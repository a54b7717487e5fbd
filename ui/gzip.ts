import { gzipSync } from 'node:zlib'
import type { Plugin } from 'vite'

/** Leaves a compressed copy beside every file of text: the server sends it as it is. */
export function gzip(): Plugin {
  return {
    name: 'gzip',
    apply: 'build',
    generateBundle: {
      order: 'post',
      handler(_, bundle) {
        for (const file of Object.values(bundle)) {
          if (!/\.(js|css|html|svg)$/.test(file.fileName)) continue
          const source = gzipSync(file.type === 'chunk' ? file.code : file.source, { level: 9 })
          this.emitFile({ type: 'asset', fileName: file.fileName + '.gz', source })
        }
      },
    },
  }
}
