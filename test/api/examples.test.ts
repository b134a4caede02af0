import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createApiKey, SCOPES } from '../../src/store/api-key.ts'
import { keepTerms, putInForce } from '../../src/store/catalog-price.ts'
import { finishCommand } from '../../src/store/command.ts'
import { currentDocument, type OpenApi, type Parameter, requestExamples } from '../support/contract.ts'
import { FREE_TERMS, PACK_TERMS } from '../support/terms.ts'
import { type ApiUnderTest, fund, mirror, sell, startApi } from './api-under-test.ts'
import { Workflows } from './workflows.ts'

/** What these ask about need not be there. */
const ABSENT = /\/pending_change$/

describe('the examples of the document', () => {
  const workflows = new Workflows()
  let api: ApiUnderTest
  let document: OpenApi
  /** another person's */
  let approver: string
  before(async () => {
    document = await currentDocument()
    api = await startApi({ reach: workflows.reach })
    workflows.answer = (command) =>
      finishCommand(api.database.pool, command, {
        state: 'done',
        statusCode: 201,
        result: { url: 'https://billing.example/1' },
      })
    const { owner } = api.database
    approver = await createApiKey(owner, { name: 'approver', scopes: SCOPES })
    await sell(api.database, 'tier_2_20')
    await sell(api.database, 'tier_6_50')
    await keepTerms(owner, FREE_TERMS)
    await keepTerms(owner, { ...PACK_TERMS, pack: 'credits_25', lookupKey: 'pack.credits_25.v1' })
    await owner.query('update catalog_price set on_sale = true')
    const limits = {
      grantMax: '1000',
      purchaseMin: '500',
      purchaseMax: '50000',
      purchaseDayMax: '100000',
      purchaseHourMax: 10,
    }
    await putInForce(owner, { version: 'v1', currency: 'usd', limits, dunning: { reminderDays: [] } })
  })
  after(() => api.close())

  /** An account that can pay, and has credits. */
  async function newAccount(): Promise<string> {
    const { id } = (await api.post('/v1/accounts', {})).body
    await fund(api.database, id, '1000')
    await api.database.owner.query('update account set stripe_customer_id = $2 where id = $1', [
      id,
      `cus_${randomUUID()}`,
    ])
    return id
  }

  const made = async (url: string, body: object): Promise<string> => {
    const answer = await api.post(url, body)
    assert.ok(answer.status < 300, answer.text)
    return answer.body.id
  }

  /** Something that exists and has the name of a path's parameter. */
  const existing: Record<string, (path: string) => Promise<string>> = {
    async account(path) {
      const account = await newAccount()
      if (path.endsWith('/top_up')) {
        const [on] = requestExamples(document.paths[path]?.['post'] ?? { responses: {} })
        assert.equal((await api.post(path.replace('{account}', account), on)).status, 200)
      }
      return account
    },
    spend: async () => await made(`/v1/accounts/${await newAccount()}/spend`, { amount: '12.5' }),
    hold: async () =>
      await made(`/v1/accounts/${await newAccount()}/holds`, { amount: '12.5', expires_in: 600 }),
    endpoint: () => made('/v1/webhook_endpoints', { url: 'https://product.example/perennial' }),
    notice: async () => (await delivered()).notice,
    delivery: async () => (await delivered()).id,
    async id(path) {
      const account = await newAccount()
      if (path.startsWith('/v1/approvals')) {
        const asked = { account, direction: 'debit', amount: '1', reason_code: 'granted_twice' }
        return await made('/v1/adjustments', asked)
      }
      if (path.startsWith('/v1/purchases')) {
        const urls = { success_url: 'https://x.example/', cancel_url: 'https://x.example/' }
        return await made('/v1/purchases', { account, pack: 'credits_25', ...urls })
      }
      if (path.startsWith('/v1/commands')) {
        const { rows } = await api.database.owner.query('select id from command limit 1')
        return rows[0].id
      }
      const id = `sub_${randomUUID().replaceAll('-', '')}`
      await mirror(api.database, { id, account })
      return id
    },
  }

  let endpoint = ''
  /** A delivery to an endpoint of its own. */
  async function delivered(): Promise<{ id: string; notice: string }> {
    endpoint = await made('/v1/webhook_endpoints', { url: 'https://product.example/perennial' })
    const gift = { amount: '1', kind: 'goodwill', reason_code: 'outage' }
    await made('/v1/grants', { account: await newAccount(), ...gift })
    const { rows } = await api.database.owner.query(
      'select id, notice_id as notice from notice_delivery where endpoint_id = $1',
      [endpoint],
    )
    return rows[0]
  }

  /** The path of an operation with all that has an example, naming what exists. */
  async function urlOf(path: string, parameters: Parameter[]): Promise<string> {
    let url = path
    const query = new URLSearchParams()
    for (const { in: place, name, required, example, schema } of parameters) {
      const { enum: values } = schema as { enum?: string[] }
      if (place === 'path') {
        if (name === 'endpoint' && path.includes('{delivery}')) continue
        const id = await existing[name]?.(path)
        url = url.replace(`{${name}}`, String(id))
      } else if (place === 'query' && name === 'account') query.set(name, await newAccount())
      else if (place === 'query' && (example !== undefined || required === true))
        query.set(name, String(example ?? values?.[0]))
    }
    return `${url.replace('{endpoint}', endpoint)}?${query.toString()}`
  }

  it('are answered, where what they name exists', async () => {
    for (const [path, operations] of Object.entries(document.paths)) {
      if (path.startsWith('/webhooks/')) continue
      for (const [method, operation] of Object.entries(operations)) {
        const examples = method === 'get' ? [undefined] : [...requestExamples(operation)]
        for (const example of examples) {
          const url = await urlOf(path, operation.parameters ?? [])
          const body =
            example !== undefined && 'account' in example
              ? { ...example, account: await newAccount() }
              : example
          const person = path.startsWith('/v1/approvals/') ? { authorization: `Bearer ${approver}` } : {}
          const answer = method === 'get' ? await api.get(url) : await api.post(url, body, person)
          if (answer.status === 404 && ABSENT.test(path)) continue
          assert.ok(answer.status < 400, `${method} ${url} ${JSON.stringify(body)}: ${answer.text}`)
        }
      }
    }
  })
})
