/**
 * Owns every setting that comes from outside: names, defaults, shapes, and the relations between them.
 * Only the mains import this file; everything else receives what it needs as an argument.
 */
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { z } from 'zod'

/** What the mains know after start-up. Absent optional parts are the ones the sandbox provides. */
export type Config = {
  /** Port of the HTTP API. */
  port: number
  /** Where a worker serves `/metrics` and `/healthz`; unset: nowhere. */
  metricsPort?: number
  /** Absolute folder of the sandbox's data, keys and logs. */
  dataDir: string
  /** Absolute folder for downloaded programs, shared by all projects of this user. */
  cacheDir: string
  apiKey?: string
  /** Postgres as the service's login, which cannot rewrite postings. Unset: the sandbox starts one. */
  databaseUrl?: string
  /** Postgres as the owner, for migrations. Unset beside `databaseUrl`: this process migrates nothing. */
  databaseOwnerUrl?: string
  postgresPort: number
  /** `host:port`. Unset: the sandbox starts a development server. */
  temporalAddress?: string
  temporalPort: number
  temporalUiPort: number
  temporalNamespace: string
  taskQueue: string
  /** Unset: the Stripe sandbox is started. */
  stripeSecretKey?: string
  /** Several while one is being rolled. */
  stripeWebhookSecrets: string[]
  stripeSandboxPort: number
  /** Origin of a Stripe sandbox that another process runs; only ever with a test key. */
  stripeApiUrl?: string
  /** Calls a second of the whole fleet to Stripe's account. Unset: a fifth below what Stripe allows. */
  stripeRateLimit?: number
  catalogFile?: string
  /** What customers know the product by: the sender's name in e-mails. */
  productName: string
  /** smtp:// or smtps://. Unset: no e-mail is sent; in the sandbox, its own mailbox gets them. */
  smtpUrl?: string
  /** The sender of e-mails. */
  mailFrom?: string
  mailSandboxPort: number
  logLevel: LogLevel
  production: boolean
}

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** All problems found in the environment, each line naming the variable and what it expects. */
export class ConfigError extends Error {
  override name = 'ConfigError'
  readonly problems: string[]
  constructor(problems: string[]) {
    super(`The configuration is wrong (${problems.length}):\n${problems.map((p) => `  ${p}`).join('\n')}`)
    this.problems = problems
  }
}

const port = (fallback: number) =>
  z
    .string()
    .regex(/^\d{1,5}$/)
    .transform(Number)
    .pipe(z.number().min(1).max(65_535))
    .default(fallback)

const postgresUrl = z.string().refine((text) => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  return /^postgres(ql)?:$/.test(url?.protocol ?? '') && (url?.pathname.length ?? 0) > 1
})

