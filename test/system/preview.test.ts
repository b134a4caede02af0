import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type Receiver, startReceiver } from '../support/outbox.ts'
import { type Asked, commandsIn } from '../support/states.ts'
import { assertBooks } from '../support/ledger.ts'
import {
  changes,
  dumpOf,
  type Foreseen,
  type Freezer,
  freezer,
  noticesSince,
  postingsSince,
  seqOf,
} from '../support/foreseen.ts'
import { type Answer, settled, type Stack, startStack } from '../support/stack.ts'
import { startStripeProxy, type StripeProxy } from '../support/stripe-proxy.ts'

describe('?dry_run=true of every command', function () {
  this.timeout(240_000)
  let stack: Stack
  let proxy: StripeProxy
  let time: Freezer
  let receiver: Receiver
  const commands = commandsIn(() => ({ stack, receiver }))
  before(async () => {
    stack = await startStack({ worker: false })
    proxy = await startStripeProxy(stack.sandbox.url)
    stack.deps.stripe.sandboxUrl = proxy.url
    await stack.startWorker()
    time = await freezer(stack)
    receiver = await startReceiver()
  })
  after(async () => {
    await stack?.stop()
    await proxy?.close()
    await receiver?.close()
  })
  afterEach(() => assertBooks(stack.database))

  /** What is written as a command but is plain configuration: it does nothing that a preview could tell. */
  const EXEMPT: Record<string, string> = {}

  it('every command takes it and says that it answers a Preview, but plain configuration', async () => {
    const { body } = await stack.call<{ paths: Record<string, Record<string, Described>> }>(
      'GET',
      '/openapi.json',
    )
    const found = Object.entries(body.paths).flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([method]) => path.startsWith('/v1/') && method !== 'get')
        .map(([method, operation]) => ({ name: `${method.toUpperCase()} ${path}`, operation })),
    )
    const names = found.map(({ name }) => name)
    assert.deepEqual(names.sort(), [...Object.keys(commands), ...Object.keys(EXEMPT)].sort())
    for (const { name, operation } of found) {
      if (name in EXEMPT) continue
      assert.ok(
        operation.parameters.some((each) => each.name === 'dry_run'),
        name,
      )
      assert.match(JSON.stringify(operation.responses['200']), /schemas\/Preview/, name)
    }
  })

  for (const [name, states] of Object.entries(commands)) {
    for (const [state, prepare] of Object.entries(states)) {
      it(`${name}, ${state}: changes nothing, and says what then happens`, async () => {
        await check(name, await prepare())
      })
    }
  }

  async function check(name: string, asked: Asked): Promise<void> {
    await settled(stack)
    await time.freeze()
    try {
      await foreseeAndDo(name.split(' ')[0] ?? '', asked)
    } finally {
      await time.thaw()
    }
  }

  async function foreseeAndDo(method: string, asked: Asked): Promise<void> {
    const { path, body = {}, account, dates, refused } = asked
    const { database } = stack
    const key = randomUUID()
    const before = await dumpOf(stack)
    const marker = proxy.seen.length
    const preview = await stack.call<Foreseen>(method, `${path}?dry_run=true`, body, key)
    assert.equal(preview.status, 200, JSON.stringify(preview.body))
    assert.deepEqual(changes(before, await dumpOf(stack)), [])
    assert.deepEqual(changesSince(marker), [])

    const { seq, lots, notices, payments } = await seqOf(database, account)
    const made: Answer<Record<string, string | null>> = await stack.call(method, path, body, key)
    assert.equal(made.headers.get('idempotent-replayed'), null)
    await settled(stack)
    const { outcome, refusal, effects } = preview.body
    if (made.status >= 400) {
      const { type: _, title: __, request_id: ___, ...facts } = made.body
      assert.deepEqual({ outcome, refusal }, { outcome: 'refused', refusal: facts })
    } else assert.deepEqual({ outcome, refusal }, { outcome: 'done', refusal: null })
    assert.equal(refusal?.code, refused)

    assertCalls(effects.stripe, changesSince(marker))
    if (account !== undefined) {
      assert.deepEqual(effects.postings, await postingsSince(database, account, { seq, lots }))
      // what it has made had no id before
      const { id } = made.body
      const minted = (await seqOf(database, account)).payments.filter((each) => !payments.includes(each))
      if (made.status === 201 && typeof id === 'string' && !id.startsWith('pst_')) minted.push(id)
      const told = minted.reduce(
        (text, each) => text.replaceAll(`"${each}"`, 'null'),
        JSON.stringify(await noticesSince(database, account, notices)),
      )
      assert.deepEqual(sorted(effects.notices), sorted(JSON.parse(told)))
    }
    const foreseen = effects.dates.map((date) => date.at)
    assert.deepEqual(foreseen, made.status < 400 && dates !== undefined ? await dates(made.body) : [])
  }

  /** Requests that change something in Stripe. */
  const changesSince = (marker: number) =>
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
})

/** In an order of their own: that of their keys, which hold ids, is chance. */
function sorted(notices: object[]): object[] {
  return notices.toSorted((one, other) => (JSON.stringify(one) < JSON.stringify(other) ? -1 : 1))
}

/** Asked by POST, and changes nothing. */
const PREVIEW = '/v1/invoices/create_preview'

interface Described {
  parameters: { name: string }[]
  responses: Record<string, unknown>
}
