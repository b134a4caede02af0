import assert from 'node:assert/strict'
import fc from 'fast-check'
import { fastify } from 'fastify'
import { readJsonBodies } from '../../src/api/body.ts'

describe('a JSON body', () => {
  const app = fastify()
  readJsonBodies(app)
  app.post('/', async ({ body }) => ({ body }))
  after(() => app.close())

  const send = (payload: string) =>
    app.inject({ method: 'POST', url: '/', headers: { 'content-type': 'application/json' }, payload })
  const nasty = fc.oneof(
    fc.constantFrom('"', ':', '":', '\\', '\\"', '{"a":1,"a":2}', ',"', '\u2028'),
    fc.string({ unit: 'binary' }),
  )
  // a prototype's name is refused for another reason
  const key = nasty.filter((text) => text !== '__proto__' && text !== 'constructor')
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { depthSize: 'small' },
      nasty,
      fc.constantFrom(null, true, 0, 1.5),
      fc.array(tie('any')),
      tie('object'),
    ),
    object: fc.dictionary(key, tie('any')),
  }))

  it('is what was sent, whatever its texts look like', async () => {
    await fc.assert(
      fc.asyncProperty(value.any, fc.constantFrom(0, 1), async (sent, indent) => {
        const answer = await send(JSON.stringify(sent, null, indent))
        assert.equal(answer.statusCode, 200, answer.body)
        assert.deepEqual(answer.json().body, JSON.parse(JSON.stringify(sent)))
      }),
    )
  })

  it('is refused when an object in it says a key twice, wherever it is', async () => {
    await fc.assert(
      fc.asyncProperty(value.any, key, value.any, value.object, async (around, name, first, other) => {
        const text = (one: unknown) => JSON.stringify(one)
        const rest = text(other).slice(1, -1)
        const twice = `{${text(name)}:${text(first)},${rest === '' ? '' : `${rest},`}${text(name)} : 1}`
        const answer = await send(`[${text(around)},{"x":${twice}}]`)
        assert.deepEqual(
          [answer.statusCode, answer.json().message],
          [500, 'an object in the body has a key twice'],
        )
      }),
    )
  })
})