/** Each variable: how it is read, and the words for what it expects. */
const VARIABLES = {
  PORT: [port(8080), 'a port, 1 to 65535'],
  METRICS_PORT: [port(0).optional(), 'a port, 1 to 65535'],
  PERENNIAL_DATA_DIR: [z.string().default('.perennial'), 'a folder'],
  PERENNIAL_CACHE_DIR: [z.string().optional(), 'a folder'],
  PERENNIAL_API_KEY: [
    z
      .string()
      .regex(/^[\x21-\x7e]{20,200}$/)
      .optional(),
    '20 to 200 visible ASCII characters',
  ],
  PERENNIAL_CATALOG: [z.string().optional(), 'the path of a catalogue file'],
  DATABASE_URL: [postgresUrl.optional(), 'postgres://user:password@host:port/database'],
  DATABASE_OWNER_URL: [postgresUrl.optional(), 'postgres://owner:password@host:port/database'],
  POSTGRES_PORT: [port(15_432), 'a port, 1 to 65535'],
  TEMPORAL_ADDRESS: [
    z
      .string()
      .regex(/^[^\s/:]+:\d{1,5}$|^\[[\d:a-f]+\]:\d{1,5}$/i)
      .optional(),
    'host:port',
  ],
  TEMPORAL_PORT: [port(7233), 'a port, 1 to 65535'],
  TEMPORAL_UI_PORT: [port(8233), 'a port, 1 to 65535'],
  TEMPORAL_NAMESPACE: [
    z
      .string()
      .regex(/^[\w.-]+$/)
      .default('default'),
    'letters, digits, dots and hyphens',
  ],
  TEMPORAL_TASK_QUEUE: [
    z
      .string()
      .regex(/^[\w.-]+$/)
      .default('perennial'),
    'letters, digits, dots, hyphens',
  ],
  STRIPE_SECRET_KEY: [
    z
      .string()
      .regex(/^[sr]k_(test|live)_\w+$/)
      .optional(),
    'sk_test_…, sk_live_…, rk_test_… or rk_live_…',
  ],
  STRIPE_WEBHOOK_SECRET: [
    z
      .string()
      .transform((text) => text.split(',').map((secret) => secret.trim()))
      .pipe(z.array(z.string().regex(/^whsec_\S+$/)))
      .optional(),
    'whsec_…, or several separated by commas',
  ],
  STRIPE_API_URL: [
    z
      .string()
      .regex(/^http:\/\/[\w.-]+:\d{1,5}$/)
      .optional(),
    'http://host:port of a Stripe sandbox',
  ],
  STRIPE_RATE_LIMIT: [
    z
      .string()
      .regex(/^\d{1,5}$/)
      .transform(Number)
      .pipe(z.number().min(1).max(10_000))
      .optional(),
    'calls a second, 1 to 10000',
  ],
  PRODUCT_NAME: [
    z
      .string()
      .regex(/^[^\p{C}]{1,60}$/u)
      .default('Perennial'),
    'at most 60 characters, on one line',
  ],
  SMTP_URL: [
    z
      .string()
      .regex(/^smtps?:\/\/[^\s/]+\/?$/)
      .refine((text) => URL.canParse(text))
      .optional(),
    'smtp://user:password@host:port or smtps://…',
  ],
  MAIL_FROM: [
    z
      .string()
      .regex(/^(?:[^<>@\p{C}]+ <[^\s<>@]+@[^\s<>@]+>|[^\s<>@]+@[^\s<>@]+)$/u)
      .optional(),
    'an address, or Name <address>',
  ],
  MAIL_SANDBOX_PORT: [port(12_525), 'a port, 1 to 65535'],
  STRIPE_SANDBOX_PORT: [port(12_111), 'a port, 1 to 65535'],
  LOG_LEVEL: [z.enum(LOG_LEVELS).default('info'), `one of ${LOG_LEVELS.join(', ')}`],
  NODE_ENV: [z.string().default('development'), 'production, or anything else'],
} as const satisfies Record<string, readonly [z.ZodType, string]>

type Values = { [Name in keyof typeof VARIABLES]: z.infer<(typeof VARIABLES)[Name][0]> }
/** Every variable that is read; `.env.example` must list them all (a test compares). */
export const VARIABLE_NAMES = Object.keys(VARIABLES) as (keyof Values)[]

/**
 * Reads and checks the whole environment at once. An empty value counts as unset, so that a compose file
 * may pass everything through.
 * @throws ConfigError with every problem, not just the first; values are never quoted, they may be secret.
 */
export function loadConfig(env: Record<string, string | undefined>): Config {
  const problems: string[] = []
  const values: Partial<Record<keyof Values, unknown>> = {}
  for (const name of VARIABLE_NAMES) {
    const [schema, expected] = VARIABLES[name]
    const read = schema.safeParse(env[name]?.trim() || undefined)
    if (read.success) values[name] = read.data
    else problems.push(`${name}: expected ${expected}`)
  }
  problems.push(...relations(values as Partial<Values>, (name) => Boolean(env[name]?.trim())))
  if (problems.length > 0) throw new ConfigError(problems)
  return toConfig(values as Values, env)
}

/** What must hold between variables. Those already found wrong are absent here and blamed only once. */
function relations(values: Partial<Values>, given: (name: keyof Values) => boolean): string[] {
  const live = /^[sr]k_live_/.test(values.STRIPE_SECRET_KEY ?? '')
  const production = values.NODE_ENV === 'production'
  const rules: [broken: boolean, problem: string][] = [
    [
      live && given('STRIPE_SANDBOX_PORT'),
      'STRIPE_SANDBOX_PORT: expected unset, because STRIPE_SECRET_KEY is a live key and must never meet the sandbox',
    ],
    [
      (live || production) && given('STRIPE_API_URL'),
      'STRIPE_API_URL: expected unset with a live STRIPE_SECRET_KEY and in production; it names a sandbox',
    ],
    [
      given('STRIPE_API_URL') && !given('STRIPE_SECRET_KEY'),
      'STRIPE_SECRET_KEY: expected beside STRIPE_API_URL, a test key',
    ],
    [
      live && !given('DATABASE_URL'),
      'DATABASE_URL: expected with a live STRIPE_SECRET_KEY, because the sandbox keeps play money in its Postgres',
    ],
    [
      given('STRIPE_SECRET_KEY') && !given('STRIPE_WEBHOOK_SECRET'),
      'STRIPE_WEBHOOK_SECRET: expected beside STRIPE_SECRET_KEY, or no webhook could be verified',
    ],
    [
      given('STRIPE_WEBHOOK_SECRET') && !given('STRIPE_SECRET_KEY'),
      'STRIPE_SECRET_KEY: expected beside STRIPE_WEBHOOK_SECRET; without a key the sandbox makes its own secret',
    ],
    [
      given('SMTP_URL') && !given('MAIL_FROM'),
      'MAIL_FROM: expected beside SMTP_URL, or e-mails have no sender',
    ],
    [
      given('DATABASE_OWNER_URL') && !given('DATABASE_URL'),
      'DATABASE_URL: expected beside DATABASE_OWNER_URL; the service must not run as the owner',
    ],
    ...(['DATABASE_URL', 'TEMPORAL_ADDRESS', 'STRIPE_SECRET_KEY'] as const).map((name): [boolean, string] => [
      production && !given(name) && !(live && name === 'DATABASE_URL'),
      `${name}: expected when NODE_ENV is production, where the sandbox never runs`,
    ]),
  ]
  return [...rules.filter(([broken]) => broken).map(([, problem]) => problem), ...sharedPorts(values, given)]
}

