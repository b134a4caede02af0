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

/** A port that was free a moment ago, for tests. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((done, fail) => server.once('error', fail).listen(0, '127.0.0.1', done))
  const { port } = server.address() as { port: number }
  await new Promise((done) => server.close(done))
  return port
}

/** Listens for an instant, at the loopback address that every part of the sandbox uses. */
function tryListen(port: number): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => done(error))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => done(undefined)))
  })
}
