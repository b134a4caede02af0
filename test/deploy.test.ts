import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { VARIABLE_NAMES } from '../src/config.ts'

interface Service {
  image?: string
  build?: string
  command?: string[]
  entrypoint?: string[]
  environment?: Record<string, string>
  ports?: string[]
  restart?: string
  depends_on?: Record<string, { condition: string }>
  healthcheck?: { test?: string[]; disable?: boolean }
  deploy?: { replicas?: number; resources?: { limits?: { cpus?: string; memory?: string } } }
  configs?: { source: string; target: string }[]
  cap_drop?: string[]
}

interface Compose {
  services: Record<string, Service>
  configs: Record<string, { content: string }>
}

const read = (file: string) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')

/** `${NAME:-default}` as its default, as where nobody has set it. */
const unset = (text: string) => text.replace(/\$\{\w+(?::?-([^}]*))?\}/g, '$1')

/** A tag that names a version, not a stream of them. */
const isPinned = (image: string) => /^[\w./-]+:v?\d+\.\d+[\w.-]*$/.test(unset(image))

/** The instructions of each stage of a Dockerfile, continued lines joined, comments away. */
function stagesOf(dockerfile: string): string[][] {
  const lines = dockerfile
    .replace(/^\s*#.*\n/gm, '')
    .replace(/\\\n/g, ' ')
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
  const starts = lines.flatMap((line, index) => (line.startsWith('FROM ') ? index : []))
  return starts.map((start, index) => lines.slice(start, starts[index + 1]))
}

describe('docker-compose.yml', () => {
  const compose = parse(read('docker-compose.yml'), { merge: true }) as Compose
  const services = Object.entries(compose.services)
  const service = (name: string): Service => {
    const found = compose.services[name]
    assert.ok(found, `there is a service ${name}`)
    return found
  }
  const ours = services.filter(([, { build }]) => build !== undefined)

  it('has two APIs and two workers, and a proxy that alone is open to callers', () => {
    assert.equal(service('api').deploy?.replicas, 2)
    assert.equal(service('worker').deploy?.replicas, 2)
    const open = services.filter(([, { ports = [] }]) => ports.some((port) => !port.startsWith('127.0.0.1:')))
    assert.deepEqual(
      open.map(([name]) => name),
      ['proxy'],
    )
    const [config] = service('proxy').configs ?? []
    assert.match(compose.configs[config?.source ?? '']?.content ?? '', /name api\n\s*port 8080/)
    assert.equal(service('api').environment?.['PORT'], '8080')
  })

  it('sets only variables that the service reads, and those that production asks for', () => {
    assert.deepEqual(
      ours.map(([name]) => name),
      ['migrate', 'worker', 'api'],
    )
    const required = ['DATABASE_URL', 'TEMPORAL_ADDRESS', 'STRIPE_SECRET_KEY', 'STRIPE_WEBHOOK_SECRET']
    for (const [name, { environment = {} }] of ours) {
      const set = Object.keys(environment)
      assert.deepEqual(
        set.filter((variable) => !(VARIABLE_NAMES as string[]).includes(variable)),
        [],
        name,
      )
      assert.equal(environment['NODE_ENV'], 'production', name)
      for (const variable of required) assert.ok(set.includes(variable), `${name}: ${variable}`)
    }
  })

  it('gives the owner’s password to the migrations and to Postgres only, and no secret a default', () => {
    const knowing = services.filter(([, each]) => JSON.stringify(each).includes('PERENNIAL_OWNER_PASSWORD'))
    assert.deepEqual(
      knowing.map(([name]) => name),
      ['postgres', 'migrate'],
    )
    const secrets = read('docker-compose.yml').matchAll(/(?<!\$)\$\{(\w*(?:PASSWORD|SECRET)\w*)([^}]*)\}/g)
    for (const [, name, rest] of secrets) assert.equal(rest, ':-', name)
  })

  it('pins every image by a version', () => {
    for (const [name, { image, build }] of services) {
      if (build === undefined) assert.ok(isPinned(image ?? ''), `${name}: ${image}`)
    }
    assert.doesNotMatch(read('docker-compose.yml'), /:latest\b/)
    for (const image of ['caddy', 'caddy:latest', 'caddy:2', 'caddy:${V:-latest}'])
      assert.ok(!isPinned(image))
  })

  it('limits what each part may use, and starts again what fails', () => {
    for (const [name, { deploy, restart }] of services) {
      const { cpus, memory } = deploy?.resources?.limits ?? {}
      assert.match(cpus ?? '', /^\d+\.\d$/, `${name}: cpus`)
      assert.match(memory ?? '', /^\d+[MG]$/, `${name}: memory`)
      assert.match(restart ?? '', /^(unless-stopped|on-failure:\d+)$/, `${name}: restart`)
    }
  })

  it('waits for what is healthy, and for what runs once to be done', () => {
    const once = services.flatMap(([name, { restart }]) => (restart?.startsWith('on-failure') ? name : []))
    assert.deepEqual(once, ['temporal-schema', 'temporal-namespace', 'migrate'])
    for (const [name, { depends_on: needs = {} }] of services) {
      for (const [other, { condition }] of Object.entries(needs)) {
        const wanted = once.includes(other) ? 'service_completed_successfully' : 'service_healthy'
        assert.equal(condition, wanted, `${name} needs ${other}`)
        if (wanted === 'service_healthy' && compose.services[other]?.build === undefined)
          assert.ok(service(other).healthcheck?.test, `${other} tells its health`)
      }
    }
    for (const name of ['api', 'worker']) assert.ok(service(name).depends_on?.['migrate'], name)
  })

  it('runs our parts by node itself, with no capability', () => {
    for (const [name, each] of ours) {
      assert.equal(each.entrypoint, undefined, name)
      assert.equal(each.command?.[0], 'node', name)
      assert.deepEqual(each.cap_drop, ['ALL'], name)
    }
  })
})

