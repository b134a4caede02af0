import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { createApiKey } from '../../src/store/api-key.ts'
import { assertBooks, DAY_MS, give } from '../support/ledger.ts'
import { noticesSince, postingsSince } from '../support/foreseen.ts'
import { type Answer, type ApiUnderTest, startApi } from './api-under-test.ts'

const HUGE = '999999999999999.99999999'
const amount = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 1, max: 40 }).map(String) },
  {
    weight: 4,
    arbitrary: fc.integer({ min: 1, max: 99_999_999 }).map((n) => `0.${`${n}`.padStart(8, '0')}`),
  },
  { weight: 1, arbitrary: fc.constant(HUGE) },
)
const place = fc.nat({ max: 1000 })
const days = fc.option(fc.integer({ min: -1, max: 20 }))
const metadata = fc.constantFrom({}, { job: '7' })

/** What time and payments do to a wallet: not asked for, so not foreseen. */
const event = fc.oneof(
  fc.record({ do: fc.constant('wait' as const), days: fc.integer({ min: 1, max: 10 }) }),
  fc.record({
    do: fc.constant('renew' as const),
    amount: fc.integer({ min: 1, max: 40 }).map(String),
    days: fc.option(fc.integer({ min: 1, max: 20 })),
    carry: fc.constantFrom('0', '7.5', 'Infinity'),
  }),
)
const command = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('spend' as const), amount, overdraft: fc.boolean(), metadata }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('hold' as const),
      amount,
      days: fc.integer({ min: 1, max: 12 }),
      metadata,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('capture' as const),
      place,
      amount,
      final: fc.boolean(),
      overdraft: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('release' as const), place }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('reverse' as const), place, amount: fc.option(amount) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('grant' as const),
      amount,
      days,
      kind: fc.constantFrom('goodwill', 'promotion'),
      priority: fc.constantFrom(50, 100),
      /** whether the caller may give more than the catalogue's limit */
      large: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('create' as const), external_id: fc.constantFrom('a', 'b') }),
  },
)
type Event = typeof event extends fc.Arbitrary<infer T> ? T : never
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never

const text = { amount: '1', overdraft: false, metadata: {} }
const capture = { do: 'capture', place: 0, amount: '1', final: false, overdraft: false } as const
const gift = { do: 'grant', amount: '5', days: 3, kind: 'goodwill', priority: 100, large: true } as const

/** A history that meets every end of every command; chance may miss some. */
const EVERYTHING: (Event | Command)[] = [
  { do: 'renew', amount: '10', days: 5, carry: '0' },
  { ...text, do: 'spend', amount: '3' },
  { ...text, do: 'spend', amount: '40' },
  { do: 'hold', amount: '2', days: 3, metadata: {} },
  { do: 'hold', amount: '40', days: 3, metadata: {} },
  { ...capture, amount: '40' },
  capture,
  { ...capture, place: 1 },
  // the lot has expired meanwhile, and the hold is past its deadline
  { do: 'wait', days: 6 },
  { ...text, do: 'spend', amount: '5', overdraft: true },
  { do: 'reverse', place: 0, amount: '1' },
  { do: 'reverse', place: 0, amount: '40' },
  { do: 'reverse', place: 0, amount: null },
  { do: 'reverse', place: 0, amount: null },
  { do: 'reverse', place: 3, amount: null },
  { do: 'release', place: 0 },
  { do: 'release', place: 0 },
  { do: 'release', place: 1 },
  capture,
  gift,
  { ...gift, days: -1 },
  { ...gift, large: false },
  { do: 'create', external_id: 'a' },
  { do: 'create', external_id: 'a' },
  ...Array.from({ length: 11 }, () => ({ ...gift, amount: HUGE, days: null })),
]

/** How commands end in it. */
const MET = [
  'spend done',
  'spend insufficient_credits',
  'hold done',
  'hold insufficient_credits',
  'capture done',
  'capture hold_closed',
  'capture hold_not_found',
  'capture insufficient_credits',
  'release done',
  'release hold_closed',
  'release hold_not_found',
  'reverse done',
  'reverse spend_not_found',
  'reverse spend_reversed',
  'reverse reversal_too_large',
  'grant done',
  'grant balance_limit',
  'grant expiry_past',
  'grant grant_limit',
  'create done',
  'create external_id_taken',
]

