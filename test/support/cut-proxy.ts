/**
 * A line to Postgres that is cut at the worst moment: the statement has arrived and runs to its end, its answer never
 * comes back. Nobody who was cut off knows whether it committed.
 */
import { once } from 'node:events'
import { createServer, connect as dial, type AddressInfo } from 'node:net'

export interface CutProxy {
  /** the same database through the proxy */
  url: string
  /** Cuts the first connection whose traffic to Postgres contains `text`, once Postgres has answered it. */
  cutAfter(text: string): void
  close(): Promise<void>
}

export async function startCutProxy(url: string): Promise<CutProxy> {
  const target = new URL(url)
  let armed: string | undefined
  const server = createServer((client) => {
    const upstream = dial(Number(target.port), target.hostname)
    let cutting = false
    const end = () => {
      client.destroy()
      upstream.destroy()
    }
    client.on('data', (chunk) => {
      if (armed !== undefined && chunk.includes(armed)) {
        armed = undefined
        cutting = true
      }
      upstream.write(chunk)
    })
    upstream.on('data', (chunk) => {
      // Postgres answers after it has committed: the work is done, the caller will not hear of it
      if (cutting) end()
      else client.write(chunk)
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
    },
    async close() {
      server.close()
      await once(server, 'close')
    },
  }
}
