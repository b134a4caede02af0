// Invoices and their lines: read, finalise, pay, void.
import { collectDue, finalizeDue } from '../cycle.ts'
import { refused, StripeFault, invalid } from '../error.ts'
import { attempt, finalize, methodFor, paymentOf, settle } from '../invoicing.ts'
import { newestFirst, pageOf } from '../list.ts'
import { bool, mergeMetadata, metadata, oneOf, str } from '../param.ts'
import { declineError } from '../payment.ts'
import { listShape, pageShape, route, type Resource } from '../router.ts'
import { markUncollectible, voidInvoice } from '../subscription-state.ts'
import { resolveMethod } from '../payment-method.ts'
import type { Invoice } from '../wire.ts'
import type { World } from '../world.ts'

/** A draft that advances by itself is finalised an hour later. docs.stripe.com/billing/invoices/workflow-transitions */
function plan(world: World, draft: Invoice, advances: boolean): void {
  const at = advances ? world.at + 3600 : null
  if (at === null) world.deadlines.clear('invoice.finalize', draft.id)
  else world.deadlines.set('invoice.finalize', draft.id, at * 1000)
  world.update('invoice', draft.id, { automatically_finalizes_at: at, next_payment_attempt: at })
}

export const invoice: Resource = {
  routes: [
    route(
      'GET',
      '/v1/invoices',
      {
        ...listShape,
        customer: str,
        subscription: str,
        status: oneOf('draft', 'open', 'paid', 'uncollectible', 'void'),
        collection_method: str,
      },
      ({ world, params, path }) =>
        pageOf(newestFirst(world.store.all('invoice')), params, path, 'invoice', (item) => {
          if (params.customer !== undefined && item.customer !== params.customer) return false
          if (params.status !== undefined && item.status !== params.status) return false
          const sub = item.parent?.subscription_details?.subscription
          return params.subscription === undefined || sub === params.subscription
        }),
    ),
    route('GET', '/v1/invoices/:id', {}, ({ world, ids: [id = ''] }) => world.need('invoice', id)),
    route('POST', '/v1/invoices/:id', { metadata, auto_advance: bool, description: str }, (call) => {
      const [id = ''] = call.ids
      const old = call.world.need('invoice', id)
      const { auto_advance, description } = call.params
      if (old.status === 'draft' && auto_advance !== undefined) plan(call.world, old, auto_advance)
      return call.world.update(
        'invoice',
        id,
        {
          metadata: mergeMetadata(old.metadata, call.params.metadata),
          ...(auto_advance === undefined ? {} : { auto_advance }),
          ...(description === undefined ? {} : { description }),
        },
        'invoice.updated',
      )
    }),
    route('GET', '/v1/invoices/:id/lines', pageShape, ({ world, ids: [id = ''], params, path }) => ({
      ...pageOf(world.need('invoice', id).lines.data, params, path, 'line item'),
    })),
    route('POST', '/v1/invoices/:id/finalize', { auto_advance: bool }, ({ world, ids: [id = ''] }) => {
      world.need('invoice', id)
      const done = finalize(world, id)
      if (done.status === 'open') world.deadlines.set('invoice.attempt', id, (world.at + 3600) * 1000)
      return done
    }),
    route(
      'POST',
      '/v1/invoices/:id/pay',
      { payment_method: str, paid_out_of_band: bool, off_session: bool, forgive: bool },
      ({ world, ids: [id = ''], params }) => {
        const old = world.need('invoice', id)
        if (old.status === 'paid') throw refused('Invoice is already paid')
        // an uncollectible invoice can still be paid: docs.stripe.com/invoicing/overview#invoice-statuses
        if (old.status === 'void') throw refused(`Invoices with status ${old.status} cannot be paid.`)
        const open = old.status === 'draft' ? finalize(world, id) : old
        if (open.status === 'paid') return open
        if (params.paid_out_of_band) return settle(world, id, { outOfBand: true })
        const method =
          params.payment_method === undefined
            ? methodFor(world, open)
            : resolveMethod(world, params.payment_method, 'payment_method')
        if (!method)
          throw invalid(
            'There is no `default_payment_method` set on this Customer or Invoice. Please set a `default_payment_method`.',
            undefined,
            'missing',
          )
        const { outcome, invoice: after } = attempt(world, id, {
          method,
          offSession: params.off_session ?? true,
          automatic: false,
        })
        if (outcome === 'succeeded') return after
        const intent = world.need('payment_intent', paymentOf(world, id)?.payment.payment_intent ?? '')
        if (outcome === 'declined') throw declineError(method, intent)
        const message =
          'This payment requires additional user action before it can be completed successfully. Payment can be completed using the PaymentIntent associated with this invoice.'
        throw new StripeFault(
          402,
          { type: 'card_error', code: 'invoice_payment_intent_requires_action', message },
          true,
        )
      },
    ),
    route('POST', '/v1/invoices/:id/void', {}, ({ world, ids: [id = ''] }) => {
      const old = world.need('invoice', id)
      if (old.status !== 'open' && old.status !== 'uncollectible')
        throw refused("You can only pass in open invoices. This invoice isn't open.")
      return voidInvoice(world, old)
    }),
    route('POST', '/v1/invoices/:id/mark_uncollectible', {}, ({ world, ids: [id = ''] }) => {
      const old = world.need('invoice', id)
      if (old.status !== 'open') throw refused("You can only pass in open invoices. This invoice isn't open.")
      return markUncollectible(world, old)
    }),
  ],
  deadlines: { 'invoice.finalize': finalizeDue, 'invoice.attempt': collectDue },
  includable: {
    'invoice.payments': (world, object) => ({
      object: 'list',
      data: newestFirst(world.store.all('invoice_payment').filter((p) => p.invoice === object['id'])),
      has_more: false,
      url: '/v1/invoice_payments',
    }),
    'invoice.confirmation_secret': (world, object) => {
      const intentId = paymentOf(world, String(object['id']))?.payment.payment_intent
      const intent = intentId === undefined ? undefined : world.store.get('payment_intent', intentId)
      return intent ? { client_secret: intent.client_secret, type: 'payment_intent' } : null
    },
  },
}
