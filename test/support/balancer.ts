/**
 * A round-robin TCP proxy, as stands before several API processes: each new connection goes to the next one, and one
 * that does not answer is passed over.
 */
import { once } from 'node:events'
import { createServer, connect as dial, type Socket } from 'node:net'

export interface Balancer {
  /** How many connections each upstream was given, in the order of `upstreams`. */
  given(): number[]
  close(): Promise<void>
}

/** @param upstreams ports on this machine */
export async function startBalancer(port: number, upstreams: number[]): Promise<Balancer> {
  const given = upstreams.map(() => 0)
  const sockets = new Set<Socket>()
  let turn = 0

  function keep(socket: Socket, end: () => void): void {
    sockets.add(socket)
    socket.on('error', end).on('close', () => {
      sockets.delete(socket)
      end()
    })
  }

  function forward(client: Socket, first: number, tried = 0): void {
    const index = (first + tried) % upstreams.length
    if (tried === upstreams.length || client.destroyed) {
      client.destroy()
      return
    }
    const upstream = dial(upstreams[index] as number, '127.0.0.1')
    const next = () => forward(client, first, tried + 1)
    upstream.once('error', next).once('connect', () => {
      upstream.off('error', next)
      if (client.destroyed) {
        upstream.destroy()
        return
      }
      given[index] = (given[index] ?? 0) + 1
      keep(upstream, () => client.destroy())
      client.once('close', () => upstream.destroy())
      client.pipe(upstream).pipe(client)
    })
  }

  const server = createServer({ noDelay: true }, (client) => {
    keep(client, () => client.destroy())
    forward(client, turn++)
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    given: () => [...given],
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
