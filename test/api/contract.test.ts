import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import {
  conformance,
  currentDocument,
  differences,
  type Media,
  type OpenApi,
  RECORDED,
} from '../support/contract.ts'

const TOP_UP = {
  enabled: true,
  pack: 'credits_25',
  threshold: '5',
  monthly_max_minor: '10000',
  return_url: 'https://product.example/credits',
}

describe('the contract', () => {
  let document: OpenApi
  before(async () => {
    document = await currentDocument()
  })

  /** What a reference of the document points at. */
  const follow = <T>(at: T & { $ref?: string }): T =>
    at.$ref === undefined
      ? at
      : (at.$ref
          .slice(2)
          .split('/')
          .reduce<unknown>((inner, name) => (inner as Record<string, unknown>)[name], document) as T)

  /** Every body that the document describes, with what it is. */
  function* bodies(): Generator<{ what: string; media: Media }> {
    for (const [path, operations] of Object.entries(document.paths)) {
      for (const [method, { requestBody, responses }] of Object.entries(operations)) {
        const all = Object.entries(responses)
        if (requestBody !== undefined) all.push(['request', requestBody])
        for (const [which, { content }] of all) {
          for (const media of Object.values(content ?? {}))
            yield { what: `${method} ${path} ${which}`, media }
        }
      }
    }
  }

  /** The examples of a body, wherever the document keeps them. */
  function examplesOf({ schema, example, examples }: Media): unknown[] {
    const named = Object.values(examples ?? {}).map((one) => follow(one).value)
    const { examples: inSchema = [] } = follow(schema)
    return [...(example === undefined ? [] : [example]), ...named, ...inSchema]
  }

  it('is the recorded one; a change is recorded by npm run record:contract, when it is meant', () => {
    const recorded: unknown = JSON.parse(readFileSync(RECORDED, 'utf8'))
    const found = differences(recorded, document)
    assert.equal(found.length, 0, `the contract has changed:\n${found.slice(0, 60).join('\n')}`)
  })

  it('shows each difference at its place', () => {
    const [before, after] = [
      { a: { b: [1, 2], c: 'x' }, d: 1 },
      { a: { b: [1], c: 'y' }, e: null },
    ]
    assert.deepEqual(differences(before, after), [
      '- › a › b › 1: 2',
      '- › a › c: "x"',
      '+ › a › c: "y"',
      '- › d: 1',
      '+ › e: null',
    ])
  })

  it('has an example of every request and every answer, and each fits its schema', () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false })
    let many = 0
    for (const { what, media } of bodies()) {
      const examples = examplesOf(media)
      assert(examples.length > 0, `${what} has no example`)
      const validate = ajv.compile({ ...media.schema, components: document.components })
      for (const example of examples) {
        assert(validate(example), `${what}: ${JSON.stringify(example)} ${ajv.errorsText(validate.errors)}`)
        many += 1
      }
    }
    assert(many > 100, String(many))
  })

  it('has parameters whose examples fit their schemas, and no required one without an example', () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false, coerceTypes: true })
    for (const [path, operations] of Object.entries(document.paths)) {
      for (const [method, { parameters = [] }] of Object.entries(operations)) {
        for (const { in: place, name, required, example, schema } of parameters) {
          const what = `${method} ${path} ${name}`
          if (example !== undefined) assert(ajv.validate(schema, example), `${what}: ${ajv.errorsText()}`)
          else assert(required !== true || place === 'header' || 'enum' in schema, `${what} has no example`)
        }
      }
    }
  })

  it('says what goes together: what an adjustment of one direction, or a top-up that is off, does not take', () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false })
    const fits = (path: string, body: object) => {
      const { content } = document.paths[path]?.['post']?.requestBody ?? {}
      return ajv.validate(content?.['application/json']?.schema ?? false, body)
    }
    const adjustment = { account: 'acc_1', amount: '1', reason_code: 'granted_twice' }
    for (const [direction, more, fit] of [
      ['debit', { overdraft: true }, true],
      ['debit', { priority: 1 }, false],
      ['debit', { expires_at: '2099-12-31T00:00:00.000Z' }, false],
      ['credit', { expires_at: '2099-12-31T00:00:00.000Z', priority: 1 }, true],
      ['credit', { overdraft: true }, false],
      ['credit', { expires_at: '1899-12-31T23:59:59.999Z' }, false],
      ['credit', { expires_at: '2100-02-29T00:00:00Z' }, false],
    ] as const)
      assert.equal(fits('/v1/adjustments', { ...adjustment, direction, ...more }), fit, JSON.stringify(more))
    const { enabled: _, ...settings } = TOP_UP
    for (const [body, fit] of [
      [TOP_UP, true],
      [{ enabled: false }, true],
      [{ enabled: false, pack: 'credits_25' }, false],
      [{ enabled: true }, false],
      [{ ...TOP_UP, threshold: '0' }, false],
      [settings, false],
    ] as const)
      assert.equal(fits('/v1/accounts/{account}/top_up', body), fit, JSON.stringify(body))
  })

  it('names the problems of each operation by status, each with an example', () => {
    const spend = document.paths['/v1/accounts/{account}/spend']?.['post']?.responses
    assert.deepEqual(
      Object.entries(spend ?? {})
        .filter(([status]) => Number(status) >= 400)
        .map(([status, { content }]) => [
          status,
          Object.keys(content?.['application/problem+json']?.examples ?? {}).join(),
        ]),
      [
        [
          '400',
          'credits_invalid,idempotency_key_invalid,idempotency_key_required,json_malformed,request_invalid,text_invalid,url_malformed',
        ],
        ['401', 'api_key_invalid,api_key_mistyped,api_key_required,api_key_revoked'],
        ['402', 'insufficient_credits'],
        ['403', 'scope_missing'],
        ['404', 'account_not_found'],
        ['409', 'balance_limit,idempotency_key_reused'],
        ['413', 'body_too_large'],
        ['415', 'media_type_unsupported'],
        ['500', 'internal'],
        ['503', 'unavailable'],
      ],
    )
  })

  describe('is broken by', () => {
    const good = {
      method: 'POST',
      url: '/v1/accounts/acc_1/spend',
      status: 200,
      headers: { 'content-type': 'application/json; charset=utf-8' } as Record<string, string>,
      text: '{"id":"spd_1","amount":"1","balance":"2"}',
    }
    const problem = (code: string) =>
      JSON.stringify({ type: 't', title: 't', status: 402, code, detail: 'd', request_id: 'r' })
    const type = { 'content-type': 'application/problem+json' }
    const refused = { status: 402, headers: type }
    const broken: [what: string, more: Partial<typeof good>, message: RegExp][] = [
      ['a status it does not name', { status: 418 }, /a status that/],
      ['a media type it does not name', { headers: { 'content-type': 'text/html' } }, /as text\/html/],
      ['a header it does not name', { headers: { ...good.headers, location: '/' } }, /with Location/],
      ['a header less', { status: 503, headers: type, text: problem('unavailable') }, /without Retry-After/],
      [
        'a header of another form',
        { headers: { ...good.headers, 'idempotent-replayed': 'yes' } },
        /with Idempotent-Replayed: yes/,
      ],
      ['a field less', { text: '{"id":"spd_1","amount":"1"}' }, /required property 'balance'/],
      ['a field more', { text: `${good.text.slice(0, -1)},"x":1}` }, /additional properties/],
      ['a number where a text belongs', { text: good.text.replace('"1"', '1') }, /must be string/],
      ['a problem that is not named', { ...refused, text: problem('unavailable') }, /allowed values/],
    ]
    for (const [what, more, message] of broken) {
      it(what, () => {
        const check = conformance(document)
        check(good)
        check({ ...good, ...refused, text: problem('insufficient_credits') })
        assert.throws(() => check({ ...good, ...more }), message)
      })
    }
  })
})
