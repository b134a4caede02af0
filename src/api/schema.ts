/** Pieces of requests and answers that several routes share. The document at /openapi.json is made of them. */
import { z } from 'zod'
import { CREDIT_PLACES, CREDITS_MAX } from '../domain/credits.ts'
import type { Code } from './problem.ts'

/** An amount of credits in a request. What the text must look like is said by `parseCredits`. */
export const creditsInput = z
  .string({
    error: (issue) =>
      typeof issue.input === 'number'
        ? 'send an amount as a string, such as "12.5": JSON numbers lose digits'
        : 'expected an amount as a string, such as "12.5"',
  })
  .meta({
    description: `credits above zero as a plain decimal, at most ${CREDIT_PLACES} places, at most ${CREDITS_MAX}`,
    // for readers and generators; a text that does not fit is refused by `parseCredits`, in better words
    pattern: '^(?!0[.0]*$)((0|[1-9][0-9]{0,14})(\\.[0-9]{1,8})?|10{15}(\\.0{1,8})?)$',
    examples: ['12.5'],
  })

/** An amount of credits in an answer. */
export const creditsOutput = z
  .string()
  .meta({ description: 'credits as a plain decimal', examples: ['87.5'] })

/** Money in an answer. */
export const minorUnits = z.string().meta({ examples: ['2000'] })

export const instant = z.iso.datetime()

/** Years that Postgres and JavaScript write alike. */
const YEAR = '(?:19|[2-8]\\d)\\d\\d'
const LEAP_YEAR = '(?:(?:19|[2-8]\\d)(?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[357][26])00)'
const MONTH_AND_DAY =
  '(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))'
const TIME = '(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)'
const INSTANT = new RegExp(`^(?:${LEAP_YEAR}-02-29|${YEAR}-${MONTH_AND_DAY})T${TIME}$`)

/** A time in a request, with any offset; read as UTC in milliseconds. */
export const instantInput = z
  .string()
  .regex(INSTANT, 'expected a time such as "2026-11-23T10:00:00Z", from the year 1900 to 8999')
  .meta({ format: 'date-time', examples: ['2026-11-23T10:00:00.000Z'] })

/** A time from a request, as the database takes it. */
export function readInstant<T extends string | undefined>(text: T): T {
  return (text === undefined ? undefined : new Date(text).toISOString()) as T
}

/** Of a price that is sold in several. */
export const currencyInput = z
  .string()
  .regex(/^[a-z]{3}$/, 'an ISO 4217 code in lower case')
  .optional()
  .describe('the catalogue’s unless told otherwise')
  .meta({ examples: ['eur'] })

/** What credits are used for. */
export const featureInput = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'a slug: lower-case letters, digits, dots, _ and -')
  .meta({ examples: ['chat'] })

/** Records work already done. The handler asks for its scope. */
export const overdraftInput = z
  .boolean()
  .default(false)
  .describe('record work already done, whatever is available; the shortfall is a debt. Scope: `overdraft`')

/** Why something was done, for whoever reads the ledger later. */
export const reasonInput = z
  .string()
  .regex(/^[a-z][a-z0-9_]{0,63}$/, 'a slug: lower-case letters, digits and _')
  .meta({ examples: ['outage_2026_11'] })

/** Where a hosted page sends the customer. */
export const returnUrl = z
  .url({ protocol: /^https?$/ })
  .max(2_000)
  .meta({ pattern: '^[Hh][Tt][Tt][Pp][Ss]?:' })

/** A hosted page of Stripe's. */
export const checkoutView = z.object({
  id: z.string(),
  url: z.string().nullable(),
  expires_at: instant.nullable(),
})

const METADATA_KEYS_MAX = 50
const METADATA_KEY_LENGTH_MAX = 40
const METADATA_VALUE_LENGTH_MAX = 500

/** A caller's own notes: kept and given back, never read, never in a log. */
export const metadataInput = z
  .record(z.string().min(1).max(METADATA_KEY_LENGTH_MAX), z.string().max(METADATA_VALUE_LENGTH_MAX))
  .refine(
    (metadata) => Object.keys(metadata).length <= METADATA_KEYS_MAX,
    `at most ${METADATA_KEYS_MAX} keys`,
  )
  .default({})
  .describe(
    `up to ${METADATA_KEYS_MAX} texts: keys of at most ${METADATA_KEY_LENGTH_MAX} characters, ` +
      `values of at most ${METADATA_VALUE_LENGTH_MAX}`,
  )
  .meta({ maxProperties: METADATA_KEYS_MAX })

export const metadataOutput = z.record(z.string(), z.string())

/** Ids as examples of the document. */
export const EXAMPLE = {
  account: 'acc_9f1c6b0e3d5a47c2b8e4d7a1f0c3b256',
  order: 'ord_3b9d2f6a81c44e0fa7d5c1b2e3f40596',
  command: 'cmd_c07e5a4d9b6148f2a3d1e8f7b6c59024',
  hold: 'hld_1d4f8b2c6a9e4073b5c8d2e1f6a7b390',
  spend: 'spd_9f1c6b0e3d5a47c2b8e4d7a1f0c3b256_2',
  posting: 'pst_9f1c6b0e3d5a47c2b8e4d7a1f0c3b256_3',
  lot: 'lot_5e2a7c9d1b3f4860a4d6e8f0b2c49175',
  approval: 'apr_7b3c1f9e5d2a4860b8c4e6d0f2a19375',
  notice: 'ntc_5d0c8e2f7b1a4396c4e8d2b6f0a19753',
  delivery: 'dlv_7a3e9b5d1c8f4260e5a7d3b9f1c06824',
  endpoint: 'we_2c6a0e4f8b1d4537a9c3e7f5b2d08614',
  actor: 'key_0f3a9c1e5b7d2468',
  otherActor: 'key_8d2e6b4f0a1c3957',
  at: '2026-11-23T10:00:00.000Z',
  later: '2026-12-23T10:00:00.000Z',
  /** for what is refused when it is past */
  farOff: '2099-12-31T00:00:00.000Z',
} as const

/** An account's id in a body or a query. What looks like no id is simply not found. */
export const accountId = z
  .string()
  .max(100)
  .meta({ examples: [EXAMPLE.account] })

/** When credits that are given expire. */
export const expiryInput = instantInput
  .describe('business time, in the future; never unless told otherwise')
  .meta({ examples: [EXAMPLE.farOff] })

/** A path with an account. */
export const accountParams = z.object({ account: z.string().meta({ examples: [EXAMPLE.account] }) })

/** For routes that take no query: one that is sent, such as an option we do not know, is refused, not ignored. */
export const noQuery = z.strictObject({})

const PROBLEMS = Symbol('problems')

/**
 * The answers of a route.
 * @param problems codes that this route answers with, beside those that every route of its kind does (`docs.ts`): the
 * document names them with their status. A test compares every answer with the document.
 */
export function answers<T extends Record<number, z.ZodType>>(good: T, problems: Code[] = []): T {
  return Object.assign({ ...good }, { [PROBLEMS]: problems })
}

/** The problems that a route named. */
export function problemsOf(response: unknown): Code[] {
  return (response as { [PROBLEMS]?: Code[] } | undefined)?.[PROBLEMS] ?? []
}
