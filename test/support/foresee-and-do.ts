/** Takes a preview of a command, has it done, and holds the two equal. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import {
  changes,
  dumpOf,
  type Foreseen,
  type Freezer,
  noticesSince,
  postingsSince,
  seqOf,
} from './foreseen.ts'
import { type Answer, settled, type Stack } from './stack.ts'
import type { Asked } from './states.ts'
import type { StripeProxy } from './stripe-proxy.ts'

/** Where it is done, with all that Stripe is asked going through `proxy`. */
export interface Scene {
  stack: Stack
  proxy: StripeProxy
  time: Freezer
}

/**
 * Asks what a command would do and has it done, while time stands still, and compares all of it: postings, calls to
 * Stripe, notices, dates, and the wallet afterwards. The preview itself changes nothing.
 * @returns how it ended: `done`, or the code of a problem
 */
export async function foreseeAndDo(scene: Scene, method: string, asked: Asked): Promise<string> {
  await settled(scene.stack)
  await scene.time.freeze()
  try {
    return await whileFrozen(scene, method, asked)
  } finally {
    await scene.time.thaw()
  }
}

async function whileFrozen({ stack, proxy }: Scene, method: string, asked: Asked): Promise<string> {
  const { path, body = {}, account, dates } = asked
  const { database } = stack
  const key = randomUUID()
  const before = await dumpOf(stack)
  const marker = proxy.seen.length
  const preview = await stack.call<Foreseen>(method, `${path}?dry_run=true`, body, key)
  assert.equal(preview.status, 200, JSON.stringify(preview.body))
  assert.deepEqual(changes(before, await dumpOf(stack)), [])
  assert.deepEqual(changesSince(proxy, marker), [])

  const standing = await seqOf(database, account)
  const made: Answer<Record<string, string | null>> = await stack.ask(method, path, body, key)
  assert.equal(made.headers.get('idempotent-replayed'), null)
  await settled(stack)
  const { outcome, refusal, effects, balance } = preview.body
  if (made.status >= 400) {
    const { type: _, title: __, request_id: ___, ...facts } = made.body
    assert.deepEqual({ outcome, refusal }, { outcome: 'refused', refusal: facts })
  } else assert.deepEqual({ outcome, refusal }, { outcome: 'done', refusal: null })

  assertCalls(effects.stripe, changesSince(proxy, marker))
  if (account !== undefined) {
    assert.deepEqual(effects.postings, await postingsSince(database, account, standing))
    // what it has made had no id before
    const { id } = made.body
    const minted = (await seqOf(database, account)).payments.filter(
      (each) => !standing.payments.includes(each),
    )
    if (made.status === 201 && typeof id === 'string' && !id.startsWith('pst_')) minted.push(id)
    const told = minted.reduce(
      (text, each) => text.replaceAll(`"${each}"`, 'null'),
      JSON.stringify(await noticesSince(database, account, standing.notices)),
    )
    assert.deepEqual(sorted(effects.notices), sorted(JSON.parse(told)))
    // no wallet is touched where none is shown
    if (balance === null) assert.deepEqual(effects.postings, [])
    else assert.deepEqual(balance, await balanceNow(stack, account, standing.lots))
  }
  const expected = made.status < 400 && dates !== undefined ? await dates(made.body) : []
  assert.deepEqual(effects.dates, expected)
  return refusal?.code ?? outcome
}

/** Asked by POST, and changes nothing. */
const PREVIEW = '/v1/invoices/create_preview'

/** Requests that change something in Stripe. */
const changesSince = (proxy: StripeProxy, marker: number) =>
  proxy.seen.slice(marker).filter(({ method, path }) => method !== 'GET' && path !== PREVIEW)

/** Each call as it was foreseen, in order, and no other. */
function assertCalls(foreseen: Foreseen['effects']['stripe'], seen: StripeProxy['seen']): void {
  const told = (calls: { method: string; path: string }[]) =>
    calls.map(({ method, path }) => `${method} ${path.replace(/\{\w*\}/g, '…')}`)
  const masked = seen.map((call, index) => {
    // an id that was not known is the one that an earlier call has made
    const parts = foreseen[index]?.path.split('/') ?? []
    const path = call.path.split('/').map((part, at) => (parts[at]?.startsWith('{') === true ? '…' : part))
    return { method: call.method, path: path.join('/') }
  })
  assert.deepEqual(told(masked), told(foreseen))
  foreseen.forEach(({ params }, index) => {
    const sent = new URLSearchParams(seen[index]?.body)
    for (const [param, value] of Object.entries(params)) {
      if (value === null) assert.ok(sent.get(param), param)
      else assert.equal(sent.get(param), value, param)
    }
  })
}

/** The wallet, as a preview shows it: a lot that was not there before has no id. */
async function balanceNow(stack: Stack, account: string, lots: string[]): Promise<object> {
  interface Lot {
    id: string
    source: string
    remaining: string
    expires_at: string | null
  }
  const { body } = await stack.call<{ account: string; lots: Lot[] }>(
    'GET',
    `/v1/accounts/${account}/balance`,
  )
  const { account: _, ...rest } = body
  return {
    ...rest,
    lots: rest.lots.map(({ id, source, remaining, expires_at }) => ({
      lot: lots.includes(id) ? id : null,
      source,
      remaining,
      expires_at,
    })),
  }
}

/** In an order of their own: that of their keys, which hold ids, is chance. */
function sorted(notices: object[]): object[] {
  return notices.toSorted((one, other) => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1))
}
