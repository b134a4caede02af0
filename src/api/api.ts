/** What every route file gets: the typed server and the dependencies. Owns no behaviour. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type { Logger } from '../log.ts'
import type { KeyHolder, Scope } from '../store/api-key.ts'
import type { Pool } from '../store/connect.ts'
import type { Metrics } from '../metrics.ts'
import type { Reach } from '../workflows/owner.ts'

export interface ApiDeps {
  /** the service's login */
  pool: Pool
  /** undefined while Temporal cannot be reached: the API still answers and webhooks are still stored */
  reach: Reach | undefined
  /** several while one is being rolled */
  webhookSecrets: string[]
  /** whether this installation handles real money; events of the other kind are refused */
  livemode: boolean
  /** the pinned version of Stripe's API */
  apiVersion: string
  /** what customers know the product by */
  product: string
  /** whether webhooks may go to private addresses and over plain http: in the sandbox only */
  anywhere: boolean
  metrics: Metrics
  log: Logger
}

export type Api = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>

declare module 'fastify' {
  interface FastifyContextConfig {
    /** what the caller's key must be allowed to do; every route under /v1 states it */
    scope?: Scope
  }
  interface FastifyRequest {
    /** who calls, once the key was checked */
    holder: KeyHolder | undefined
    /** ids for the request's log line: ours or Stripe's, never personal data */
    trace: Record<string, string>
  }
}
