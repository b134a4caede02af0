/** A line to Stripe's API on which a test decides what becomes of each request. */
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

/** `pass`; `cut` the line before the request arrives, or its `answer` after it was carried out; or answer a failure. */
export type Fate =
  | 'pass'
  | 'cut'
  | 'cut answer'
  | { status: number; headers?: Record<string, string>; type?: 'api_error' | 'invalid_request_error' }

export interface StripeProxy {
  url: string
  /** every request that arrived: method, path with query, body, Idempotency-Key */
  seen: { method: string; path: string; body: string; key: string | undefined }[]
  decide: (request: StripeProxy['seen'][number]) => Fate
  close(): Promise<void>
}

/** @param target origin of the Stripe sandbox */
export async function startStripeProxy(target: string): Promise<StripeProxy> {
  const server = createServer((request, response) => {
    const passOn = async () => {
      const body = await textOf(request)
      const { method = 'GET', url: path = '/' } = request
      const key = request.headers['idempotency-key']
      const one = { method, path, body, key: typeof key === 'string' ? key : undefined }
      proxy.seen.push(one)
      const fate = proxy.decide(one)
      if (fate === 'cut') return request.socket.destroy()
      if (typeof fate === 'object') {
        response.writeHead(fate.status, { 'content-type': 'application/json', ...fate.headers })
        const { type = 'api_error' } = fate
        return response.end(JSON.stringify({ error: { type, message: 'a test said so' } }))
      }
      const headers = Object.fromEntries(
        ['authorization', 'content-type', 'idempotency-key', 'stripe-version'].flatMap((name) => {
          const value = request.headers[name]
          return typeof value === 'string' ? [[name, value]] : []
        }),
      )
      const answer = await fetch(target + path, { method, headers, ...(body === '' ? {} : { body }) })
      const text = await answer.text()
      if (fate === 'cut answer') return request.socket.destroy()
      const replayed = answer.headers.get('idempotent-replayed')
      response.writeHead(answer.status, {
        'content-type': 'application/json',
        ...(replayed === null ? {} : { 'idempotent-replayed': replayed }),
      })
      return response.end(text)
    }
    // who is asked may have been stopped meanwhile: that is the caller's failure, and not of whichever test runs then
    passOn().catch(() => request.socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy: StripeProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen: [],
    decide: () => 'pass',
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return proxy
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}
