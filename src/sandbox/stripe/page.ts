// The hosted page of a Checkout session: what is being bought, and what a person can do.
import type { Answer } from './api.ts'
import { totalled } from './checkout-total.ts'
import type { CheckoutSession } from './wire.ts'
import type { World } from './world.ts'

const VERBS = { payment: 'Pay', setup: 'Save card', subscription: 'Subscribe' } as const

export function page(world: World, id: string): Answer {
  const session = world.store.get('checkout.session', id)
  const headers = { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' }
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
  if (part && part.amount_tax > 0) lines.push(row('td', 'Tax', money(part.amount_tax, currency)))
  const bill =
    mode === 'setup'
      ? ''
      : `<table>${lines.join('')}${row('th', 'Due today', money(amount_total, currency))}</table>`
  const email = session.customer_details?.email ?? session.customer_email ?? ''
  const code = session.allow_promotion_codes
    ? `<label for="code">Promotion code</label>
<input id="code" autocomplete="off" value="${escape(codeOf(world, session))}">
<button id="apply" value="promotion_code" formnovalidate>Apply</button>
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
form.onsubmit = async (event) => {
  event.preventDefault()
  if (form.ariaBusy === 'true') return
  form.ariaBusy = 'true'
  said.textContent = ''
  const verb = event.submitter.value
  const email = form.email.value || undefined
  const by = form.card.value
  const body = verb === 'promotion_code' ? { code: form.code.value || null }
    : verb !== 'pay' ? { email }
    : by.startsWith('pm_') ? { payment_method: by, email }
    : { method: 'bank_debit', outcome: by, email }
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
// a page brought back by the browser may be used again; the sandbox refuses what is over
onpageshow = () => { form.ariaBusy = null }
</script>`,
  )
}

function closed(heading: string, back: string | null | undefined): string {
  return frame(heading, back ? `<p><a href="${escape(back)}">Back to the shop</a></p>` : '')
}

/** The code that the session's discount was typed as. */
function codeOf(world: World, session: CheckoutSession): string {
  return world.store.get('promotion_code', session.discounts?.[0]?.promotion_code ?? '')?.code ?? ''
}

function row(cell: 'td' | 'th', what: string, amount: string): string {
  const scope = cell === 'th' ? ' scope="row"' : ''
  return `<tr><${cell}${scope}>${escape(what)}</${cell}><td>${escape(amount)}</td></tr>`
}

function every(recurring: { interval: string; interval_count: number } | null | undefined): string {
  if (!recurring) return ''
  const { interval, interval_count: count } = recurring
  return count === 1 ? ` / ${interval}` : ` / ${count} ${interval}s`
}

/** Minor units as people write them: 2000 usd is $20.00, 2000 jpy is ¥2,000. */
function money(minor: number | null, currency: string | null): string {
  const format = new Intl.NumberFormat('en-US', { style: 'currency', currency: currency ?? 'usd' })
  return format.format((minor ?? 0) / 10 ** (format.resolvedOptions().maximumFractionDigits ?? 2))
}

function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}

function frame(heading: string, content: string): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">
<title>${escape(heading)} · Stripe sandbox</title><style>
:root{color-scheme:light dark;--line:#8884;--quiet:light-dark(#5b5b66,#a9a9b4);--bad:light-dark(#b00020,#ff8a9a)}
*{box-sizing:border-box}html{background:Canvas;color:CanvasText}
body{font:16px/1.5 system-ui,sans-serif;max-width:28rem;margin:clamp(1.5rem,8vh,5rem) auto;padding:0 1.25rem}
h1{font-size:1.5rem;line-height:1.25;margin:0}
header p{color:var(--quiet);margin:.25rem 0 1.5rem}
table{width:100%;border-collapse:collapse;margin-bottom:1.5rem;font-variant-numeric:tabular-nums}
td,th{text-align:left;padding:.6rem 0;border-bottom:1px solid var(--line)}
td:last-child{text-align:right;padding-left:1rem}tr:last-child td{font-weight:700}
label{display:block;font-weight:600;margin-bottom:.25rem}
input,select,button{font:inherit;width:100%;min-height:2.75rem;padding:.4rem .75rem;border-radius:.4rem}
input,select{margin-bottom:1rem;border:1px solid #808080;background:Canvas;color:inherit}input:read-only{color:var(--quiet)}
button{margin-top:.5rem;border:1px solid #808080;background:none;color:inherit;cursor:pointer}
#pay{background:#5148e5;border-color:#5148e5;color:#fff;font-weight:600}
:focus-visible{outline:3px solid #7a73ff;outline-offset:2px}
[aria-busy]{cursor:progress}[aria-busy] button{opacity:.6;pointer-events:none}
#said{min-height:1.5em;margin:1rem 0 0;color:var(--bad);font-weight:600}
</style></head><body><main><header><h1>${escape(heading)}</h1><p>Stripe sandbox: no real money moves here.</p></header>
${content}</main></body></html>`
}
