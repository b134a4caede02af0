import assert from 'node:assert/strict'
import { effectsOf } from '../../src/domain/effect.ts'
import type { PreviewInput } from '../../src/workflows/message.ts'
import { currentDocument, requestExamples } from '../support/contract.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'
import { Workflows } from './workflows.ts'

describe('nothing personal is logged', () => {
  // no address of mail: those are found and left out of every line
  const PERSON = 'Ada Lovelace'
  const workflows = new Workflows()
  let api: ApiUnderTest
  before(async () => {
    api = await startApi({ reach: workflows.reach })
  })
  after(() => api.close())
  beforeEach(() => {
    api.lines.length = 0
  })

  const there = encodeURIComponent(PERSON)
  const named = () => api.lines.filter((line) => line.includes(PERSON) || line.includes(there))

  it('whatever is sent where an id belongs, on every route', async () => {
    let bodies = 0
    for (const [path, operations] of Object.entries((await currentDocument()).paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        const url = path.replaceAll(/\{\w+\}/g, there)
        if (method === 'get') await api.get(`${url}?account=${there}`)
        if (method !== 'post') continue
        for (const example of requestExamples(operation)) {
          const names = 'account' in example
          if (names) bodies += 1
          const body = names ? { ...example, account: PERSON } : example
          await api.post(url, body)
          await api.post(`${url}?dry_run=true`, body)
        }
      }
    }
    assert.ok(bodies >= 5, String(bodies))
    assert.deepEqual(named(), [])
  })

  it('where a hosted page leads back to, which no history has either', async () => {
    const { id: account } = (await api.post('/v1/accounts', {})).body
    await api.database.owner.query(`update account set stripe_customer_id = 'cus_1' where id = $1`, [account])
    const body = { account, return_url: `https://product.example/users/${there}` }
    const unanswered = await api.post('/v1/portal_sessions?dry_run=true', body)
    assert.equal(unanswered.body.code, 'unavailable')
    const asked: PreviewInput[] = []
    workflows.foresee = async (input) => {
      asked.push(input)
      return { at: new Date().toISOString(), refusal: null, effects: effectsOf({}), balance: null }
    }
    assert.equal((await api.post('/v1/portal_sessions?dry_run=true', body)).status, 200)
    const [operation, subject] = ['portal', 'customer/cus_1']
    assert.deepEqual(asked, [{ operation, subject, input: { account } }])
    assert.equal((await api.post('/v1/portal_sessions', body)).status, 202)
    assert.deepEqual(named(), [])
    const said = api.lines.map((line) => JSON.parse(line)).find(({ msg }) => /preview/.test(msg))
    assert.deepEqual([said.operation, said.workflow], [operation, subject])
  })
})
