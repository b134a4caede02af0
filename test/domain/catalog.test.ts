import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { limitsIn, parseCatalog } from '../../src/domain/catalog.ts'

const SHIPPED = JSON.parse(readFileSync(new URL('../../catalog.json', import.meta.url), 'utf8'))

// oxlint-disable-next-line typescript/no-explicit-any -- a file that is wrong in any way
type File = any

/** The shipped catalogue with a change made to it. */
function changed(change: (file: File) => void): File {
  const file = structuredClone(SHIPPED)
  change(file)
  return file
}

/** What is complained of, by path. */
function problemsOf(file: unknown): string[] {
  try {
    parseCatalog(file)
  } catch (error) {
    return (error as Error).message
      .split('\n')
      .slice(1)
      .map((line) => line.trim())
  }
  return []
}

const paths = (file: unknown) => problemsOf(file).map((line) => line.slice(0, line.indexOf(':')))

describe('the shipped catalogue', () => {
  const catalog = parseCatalog(SHIPPED)

  it('sells seven tiers by month and year, three of them with a commitment, and gives one away', () => {
    assert.deepEqual(
      catalog.prices
        .filter((price) => price.interval === 'month' && price.commitmentMonths === null)
        .map(({ plan, tier, credits, unitAmount }) => [plan, tier, credits, unitAmount]),
      [
        ['tier_2_20', 1, '20', '2000'],
        ['tier_6_50', 2, '50', '5000'],
        ['tier_12_100', 3, '100', '10000'],
        ['tier_25_200', 4, '200', '20000'],
        ['tier_50_400', 5, '400', '40000'],
        ['tier_125_800', 6, '800', '80000'],
        ['tier_200_1000', 7, '1000', '100000'],
      ],
    )
    assert.equal(catalog.prices.filter(({ interval }) => interval === 'year').length, 7)
    assert.deepEqual(
      catalog.prices
        .filter(({ commitmentMonths }) => commitmentMonths !== null)
        .map(({ lookupKey, unitAmount, commitmentMonths, credits }) => [
          lookupKey,
          unitAmount,
          commitmentMonths,
          credits,
        ]),
      [
        ['tier_2_20.month.commit12.v1', '1700', 12, '20'],
        ['tier_6_50.month.commit12.v1', '4250', 12, '50'],
        ['tier_25_200.month.commit12.v1', '17000', 12, '200'],
      ],
    )
    assert.deepEqual(catalog.free, [
      {
        kind: 'free',
        priceId: 'free.free.v1',
        lookupKey: 'free.free.v1',
        plan: 'free',
        planName: 'Free',
        group: 'default',
        tier: 0,
        version: 'v1',
        credits: '2',
        graceHours: 72,
        renewal: { rule: 'replace' },
      },
    ])
    assert.deepEqual(
      catalog.packs.map(({ lookupKey, credits, unitAmount }) => [lookupKey, credits, unitAmount]),
      ['10', '25', '50', '100', '250', '500'].map((size) => [`pack.credits_${size}.v1`, size, `${size}00`]),
    )
  })

  it('keeps the lookup keys that are in Stripe already', () => {
    const keys = catalog.prices.map(({ lookupKey }) => lookupKey)
    assert.ok(keys.includes('tier_2_20.month.v1') && keys.includes('tier_200_1000.year.v1'))
  })

  it('lets one plan be tried, at its prices without commitment', () => {
    const tried = catalog.prices.filter(({ trial }) => trial !== null)
    assert.deepEqual(
      tried.map(({ lookupKey, trial }) => [lookupKey, trial]),
      ['tier_2_20.month.v1', 'tier_2_20.year.v1'].map((key) => [
        key,
        { days: 7, credits: '5', cardRequired: true },
      ]),
    )
  })
})

/** The shipped catalogue, which also sells its first plan and its first pack in euros. */
const inEuros = (more: (file: File) => void = () => {}) =>
  changed((file) => {
    file.plans[1].prices.push({ interval: 'month', currency: 'eur', unit_amount: '1900' })
    file.packs[0].prices = [{ currency: 'eur', unit_amount: '950' }]
    file.limits.currencies = {
      eur: { purchase_min: '450', purchase_max: '90000', purchase_day_max: '180000' },
    }
    more(file)
  })

