/** Who calls, and whether they may: bearer keys, looked up at most every few seconds, so that a spend waits for none. */
import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import { findKeyHolder, isMistyped, type KeyHolder, type Scope } from '../store/api-key.ts'
import type { Pool } from '../store/connect.ts'
import { Problem } from './problem.ts'

/** How long a key is believed without asking Postgres: a revoked key may work this long. */
const BELIEVED_MS = 5_000
/** Keys that are remembered at once; far more than an installation has. */
const REMEMBERED_MAX = 1_000

const BEARER = /^Bearer +([\x21-\x7e]{1,300}) *$/i

interface Known {
  asked: Promise<KeyHolder | undefined>
  /** once Postgres has told: nobody who is known waits for a promise */
  holder: KeyHolder | undefined
  until: number
}

/** An onRequest hook that lets a request pass when its key has the scope of its route. */
export function authenticate(pool: Pool): onRequestHookHandler {
  const remembered = new Map<string, Known>()

  function lookUp(key: string): Known {
    const now = performance.now()
    const known = remembered.get(key)
    if (known !== undefined && known.until > now) return known
    if (isMistyped(key)) throw refused('api_key_mistyped', 'the checksum of this API key is wrong')
    const asked = findKeyHolder(pool, key)
    const fresh: Known = { asked, holder: undefined, until: now + BELIEVED_MS }
    if (remembered.size >= REMEMBERED_MAX) remembered.clear()
    remembered.set(key, fresh)
    // neither a failure nor a key that nobody holds is worth remembering
    const forget = () => remembered.delete(key)
    asked.then((found) => (found === undefined ? forget() : (fresh.holder = found)), forget)
    return fresh
  }

  return function onRequest(request, _reply, done) {
    const { scope } = request.routeOptions.config
    if (scope === undefined) return done()
    const admit = (holder: KeyHolder | undefined) => {
      if (holder === undefined) throw refused('api_key_invalid', 'nobody holds this API key')
      request.trace['key'] = holder.id
      if (holder.revoked) throw refused('api_key_revoked', 'this API key was revoked')
      request.holder = holder
      requireScope(request, scope)
    }
    try {
      const { holder, asked } = lookUp(keyIn(request))
      if (holder === undefined) {
        asked.then(admit).then(() => done(), done)
        return
      }
      admit(holder)
    } catch (error) {
      return done(error as Error)
    }
    done()
  }
}

/** @throws Problem */
function keyIn(request: FastifyRequest): string {
  const { authorization } = request.headers
  if (authorization === undefined) throw refused('api_key_required', 'send Authorization: Bearer <API key>')
  const key = BEARER.exec(authorization)?.[1]
  if (key === undefined) throw refused('api_key_invalid', 'send Authorization: Bearer <API key>')
  return key
}

function refused(
  code: 'api_key_required' | 'api_key_invalid' | 'api_key_mistyped' | 'api_key_revoked',
  detail: string,
) {
  return new Problem(code, detail, { headers: { 'www-authenticate': 'Bearer' } })
}

/**
 * Lets a request pass when its key has a scope: the route's own is checked before, one that the body asks for
 * (`overdraft`, `grants:large`) by the handler.
 * @throws Problem `scope_missing`
 */
export function requireScope(request: FastifyRequest, scope: Scope): void {
  if (request.holder?.scopes.includes(scope) === true) return
  throw new Problem('scope_missing', `this needs an API key with the scope ${scope}`, { data: { scope } })
}

/** The actor of what this request does. @throws Error on a route without a scope, which has none */
export function actorOf(request: FastifyRequest): string {
  if (request.holder === undefined) throw new Error('this route has no caller')
  return request.holder.id
}
