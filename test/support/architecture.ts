/**
 * Owns the import table and the other rules of the layout (docs: ARCHITECTURE.md) as functions of a file's text,
 * so that the test can run them over the real files and over files that break them.
 */
import { posix } from 'node:path'

/** A source file: its path from the root of the project, with `/`, and its text. */
export type SourceFile = { path: string; text: string }
export type Import = { from: string; typeOnly: boolean }
/** A fact about every file, and how one file denies it: a line for each denial, none when it keeps to it. */
export type Rule = { fact: string; denials: (file: SourceFile) => string[] }

const MAINS = ['main', 'cli', 'sandbox/start', 'sandbox/demo']
/** The sides of workflows that others may see: messages, and how to send them. */
const WORKFLOW_FACE = ['workflows/message', 'workflows/owner']

/** What each layer may import of ours. A name with `/*` is all of a layer; `type` before it: as types only. */
const TABLE: Record<string, string[]> = {
  domain: ['domain/*'],
  ledger: ['domain/*', 'ledger/*', 'store/connect'],
  store: ['domain/*', 'store/*', 'type log'],
  stripe: ['domain/*', 'stripe/*', 'type log'],
  // how notices leave the house
  outbound: ['domain/*', 'outbound/*', 'type log'],
  activities: [
    'domain/*',
    'ledger/*',
    'store/*',
    'stripe/*',
    'outbound/*',
    'activities/*',
    ...WORKFLOW_FACE,
    'clock',
    'metrics',
    'type log',
  ],
  workflows: ['domain/*', 'workflows/*', 'type activities/*'],
  api: [
    'domain/*',
    'api/*',
    'stripe/event',
    ...WORKFLOW_FACE,
    'clock',
    'metrics',
    'type log',
    'type web/*',
    // what may be done without a workflow, and reads
    'ledger/spend',
    'ledger/spend-queue',
    'ledger/hold',
    'ledger/reversal',
    'ledger/gift',
    'type ledger/post',
    'ledger/rehearsal',
    'ledger/overflow',
    'ledger/balance',
    'ledger/entry',
    'store/account',
    'store/inbox',
    'store/change-rate',
    'store/command',
    'store/rate-limit',
    'store/api-key',
    'store/connect',
    'store/reply',
    'store/subscription',
    'store/checkout',
    'store/free',
    'store/price-list',
    'store/purchase',
    'store/top-up',
    'store/alert',
    'store/approval',
    'store/notice',
    'store/delivery',
    'store/webhook-endpoint',
    'store/audit',
    'store/breaker',
    'store/fleet',
  ],
  web: ['web/*', 'api/*', 'domain/*'],
  sandbox: [
    'metrics',
    'sandbox/*',
    'store/connect',
    'store/migrate',
    'store/api-key',
    ...WORKFLOW_FACE,
    'main',
    'type config',
    'type log',
    'log',
  ],
  'sandbox/stripe': ['sandbox/stripe/*'],
}
/** Of the files that stand between the layers. */
const ALONE: Record<string, string[]> = {
  clock: ['type store/connect', 'store/connect'],
  'cli-notice': ['domain/*', 'store/*'],
  'cli-stripe': ['activities/*', 'clock', 'domain/*', 'store/*', 'stripe/*'],
  config: [],
  log: ['type config'],
  metrics: ['type store/fleet'],
}

/** Comments away; strings stay. A quote inside a regular expression does not reach past its line. */
const withoutComments = (text: string): string =>
  text.replace(
    /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)|\/\/[^\n]*|\/\*[\s\S]*?\*\//g,
    '$1',
  )