describe('a catalogue in several currencies', () => {
  it('has a price and limits for each, whose lookup keys name it where it is not the catalogue’s', () => {
    const { prices, packs, limits } = parseCatalog(inEuros())
    const euros = [...prices, ...packs].filter(({ currency }) => currency === 'eur')
    assert.deepEqual(
      euros.map(({ lookupKey, unitAmount, credits }) => [lookupKey, unitAmount, credits]),
      [
        ['tier_2_20.month.eur.v1', '1900', '20'],
        ['pack.credits_10.eur.v1', '950', '10'],
      ],
    )
    assert.equal(limitsIn({ currency: 'usd', limits }, 'eur')?.purchaseMin, '450')
    assert.equal(limitsIn({ currency: 'usd', limits }, 'usd')?.purchaseMin, '500')
    assert.equal(limitsIn({ currency: 'usd', limits }, 'gbp'), undefined)
  })

  const wrong: [what: string, path: string, change: (file: File) => void][] = [
    [
      'two prices of one currency',
      'plans.1.prices.4.interval',
      (file) => file.plans[1].prices.push({ interval: 'month', currency: 'eur', unit_amount: '1800' }),
    ],
    [
      'its own currency a second time',
      'plans.1.prices.4.interval',
      (file) => file.plans[1].prices.push({ interval: 'month', currency: 'usd', unit_amount: '1800' }),
    ],
    [
      'a pack in a currency without limits',
      'packs.1.prices.0.currency',
      (file) => {
        file.packs[1].prices = [{ currency: 'gbp', unit_amount: '900' }]
      },
    ],
    [
      'a pack with two prices in one currency',
      'packs.0.prices.1.currency',
      (file) => file.packs[0].prices.push({ currency: 'usd', unit_amount: '1000' }),
    ],
    [
      'a pack outside the limits of its currency',
      'packs.0.prices.0.unit_amount',
      (file) => {
        file.packs[0].prices[0].unit_amount = '449'
      },
    ],
    [
      'limits of its own currency twice',
      'limits.currencies.usd',
      (file) => {
        file.limits.currencies.usd = file.limits.currencies.eur
      },
    ],
    [
      'limits in another order',
      'limits.currencies.eur.purchase_max',
      (file) => {
        file.limits.currencies.eur.purchase_max = '400'
      },
    ],
  ]
  for (const [what, path, change] of wrong)
    it(`refuses ${what}`, () => {
      assert.ok(paths(inEuros(change)).includes(path), problemsOf(inEuros(change)).join('\n'))
    })
})

