/** What must hold between the parts of a catalogue file. Looks at files that are wrong in other ways, too. */
import { lookupKey } from './id.ts'

export interface Problem {
  path: PropertyKey[]
  message: string
}

type Loose = Record<string, unknown>

/** Every relation that does not hold, at the place that denies it. What has the wrong shape is told elsewhere. */
export function relations(json: unknown): Problem[] {
  const file = looseOf(json)
  const plans = listOf(file['plans'])
  const packs = listOf(file['packs'])
  return [
    ...twice(plans, ['plans'], (plan) => plan['key'], 'key', 'another plan has this key'),
    ...twice(packs, ['packs'], (pack) => pack['key'], 'key', 'another pack has this key'),
    ...twice(
      plans,
      ['plans'],
      ({ group = 'default', tier }) => typeof tier === 'number' && `${String(group)}/${tier}`,
      'tier',
      'another plan of this group has this rank',
    ),
    ...plans.flatMap((plan, index) =>
      'key' in plan ? inPlan(plan, ['plans', index], file['currency']) : [],
    ),
    ...sameLookupKeys(plans, packs),
    ...inLimits(looseOf(file['limits']), packs, file['currency']),
    ...inDunning(looseOf(file['dunning'])),
  ]
}

function inPlan(plan: Loose, path: PropertyKey[], own: unknown): Problem[] {
  const prices = listOf(plan['prices'])
  const free = plan['free'] === true
  const wrong = (broken: boolean, field: string, message: string) =>
    broken ? [{ path: [...path, field], message }] : []
  return [
    ...wrong(free && prices.length > 0, 'prices', 'a free plan has no prices'),
    ...wrong(!free && prices.length === 0, 'prices', 'at least one price, or "free": true'),
    ...wrong(free && 'trial' in plan, 'trial', 'a free plan has nothing to try'),
    ...wrong(free && 'discount_rule' in plan, 'discount_rule', 'a free plan has no discounts'),
    ...wrong(
      !free && 'trial' in plan && prices.length > 0 && prices.every((price) => 'commitment_months' in price),
      'trial',
      'a trial needs a price without commitment, which is what it goes over to',
    ),
    ...wrong(
      'grace_hours' in plan && looseOf(plan['renewal'])['rule'] === 'keep',
      'grace_hours',
      'credits that are kept do not lapse, so there is no grace',
    ),
    ...twice(
      prices,
      [...path, 'prices'],
      ({ interval, commitment_months: months, currency = own }) =>
        `${String(interval)}/${String(months)}/${String(currency)}`,
      'interval',
      'one price an interval, commitment and currency',
    ),
    ...prices.flatMap(({ interval, commitment_months: months }, index) =>
      interval === 'year' && typeof months === 'number' && (months % 12 !== 0 || months < 24)
        ? [
            {
              path: [...path, 'prices', index, 'commitment_months'],
              message: 'with a yearly price, two whole years or more',
            },
          ]
        : [],
    ),
  ]
}

/** Plans called `pack` or `free` could meet the keys of packs and free plans. */
function sameLookupKeys(plans: Loose[], packs: Loose[]): Problem[] {
  const keys = [
    ...plans.flatMap((plan, index) => {
      const path = ['plans', index, 'key']
      const { key } = plan
      if (typeof key !== 'string') return []
      if (plan['free'] === true) return [{ path, key: lookupKey.free(key, '') }]
      return ['month' as const, 'year' as const].map((interval) => ({
        path,
        key: lookupKey.price(key, interval, null, '', null),
      }))
    }),
    ...packs.flatMap(({ key }, index) =>
      typeof key === 'string' ? [{ path: ['packs', index, 'key'], key: lookupKey.pack(key, '', null) }] : [],
    ),
  ]
  // an equal key is told of already; here it is another key that comes to the same
  return keys.flatMap(({ path, key }, index) => {
    const before = keys.slice(0, index).find((other) => other.key === key)
    if (before === undefined || before.path[0] === path[0]) return []
    return [
      { path, message: `its price could not be told from that of ${before.path.slice(0, 2).join('.')}` },
    ]
  })
}

