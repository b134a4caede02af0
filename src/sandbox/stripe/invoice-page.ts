// The hosted page of an invoice: what is owed, and what a person can do: pay with a card, pass the bank's check.
// docs.stripe.com/invoicing/hosted-invoice-page
import type { Answer } from './api.ts'
import { cardChoice, closed, escape, formScript, frame, money, pageHeaders, row } from './html.ts'
import { paymentOf } from './invoicing.ts'
import type { Invoice } from './wire.ts'
import type { World } from './world.ts'

export function invoicePage(world: World, id: string): Answer {
  const invoice = world.store.get('invoice', id)
  if (!invoice || invoice.status === 'draft')
    return { status: 404, headers: pageHeaders, body: closed('There is no such invoice', null) }
  return {
    status: 200,
    headers: pageHeaders,
    body: frame(titles[invoice.status ?? ''] ?? 'Invoice', of(world, invoice)),
  }
}

const titles: Record<string, string> = {
  open: 'Invoice to be paid',
  paid: 'This invoice is paid',
  uncollectible: 'Invoice to be paid',
  void: 'This invoice is void',
}

function of(world: World, invoice: Invoice): string {
  const { id, currency, status } = invoice
  const lines = invoice.lines.data.map((line) =>
    row('td', line.description ?? '', money(line.amount, currency)),
  )
  const bill = `<table>${lines.join('')}${row('th', 'Due', money(invoice.amount_remaining, currency))}</table>`
  if (status !== 'open' && status !== 'uncollectible') return bill
  const intent = world.store.get('payment_intent', paymentOf(world, id)?.payment.payment_intent ?? '')
  const asks = intent?.status === 'requires_action'
  const check = asks
    ? `<p>Your bank asks whether it is you.</p>
<button id="pay" value="authenticate">Yes, it is me</button>
`
    : ''
  return `<form data-control="/_sandbox/invoices/${encodeURIComponent(id)}/">${bill}
${check}${cardChoice}
<button${asks ? '' : ' id="pay"'} value="pay">Pay ${escape(money(invoice.amount_remaining, currency))}</button>
<p id="said" role="alert"></p>
</form>
${formScript}`
}