/** Two parts that this machine would start may not want one port. */
function sharedPorts(values: Partial<Values>, given: (name: keyof Values) => boolean): string[] {
  const wanted = [
    'PORT' as const,
    ...(given('DATABASE_URL') ? [] : (['POSTGRES_PORT'] as const)),
    ...(given('TEMPORAL_ADDRESS') ? [] : (['TEMPORAL_PORT', 'TEMPORAL_UI_PORT'] as const)),
    ...(given('STRIPE_SECRET_KEY') ? [] : (['STRIPE_SANDBOX_PORT'] as const)),
    ...(given('STRIPE_SECRET_KEY') || given('SMTP_URL') ? [] : (['MAIL_SANDBOX_PORT'] as const)),
  ]
  return wanted.flatMap((name, index) => {
    const earlier = wanted
      .slice(0, index)
      .find((other) => values[name] !== undefined && values[other] === values[name])
    return earlier ? [`${name}: expected another port than ${earlier}, both are ${values[name]}`] : []
  })
}

function toConfig(values: Values, env: Record<string, string | undefined>): Config {
  const cacheHome = env['XDG_CACHE_HOME'] || join(homedir(), '.cache')
  return {
    port: values.PORT,
    ...(values.METRICS_PORT && { metricsPort: values.METRICS_PORT }),
    dataDir: resolve(values.PERENNIAL_DATA_DIR),
    cacheDir: resolve(values.PERENNIAL_CACHE_DIR ?? join(cacheHome, 'perennial')),
    ...(values.PERENNIAL_API_KEY && { apiKey: values.PERENNIAL_API_KEY }),
    ...(values.DATABASE_URL && { databaseUrl: values.DATABASE_URL }),
    ...(values.DATABASE_OWNER_URL && { databaseOwnerUrl: values.DATABASE_OWNER_URL }),
    postgresPort: values.POSTGRES_PORT,
    ...(values.TEMPORAL_ADDRESS && { temporalAddress: values.TEMPORAL_ADDRESS }),
    temporalPort: values.TEMPORAL_PORT,
    temporalUiPort: values.TEMPORAL_UI_PORT,
    temporalNamespace: values.TEMPORAL_NAMESPACE,
    taskQueue: values.TEMPORAL_TASK_QUEUE,
    ...(values.STRIPE_SECRET_KEY && { stripeSecretKey: values.STRIPE_SECRET_KEY }),
    stripeWebhookSecrets: values.STRIPE_WEBHOOK_SECRET ?? [],
    stripeSandboxPort: values.STRIPE_SANDBOX_PORT,
    ...(values.STRIPE_API_URL && { stripeApiUrl: values.STRIPE_API_URL }),
    ...(values.STRIPE_RATE_LIMIT && { stripeRateLimit: values.STRIPE_RATE_LIMIT }),
    productName: values.PRODUCT_NAME,
    ...(values.SMTP_URL && { smtpUrl: values.SMTP_URL }),
    ...(values.MAIL_FROM && { mailFrom: values.MAIL_FROM }),
    mailSandboxPort: values.MAIL_SANDBOX_PORT,
    ...(values.PERENNIAL_CATALOG && { catalogFile: resolve(values.PERENNIAL_CATALOG) }),
    logLevel: values.LOG_LEVEL,
    production: values.NODE_ENV === 'production',
  }
}

/**
 * For the mains: reads `.env` of the current folder if there is one (what is already set wins), then the
 * process's environment.
 * @throws ConfigError
 */
export function readConfig(): Config {
  if (existsSync('.env')) process.loadEnvFile('.env')
  return loadConfig(process.env)
}
