/** Where signed webhooks go. Their secrets are here in the clear, because each delivery is signed with them. */
import { randomBytes } from 'node:crypto'
import { Refusal } from '../domain/error.ts'
import type { Queryable } from './connect.ts'

export interface WebhookEndpoint {
  id: string
  url: string
  /** null: all */
  events: string[] | null
  enabled: boolean
  /** since when deliveries fail; null: the last one arrived */
  failingSince: Date | null
  deliveredAt: Date | null
  /** until when the secret of before signs, too; null: there is none */
  oldSecretUntil: Date | null
  createdAt: Date
}

interface EndpointRow {
  id: string
  url: string
  events: string[] | null
  enabled: boolean
  failing_since: Date | null
  delivered_at: Date | null
  old_until: Date | null
  created_at: Date
}

const FIELDS = `id, url, events, enabled, failing_since, delivered_at, created_at,
  case when old_until > clock_timestamp() then old_until end as old_until`

function endpointOf(row: EndpointRow): WebhookEndpoint {
  return {
    id: row.id,
    url: row.url,
    events: row.events,
    enabled: row.enabled,
    failingSince: row.failing_since,
    deliveredAt: row.delivered_at,
    oldSecretUntil: row.old_until,
    createdAt: row.created_at,
  }
}

/** How long the secret of before signs beside a new one, in hours: time to give receivers the new one. */
export const ROLL_HOURS = 24

/** A secret as Standard Webhooks writes it: 192 random bits. */
export function makeWebhookSecret(): string {
  return `whsec_${randomBytes(24).toString('base64')}`
}

/** Registers an endpoint. Notices that were written before are not told to it. */
export async function insertEndpoint(
  client: Queryable,
  endpoint: { id: string; url: string; events: string[] | null; secret: string },
): Promise<void> {
  await client.query('insert into webhook_endpoint (id, url, events, secret) values ($1, $2, $3, $4)', [
    endpoint.id,
    endpoint.url,
    endpoint.events,
    endpoint.secret,
  ])
}

/** Reads an endpoint. @throws Refusal `endpoint_not_found` */
export async function requireEndpoint(database: Queryable, id: string): Promise<WebhookEndpoint> {
  const { rows } = await database.query<EndpointRow>(`select ${FIELDS} from webhook_endpoint where id = $1`, [
    id,
  ])
  if (rows[0] === undefined) throw new Refusal('endpoint_not_found', `there is no webhook endpoint ${id}`)
  return endpointOf(rows[0])
}

/** Endpoints, newest first. */
export async function listEndpoints(
  database: Queryable,
  page: { limit: number; after?: { at: string; id: string } | undefined },
): Promise<WebhookEndpoint[]> {
  const { rows } = await database.query<EndpointRow>(
    `select ${FIELDS} from webhook_endpoint
      where $1::timestamptz is null or (created_at, id) < ($1, $2) order by created_at desc, id desc limit $3`,
    [page.after?.at ?? null, page.after?.id ?? null, page.limit],
  )
  return rows.map(endpointOf)
}

/**
 * Changes an endpoint; what is not given stays. One that is disabled is told nothing new, and what waits for it waits
 * until it is enabled again.
 * @throws Refusal `endpoint_not_found`
 */
export async function changeEndpoint(
  client: Queryable,
  id: string,
  change: { url?: string | undefined; events?: string[] | null | undefined; enabled?: boolean | undefined },
): Promise<void> {
  const { rowCount } = await client.query(
    `update webhook_endpoint
        set url = coalesce($2, url), events = case when $3 then $4 else events end, enabled = coalesce($5, enabled)
      where id = $1`,
    [id, change.url ?? null, change.events !== undefined, change.events ?? null, change.enabled ?? null],
  )
  if (rowCount === 0) throw new Refusal('endpoint_not_found', `there is no webhook endpoint ${id}`)
}

/**
 * Gives an endpoint a new secret. The one of before signs beside it for `ROLL_HOURS`; an older one is gone at once.
 * @throws Refusal `endpoint_not_found`
 */
export async function rotateSecret(client: Queryable, id: string, secret: string): Promise<void> {
  const { rowCount } = await client.query(
    `update webhook_endpoint
        set old_secret = secret, old_until = clock_timestamp() + $3 * interval '1 hour', secret = $2 where id = $1`,
    [id, secret, ROLL_HOURS],
  )
  if (rowCount === 0) throw new Refusal('endpoint_not_found', `there is no webhook endpoint ${id}`)
}

/** Where a delivery goes and what it is signed with: the new secret first. Undefined when it is disabled or gone. */
export async function readReceiver(
  database: Queryable,
  id: string,
): Promise<{ url: string; secrets: string[] } | undefined> {
  const { rows } = await database.query<{ url: string; secrets: string[] }>(
    `select url, case when old_until > clock_timestamp() then array[secret, old_secret] else array[secret] end as secrets
       from webhook_endpoint where id = $1 and enabled`,
    [id],
  )
  return rows[0]
}

/** The secret, for the one answer that shows it. */
export async function readSecret(database: Queryable, id: string): Promise<string> {
  const { rows } = await database.query<{ secret: string }>(
    'select secret from webhook_endpoint where id = $1',
    [id],
  )
  if (rows[0] === undefined) throw new Refusal('endpoint_not_found', `there is no webhook endpoint ${id}`)
  return rows[0].secret
}
