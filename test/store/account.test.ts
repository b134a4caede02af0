import assert from 'node:assert/strict'
import { createAccount, findAccount } from '../../src/store/account.ts'
import { customerTie, tieCustomer, untieCustomer } from '../../src/store/stripe-customer.ts'
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
    await tieCustomer(database.pool, 'acc_tied', { customer: 'cus_1', ordinal: 1 })
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

describe('the customer of an account in Stripe', () => {
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
    await database.owner.query(`insert into account (id) values ('acc_1'), ('acc_2')`)
  })
  after(() => database.drop())

  it('is one, also when two make it at once', async () => {
    const first = await customerTie(database.pool, 'acc_1')
    assert.deepEqual(first, { customer: null, ordinal: 1 })
    const tied = await Promise.all(
      ['cus_a', 'cus_b'].map((customer) => tieCustomer(database.pool, 'acc_1', { customer, ordinal: 1 })),
    )
    assert.equal(tied[0], tied[1])
    assert.deepEqual(await customerTie(database.pool, 'acc_1'), { customer: tied[0], ordinal: 1 })
  })

  it('that was deleted is followed by another under another key, and still finds its account', async () => {
    const { customer } = await customerTie(database.pool, 'acc_1')
    assert.equal(await untieCustomer(database.pool, customer ?? ''), 'acc_1')
    assert.equal(await untieCustomer(database.pool, customer ?? ''), undefined)
    assert.deepEqual(await customerTie(database.pool, 'acc_1'), { customer: null, ordinal: 2 })
    await tieCustomer(database.pool, 'acc_1', { customer: 'cus_new', ordinal: 2 })
    for (const each of [customer, 'cus_new'])
      assert.equal(await findAccount(database.pool, { customer: each, metadata: 'acc_2' }), 'acc_1')
  })
})
