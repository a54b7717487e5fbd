import { copyFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Server } from './world'

/** A training that takes as long as a file stays away, tells its progress, and scores what it is told to. */
export const trainer = `#!/bin/sh
echo "training $VISUTILITY_MODEL"
i=0
while [ $i -lt 100 ]; do
  i=$((i + 5))
  echo "step $i of 100, loss 0.$((100 - i / 2))"
  printf '{"progress": 0.%02d, "message": "step %d of 100"}' $((i < 100 ? i : 99)) $i > "$VISUTILITY_OUTPUT/progress.json"
  [ -n "$1" ] && while [ ! -e "$VISUTILITY_TEST_DIR/$1" ] && [ $i -ge 40 ]; do sleep 0.05; done
  sleep 0.02
done
echo "weights" > "$VISUTILITY_OUTPUT/model.bin"
echo '{"artifact": "model.bin", "metrics": {"accuracy": 0.93}, "champion_metrics": {"accuracy": 0.71}}' > "$VISUTILITY_OUTPUT/result.json"
`

export const policy = (model: string, o: { gate?: string; hold?: string; cooldown?: string; approval?: boolean } = {}) => `model: ${model}
retrain:
  when: accuracy < 0.8
  cooldown: ${o.cooldown ?? '1h'}
train:
  run: ./train.sh ${o.hold ?? ''}
  env: [VISUTILITY_TEST_DIR]
promote:
  when: ${o.gate ?? 'candidate.accuracy > champion.accuracy'}
${o.approval ? '  approval: required\n' : ''}`

export const ago = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString()

/** A day of measurements every ten minutes, good ones. */
export const day = (model: string, level = 0.94) =>
  Array.from({ length: 144 }, (_, i) => ({ model, metric: 'accuracy', value: level + 0.01 * Math.sin(i / 9) + 0.004 * Math.sin(i * 2.7), time: ago(1440 - i * 10), count: 200 }))

export function bikes(server: Server) {
  const example = resolve(import.meta.dirname, '../../examples/bike-demand')
  for (const name of ['bike-demand', 'bike-demand.yaml']) copyFileSync(join(example, name), join(server.dir, 'policies', name))
  return join(example, 'bike-demand')
}
