/** What the environment may say, and that everything wrong with it is told at once. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { ConfigError, loadConfig, VARIABLE_NAMES } from '../src/config.ts'

const problemsOf = (env: Record<string, string>): string[] => {
  try {
    loadConfig(env)
    return []
  } catch (error) {
    assert(error instanceof ConfigError)
    return error.problems
  }
}

const STRIPE = { STRIPE_SECRET_KEY: 'sk_test_abc', STRIPE_WEBHOOK_SECRET: 'whsec_abc' }
const POSTGRES = { DATABASE_URL: 'postgres://app:x@db:5432/perennial' }

describe('config', () => {
  it('needs nothing at all', () => {
    assert.deepEqual(loadConfig({}), {
      port: 8080,
      dataDir: resolve('.perennial'),
      cacheDir: join(homedir(), '.cache', 'perennial'),
      postgresPort: 15_432,
      temporalPort: 7233,
      temporalUiPort: 8233,
      temporalNamespace: 'default',
      taskQueue: 'perennial',
      stripeWebhookSecrets: [],
      stripeSandboxPort: 12_111,
      productName: 'Perennial',
      mailSandboxPort: 12_525,
      logLevel: 'info',
      production: false,
    })
  })

  it('takes an empty value as unset', () => {
    assert.deepEqual(loadConfig({ PORT: '', DATABASE_URL: ' ', STRIPE_SECRET_KEY: '' }), loadConfig({}))
  })

  it('reads several webhook secrets while one is rolled', () => {
    const config = loadConfig({ ...STRIPE, STRIPE_WEBHOOK_SECRET: 'whsec_new, whsec_old' })
    assert.deepEqual(config.stripeWebhookSecrets, ['whsec_new', 'whsec_old'])
  })

  it('allows a database without its owner, which is then migrated by somebody else', () => {
    const config = loadConfig(POSTGRES)
    assert.equal(config.databaseUrl, POSTGRES.DATABASE_URL)
    assert.equal('databaseOwnerUrl' in config, false)
  })

  it('puts the cache where the system wants it, unless told otherwise', () => {
    assert.equal(loadConfig({ XDG_CACHE_HOME: '/xdg' }).cacheDir, '/xdg/perennial')
    assert.equal(loadConfig({ XDG_CACHE_HOME: '/xdg', PERENNIAL_CACHE_DIR: '/mine' }).cacheDir, '/mine')
  })

  it('reports all problems at once, each with its variable and what is expected, never with its value', () => {
    const secret = 'sk_wrong_hunter2'
    const problems = problemsOf({
      PORT: 'http',
      LOG_LEVEL: 'loud',
      STRIPE_SECRET_KEY: secret,
      TEMPORAL_ADDRESS: 'x',
    })
    assert.deepEqual(
      new Set(problems.map((problem) => problem.split(':')[0])),
      new Set(['LOG_LEVEL', 'PORT', 'STRIPE_SECRET_KEY', 'STRIPE_WEBHOOK_SECRET', 'TEMPORAL_ADDRESS']),
    )
    assert(problems.every((problem) => /: expected /.test(problem)))
    assert(!problems.join().includes(secret))
  })

  const refused: [what: string, env: Record<string, string>, variable: string][] = [
    ['port 0', { PORT: '0' }, 'PORT'],
    ['a port over 65535', { POSTGRES_PORT: '70000' }, 'POSTGRES_PORT'],
    ['a fractional port', { PORT: '80.5' }, 'PORT'],
    ['a database of another kind', { DATABASE_URL: 'mysql://x@y/z' }, 'DATABASE_URL'],
    ['a database without a name', { DATABASE_URL: 'postgres://x@y' }, 'DATABASE_URL'],
    ['a Temporal address with a scheme', { TEMPORAL_ADDRESS: 'http://x:7233' }, 'TEMPORAL_ADDRESS'],
    ['a publishable Stripe key', { ...STRIPE, STRIPE_SECRET_KEY: 'pk_test_abc' }, 'STRIPE_SECRET_KEY'],
    ['a webhook secret of another kind', { ...STRIPE, STRIPE_WEBHOOK_SECRET: 'x' }, 'STRIPE_WEBHOOK_SECRET'],
    ['a short API key', { PERENNIAL_API_KEY: 'short' }, 'PERENNIAL_API_KEY'],
    ['a mail server without a sender', { SMTP_URL: 'smtp://mail:587' }, 'MAIL_FROM'],
    ['a mail server of another kind', { SMTP_URL: 'http://mail', MAIL_FROM: 'a@example.com' }, 'SMTP_URL'],
    ['a sender that is no address', { MAIL_FROM: 'Billing' }, 'MAIL_FROM'],
    ['a product name of two lines', { PRODUCT_NAME: 'a\nb' }, 'PRODUCT_NAME'],
    ['one port for two parts', { PORT: '7233' }, 'TEMPORAL_PORT'],
    ['an owner without a service', { DATABASE_OWNER_URL: POSTGRES.DATABASE_URL }, 'DATABASE_URL'],
    ['a Stripe key without a webhook secret', { STRIPE_SECRET_KEY: 'sk_test_abc' }, 'STRIPE_WEBHOOK_SECRET'],
    ['a webhook secret without a Stripe key', { STRIPE_WEBHOOK_SECRET: 'whsec_abc' }, 'STRIPE_SECRET_KEY'],
    [
      'a live key beside the Stripe sandbox',
      { ...STRIPE, ...POSTGRES, STRIPE_SECRET_KEY: 'sk_live_abc', STRIPE_SANDBOX_PORT: '12111' },
      'STRIPE_SANDBOX_PORT',
    ],
    [
      'a sandbox address with a live key',
      { ...STRIPE, ...POSTGRES, STRIPE_SECRET_KEY: 'sk_live_abc', STRIPE_API_URL: 'http://127.0.0.1:12111' },
      'STRIPE_API_URL',
    ],
    ['a sandbox address without a key', { STRIPE_API_URL: 'http://127.0.0.1:12111' }, 'STRIPE_SECRET_KEY'],
    ["a live key on the sandbox's database", { ...STRIPE, STRIPE_SECRET_KEY: 'rk_live_abc' }, 'DATABASE_URL'],
    ['production without Temporal', { NODE_ENV: 'production', ...STRIPE, ...POSTGRES }, 'TEMPORAL_ADDRESS'],
    [
      'production without Stripe',
      { NODE_ENV: 'production', ...POSTGRES, TEMPORAL_ADDRESS: 't:7233' },
      'STRIPE_SECRET_KEY',
    ],
  ]
  for (const [what, env, variable] of refused) {
    it(`refuses ${what}`, () => {
      assert.deepEqual(
        problemsOf(env).map((problem) => problem.split(':')[0]),
        [variable],
      )
    })
  }

  it('does not mind one port for two parts when one of them is not started', () => {
    assert.deepEqual(problemsOf({ PORT: '7233', TEMPORAL_ADDRESS: 'elsewhere:7233' }), [])
  })

  it('lists every variable in .env.example, and nothing else', () => {
    const example = readFileSync(new URL('../.env.example', import.meta.url), 'utf8')
    const listed = [...example.matchAll(/^#?([A-Z_]+)=/gm)].map(([, name]) => name)
    assert.deepEqual(new Set(listed), new Set(VARIABLE_NAMES))
  })
})