describe('a catalogue', () => {
  it('has its own terms where a plan does not state others', () => {
    const { prices } = parseCatalog(
      changed((file) => {
        file.renewal = { rule: 'roll_over', limit: '100' }
        Object.assign(file.plans[2], {
          grace_hours: 24,
          discount_rule: 'full',
          renewal: { rule: 'replace' },
        })
        file.plans[3].renewal = { rule: 'keep' }
      }),
    )
    const terms = (plan: string) => {
      const found = prices.find((price) => price.plan === plan)
      return [found?.graceHours, found?.discountRule, found?.renewal]
    }
    assert.deepEqual(terms('tier_2_20'), [72, 'proportional', { rule: 'roll_over', limit: '100' }])
    assert.deepEqual(terms('tier_6_50'), [24, 'full', { rule: 'replace' }])
    assert.deepEqual(terms('tier_12_100'), [72, 'proportional', { rule: 'keep' }])
  })

  it('may do without packs and renewal', () => {
    const catalog = parseCatalog(
      changed((file) => {
        delete file.packs
        delete file.renewal
      }),
    )
    assert.deepEqual(catalog.packs, [])
    assert.deepEqual(catalog.prices[0]?.renewal, { rule: 'replace' })
  })

  const NONSENSE: [what: string, change: (file: File) => void, where: string[]][] = [
    ['a field nobody knows', (file) => (file.plans[1].colour = 'red'), ['plans.1']],
    ['a number for an amount', (file) => (file.packs[0].unit_amount = 1000), ['packs.0.unit_amount']],
    ['no credits', (file) => (file.plans[1].credits = '0'), ['plans.1.credits']],
    ['nine decimals', (file) => (file.plans[1].credits = '0.000000001'), ['plans.1.credits']],
    ['a plan without a rank', (file) => delete file.plans[1].tier, ['plans.1.tier']],
    ['two plans of one rank', (file) => (file.plans[2].tier = 1), ['plans.2.tier']],
    ['two plans of one key', (file) => (file.plans[2].key = 'tier_2_20'), ['plans.2.key']],
    ['two packs of one key', (file) => (file.packs[1].key = 'credits_10'), ['packs.1.key']],
    ['no limits', (file) => delete file.limits, ['limits']],
    ['a limit without the rule', (file) => (file.renewal = { rule: 'replace', limit: '5' }), ['renewal']],
    ['a limit of a rule that has none', (file) => (file.renewal = { rule: 'keep', limit: '5' }), ['renewal']],
    ['a rule without its limit', (file) => (file.renewal = { rule: 'roll_over' }), ['renewal.limit']],
    ['a rule nobody knows', (file) => (file.renewal = { rule: 'burn' }), ['renewal.rule']],
    [
      'grace for what never lapses',
      (file) => Object.assign(file.plans[1], { renewal: { rule: 'keep' }, grace_hours: 5 }),
      ['plans.1.grace_hours'],
    ],
    ['a plan without a price', (file) => (file.plans[1].prices = []), ['plans.1.prices']],
    ['a free plan with a price', (file) => (file.plans[1].free = true), ['plans.1.prices', 'plans.1.trial']],
    [
      'a trial of a free plan',
      (file) => (file.plans[0].trial = { days: 7, credits: '5', card_required: true }),
      ['plans.0.trial'],
    ],
    ['discounts on a free plan', (file) => (file.plans[0].discount_rule = 'full'), ['plans.0.discount_rule']],
    [
      'two prices of one interval',
      (file) => file.plans[1].prices.push({ interval: 'month', unit_amount: '1' }),
      ['plans.1.prices.3.interval'],
    ],
    [
      'a commitment price without months',
      (file) => delete file.plans[1].prices[2].commitment_months,
      ['plans.1.prices.2.interval'],
    ],
    [
      'a commitment to a month',
      (file) => (file.plans[1].prices[2].commitment_months = 1),
      ['plans.1.prices.2.commitment_months'],
    ],
    [
      'a commitment to a year and a half by the year',
      (file) => (file.plans[1].prices[1].commitment_months = 18),
      ['plans.1.prices.1.commitment_months'],
    ],
    [
      'a trial that could only go over to a commitment',
      (file) => file.plans[1].prices.splice(0, 2),
      ['plans.1.trial'],
    ],
    [
      'a trial without days',
      (file) => (file.plans[1].trial = { credits: '5', card_required: true }),
      ['plans.1.trial.days'],
    ],
    ['limits upside down', (file) => (file.limits.purchase_min = '100001'), LIMITS_DENIED()],
    ['a day below one purchase', (file) => (file.limits.purchase_day_max = '9'), ['limits.purchase_day_max']],
    ['a pack that nobody may buy', (file) => (file.packs[5].unit_amount = '100001'), ['packs.5.unit_amount']],
    [
      'keys that come to the same in Stripe',
      (file) => {
        file.plans[1].key = 'pack'
        file.packs[0].key = 'month'
      },
      ['packs.0.key'],
    ],
  ]
  for (const [what, change, where] of NONSENSE) {
    it(`is refused with ${what}`, () => assert.deepEqual(paths(changed(change)), where))
  }

  it('is refused with every problem at once, whatever their kind', () => {
    const file = changed((file) => {
      file.colour = 'red'
      file.plans[1].key = 'Tier!'
      file.plans[2].tier = 3
      file.plans[3] = 'gold'
      delete file.packs[0].credits
      file.packs[1].key = 'credits_10'
    })
    assert.deepEqual(paths(file).sort(), [
      '(top)',
      'packs.0.credits',
      'packs.1.key',
      'plans.1.key',
      'plans.3',
    ])
  })

  for (const nothing of [null, 5, 'text', [], {}, { plans: {} }]) {
    it(`is not ${JSON.stringify(nothing)}`, () => assert.notDeepEqual(problemsOf(nothing), []))
  }
})

/** Every pack costs less than the least that may be bought. */
function LIMITS_DENIED(): string[] {
  return ['limits.purchase_max', ...[0, 1, 2, 3, 4, 5].map((index) => `packs.${index}.unit_amount`)]
}
