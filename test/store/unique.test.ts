import assert from 'node:assert/strict'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

/** Rows that there may be once, whatever the code before them believes: the first goes in, the second does not. */
const ONCE: [what: string, first: string, second: string, constraint: string][] = [
  [
    'a lot of a business key',
    `insert into lot (id, account_id, kind, key, granted, remaining, granted_at)
     values ('lot_1', 'acc_1', 'pack', 'k', 1, 1, now())`,
    `insert into lot (id, account_id, kind, key, granted, remaining, granted_at)
     values ('lot_2', 'acc_1', 'pack', 'k', 1, 1, now())`,
    'lot_account_id_key_key',
  ],
  [
    'a command of a key',
    `insert into command (id, scope, operation, key, request_hash, input)
     values ('cmd_1', 'acc_1', 'open', 'k', 'h', '{}')`,
    `insert into command (id, scope, operation, key, request_hash, input)
     values ('cmd_2', 'acc_1', 'open', 'k', 'h', '{}')`,
    'command_scope_operation_key_key',
  ],
  [
    'an event',
    `insert into processed_webhook_events (event_id, type, livemode, payload, created_at)
     values ('evt_1', 't', false, '{}', now())`,
    `insert into processed_webhook_events (event_id, type, livemode, payload, created_at)
     values ('evt_1', 't', false, '{}', now())`,
    'processed_webhook_events_pkey',
  ],
  [
    'a checkout that is open in a plan group',
    `insert into checkout (id, account_id, plan, interval, plan_group, success_url, cancel_url)
     values ('ord_1', 'acc_1', 'p', 'month', 'g', 'u', 'u')`,
    `insert into checkout (id, account_id, plan, interval, plan_group, success_url, cancel_url, state)
     values ('ord_2', 'acc_1', 'q', 'month', 'g', 'u', 'u', 'open')`,
    'checkout_one_opening',
  ],
  [
    'a primary subscription that is live in a plan group',
    `insert into subscription (id, account_id, role, plan_group, quantity, status, anchor, observed_at, created_at)
     values ('sub_1', 'acc_1', 'primary', 'g', 1, 'active', now(), now(), now())`,
    `insert into subscription (id, account_id, role, plan_group, quantity, status, anchor, observed_at, created_at)
     values ('sub_2', 'acc_1', 'primary', 'g', 1, 'past_due', now(), now(), now())`,
    'subscription_one_primary',
  ],
  [
    'a free plan that is live in a plan group',
    `insert into subscription (id, account_id, role, plan_group, price_id, current_period_end, quantity, status, anchor,
                               observed_at, created_at)
     values ('free_' || repeat('1', 32), 'acc_1', 'fallback', 'g', 'p', now(), 1, 'active', now(), now(), now())`,
    `insert into subscription (id, account_id, role, plan_group, price_id, current_period_end, quantity, status, anchor,
                               observed_at, created_at)
     values ('free_' || repeat('2', 32), 'acc_1', 'fallback', 'g', 'q', now(), 1, 'active', now(), now(), now())`,
    'subscription_one_fallback',
  ],
  [
    'a settlement of prorations',
    `insert into settlement (key, account_id, subscription_id, invoice_id, owed) values ('k', 'acc_1', 'sub_1', 'in_1', 1)`,
    `insert into settlement (key, account_id, subscription_id, invoice_id, owed) values ('k', 'acc_1', 'sub_1', 'in_1', 1)`,
    'settlement_pkey',
  ],
  [
    'a month of a paid year',
    `insert into entitlement (key, account_id, subscription_id, payment_id, amount, due_at, period_end, expires_at, source)
     values ('k', 'acc_1', 'sub_1', 'pi_1', 1, now(), now(), now(), '{}')`,
    `insert into entitlement (key, account_id, subscription_id, payment_id, amount, due_at, period_end, expires_at, source)
     values ('k', 'acc_1', 'sub_1', 'pi_1', 1, now(), now(), now(), '{}')`,
    'entitlement_pkey',
  ],
  [
    'a payment of an invoice',
    `insert into payment (id, account_id, invoice_id, amount_minor, currency, paid_at)
     values ('pi_1', 'acc_1', 'in_1', 1, 'usd', now())`,
    `insert into payment (id, account_id, invoice_id, amount_minor, currency, paid_at)
     values ('pi_2', 'acc_1', 'in_1', 1, 'usd', now())`,
    'payment_invoice_id_key',
  ],
  [
    'a customer in Stripe, whoever had it',
    `insert into stripe_customer (id, account_id, ordinal) values ('cus_2', 'acc_1', 1)`,
    `insert into stripe_customer (id, account_id, ordinal) values ('cus_2', 'acc_1', 2)`,
    'stripe_customer_pkey',
  ],
  [
    'a live customer of an account',
    `insert into stripe_customer (id, account_id, ordinal) values ('cus_3', 'acc_1', 1)`,
    `insert into stripe_customer (id, account_id, ordinal) values ('cus_4', 'acc_1', 2)`,
    'stripe_customer_one_live',
  ],
  [
    'a payment of an order of packs',
    `insert into checkout (id, account_id, kind, plan, price_id, amount_minor, currency, success_url, cancel_url)
     values ('ord_1', 'acc_1', 'pack', 'p', 'price_1', 1, 'usd', 'u', 'u');
     insert into payment (id, account_id, order_id, amount_minor, currency, paid_at)
     values ('pi_1', 'acc_1', 'ord_1', 1, 'usd', now())`,
    `insert into payment (id, account_id, order_id, amount_minor, currency, paid_at)
     values ('pi_2', 'acc_1', 'ord_1', 1, 'usd', now())`,
    'payment_order_id_key',
  ],
  [
    'a charge of automatic top-up that is under way',
    `insert into top_up (account_id, enabled, pack, threshold, monthly_max_minor, return_url)
     values ('acc_1', true, 'p', 1, 1, 'u');
     insert into catalog_price (price_id, lookup_key, kind, plan, version, terms) values ('price_1', 'k', 'pack', 'p', 'v1', '{}');
     insert into top_up_attempt (id, account_id, ordinal, generation, price_id, amount_minor, currency, customer_id,
                                 payment_method)
     values ('top_' || repeat('1', 32), 'acc_1', 1, 1, 'price_1', 1, 'usd', 'cus_1', 'pm_1')`,
    `insert into top_up_attempt (id, account_id, ordinal, generation, price_id, amount_minor, currency, customer_id,
                                 payment_method, state)
     values ('top_' || repeat('2', 32), 'acc_1', 2, 1, 'price_1', 1, 'usd', 'cus_1', 'pm_1', 'processing')`,
    'top_up_one_in_flight',
  ],
  [
    'a number of an account’s charges, which their keys in Stripe are made of',
    `insert into top_up (account_id, enabled, pack, threshold, monthly_max_minor, return_url)
     values ('acc_1', true, 'p', 1, 1, 'u');
     insert into catalog_price (price_id, lookup_key, kind, plan, version, terms) values ('price_1', 'k', 'pack', 'p', 'v1', '{}');
     insert into top_up_attempt (id, account_id, ordinal, generation, price_id, amount_minor, currency, customer_id,
                                 payment_method, state, ended_at)
     values ('top_' || repeat('1', 32), 'acc_1', 1, 1, 'price_1', 1, 'usd', 'cus_1', 'pm_1', 'declined', now())`,
    `insert into top_up_attempt (id, account_id, ordinal, generation, price_id, amount_minor, currency, customer_id,
                                 payment_method)
     values ('top_' || repeat('2', 32), 'acc_1', 1, 1, 'price_1', 1, 'usd', 'cus_1', 'pm_1')`,
    'top_up_attempt_account_id_ordinal_key',
  ],
  [
    'an account of a customer in Stripe',
    `insert into account (id, stripe_customer_id) values ('acc_2', 'cus_1')`,
    `insert into account (id, stripe_customer_id) values ('acc_3', 'cus_1')`,
    'account_stripe_customer_id_key',
  ],
  [
    'an account of an external id',
    `insert into customer (account_id, external_id) values ('acc_1', 'x')`,
    `insert into account (id) values ('acc_4'); insert into customer (account_id, external_id) values ('acc_4', 'x')`,
    'customer_external_id_key',
  ],
]

describe('what there may be once, the database itself refuses a second time', () => {
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
    await database.owner.query(`insert into account (id) values ('acc_1')`)
  })
  after(() => database.drop())

  for (const [what, first, second, constraint] of ONCE) {
    it(what, async () => {
      const client = await database.owner.connect()
      try {
        await client.query('begin')
        await client.query(first)
        await assert.rejects(client.query(second), { code: '23505', constraint })
      } finally {
        await client.query('rollback')
        client.release()
      }
    })
  }
})
