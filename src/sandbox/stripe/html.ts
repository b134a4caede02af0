// What the sandbox's own pages share: their frame, their tables, and how their forms reach the control plane.

export const pageHeaders = { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' }

export function closed(heading: string, back: string | null | undefined): string {
  return frame(heading, back ? `<p><a href="${escape(back)}">Back to the shop</a></p>` : '')
}

export function row(cell: 'td' | 'th', what: string, amount: string): string {
  const scope = cell === 'th' ? ' scope="row"' : ''
  return `<tr><${cell}${scope}>${escape(what)}</${cell}><td>${escape(amount)}</td></tr>`
}

export function every(recurring: { interval: string; interval_count: number } | null | undefined): string {
  if (!recurring) return ''
  const { interval, interval_count: count } = recurring
  return count === 1 ? ` / ${interval}` : ` / ${count} ${interval}s`
}

/** Minor units as people write them: 2000 usd is $20.00, 2000 jpy is ¥2,000. */
export function money(minor: number | null, currency: string | null): string {
  const format = new Intl.NumberFormat('en-US', { style: 'currency', currency: currency ?? 'usd' })
  return format.format((minor ?? 0) / 10 ** (format.resolvedOptions().maximumFractionDigits ?? 2))
}

export function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}

export function frame(heading: string, content: string): string {
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

/** Each form posts its fields to the control endpoint that its button names, then goes where it is told or stays. */
export const formScript = `<script>
for (const form of document.forms) {
  const said = document.getElementById('said')
  form.onsubmit = async (event) => {
    event.preventDefault()
    if (form.ariaBusy === 'true') return
    form.ariaBusy = 'true'
    said.textContent = ''
    const body = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ''))
    try {
      const answer = await fetch(form.dataset.control + event.submitter.value,
        { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
      const result = await answer.json()
      if (result.redirect_url && !result.error) return location.assign(result.redirect_url)
      if (!result.error) return location.reload()
      said.textContent = result.error.message
    } catch {
      said.textContent = 'The sandbox does not answer. Is it running?'
    }
    form.ariaBusy = null
  }
}
onpageshow = () => { for (const form of document.forms) form.ariaBusy = null }
</script>`

export const cardChoice = `<label for="card">Test card</label>
<select id="card" name="payment_method">
<option value="pm_card_visa">Visa ending in 4242</option>
<option value="pm_card_mastercard">Mastercard ending in 4444</option>
<option value="pm_card_authenticationRequired">Visa ending in 3184: the bank asks</option>
<option value="pm_card_chargeCustomerFail">Visa ending in 0341: declined</option>
</select>`
