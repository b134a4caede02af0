/** The layout's rules over every source file, and a proof for each that it can fail. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { importsOf, lineCount, RULES, type SourceFile } from './support/architecture.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

const FILES: SourceFile[] = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => ({
    path: `src/${name.split(sep).join('/')}`,
    text: readFileSync(join(ROOT, 'src', name), 'utf8'),
  }))

type RuleName = keyof typeof RULES

describe('the architecture', () => {
  for (const rule of Object.values(RULES)) {
    it(rule.fact, () => {
      const found = FILES.flatMap((file) => rule.denials(file).map((denial) => `${file.path}: ${denial}`))
      assert.deepEqual(found, [])
    })
  }

  it('nine files in ten are under 300 lines', () => {
    const long = FILES.filter(({ text }) => lineCount(text) > 300).map(
      ({ path, text }) => `${path} ${lineCount(text)}`,
    )
    assert(long.length * 10 <= FILES.length, `too many long files: ${long.join(', ')}`)
  })

  describe('the rules can fail', () => {
    const broken: [rule: RuleName, path: string, text: string][] = [
      ['table', 'src/domain/a.ts', "import { connect } from '../store/connect.ts'"],
      ['table', 'src/domain/a.ts', "import type { Pool } from '../store/connect.ts'"],
      ['table', 'src/domain/a.ts', "export * from '../log.ts'"],
      ['table', 'src/ledger/a.ts', "import { insert } from '../store/inbox.ts'"],
      ['table', 'src/store/a.ts', "import { spend } from '../ledger/spend.ts'"],
      ['table', 'src/stripe/a.ts', "import { connect } from '../store/connect.ts'"],
      ['table', 'src/outbound/a.ts', "import { connect } from '../store/connect.ts'"],
      ['table', 'src/api/a.ts', "import { openSmtp } from '../outbound/smtp.ts'"],
      ['table', 'src/activities/a.ts', "import { subscription } from '../workflows/subscription.ts'"],
      ['table', 'src/workflows/a.ts', "import { createActivities } from '../activities/subscription.ts'"],
      ['table', 'src/workflows/a.ts', "import { type A } from '../activities/subscription.ts'"],
      ['table', 'src/workflows/a.ts', "import type { Row } from '../store/schema.ts'"],
      ['table', 'src/api/a.ts', "import { grant } from '../ledger/post.ts'"],
      ['table', 'src/api/a.ts', "const post = await import('../ledger/post.ts')"],
      ['table', 'src/api/a.ts', "import {\n  a,\n  b as c,\n} from '../stripe/gateway.ts'"],
      ['table', 'src/sandbox/a.ts', "import { spend } from '../ledger/spend.ts'"],
      ['table', 'src/sandbox/a.ts', "import { World } from './stripe/world.ts'"],
      ['table', 'src/sandbox/stripe/a.ts', "import { addMonths } from '../../domain/calendar.ts'"],
      ['table', 'src/sandbox/stripe/resource/a.ts', "import type { Logger } from '../../../log.ts'"],
      ['table', 'src/log.ts', "import { readConfig } from './config.ts'"],
      ['table', 'src/stray.ts', ''],
      ['packages', 'src/workflows/a.ts', "import pg from 'pg'"],
      ['packages', 'src/workflows/a.ts', "import { pgTable } from 'drizzle-orm/pg-core'"],
      ['packages', 'src/workflows/a.ts', "import Stripe from 'stripe'"],
      ['packages', 'src/workflows/a.ts', "import { createHash } from 'node:crypto'"],
      ['packages', 'src/workflows/a.ts', "import { Client } from '@temporalio/client'"],
      ['bundle', 'src/workflows/a.ts', "import { wakeOwner } from './owner.ts'"],
      ['io', 'src/domain/a.ts', "import { readFile } from 'node:fs/promises'"],
      ['io', 'src/domain/a.ts', "import 'pg'"],
      ['pure', 'src/domain/a.ts', 'const debug = process.env.DEBUG'],
      ['pure', 'src/domain/a.ts', 'const at = Date.now()'],
      ['pure', 'src/domain/a.ts', 'const at = new Date()'],
      ['pure', 'src/domain/a.ts', 'const id = `x${Math.random()}`'],
      ['pure', 'src/domain/a.ts', 'setTimeout(go, 1)'],
      ['config', 'src/store/a.ts', "import { readConfig } from '../config.ts'"],
      ['config', 'src/sandbox/stripe/index.ts', "const dir = process.env['DATA_DIR']"],
      ['config', 'src/api/a.ts', "const url = process.env['DATABASE_URL']"],
      ['exact', 'src/ledger/a.ts', 'const x = parseFloat(text)'],
      ['exact', 'src/domain/a.ts', 'const x = Number(line.amount)'],
      ['exact', 'src/activities/a.ts', 'const x = total.toNumber()'],
      ['exact', 'src/api/a.ts', 'const x = Number(row.balance_after)'],
      ['length', 'src/api/a.ts', 'x\n'.repeat(401)],
      ['depth', 'src/api/v1/a.ts', ''],
      ['drawer', 'src/api/helpers.ts', ''],
      ['drawer', 'src/utils/date.ts', ''],
    ]
    for (const [name, path, text] of broken) {
      it(`${RULES[name].fact}; not ${path.slice(4)} with ${JSON.stringify(text.slice(0, 60))}`, () => {
        assert.notDeepEqual(RULES[name].denials({ path, text }), [])
      })
    }

    it('every rule is among those shown to fail', () => {
      assert.deepEqual(new Set(broken.map(([name]) => name)), new Set(Object.keys(RULES)))
    })

    const kept: [rule: RuleName, path: string, text: string][] = [
      ['table', 'src/workflows/a.ts', "import type { A } from '../activities/subscription.ts'"],
      ['table', 'src/api/a.ts', "// import { grant } from '../ledger/post.ts'"],
      [
        'table',
        'src/domain/a.ts',
        'const text = "import { x } from \'../store/connect.ts\'"'.replace('import', 'see'),
      ],
      ['packages', 'src/workflows/a.ts', "import type { Client } from '@temporalio/client'"],
      ['pure', 'src/domain/a.ts', '/** Never Date.now() */ const at = new Date(instant)'],
      ['exact', 'src/domain/a.ts', "const day = Number('31')"],
    ]
    for (const [name, path, text] of kept) {
      it(`${RULES[name].fact}; as ${path.slice(4)} does with ${JSON.stringify(text.slice(0, 60))}`, () => {
        assert.deepEqual(RULES[name].denials({ path, text }), [])
      })
    }

    it('all ways of importing are seen', () => {
      const text = `import a from 'a'\nimport type { B } from "b"\nexport * as c from 'c'\nimport 'd'
        const e = await import('e')\ntype F = typeof import('f')\nimport {\n  g,\n} from 'g'\nexport type { H } from 'h'`
      assert.deepEqual(
        importsOf(text).map(({ from, typeOnly }) => (typeOnly ? `type ${from}` : from)),
        ['a', 'type b', 'c', 'd', 'g', 'type h', 'e', 'type f'],
      )
    })
  })
})
