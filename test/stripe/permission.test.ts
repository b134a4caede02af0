import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'

const FOLDER = new URL('../../src/stripe/', import.meta.url)
const CALL = /\bstripe\s*\.((?:[a-zA-Z]+\.)*[a-zA-Z]+)\.([a-zA-Z]+)\(/g
const READS = /^(retrieve|list)/
/** Writes here are those of `perennial catalog sync`; a worker only reads prices. */
const CATALOGUE = 'price.ts'

type Needs = Record<string, { worker: string; sync: string }>

function needed(): Needs {
  const needs: Needs = {}
  for (const file of readdirSync(FOLDER)) {
    for (const [, resource = '', method = ''] of readFileSync(new URL(file, FOLDER), 'utf8').matchAll(CALL)) {
      const need = (needs[resource] ??= { worker: 'none', sync: 'none' })
      const write = !READS.test(method)
      if (file === CATALOGUE) {
        if (write) need.sync = 'write'
        else if (need.worker === 'none') need.worker = 'read'
      } else if (write) need.worker = 'write'
      else if (need.worker === 'none') need.worker = 'read'
    }
  }
  return needs
}

describe('docs/stripe.md', () => {
  it('gives each role the permissions that the calls need, and no more', () => {
    const text = readFileSync(new URL('../../docs/stripe.md', import.meta.url), 'utf8')
    const table = [...text.matchAll(/^\| `([a-zA-Z.]+)` \| (\w+) \| (\w+) \|/gm)].map(
      ([, resource = '', worker = '', sync = '']) => [resource, { worker, sync }] as const,
    )
    assert.deepEqual(Object.fromEntries(table), needed())
  })
})
