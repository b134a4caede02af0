import assert from 'node:assert/strict'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Webhook } from 'standardwebhooks'
import { type Mailbox, startMailbox } from '../../src/sandbox/mailbox.ts'
import { removeAtExit } from '../../src/sandbox/watchdog.ts'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import { type Receiver, startReceiver } from '../support/outbox.ts'
import { settled, type Stack, startStack } from '../support/stack.ts'

describe('what an account is told', function () {
  this.timeout(180_000)
  let stack: Stack
  let mailbox: Mailbox
  let receiver: Receiver
  let dir: string
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'perennial-mail-'))
    removeAtExit(dir)
    mailbox = await startMailbox({ port: 0, dir })
    receiver = await startReceiver()
    stack = await startStack({ smtpUrl: mailbox.url })
    stack.sandbox.mount('/_sandbox/mail', (rest) => mailbox.page(rest))
  })
  after(async () => {
    await stack?.stop()
    await mailbox?.stop()
    await receiver?.close()
    await rm(dir, { recursive: true, force: true })
  })
  afterEach(() => assertBooks(stack.database))

  const page = async (path: string) => {
    const answer = await fetch(`${stack.sandbox.url}/_sandbox/mail${path}`)
    return {
      status: answer.status,
      policy: answer.headers.get('content-security-policy'),
      text: await answer.text(),
    }
  }
  /** Subjects in the mailbox, the oldest first. */
  const subjects = async () =>
    [...(await page('')).text.matchAll(/<a href="\/_sandbox\/mail\/[^"]+">([^<]*)</g)]
      .map(([, subject]) => subject)
      .toReversed()

  it('a subscription’s life is mailed to its customer and told to the endpoints, each once', async () => {
    const { secret } = (
      await stack.call<{ secret: string }>('POST', '/v1/webhook_endpoints', { url: receiver.url })
    ).body
    const email = 'ada@example.com'
    const { id: account } = (await stack.call<{ id: string }>('POST', '/v1/accounts', { email })).body
    const order = await stack.ask<{ checkout: { id: string } }>('POST', '/v1/subscriptions', {
      account,
      plan: 'tier_2_20',
      interval: 'month',
      success_url: 'https://example.com/ok',
      cancel_url: 'https://example.com/no',
    })
    await stack.control(`checkout/${order.body.checkout.id}/pay`, {})
    await settled(stack)
    assert.deepEqual(await subjects(), ['20 credits were added · Perennial'])
    await stack.clock.advance(stack.clock.now() + 32 * DAY_MS)
    const { subscription } = await stack.stripe.checkout.sessions.retrieve(order.body.checkout.id)
    await stack.ask('POST', `/v1/subscriptions/${subscription as string}/cancel`, {})
    await stack.clock.advance(stack.clock.now() + 32 * DAY_MS)
    const told = await subjects()
    assert.equal(told.length, 4)
    assert.equal(told[1], '20 credits were added · Perennial')
    assert.match(told[2] ?? '', /^Your plan ends on \d+ \w+ 20\d\d · Perennial$/)
    assert.equal(told[3], 'Your plan has ended · Perennial')
    const types = receiver.received.map(({ body, headers }) => {
      const told = new Webhook(secret).verify(body, headers as Record<string, string>) as { type: string }
      return told.type
    })
    assert.deepEqual(types.toSorted(), [
      'credits.granted',
      'credits.granted',
      'subscription.cancelling',
      'subscription.ended',
    ])
  })

  it('can be read in the sandbox’s mailbox, which lets a mail do nothing', async () => {
    const [, id] = /\/_sandbox\/mail\/([^"]+)"/.exec((await page('')).text) ?? []
    const mail = await page(`/${id}`)
    assert.match(mail.text, /ada@example\.com/)
    assert.match(mail.text, /<iframe sandbox /)
    const html = await page(`/${id}/html`)
    assert.match(html.text, /<h1[^>]*>Your plan has ended<\/h1>/)
    assert.match(html.policy ?? '', /; sandbox$/)
    for (const stray of ['/..%2f..%2fstripe', '/nothing', '/nothing/html'])
      assert.equal((await page(stray)).status, 404, stray)
    // and it is all there again after a restart
    const again = await startMailbox({ port: 0, dir })
    assert.equal(again.page('').body, mailbox.page('').body)
    await again.stop()
  })
})
