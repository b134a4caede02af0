/** Owns the question whether a local port is free, and the words for when it is not. */
import { createServer } from 'node:net'

/** A port that something else listens on; the message names the variable that chooses another. */
export class PortTakenError extends Error {
  override name = 'PortTakenError'
}

/**
 * Fails early and clearly when a part's port is taken, instead of somewhere inside that part.
 * @throws PortTakenError
 */
export async function assertFree(port: number, part: string, variable: string): Promise<void> {
  const failure = await tryListen(port)
  if (failure === undefined) return
  const why =
    failure.code === 'EADDRINUSE' ? 'is taken by another program' : `cannot be used (${failure.code})`
  throw new PortTakenError(`port ${port} for ${part} ${why}; set ${variable} to a free one`)
}

/**
 * Where ports for tests are taken from: below those that systems give to outgoing connections (from 32,768 on Linux,
 * 49,152 elsewhere), because one of those may be gone between our looking and whoever listens.
 */
const FIRST_PORT = 15_000
const PORTS = 17_000
/** Each process begins at a place of its own, so that two that run at once do not look at the same ports. */
let next = (process.pid * 97) % PORTS

/** A port that is free and that this process gives to nobody else, for tests. */
export async function freePort(): Promise<number> {
  for (let tried = 0; tried < PORTS; tried += 1) {
    const port = FIRST_PORT + next
    next = (next + 1) % PORTS
    if ((await tryListen(port)) === undefined) return port
  }
  throw new Error(`no port is free from ${FIRST_PORT} to ${FIRST_PORT + PORTS}`)
}

/** Listens for an instant, at the loopback address that every part of the sandbox uses. */
function tryListen(port: number): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => done(error))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => done(undefined)))
  })
}