describe('Dockerfile', () => {
  const stages = stagesOf(read('Dockerfile'))
  const last = stages.at(-1) ?? []
  const instruction = (name: string) => last.filter((line) => line.startsWith(`${name} `)).at(-1) ?? ''

  it('builds in one stage and runs from another, both on one pinned Node', () => {
    assert.ok(stages.length > 1)
    const images = stages.map(([from]) => from?.split(' ')[1] ?? '')
    assert.equal(new Set(images).size, 1)
    for (const image of images) assert.ok(isPinned(image), image)
  })

  it('does not run as root', () => {
    const [, user = 'root'] = instruction('USER').split(' ')
    assert.doesNotMatch(user, /^(root|0)(:|$)/)
  })

  it('takes no source, no dependency of development and no secret into what runs', () => {
    assert.ok(stages[0]?.some((line) => line.includes('npm prune --omit=dev')))
    assert.ok(!last.some((line) => /npm (ci|install)/.test(line)))
    const copied = last.filter((line) => line.startsWith('COPY ')).map((line) => line.split(' ').at(-1))
    assert.deepEqual(copied, ['./', 'node_modules', 'dist', 'bin'])
    // what a build may see at all
    const seen = read('.dockerignore').trim().split('\n')
    assert.equal(seen[0], '*')
    assert.ok(!seen.some((line) => /env|test|\.git/.test(line)))
  })

  it('starts node without a shell, so that SIGTERM reaches it, and says how its health is checked', () => {
    const [, command = ''] = instruction('CMD').match(/^CMD (.*)$/) ?? []
    assert.deepEqual(JSON.parse(command), ['node', 'dist/src/main.js', 'all'])
    const [, check = ''] = instruction('HEALTHCHECK').match(/ CMD (.*)$/) ?? []
    const [program, ...args] = JSON.parse(check) as string[]
    assert.equal(program, 'node')
    assert.match(args.join(' '), /\/healthz/)
    assert.equal(instruction('ENTRYPOINT'), '')
  })
})