interface World {
  account: string
  holds: string[]
  spends: string[]
  periods: number
  /** external ids of this history */
  tag: string
}

describe('a dry run of whatever changes a wallet', function () {
  this.timeout(180_000)
  let api: ApiUnderTest
  /** of a caller that may give little */
  let small: string
  before(async () => {
    api = await startApi()
    const { owner } = api.database
    small = await createApiKey(owner, { name: 'small', scopes: ['grants'] })
    // time stands still between a preview and what then happens, and moves by the test's hand
    await owner.query(`create table frozen as select business_now() as at`)
    await owner.query('grant select on frozen to perennial_service')
    await owner.query(
      `create or replace function business_now() returns timestamptz language sql volatile as 'select at from public.frozen'`,
    )
  })
  after(() => api.close())

  const pass = (ms: number) =>
    api.database.owner.query(`update frozen set at = at + $1 * interval '1 millisecond'`, [ms])

  it('says what then happens, to the last lot, and changes nothing', async () => {
    const seen = new Map<string, number>()
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof({ weight: 1, arbitrary: event }, { weight: 3, arbitrary: command }), {
          minLength: 1,
          maxLength: 30,
          size: 'max',
        }),
        async (steps) => {
          const world = await newWorld()
          for (const step of steps) {
            await pass(1)
            if (step.do === 'wait' || step.do === 'renew') await happen(world, step)
            else {
              const what = `${step.do} ${await foreseeAndDo(world, step)}`
              seen.set(what, (seen.get(what) ?? 0) + 1)
            }
          }
        },
      ),
      { numRuns: 40, examples: [[EVERYTHING]] },
    )
    await assertBooks(api.database)
    // the property is about something: each command was done, and each of its refusals met
    const met = [...seen.keys()].sort()
    assert.deepEqual(
      MET.filter((what) => !met.includes(what)),
      [],
      JSON.stringify(Object.fromEntries(seen)),
    )
  })

  async function newWorld(): Promise<World> {
    const { id } = (await api.post('/v1/accounts', {})).body
    return { account: id, holds: [], spends: [], periods: 0, tag: randomUUID() }
  }

  async function happen(world: World, step: Event): Promise<void> {
    if (step.do === 'wait') await pass(step.days * DAY_MS)
    else {
      world.periods += 1
      await give(api.database.pool, world.account, step.amount, {
        expiresAt: step.days === null ? undefined : await inDays(step.days),
        recurring: {
          subscription: `sub_${world.account}`,
          periodStart: new Date(world.periods * DAY_MS).toISOString(),
          carry: step.carry,
        },
      })
    }
  }

  /** Half a day beside the steps of the clock, so that nothing happens at the very instant of something else. */
  async function inDays(count: number): Promise<string> {
    const { rows } = await api.database.owner.query<{ at: Date }>(
      `select at + ($1 + 0.5) * interval '1 day' as at from frozen`,
      [count],
    )
    return rows[0]?.at.toISOString() ?? ''
  }

  /** The request that a command is. */
  async function requestOf({ account, holds, spends, tag }: World, step: Command) {
    const nobody = { hold: 'hld_0', spend: `spd_${account.slice(4)}_999999` }
    switch (step.do) {
      case 'spend': {
        const { do: _, ...body } = step
        return { path: `/v1/accounts/${account}/spend`, body }
      }
      case 'hold': {
        const { amount, metadata } = step
        return {
          path: `/v1/accounts/${account}/holds`,
          body: { amount, metadata, expires_in: step.days * 86_400 },
        }
      }
      case 'capture': {
        const { do: _, place, ...body } = step
        return { path: `/v1/holds/${holds[place % (holds.length + 1)] ?? nobody.hold}/capture`, body }
      }
      case 'release':
        return {
          path: `/v1/holds/${holds[step.place % (holds.length + 1)] ?? nobody.hold}/release`,
          body: {},
        }
      case 'reverse':
        return {
          path: `/v1/spends/${spends[step.place % (spends.length + 1)] ?? nobody.spend}/reverse`,
          body: step.amount === null ? {} : { amount: step.amount },
        }
      case 'grant': {
        const { amount, kind, priority } = step
        const expires_at = step.days === null ? undefined : await inDays(step.days)
        return {
          path: '/v1/grants',
          body: { account, amount, kind, priority, reason_code: 'outage', expires_at },
          key: step.large ? undefined : small,
        }
      }
      default:
        return { path: '/v1/accounts', body: { external_id: `${tag}${step.external_id}` } }
    }
  }

  /** Asks what a command would do, has it done, and compares. Answers how it ended: `done`, or the code of a problem. */
  async function foreseeAndDo(world: World, step: Command): Promise<string> {
    const { path, body, key } = await requestOf(world, step)
    const headers = {
      'idempotency-key': randomUUID(),
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
    }
    const before = await everything(world.account)
    const preview = await api.post(`${path}?dry_run=true`, body, headers)
    assert.deepEqual(await everything(world.account), before, 'the preview has changed something')
    assert.equal(preview.status, 200, preview.text)
    const known = await lotsOf(world.account)
    const answer = await api.post(path, body, headers)
    assert.equal(answer.headers['idempotent-replayed'], undefined)
    const account = step.do === 'create' && answer.status === 201 ? answer.body.id : world.account
    const { outcome, refusal, effects, balance } = preview.body
    assert.deepEqual({ outcome, refusal }, endOf(answer))
    assert.deepEqual(effects, {
      postings:
        step.do === 'create'
          ? []
          : await postingsSince(api.database, account, { seq: `${before.wallet.seq}`, lots: [...known] }),
      stripe: [],
      notices: step.do === 'create' ? [] : await noticesSince(api.database, account, before.notices),
      dates:
        step.do === 'hold' && answer.status === 201
          ? [{ what: 'hold_lapses', at: answer.body.expires_at }]
          : [],
    })
    // nobody knows whose a hold is that is none
    if (answer.body.code === 'hold_not_found') assert.equal(balance, null)
    else if (step.do !== 'create') assert.deepEqual(balance, await balanceOf(account, known))
    if (step.do === 'spend' && answer.status === 200) world.spends.push(answer.body.id)
    if (step.do === 'capture' && answer.status === 200) world.spends.push(answer.body.id)
    if (step.do === 'hold' && answer.status === 201) world.holds.push(answer.body.id)
    return answer.status < 400 ? 'done' : answer.body.code
  }

  function endOf({ status, body }: Answer): object {
    if (status < 400) return { outcome: 'done', refusal: null }
    const { type: _, title: __, request_id: ___, ...facts } = body
    return { outcome: 'refused', refusal: facts }
  }

  const one = async <T>(sql: string, values: unknown[]) =>
    (await api.database.owner.query<{ value: T }>(`select (${sql}) as value`, values)).rows[0]?.value as T

  /** Every row of an account, and how many accounts, keys, commands and answers there are at all. */
  const everything = (account: string): Promise<{ wallet: { seq: number }; notices: string[] }> =>
    one(
      `select jsonb_build_object(
         'wallet', (select to_jsonb(w) from wallet w where account_id = $1),
         'lots', (select jsonb_agg(to_jsonb(l) order by id) from lot l where account_id = $1),
         'holds', (select jsonb_agg(to_jsonb(h) order by id) from hold h where account_id = $1),
         'postings', (select count(*) from posting where account_id = $1),
         'notes', (select count(*) from note where account_id = $1),
         'audit', (select count(*) from audit_log where account_id = $1),
         'notices', (select coalesce(jsonb_agg(key), '[]') from notice where account_id = $1),
         'rest', array[(select count(*) from account), (select count(*) from customer), (select count(*) from command),
                       (select count(*) from reply), (select count(*) from notice_delivery)])`,
      [account],
    )

  const lotsOf = async (account: string) =>
    new Set(
      await one<string[]>(`select coalesce(array_agg(id), '{}') from lot where account_id = $1`, [account]),
    )

  async function balanceOf(account: string, known: Set<string>): Promise<object> {
    const { account: _, lots, ...rest } = (await api.get(`/v1/accounts/${account}/balance`)).body
    return {
      ...rest,
      lots: lots.map((lot: { id: string; source: string; remaining: string; expires_at: string | null }) => ({
        lot: known.has(lot.id) ? lot.id : null,
        source: lot.source,
        remaining: lot.remaining,
        expires_at: lot.expires_at,
      })),
    }
  }
})
