import assert from 'node:assert/strict'
import { is } from 'drizzle-orm'
import { getTableConfig, PgTable } from 'drizzle-orm/pg-core'
import { raiseAlert } from '../../src/store/alert.ts'
import * as schema from '../../src/store/schema.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

/** The ledger's own tables, and those that the types do not need. */
const ELSEWHERE = [
  'approval',
  'audit_log',
  'business_clock',
  'circuit_breaker',
  'catch_up',
  'hold',
  'lot',
  'migration',
  'note',
  'notice',
  'notice_delivery',
  'posting',
  ...Array.from({ length: 8 }, (_, part) => `posting_${part}`),
  'reversal',
  'top_up',
  'top_up_attempt',
  'settlement',
  'stray_object',
  'stripe_call',
  'stripe_bucket',
  'stripe_customer',
  'wallet',
  'webhook_endpoint',
]

describe('the schema', () => {
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())

  it('says what the migrations made: every table, column, type, default and key', async () => {
    const { rows } = await database.owner.query<{ line: string }>(
      `select format('%s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                case when a.attnotnull then ' required' end,
                case when a.atthasdef or a.attidentity <> '' then ' default' end) as line
         from pg_attribute a join pg_class c on c.oid = a.attrelid
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
          and not c.relname = any($1)`,
      [ELSEWHERE],
    )
    const described = Object.values<unknown>(schema).flatMap((one) => {
      if (!is(one, PgTable)) return []
      const { name, columns } = getTableConfig(one)
      return columns.map((column) => {
        const type = column.getSQLType().replace(', ', ',')
        const required = column.notNull ? ' required' : ''
        const filled = column.hasDefault || column.generatedIdentity ? ' default' : ''
        return `${name}.${column.name} ${type}${required}${filled}`
      })
    })
    assert.deepEqual(described.sort(), rows.map((row) => row.line).sort())
  })

  it('gives errors of Postgres without the parameters of the query', async () => {
    await assert.rejects(
      raiseAlert(database.pool, 'kind\0', 'grace@example.com', 'detail'),
      (error: Error) => {
        assert.doesNotMatch(`${error.message} ${error.stack}`, /grace/)
        assert.equal('code' in error && error.code, '22021')
        return true
      },
    )
  })
})
