/**
 * API keys: `prn_<id>_<secret><checksum>`. Only a key's SHA-256 is kept; the checksum tells a mistyped key from an
 * unknown one without a look-up. The id is not secret: it names the key in logs and postings.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { eq, sql } from 'drizzle-orm'
import { connect, type Queryable } from './connect.ts'
import { apiKey, orm, run } from './schema.ts'

/** What a key may do. `write` does not imply `read`: each route states its scope. */
export type Scope = 'read' | 'write'

/** The holder of a valid key. `id` is `key_…` and serves as the actor of what the caller does. */
export interface KeyHolder {
  id: string
  scopes: readonly Scope[]
  revoked: boolean
}

const MADE_HERE = /^prn_([0-9a-f]{16})_([0-9a-f]{48})([0-9a-f]{8})$/
const LENGTH_MIN = 20
const LENGTH_MAX = 200

/** A new key with 192 random bits. Whoever gets it is the only one who knows it: show it once, store nothing. */
export function makeApiKey(): string {
  const body = `prn_${randomBytes(8).toString('hex')}_${randomBytes(24).toString('hex')}`
  return body + checksum(body)
}

/** Whether a key that looks like ours was mistyped. Keys that an operator chose have no checksum. */
export function isMistyped(key: string): boolean {
  return MADE_HERE.test(key) && checksum(key.slice(0, -8)) !== key.slice(-8)
}

function checksum(body: string): string {
  return crc32(body).toString(16).padStart(8, '0')
}

function hashOf(key: string): Buffer {
  return createHash('sha256').update(key).digest()
}

function idOf(key: string): string {
  return `key_${MADE_HERE.exec(key)?.[1] ?? hashOf(key).toString('hex').slice(0, 16)}`
}

/**
 * Makes sure that a key exists with these scopes. Idempotent. A revoked key stays revoked.
 * Opens and closes its own connection, because only the mains call it, once, as the owner of the database.
 * @param key from `makeApiKey`, or any that an operator chose: 20 to 200 visible ASCII characters
 * @throws Error that names what is wrong with the key, never the key
 */
export async function ensureApiKey(ownerUrl: string, key: string, scopes: string[]): Promise<void> {
  if (key.length < LENGTH_MIN || key.length > LENGTH_MAX || !/^[\x21-\x7e]+$/.test(key)) {
    throw new Error(`an API key has ${LENGTH_MIN} to ${LENGTH_MAX} visible ASCII characters`)
  }
  if (isMistyped(key)) throw new Error('this API key was mistyped: its checksum is wrong')
  const known = scopes.filter((scope): scope is Scope => scope === 'read' || scope === 'write')
  if (known.length !== scopes.length) throw new Error('the scopes of an API key are read and write')
  const pool = connect(ownerUrl, 1)
  try {
    await run(
      orm(pool)
        .insert(apiKey)
        .values({ id: idOf(key), hash: hashOf(key), scopes: known, name: 'installation' })
        .onConflictDoUpdate({ target: apiKey.hash, set: { scopes: known } }),
    )
  } finally {
    await pool.end()
  }
}

/** Finds the holder of a key; undefined when nobody holds it. One look-up by an unguessable hash. */
export async function findKeyHolder(database: Queryable, key: string): Promise<KeyHolder | undefined> {
  const hash = hashOf(key)
  const [row] = await run(orm(database).select().from(apiKey).where(eq(apiKey.hash, hash)))
  if (row === undefined || !timingSafeEqual(row.hash, hash)) return undefined
  return { id: row.id, scopes: row.scopes, revoked: row.revokedAt !== null }
}

/** Revokes a key by its id. Every API process honours it within its cache's few seconds. */
export async function revokeApiKey(database: Queryable, id: string): Promise<void> {
  await run(
    orm(database)
      .update(apiKey)
      .set({ revokedAt: sql`coalesce(${apiKey.revokedAt}, clock_timestamp())` })
      .where(eq(apiKey.id, id)),
  )
}