/** Code only: what stands in strings and comments does not run. Templates stay, their `${}` runs. */
const codeOf = (text: string): string =>
  withoutComments(text).replace(/"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g, "''")

/** Every `import`, `export … from` and `import()` of a text. */
export function importsOf(text: string): Import[] {
  const code = withoutComments(text)
  const stated = [
    ...code.matchAll(/\b(?:import|export)\s+(type\s+)?(?:[\w$*{},\s]*?\bfrom\s+)?['"]([^'"]+)['"]/g),
  ]
  const called = [...code.matchAll(/(\btypeof\s+)?\bimport\(\s*['"`]([^'"`]+)['"`]/g)]
  return [...stated, ...called].map(([, type, from]) => ({
    from: from as string,
    typeOnly: type !== undefined,
  }))
}

/** `sandbox/stripe/x` for `src/sandbox/stripe/x.ts`. */
const moduleOf = (path: string): string => path.replace(/^src\//, '').replace(/\.ts$/, '')

/** What a file imports of ours, as modules; of others, as they are written. */
function resolved(file: SourceFile): (Import & { ours: boolean })[] {
  return importsOf(file.text).map(({ from, typeOnly }) => {
    const ours = from.startsWith('.')
    const target = ours ? moduleOf(posix.join(posix.dirname(file.path), from)) : from
    return { from: target, typeOnly, ours }
  })
}

const layerOf = (module: string): string =>
  module.startsWith('sandbox/stripe/')
    ? 'sandbox/stripe'
    : module.includes('/')
      ? (module.split('/')[0] ?? '')
      : ''

const isIn = (file: SourceFile, ...layers: string[]): boolean =>
  layers.some((layer) => file.path.startsWith(`src/${layer}/`))

function allows(entry: string, { from, typeOnly }: Import): boolean {
  const [pattern, onlyTypes] = entry.startsWith('type ') ? [entry.slice(5), true] : [entry, false]
  if (onlyTypes && !typeOnly) return false
  if (!pattern.endsWith('/*')) return pattern === from
  // the simulator is not part of the rest of the sandbox; only its door is open
  if (pattern === 'sandbox/*' && from.startsWith('sandbox/stripe/')) return from === 'sandbox/stripe/index'
  return from.startsWith(pattern.slice(0, -1))
}

/** A rule that some text must not occur in the code of some files. */
const never = (fact: string, pattern: RegExp, where: (file: SourceFile) => boolean): Rule => ({
  fact,
  denials: (file: SourceFile) =>
    where(file) ? [...codeOf(file.text).matchAll(pattern)].map(([found]) => found.trim()) : [],
})

/** A rule that some files import no packages but those named. */
const onlyPackages = (
  fact: string,
  where: (file: SourceFile) => boolean,
  allowed: (file: SourceFile) => string[],
) => ({
  fact,
  denials: (file: SourceFile) =>
    where(file)
      ? resolved(file)
          .filter(({ from, ours, typeOnly }) => !ours && !typeOnly && !allowed(file).includes(from))
          .map(({ from }) => from)
      : [],
})

const EXACT_LAYERS = ['domain', 'ledger', 'activities', 'workflows', 'api']
const IMPURE =
  /\bprocess\.|\bDate\.now\b|\bnew Date\(\s*\)|\bDate\(\s*\)|\bMath\.random\b|\bset(?:Timeout|Interval|Immediate)\b|\bfetch\(|\bperformance\.|\bcrypto\.|\bconsole\./g
const INEXACT =
  /\bparseFloat\b|\.toNumber\(|\b(?:Number|parseInt)\(\s*[\w.?![\]]*(?:amount|balance|credit|remaining|granted|held|debt|available|price|net|money|ratio)\w*/gi

/** By a short name each. */
export const RULES = {
  table: {
    fact: 'each layer imports only what the table allows',
    denials: (file: SourceFile) => {
      const module = moduleOf(file.path)
      if (MAINS.includes(module)) return []
      const allowed = TABLE[layerOf(module)] ?? ALONE[module]
      if (!allowed) return ['has no place in the table']
      return resolved(file)
        .filter((each) => each.ours && !allowed.some((entry) => allows(entry, each)))
        .map(({ from, typeOnly }) => (typeOnly ? `type ${from}` : from))
    },
  },
  packages: onlyPackages(
    "workflows import nothing that runs but Temporal's own and decimals",
    (file) => isIn(file, 'workflows'),
    ({ path }) => [
      '@temporalio/workflow',
      '@temporalio/common',
      'decimal.js',
      // outside the bundle: the side that others see, and what the mains set up
      ...(/\/(owner|schedule)\.ts$/.test(path) ? ['@temporalio/client'] : []),
    ],
  ),
  bundle: {
    fact: 'what is bundled for workflows never reaches a file that talks to a server',
    denials: (file: SourceFile) =>
      isIn(file, 'workflows') && !/\/(owner|schedule)\.ts$/.test(file.path)
        ? resolved(file)
            .filter(({ from, typeOnly }) => !typeOnly && /^workflows\/(owner|schedule)$/.test(from))
            .map(({ from }) => from)
        : [],
  },
  io: onlyPackages(
    'the domain imports no I/O: decimals and schemas are all it needs',
    (file) => isIn(file, 'domain'),
    () => ['decimal.js', 'zod'],
  ),
  pure: never('the domain has no clock, chance, environment or timer', IMPURE, (file) =>
    isIn(file, 'domain'),
  ),
  config: {
    fact: 'only the mains read the configuration',
    denials: (file: SourceFile) => {
      const module = moduleOf(file.path)
      if (MAINS.includes(module) || module === 'config') return []
      const imports = resolved(file).filter(({ from, typeOnly }) => from === 'config' && !typeOnly)
      // the simulator stands alone and must refuse production by itself
      const own =
        module === 'sandbox/stripe/index' ? /\bprocess\.env\b(?!\.NODE_ENV\b)/g : /\bprocess\.env\b/g
      const reads = [...codeOf(file.text.replaceAll("['NODE_ENV']", '.NODE_ENV')).matchAll(own)]
      return [...imports.map(({ from }) => from), ...reads.map(([found]) => found)]
    },
  },
  exact: never('no JavaScript number comes near money or credits', INEXACT, (file) =>
    isIn(file, ...EXACT_LAYERS),
  ),
  length: {
    fact: 'no file is too long to be read in one sitting: 400 lines at the very most',
    denials: ({ text }: SourceFile) => (lineCount(text) > 400 ? [`${lineCount(text)} lines`] : []),
  },
  depth: {
    fact: 'folders are one deep, two in the sandbox',
    denials: ({ path }: SourceFile) => {
      const folders = path.split('/').slice(1, -1)
      return folders.length > (folders[0] === 'sandbox' ? 3 : 1) ? [folders.join('/')] : []
    },
  },
  drawer: {
    fact: 'there is no drawer for what has no name',
    denials: ({ path }: SourceFile) =>
      path
        .split('/')
        .filter((part) =>
          /^(common|utils?|helpers?|misc|shared|lib|manager|service)(\.ts)?$|-(utils?|helpers?)\.ts$/.test(
            part,
          ),
        ),
  },
} satisfies Record<string, Rule>

export const lineCount = (text: string): number => text.trimEnd().split('\n').length
