/** What an installation of an earlier version has keeps its meaning when it is brought up to date. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { settlementsOf } from '../../src/store/settlement.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

const FOLDER = new URL('../../migrations/', import.meta.url)

describe('an upgrade', () => {
  let database: TestDatabase
  beforeEach(async () => {
    database = await createDatabase()
    await database.owner.query('drop schema public cascade; create schema public')
  })
  afterEach(() => database.drop())

  /** Applies the migrations from one to the one before another. */
  async function apply(from: string, before: string): Promise<void> {
    for (const name of readdirSync(FOLDER).sort()) {
      if (name >= from && name < before) {
        await database.owner.query(readFileSync(new URL(name, FOLDER), 'utf8'))
      }
    }
  }

  it('keeps what the making of an account was answered', async () => {
    await apply('0001', '0004')
    await database.owner.query(`
      insert into account (id) values ('acc_1'), ('acc_2');
      insert into customer (account_id, name, answer) values ('acc_1', 'Ada', '{"id":"acc_1", "name":"Ada"}'), ('acc_2', 'Bo', null);
      insert into command (id, scope, operation, key, request_hash, input, state, status_code, result, finished_at)
      select 'cmd_' || n, 'accounts', 'create', 'k' || n, 'h', jsonb_build_object('account', 'acc_' || n), 'done', 201, '{}', '2026-01-02T00:00:00Z'
        from generate_series(1, 2) n`)
    await apply('0004', '0005')
    const { rows } = await database.owner.query(
      'select command_id, account_id, status_code, body, created_at from reply',
    )
    assert.deepEqual(rows, [
      {
        command_id: 'cmd_1',
        account_id: 'acc_1',
        status_code: 201,
        body: '{"id":"acc_1", "name":"Ada"}',
        created_at: new Date('2026-01-02T00:00:00Z'),
      },
    ])
  })

  it('gives keys that could write the scopes for what they could do', async () => {
    await apply('0001', '0004')
    await database.owner.query(`
      insert into api_key (id, hash, scopes, name) values
        ('key_1', 'a', '{read,write}', 'both'), ('key_2', 'b', '{write}', 'writer'), ('key_3', 'c', '{read}', 'reader')`)
    await apply('0004', '0005')
    const { rows } = await database.owner.query('select scopes from api_key order by id')
    const written = ['accounts', 'spend', 'reverse', 'subscriptions']
    assert.deepEqual(
      rows.map(({ scopes }) => scopes),
      [['read', ...written], written, ['read']],
    )
  })

  it('counts for an account what its subscriptions left owed, also those that ended', async () => {
    await apply('0001', '0021')
    await database.owner.query(`
      insert into account (id) values ('acc_1'), ('acc_2');
      insert into settlement (key, account_id, subscription_id, invoice_id, owed) values
        ('proration:in_1:p', 'acc_1', 'sub_ended', 'in_1', 30), ('invoice_line:il_2', 'acc_1', 'sub_ended', 'in_2', -10),
        ('proration:in_3:p', 'acc_1', 'sub_2', 'in_3', 5), ('proration:in_4:p', 'acc_2', 'sub_3', 'in_4', 7)`)
    await apply('0021', '9999')
    assert.deepEqual(await settlementsOf(database.pool, 'acc_1', 'sub_2'), {
      settled: ['proration:in_3:p'],
      owed: '25',
    })
  })
})
