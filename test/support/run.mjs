/**
 * `npm test`: every test file, in one mocha process more than there are processors, each with a Postgres and a Temporal
 * server of its own. Most tests wait for something that happens elsewhere, so fewer would leave the machine idle.
 * Arguments are mocha's: `npm test -- --grep refund`. It ends with what failed, whole, as thousands of lines may stand
 * after it and whoever keeps only the end of a log must still learn it; its last line, which scripts read, is
 * `N passed, N failed`.
 */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { stripVTControlCharacters } from 'node:util'

// not mocha/bin/mocha.js, which starts this as a process of its own that outlives it when it is killed
const MOCHA = createRequire(import.meta.url).resolve('mocha/lib/cli/cli.js')
const NODE_OPTIONS = JSON.parse(readFileSync('.mocharc.json', 'utf8'))['node-option'].map(
  (option) => `--${option}`,
)
const COUNTS = /^(\d+) passed, (\d+) failed$/
/** Where mocha's summary of what failed begins; it goes on to the end of what a process prints. */
const FAILING = /^\s*\d+ failing$/
/** How long a process may go on once it has counted, and how long without a word, in milliseconds. */
const END_WITHIN_MS = 30_000
const SILENT_MS = 300_000

const files = readdirSync('test', { recursive: true })
  .filter((name) => name.endsWith('.test.ts'))
  .map((name) => `test/${name}`)
  .sort(slowestFirst)
const shards = Array.from({ length: Math.min(availableParallelism() + 1, 4) }, () => [])
const loads = shards.map(() => 0)
for (const file of files) {
  // to whoever has least to do so far
  const least = loads.indexOf(Math.min(...loads))
  shards[least].push(file)
  loads[least] += weightOf(file)
}

const results = await Promise.all(shards.filter((shard) => shard.length > 0).map(run))
for (const { failures } of results) if (failures !== '') console.log(failures)
const sum = (what) => results.reduce((total, result) => total + result[what], 0)
console.log(`${sum('passed')} passed, ${sum('failed')} failed`)
process.exitCode = results.some(({ failed }) => failed > 0) ? 1 : 0

/** Those that start the whole product take longest; among them, whoever has the most to say. */
function slowestFirst(a, b) {
  return weightOf(b) - weightOf(a) || (a < b ? -1 : 1)
}

function weightOf(file) {
  const text = readFileSync(file, 'utf8')
  return text.length * (text.includes('startStack') ? 100 : 1)
}

/** Runs some files. What they print comes a suite at a time, so that two processes do not talk at once. */
async function run(some) {
  const child = spawn(process.execPath, [...NODE_OPTIONS, MOCHA, ...process.argv.slice(2), ...some], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...(process.stdout.isTTY ? { FORCE_COLOR: '1' } : {}) },
  })
  // its exit, not the end of what it prints: a process that it left behind may hold that open
  const ended = new Promise((resolve) => child.once('exit', resolve))
  const lines = createInterface({ input: child.stdout })
  const counts = { passed: 0, failed: 0, failures: '' }
  let said = ''
  let limit
  const endWithin = (ms, why) => {
    clearTimeout(limit)
    limit = setTimeout(() => {
      counts.failures += `${why}; it was killed\n`
      counts.failed += 1
      child.kill('SIGKILL')
    }, ms)
  }
  void ended.then(() => {
    clearTimeout(limit)
    setTimeout(() => lines.close(), 1_000).unref()
  })
  endWithin(SILENT_MS, `a test process was silent for ${SILENT_MS / 1_000} s`)
  for await (const line of lines) {
    const [, passed, failed] = COUNTS.exec(line) ?? []
    if (passed === undefined) endWithin(SILENT_MS, `a test process was silent for ${SILENT_MS / 1_000} s`)
    else endWithin(END_WITHIN_MS, 'a test process did not end by itself')
    if (passed !== undefined) Object.assign(counts, { passed: Number(passed), failed: Number(failed) })
    else if (counts.failures !== '' || FAILING.test(stripVTControlCharacters(line)))
      counts.failures += `${line}\n`
    else said += `${line}\n`
    if (line === '') {
      process.stdout.write(said)
      said = ''
    }
  }
  process.stdout.write(said)
  const code = await ended
  if (code !== 0 && counts.failed === 0) {
    counts.failed = 1
    counts.failures += `a test process ended with ${code} before it could count: ${some.join(' ')}\n`
  }
  return counts
}
