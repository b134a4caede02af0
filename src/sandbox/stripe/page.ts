// The hosted page of a Checkout session: what is being bought, and three things a person can do.
import type { Answer } from './api.ts'
import type { World } from './world.ts'

function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}

function money(amount: number | null, currency: string | null): string {
  return `${((amount ?? 0) / 100).toFixed(2)} ${(currency ?? '').toUpperCase()}`
}

export function page(world: World, id: string): Answer {
  const session = world.store.get('checkout.session', id)
  const headers = { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' }
  if (!session) return { status: 404, headers, body: frame('<h1>No such checkout</h1>') }
  if (session.status !== 'open')
    return { status: 200, headers, body: frame(`<h1>This checkout is ${escape(session.status ?? '')}</h1>`) }
  const rows = session._lines.map((line) => {
    const every = line.price?.recurring ? ` / ${line.price.recurring.interval}` : ''
    const name = `${line.quantity ?? 1} × ${line.description ?? ''}`
    return `<tr><td>${escape(name)}</td><td>${escape(money(line.amount_total, line.currency))}${escape(every)}</td></tr>`
  })
  const verb = session.mode === 'subscription' ? 'Subscribe' : session.mode === 'setup' ? 'Save card' : 'Pay'
  const body = frame(`<h1>Checkout <small>sandbox</small></h1>
<table>${rows.join('')}<tr><th>Due today</th><th>${escape(money(session.amount_total, session.currency))}</th></tr></table>
<label>Email <input id="email" type="email" value="${escape(session.customer_details?.email ?? '')}"></label>
<label>Card <select id="card">
<option value="pm_card_visa">Visa 4242</option><option value="pm_card_mastercard">Mastercard 4444</option>
<option value="pm_card_chargeCustomerFail">Visa 0341, later charges fail</option>
</select></label>
<button id="pay">${verb}</button> <button id="decline">Use a card that is declined</button> <button id="abandon">Walk away</button>
<p id="said" role="status"></p>
<script>
const said = document.getElementById('said')
for (const verb of ['pay', 'decline', 'abandon']) document.getElementById(verb).onclick = async () => {
  const email = document.getElementById('email').value || undefined
  const body = verb === 'pay' ? { payment_method: document.getElementById('card').value, email } : { email }
  const answer = await fetch('/_sandbox/checkout/${encodeURIComponent(id)}/' + verb,
    { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  const result = await answer.json()
  if (result.error) said.textContent = result.error.message
  else if (result.redirect_url) location.href = result.redirect_url
  else location.reload()
}
</script>`)
  return { status: 200, headers, body }
}

function frame(content: string): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Checkout (sandbox)</title><style>
body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:3rem auto;padding:0 1rem}
table{width:100%;border-collapse:collapse;margin:1rem 0}td,th{text-align:left;padding:.4rem 0;border-bottom:1px solid #ddd}
label{display:block;margin:.6rem 0}button{font:inherit;padding:.5rem 1rem;margin:.5rem .3rem .5rem 0}
#pay{background:#635bff;color:#fff;border:0;border-radius:.3rem}#said{color:#b00020}
</style></head><body>${content}</body></html>`
}
