import assert from 'node:assert/strict'
import { createAccount, findAccount } from '../../src/store/account.ts'
import { transaction } from '../../src/store/connect.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('finding whose a Stripe object is', () => {
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
    for (const id of ['acc_tied', 'acc_named']) {
      await transaction(database.pool, (client) =>
        createAccount(client, id, { externalId: null, email: null, name: null, metadata: {} }),
      )
    }
    await database.owner.query(`update account set stripe_customer_id = 'cus_1' where id = 'acc_tied'`)
  })
  after(() => database.drop())

  const cases: [customer: string | null, metadata: string | null, found: string | null][] = [
    ['cus_1', null, 'acc_tied'],
    ['cus_1', 'acc_named', 'acc_tied'],
    ['cus_other', 'acc_named', 'acc_named'],
    [null, 'acc_named', 'acc_named'],
    [null, null, null],
    ['cus_other', 'acc_nobody', null],
  ]
  for (const [customer, metadata, found] of cases) {
    it(`customer ${customer} and metadata ${metadata} is ${found}`, async () => {
      assert.equal(await findAccount(database.pool, { customer, metadata }), found)
    })
  }
})
