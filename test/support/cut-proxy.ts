/**
 * A line to Postgres that is cut at the worst moment: the statement has arrived and runs to its end, its answer never
 * comes back. Nobody who was cut off knows whether it committed.
 */
import { once } from 'node:events'
import { createServer, connect as dial, type AddressInfo, type Socket } from 'node:net'

export interface CutProxy {
  /** the same database through the proxy */
  url: string
  /**
   * Holds back the answer to the first traffic that contains `text`, on a connection that has said `before` already;
   * resolves once Postgres has given it. Whoever waits for it waits until the proxy is closed.
   */
  holdAfter(text: string, before?: string): Promise<void>
  /** Cuts the first connection whose traffic to Postgres contains `text`, once Postgres has answered it. */
  cutAfter(text: string): void
  close(): Promise<void>
}

export async function startCutProxy(url: string): Promise<CutProxy> {
  const target = new URL(url)
  let armed: string | undefined
  let needed: string | undefined
  let onHeld: (() => void) | undefined
  /** connections that have said what is needed since the moment was chosen */
  let said = new Set<Socket>()
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = dial(Number(target.port), target.hostname)
    let cutting = false
    sockets.add(client).add(upstream)
    const end = () => {
      client.destroy()
      upstream.destroy()
    }
    client.on('data', (chunk) => {
      if (needed === undefined || chunk.includes(needed)) said.add(client)
      if (armed !== undefined && said.has(client) && chunk.includes(armed)) {
        armed = undefined
        cutting = true
      }
      upstream.write(chunk)
    })
    upstream.on('data', (chunk) => {
      // Postgres answers after it has committed: the work is done, the caller will not hear of it
      if (!cutting) client.write(chunk)
      else if (onHeld !== undefined) onHeld()
      else end()
    })
    for (const socket of [client, upstream]) socket.on('error', end).on('close', end)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const through = new URL(url)
  through.port = String((server.address() as AddressInfo).port)
  return {
    url: through.href,
    cutAfter(text) {
      armed = text
      needed = undefined
      said = new Set()
      onHeld = undefined
    },
    holdAfter(text, before) {
      armed = text
      needed = before
      said = new Set()
      return new Promise((resolve) => {
        onHeld = resolve
      })
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
