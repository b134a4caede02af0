// Invoice items and previews: what waits for the next invoice, and what an invoice would be.
import { invalid, notSimulated, refused } from '../error.ts'
import { liveCustomer } from '../customer.ts'
import { resolvePrice } from '../catalogue.ts'
import { newestFirst, pageOf } from '../list.ts'
import {
  any,
  bool,
  emptyable,
  either,
  hash,
  int,
  list,
  mergeMetadata,
  metadata,
  oneOf,
  str,
} from '../param.ts'
import { previewChange, previewNew } from '../preview.ts'
import { listShape, route, type Resource } from '../router.ts'
import { anchorChange, billingMode, itemChange, prorationBehavior } from '../shape.ts'
import { trialEnd } from '../subscribing.ts'

const details = hash({
  items: list(itemChange),
  billing_cycle_anchor: anchorChange,
  billing_mode: billingMode,
  cancel_at: emptyable(either(oneOf('min_period_end', 'max_period_end'), int)),
  cancel_at_period_end: bool,
  cancel_now: bool,
  metadata,
  proration_behavior: prorationBehavior,
  proration_date: int,
  resume_at: oneOf('now'),
  trial_end: either(oneOf('now'), int),
})

export const invoiceItem: Resource = {
  routes: [
    route(
      'GET',
      '/v1/invoiceitems',
      { ...listShape, customer: str, invoice: str, pending: bool },
      ({ world, params, path }) =>
        pageOf(newestFirst(world.store.all('invoiceitem')), params, path, 'invoiceitem', (item) => {
          if (params.customer !== undefined && item.customer !== params.customer) return false
          if (params.invoice !== undefined && item.invoice !== params.invoice) return false
          return params.pending === undefined || params.pending === (item.invoice === null)
        }),
    ),
    route('GET', '/v1/invoiceitems/:id', {}, ({ world, ids: [id = ''] }) => world.need('invoiceitem', id)),
    route('DELETE', '/v1/invoiceitems/:id', {}, ({ world, ids: [id = ''] }) => {
      const item = world.need('invoiceitem', id)
      if (item.invoice !== null)
        throw refused('You can only delete an invoice item that is not attached to an invoice.')
      world.store.delete('invoiceitem', id)
      world.emit('invoiceitem.deleted', item)
      return { id, object: 'invoiceitem', deleted: true }
    }),
    route(
      'POST',
      '/v1/invoices/create_preview',
      {
        customer: str,
        currency: str,
        preview_mode: oneOf('next'),
        schedule: str,
        schedule_details: any,
        subscription: str,
        subscription_details: details,
      },
      ({ world, params }) => {
        const asked: Partial<NonNullable<typeof params.subscription_details>> =
          params.subscription_details ?? {}
        if (params.schedule_details) throw notSimulated('previews of schedules', 'schedule_details')
        if (params.subscription !== undefined) {
          world.need('subscription', params.subscription, 'subscription')
          const { billing_mode: _mode, ...change } = asked
          return previewChange(world, params.subscription, change)
        }
        if (params.customer === undefined)
          throw invalid('You must specify one of these parameters: customer, subscription.', 'customer')
        liveCustomer(world, params.customer, 'customer')
        const items = (asked.items ?? []).map((item, i) => ({
          price: resolvePrice(world, item.price, undefined, `subscription_details[items][${i}]`),
          quantity: item.quantity ?? 1,
          metadata: mergeMetadata({}, item.metadata),
        }))
        return previewNew(world, {
          customer: params.customer,
          items,
          status: 'incomplete',
          metadata: mergeMetadata({}, asked.metadata),
          default_payment_method: null,
          trial_end: trialEnd(world.at, asked.trial_end, undefined),
          missing_payment_method: 'create_invoice',
          billing_mode: asked.billing_mode?.type ?? 'flexible',
          description: null,
          collection_method: 'charge_automatically',
          days_until_due: null,
          save_default_payment_method: 'off',
        })
      },
    ),
  ],
}
