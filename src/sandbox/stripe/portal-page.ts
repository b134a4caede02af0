// The portal's page: the customer's plans, and for each what the configuration lets them do about it.
import type { Answer } from './api.ts'
import { cardChoice, closed, escape, every, formScript, frame, money, pageHeaders, row } from './html.ts'
import { featuresOf, flowSubject, liveSubscriptions, offered } from './portal.ts'
import type { PortalSession, Price, Subscription } from './wire.ts'
import type { World } from './world.ts'

export function portalPage(world: World, id: string): Answer {
  const session = world.store.get('billing_portal.session', id)
  if (!session) return { status: 404, headers: pageHeaders, body: closed('There is no such page', null) }
  const only = flowSubject(session)
  const subs = liveSubscriptions(world, session).filter((sub) => only === undefined || sub.id === only)
  const parts =
    subs.length === 0 ? '<p>No plan is running.</p>' : subs.map((sub) => part(world, session, sub)).join('')
  const back = session.return_url ? `<p><a href="${escape(session.return_url)}">Back to the shop</a></p>` : ''
  const card = featuresOf(world, session).payment_method_update.enabled
    ? `${form(session)}<h2>Payment method</h2>${cardChoice}<button value="card">Use this card</button></form>`
    : ''
  const content = `${parts}${card}<p id="said" role="alert"></p>${back}${formScript}`
  return { status: 200, headers: pageHeaders, body: frame('Your plan', content) }
}

function form(session: PortalSession, sub?: Subscription): string {
  const about = sub ? `<input type="hidden" name="subscription" value="${escape(sub.id)}">` : ''
  return `<form data-control="/_sandbox/portal/${encodeURIComponent(session.id)}/">${about}`
}

function part(world: World, session: PortalSession, sub: Subscription): string {
  const { subscription_cancel: cancel, subscription_update: update } = featuresOf(world, session)
  const [item] = sub.items.data
  const rows = sub.items.data.map(({ price, quantity }) =>
    row('td', `${quantity ?? 1} × ${nameOf(world, price)}`, costs(price)),
  )
  const ends = sub.cancel_at === null ? 'Renews' : 'Ends'
  rows.push(row('td', ends, day(sub.cancel_at ?? item?.current_period_end ?? 0)))
  const change =
    update.enabled && item
      ? `${form(session, sub)}<label for="price-${sub.id}">Plan</label>
<select id="price-${sub.id}" name="price">${offered(world, session, sub)
          .map((price) =>
            option(price.id, `${nameOf(world, price)} · ${costs(price)}`, price.id === item.price.id),
          )
          .join('')}</select>
<label for="quantity-${sub.id}">Quantity</label>
<input id="quantity-${sub.id}" name="quantity" type="number" min="1" value="${item.quantity ?? 1}">
<button value="change">Change the plan</button></form>`
      : ''
  const stop =
    sub.cancel_at !== null
      ? `${form(session, sub)}<button id="pay" value="resume">Keep the plan</button></form>`
      : cancel.enabled
        ? `${form(session, sub)}<label for="why-${sub.id}">Why do you leave?</label>
<select id="why-${sub.id}" name="feedback"><option value="">No answer</option>
${reasons.map(([value, words]) => option(value, words, false)).join('')}</select>
<button value="cancel">Cancel the plan</button></form>`
        : ''
  return `<section><table>${rows.join('')}</table>${change}${stop}</section>`
}

const reasons: [value: string, words: string][] = [
  ['too_expensive', 'It is too expensive'],
  ['missing_features', 'I need more features'],
  ['switched_service', 'I found an alternative'],
  ['unused', 'I no longer need it'],
  ['other', 'Other reason'],
]

function option(value: string, words: string, selected: boolean): string {
  return `<option value="${escape(value)}"${selected ? ' selected' : ''}>${escape(words)}</option>`
}

function nameOf(world: World, price: Price): string {
  return price.nickname ?? world.store.get('product', price.product)?.name ?? price.id
}

function costs(price: Price): string {
  return `${money(price.unit_amount, price.currency)}${every(price.recurring)}`
}

function day(at: number): string {
  return new Date(at * 1000).toISOString().slice(0, 10)
}