/** Every currency that packs are sold in has limits, and each price is within those of its own. */
function inLimits(limits: Loose, packs: Loose[], own: unknown): Problem[] {
  const others = Object.entries(looseOf(limits['currencies']))
  const problems = [
    ...inOrder(limits, ['limits']),
    ...others.flatMap(([code, each]) => inOrder(looseOf(each), ['limits', 'currencies', code])),
    ...others
      .filter(([code]) => code === own)
      .map(([code]) => ({
        path: ['limits', 'currencies', code],
        message: 'the catalogue’s own, said above',
      })),
  ]
  for (const [index, pack] of packs.entries()) {
    const path = ['packs', index]
    problems.push(...within(limits, pack['unit_amount'], [...path, 'unit_amount']))
    const seen = new Set([own])
    for (const [at, price] of listOf(pack['prices']).entries()) {
      const { currency } = price
      const place = [...path, 'prices', at]
      if (typeof currency !== 'string') continue
      if (seen.has(currency)) problems.push({ path: [...place, 'currency'], message: 'one price a currency' })
      seen.add(currency)
      const theirs = others.find(([code]) => code === currency)?.[1]
      if (theirs === undefined && currency !== own)
        problems.push({ path: [...place, 'currency'], message: 'limits.currencies says nothing of it' })
      problems.push(...within(looseOf(theirs), price['unit_amount'], [...place, 'unit_amount']))
    }
  }
  return problems
}

function inOrder(limits: Loose, path: PropertyKey[]): Problem[] {
  const [least, most, day] = ['purchase_min', 'purchase_max', 'purchase_day_max'].map((field) =>
    amountOf(limits[field]),
  )
  return [
    ...(above(least, most) ? [{ path: [...path, 'purchase_max'], message: 'below purchase_min' }] : []),
    ...(above(most, day) ? [{ path: [...path, 'purchase_day_max'], message: 'below purchase_max' }] : []),
  ]
}

function within(limits: Loose, price: unknown, path: PropertyKey[]): Problem[] {
  const amount = amountOf(price)
  const outside =
    above(amountOf(limits['purchase_min']), amount) || above(amount, amountOf(limits['purchase_max']))
  return outside ? [{ path, message: 'not within the limits of a purchase' }] : []
}

function inDunning({ reminder_days: days }: Loose): Problem[] {
  return (Array.isArray(days) ? days : []).flatMap((day: unknown, index, all: unknown[]) => {
    const before = all[index - 1]
    if (typeof day !== 'number' || typeof before !== 'number' || day > before) return []
    return [{ path: ['dunning', 'reminder_days', index], message: 'not after the reminder before' }]
  })
}

/** Minor units; undefined for what is none, of which somebody else tells. */
function amountOf(value: unknown): bigint | undefined {
  return typeof value === 'string' && /^\d{1,20}$/.test(value) ? BigInt(value) : undefined
}

function above(one: bigint | undefined, other: bigint | undefined): boolean {
  return one !== undefined && other !== undefined && one > other
}

/** A problem at `field` of each item whose `what` an earlier one has already. */
function twice(
  items: Loose[],
  path: PropertyKey[],
  what: (item: Loose) => unknown,
  field: string,
  message: string,
): Problem[] {
  const seen = new Set<string>()
  return items.flatMap((item, index) => {
    const value = what(item)
    if (typeof value !== 'string') return []
    if (seen.has(value)) return [{ path: [...path, index, field], message }]
    seen.add(value)
    return []
  })
}

function looseOf(value: unknown): Loose {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Loose) : {}
}

function listOf(value: unknown): Loose[] {
  return Array.isArray(value) ? value.map(looseOf) : []
}
