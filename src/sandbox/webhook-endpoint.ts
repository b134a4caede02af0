/** Owns the sandbox's one webhook endpoint: made once through Stripe's API, its secret kept in the data folder. */
import { join } from 'node:path'
import { Stripe } from 'stripe'
import { keepSecret, readIfThere } from './data-dir.ts'

/** The version the product is written against; its payloads come in this shape. */
const API_VERSION = '2026-10-28.endive'
const FILE = 'stripe-webhook.json'

/**
 * The signing secret of the endpoint at `url`. Stripe tells it only when the endpoint is made, so it is kept;
 * an endpoint that Stripe no longer knows is made anew, one with another address is moved.
 */
export async function ensureWebhookEndpoint(input: {
  apiKey: string
  sandboxUrl: string
  url: string
  dataDir: string
}): Promise<string> {
  const { apiKey, sandboxUrl, url, dataDir } = input
  const { hostname, port } = new URL(sandboxUrl)
  const stripe = new Stripe(apiKey, { apiVersion: API_VERSION, host: hostname, port, protocol: 'http' })

  const kept = readIfThere(join(dataDir, FILE))
  if (kept) {
    const { id, secret } = JSON.parse(kept) as { id: string; secret: string }
    const endpoint = await stripe.webhookEndpoints.retrieve(id).catch((error: Stripe.errors.StripeError) => {
      if (error.statusCode === 404) return undefined
      throw error
    })
    if (endpoint) {
      if (endpoint.url !== url) await stripe.webhookEndpoints.update(id, { url })
      return secret
    }
  }
  const made = await stripe.webhookEndpoints.create({ url, api_version: API_VERSION, enabled_events: ['*'] })
  if (!made.secret) throw new Error('the Stripe sandbox made a webhook endpoint without a secret')
  keepSecret(dataDir, FILE, JSON.stringify({ id: made.id, secret: made.secret }))
  return made.secret
}
