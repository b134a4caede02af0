/**
 * API keys: `prn_<id>_<secret><checksum>`. Only a key's SHA-256 is kept; the checksum tells a mistyped key from an
 * unknown one without a look-up. The id is not secret: it names the key in logs and postings.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { and, asc, eq, isNull, sql } from 'drizzle-orm'
import { connect, type Queryable } from './connect.ts'
import { apiKey, orm, run } from './schema.ts'

/**
 * What a key may do. None implies another: each route states its scope, and what a body asks for beyond it
 * (`overdraft`, `grants:large`) the handler does.
 */
export const SCOPES = [
  /** every GET */
  'read',
  /** make and change accounts */
  'accounts',
  /** spend, hold, capture, release */
  'spend',
  /** the overdraft flag, in addition to `spend` */
  'overdraft',
  /** reverse a spend */
  'reverse',
  /** goodwill and promotion grants up to the catalogue's limit */
  'grants',
  /** grants beyond it, in addition to `grants` */
  'grants:large',
  /** begin, change and cancel subscriptions */
  'subscriptions',
  /** register and change webhook endpoints, send deliveries again */
  'webhooks',
  /** ask for corrections, which another person decides */
  'adjustments',
  /** decide what others ask for */
  'approvals',
  /** buy packs, set automatic top-up */
  'purchases',
] as const
export type Scope = (typeof SCOPES)[number]

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
export async function ensureApiKey(ownerUrl: string, key: string, scopes: readonly Scope[]): Promise<void> {
  if (key.length < LENGTH_MIN || key.length > LENGTH_MAX || !/^[\x21-\x7e]+$/.test(key)) {
    throw new Error(`an API key has ${LENGTH_MIN} to ${LENGTH_MAX} visible ASCII characters`)
  }
  if (isMistyped(key)) throw new Error('this API key was mistyped: its checksum is wrong')
  const pool = connect(ownerUrl, 1)
  try {
    await run(
      orm(pool)
        .insert(apiKey)
        .values({ id: idOf(key), hash: hashOf(key), scopes: [...scopes], name: 'installation' })
        .onConflictDoUpdate({ target: apiKey.hash, set: { scopes: [...scopes] } }),
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

/**
 * Makes a key and keeps its hash.
 * @param name what it is for: shown to operators, never personal data
 * @returns the key, which nobody can read again
 */
export async function createApiKey(
  database: Queryable,
  { name, scopes }: { name: string; scopes: readonly Scope[] },
): Promise<string> {
  const key = makeApiKey()
  const values = { id: idOf(key), hash: hashOf(key), scopes: [...scopes], name }
  await run(orm(database).insert(apiKey).values(values))
  return key
}

/** Every key, oldest first, without anything that would let somebody use it. */
export async function listApiKeys(database: Queryable) {
  const { id, name, scopes, createdAt, revokedAt } = apiKey
  return run(
    orm(database)
      .select({ id, name, scopes, createdAt, revokedAt })
      .from(apiKey)
      .orderBy(asc(createdAt), asc(id)),
  )
}

/**
 * Revokes a key by its id. Every API process honours it within its cache's few seconds.
 * @returns whether there was such a key that was not revoked yet
 */
export async function revokeApiKey(database: Queryable, id: string): Promise<boolean> {
  const { rowCount } = await run(
    orm(database)
      .update(apiKey)
      .set({ revokedAt: sql`clock_timestamp()` })
      .where(and(eq(apiKey.id, id), isNull(apiKey.revokedAt))),
  )
  return rowCount === 1
}
