// Invoice payments: which payment intent paid which invoice.
import { newestFirst, pageOf } from '../list.ts'
import { hash, oneOf, required, str } from '../param.ts'
import { listShape, route, type Resource } from '../router.ts'

export const invoicePayment: Resource = {
  routes: [
    route(
      'GET',
      '/v1/invoice_payments',
      {
        ...listShape,
        invoice: str,
        status: oneOf('canceled', 'open', 'paid'),
        payment: hash({
          type: required(oneOf('payment_intent', 'payment_record', 'charge')),
          payment_intent: str,
          payment_record: str,
          charge: str,
        }),
      },
      ({ world, params, path }) =>
        pageOf(newestFirst(world.store.all('invoice_payment')), params, path, 'invoice payment', (item) => {
          if (params.invoice !== undefined && item.invoice !== params.invoice) return false
          if (params.status !== undefined && item.status !== params.status) return false
          if (!params.payment) return true
          const { type, payment_intent: intent } = params.payment
          return (
            item.payment.type === type && (intent === undefined || item.payment.payment_intent === intent)
          )
        }),
    ),
    route('GET', '/v1/invoice_payments/:id', {}, ({ world, ids: [id = ''] }) =>
      world.need('invoice_payment', id),
    ),
  ],
}
