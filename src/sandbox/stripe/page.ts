// The hosted page of a Checkout session: what is being bought, and what a person can do.
import type { Answer } from './api.ts'
import { owedWith } from './balance.ts'
import { sum } from './reckon.ts'
import { totalled } from './checkout-total.ts'
import { closed, escape, every, frame, money, pageHeaders, row } from './html.ts'
import type { CheckoutSession } from './wire.ts'
import type { World } from './world.ts'

const VERBS = { payment: 'Pay', setup: 'Save card', subscription: 'Subscribe' } as const

export function page(world: World, id: string): Answer {
  const session = world.store.get('checkout.session', id)
  const headers = pageHeaders
  if (!session) return { status: 404, headers, body: closed('There is no such checkout', null) }
  const body =
    session.status === 'open'
      ? open(world, totalled(world, session, true))
      : session.status === 'complete'
        ? closed('This checkout is complete', session.success_url?.replaceAll('{CHECKOUT_SESSION_ID}', id))
        : closed('This checkout has expired', session.cancel_url)
  return { status: 200, headers, body }
}

function open(world: World, session: CheckoutSession): string {
  const { id, mode, amount_total, currency, total_details: part } = session
  const lines = session._lines.map(({ quantity, description, amount_subtotal: amount, price }) =>
    row(
      'td',
      `${quantity ?? 1} × ${description ?? ''}`,
      `${money(amount, currency)}${every(price?.recurring)}`,
    ),
  )
  if (part && part.amount_discount > 0)
    lines.push(row('td', 'Discount', `-${money(part.amount_discount, currency)}`))
  for (const [name, inclusive] of [
    ['Tax', false],
    ['Tax, included', true],
  ] as const) {
    const taxes = session._lines.flatMap((line) => line.taxes ?? [])
    const amount = sum(taxes.filter(({ rate }) => rate.inclusive === inclusive).map((tax) => tax.amount))
    if (amount > 0) lines.push(row('td', name, money(amount, currency)))
  }
  const owner = mode === 'subscription' ? world.store.get('customer', session.customer ?? '') : undefined
  const { due, taken } = owedWith(owner, amount_total ?? 0, currency ?? '')
  if (taken !== 0) lines.push(row('td', 'Applied balance', money(-taken, currency)))
  const bill =
    mode === 'setup' ? '' : `<table>${lines.join('')}${row('th', 'Due today', money(due, currency))}</table>`
  const email = session.customer_details?.email ?? session.customer_email ?? ''
  const code = session.allow_promotion_codes
    ? `<label for="code">Promotion code</label>
<input id="code" autocomplete="off" value="${escape(codeOf(world, session))}">
<button id="apply" type="button">Apply</button>
`
    : ''
  const debits = session.payment_method_types.some((type) => type !== 'card')
    ? `<option value="succeeds">Bank debit: paid some days later</option>
<option value="fails">Bank debit: refused some days later</option>
`
    : ''
  return frame(
    'Checkout',
    `<form data-control="/_sandbox/checkout/${encodeURIComponent(id)}/">${bill}
<label for="email">Email</label>
<input id="email" type="email" autocomplete="email" value="${escape(email)}"${email === '' ? '' : ' readonly'}>
${code}<label for="card">Test card or account</label>
<select id="card">
<option value="pm_card_visa">Visa ending in 4242</option>
<option value="pm_card_mastercard">Mastercard ending in 4444</option>
<option value="pm_card_chargeCustomerFail">Visa ending in 0341: renewals will fail</option>
${debits}</select>
<button id="pay" value="pay">${VERBS[mode]}</button>
<button id="decline" value="decline">Try a card that is declined</button>
<button id="abandon" value="abandon" formnovalidate>Leave without paying</button>
<p id="said" role="alert"></p>
</form>
<script>
const form = document.forms[0], said = document.getElementById('said')
const send = async (verb) => {
  if (form.ariaBusy === 'true') return
  form.ariaBusy = 'true'
  said.textContent = ''
  const email = form.email.value || undefined
  const by = form.card.value, { code } = form.elements
  // a code that was typed and not applied counts, too
  const promotion_code = code && code.value !== code.defaultValue ? code.value : undefined
  const body = verb === 'promotion_code' ? { code: code.value || null }
    : verb !== 'pay' ? { email }
    : by.startsWith('pm_') ? { payment_method: by, email, promotion_code }
    : { method: 'bank_debit', outcome: by, email, promotion_code }
  try {
    const answer = await fetch(form.dataset.control + verb,
      { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    const result = await answer.json()
    if (result.redirect_url && !result.error && verb !== 'promotion_code') return location.assign(result.redirect_url)
    if (!result.error) return location.reload()
    said.textContent = result.error.message
  } catch {
    said.textContent = 'The sandbox does not answer. Is it running?'
  }
  form.ariaBusy = null
}
form.onsubmit = (event) => {
  event.preventDefault()
  send(event.submitter.value)
}
if (form.elements.apply) form.elements.apply.onclick = () => send('promotion_code')
// a page brought back by the browser may be used again; the sandbox refuses what is over
onpageshow = () => { form.ariaBusy = null }
</script>`,
  )
}

/** The code that the session's discount was typed as. */
function codeOf(world: World, session: CheckoutSession): string {
  return world.store.get('promotion_code', session.discounts?.[0]?.promotion_code ?? '')?.code ?? ''
}
