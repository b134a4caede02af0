import assert from 'node:assert/strict'
import { advanceClock, assertBooks, DAY_MS, fromNow } from '../support/ledger.ts'
import { type ApiUnderTest, fund, startApi } from './api-under-test.ts'

describe('the ledger over HTTP', () => {
  let api: ApiUnderTest
  let account: string
  /** business time before anything, between the two days, and after all */
  let [start, between, end] = ['', '', '']
  before(async () => {
    api = await startApi()
    account = (await api.post('/v1/accounts', {})).body.id
    const use = (amount: string, feature: string) =>
      api.post(`/v1/accounts/${account}/spend`, { amount, feature })
    start = await fromNow(api.database, -1)
    await fund(api.database, account, '100')
    await use('1', 'chat')
    await use('2', 'images')
    await advanceClock(api.database, DAY_MS)
    between = await fromNow(api.database, 0)
    await advanceClock(api.database, 1000)
    const { body } = await use('4', 'chat')
    await api.post(`/v1/spends/${body.id}/reverse`, { amount: '1' })
    await advanceClock(api.database, 1000)
    end = await fromNow(api.database, 0)
  })
  after(() => api.close())
  afterEach(() => assertBooks(api.database))

  const amounts = async (query: string) =>
    (await api.get(`/v1/accounts/${account}/ledger?${query}`)).body.data.map(
      ({ amount }: { amount: string }) => amount,
    )

  it('by feature, kind and time, page by page', async () => {
    assert.deepEqual(await amounts('feature=chat'), ['1', '-4', '-1'])
    assert.deepEqual(await amounts('kind=spend'), ['-4', '-2', '-1'])
    assert.deepEqual(await amounts(`from=${between}`), ['1', '-4'])
    assert.deepEqual(await amounts(`to=${between}&kind=spend`), ['-2', '-1'])
    const first = (await api.get(`/v1/accounts/${account}/ledger?kind=spend&limit=2`)).body
    assert.deepEqual(await amounts(`kind=spend&limit=2&cursor=${first.next_cursor}`), ['-1'])
  })

  it('a time may have any offset', async () => {
    const local = encodeURIComponent(
      new Date(new Date(between).getTime() + 2 * 3_600_000).toISOString().replace('Z', '+02:00'),
    )
    assert.deepEqual(await amounts(`from=${local}`), ['1', '-4'])
  })

  it('what was used, in total and by feature, day and month', async () => {
    const url = `/v1/accounts/${account}/usage?from=${start}&to=${end}`
    const { status, body } = await api.get(`${url}&by=feature`)
    assert.equal(status, 200)
    assert.deepEqual(body, {
      account,
      from: start,
      to: end,
      by: 'feature',
      total: { spends: '3', spent: '7', reversed: '1', used: '6' },
      data: [
        { feature: 'chat', at: null, spends: '2', spent: '5', reversed: '1', used: '4' },
        { feature: 'images', at: null, spends: '1', spent: '2', reversed: '0', used: '2' },
      ],
    })
    const days = (await api.get(`${url}&by=day`)).body.data
    const { data: entries } = (await api.get(`/v1/accounts/${account}/ledger?feature=chat`)).body
    const midnight = (entry: { occurred_at: string }) => `${entry.occurred_at.slice(0, 10)}T00:00:00.000Z`
    assert.deepEqual(
      days.map(({ at, used }: { at: string; used: string }) => [at, used]),
      [
        [midnight(entries.at(-1)), '3'],
        [midnight(entries[0]), '3'],
      ],
    )
    const months = (await api.get(`${url}&by=month`)).body.data
    assert.match(months[0].at, /-01T00:00:00\.000Z$/)
  })

  it('the balance at any instant that is over', async () => {
    const url = `/v1/accounts/${account}/balance`
    const now = await api.get(url)
    for (const [at, balance] of [
      [start, '0'],
      [between, '97'],
      [end, '94'],
    ]) {
      const { status, body } = await api.get(`${url}?at=${at}`)
      assert.deepEqual([status, body.balance], [200, balance], at)
      assert.deepEqual(Object.keys(body), Object.keys(now.body))
    }
    const later = await fromNow(api.database, 60_000)
    const { status, body } = await api.get(`${url}?at=${later}`)
    assert.deepEqual([status, body.code], [400, 'instant_not_over'])
  })

  it('what takes longer than a statement may is refused with what to ask for instead: asking again would not help', async () => {
    // as Postgres does when it gives a statement up
    const asked = [`usage?from=${start}&to=${end}&by=day`, `balance?at=${end}`, `ledger?from=${start}`]
    const { owner } = api.database
    const { rows } = await owner.query(
      `select pg_get_functiondef('ledger_seq_at(text, timestamptz)'::regprocedure) as definition`,
    )
    await owner.query(
      `create or replace function ledger_seq_at(p_account text, p_at timestamptz) returns bigint language plpgsql
         stable as $$ begin raise query_canceled; end $$`,
    )
    try {
      for (const url of asked) {
        const { status, body } = await api.get(`/v1/accounts/${account}/${url}`)
        assert.deepEqual([status, body.code], [422, 'too_much_to_read'], url)
        assert.match(body.detail, /ask for a (shorter period|later instant)/)
      }
    } finally {
      await owner.query(rows[0].definition)
    }
    for (const url of asked) assert.equal((await api.get(`/v1/accounts/${account}/${url}`)).status, 200)
  })

  it('refuses bad questions, each with its code', async () => {
    const at = (path: string) => `/v1/accounts/${account}/${path}`
    const wrong: [url: string, status: number, code: string][] = [
      [at('ledger?kind=debit'), 400, 'request_invalid'],
      [at('ledger?feature=Chat'), 400, 'request_invalid'],
      [at('ledger?from=yesterday'), 400, 'request_invalid'],
      [at('ledger?from=2026-01-01'), 400, 'request_invalid'],
      [at('ledger?to=0001-01-01T00:00:00Z'), 400, 'request_invalid'],
      [at('balance?at=2026-02-30T00:00:00Z'), 400, 'request_invalid'],
      [at('balance?when=now'), 400, 'request_invalid'],
      [at('usage'), 400, 'request_invalid'],
      [at(`usage?from=${start}&to=${end}`), 400, 'request_invalid'],
      [at(`usage?from=${start}&to=${end}&by=hour`), 400, 'request_invalid'],
      [at(`usage?from=${end}&to=${start}&by=day`), 400, 'request_invalid'],
      [at(`usage?from=${end}&to=${end}&by=day`), 400, 'request_invalid'],
      [at('usage?from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z&by=day'), 400, 'request_invalid'],
      [`/v1/accounts/acc_0/usage?from=${start}&to=${end}&by=day`, 404, 'account_not_found'],
      [`/v1/accounts/acc_0/balance?at=${start}`, 404, 'account_not_found'],
      ['/v1/spends/spd_0_1', 404, 'spend_not_found'],
      ['/v1/spends/nonsense', 404, 'spend_not_found'],
    ]
    for (const [url, status, code] of wrong) {
      const answer = await api.get(url)
      assert.deepEqual([answer.status, answer.body.code], [status, code], url)
    }
    for (const [body, status, code] of [
      [{ amount: '0' }, 400, 'credits_invalid'],
      [{ reason_code: 'No Slug' }, 400, 'request_invalid'],
      [{ all: true }, 400, 'request_invalid'],
      [{}, 404, 'spend_not_found'],
    ] as const) {
      const answer = await api.post('/v1/spends/spd_0_1/reverse', body)
      assert.deepEqual([answer.status, answer.body.code], [status, code], JSON.stringify(body))
    }
  })
})
