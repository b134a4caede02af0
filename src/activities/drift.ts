/** The duty that notices when Stripe sells something else than we do: somebody changed a price in its dashboard. */
import { drift as driftOf } from '../domain/price-facts.ts'
import { raiseAlert, resolveAlertsBut } from '../store/alert.ts'
import type { Pool } from '../store/connect.ts'
import { recorded } from '../store/duty.ts'
import { listOnSale } from '../store/price-list.ts'
import type { PriceGateway } from '../stripe/price.ts'
import { lookAt } from './catalog.ts'
import { translated } from './translate.ts'

export interface DriftDeps {
  pool: Pool
  prices: PriceGateway
}

const ALERT = 'catalog_drift'

export type DriftActivities = ReturnType<typeof createDriftActivities>

export function createDriftActivities({ pool, prices: stripe }: DriftDeps) {
  return translated({
    /** Compares everything on sale with Stripe. An alert a lookup key says what differs, until it is gone. */
    drift: () =>
      recorded(pool, 'drift', async () => {
        const sold = (await listOnSale(pool)).filter((terms) => terms.kind !== 'free')
        const keys = sold.map(({ lookupKey }) => lookupKey)
        const ids = sold.map(({ priceId }) => priceId)
        const { prices, holders } = await lookAt(stripe, keys, ids)
        const adrift: string[] = []
        for (const terms of sold) {
          const found = driftOf(terms, prices.get(terms.priceId), holders.get(terms.lookupKey))
          if (found.length === 0) continue
          adrift.push(terms.lookupKey)
          await raiseAlert(pool, ALERT, terms.lookupKey, `${terms.priceId} in Stripe: ${found.join('; ')}`)
        }
        await resolveAlertsBut(pool, ALERT, adrift)
        return { prices: sold.length, adrift: adrift.length }
      }),
  })
}
