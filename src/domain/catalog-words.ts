/** Steps of a sync in words, for whoever is asked whether to take them. */
import type { Step } from './catalog-sync.ts'
import type { FreeTerms, Renewal } from './plan.ts'
import { nameOf, type Offer, productIdOf } from './price-facts.ts'

type Of<Do extends Step['do']> = Extract<Step, { do: Do }>

const WORDS: { [Do in Step['do']]: (step: Of<Do>) => [what: string, which: string] } = {
  create_product: ({ offer }) => ['create product', `${productIdOf(offer)} (${nameOf(offer)})`],
  restore_product: ({ product }) => ['restore product', `${product}: it was archived in Stripe`],
  rename_product: ({ product, from, name }) => ['rename product', `${product}: ${from} becomes ${name}`],
  create_price: ({ offer }) => ['create price', `${offer.lookupKey}: ${termsInWords(offer)}`],
  restore_price: ({ lookupKey, price }) => ['restore price', `${lookupKey}: ${price} was archived in Stripe`],
  return_key: ({ lookupKey, price, holder }) => [
    'return key',
    `${lookupKey}: to ${price}${holder === null ? '' : `, from ${holder}`}`,
  ],
  adopt_price: ({ offer, price }) => ['use price', `${offer.lookupKey}: ${price} is in Stripe already`],
  complete_terms: ({ terms, missing }) => ['complete terms', `${terms.lookupKey}: ${missing.join(', ')}`],
  keep_free: ({ terms }) => ['add free plan', `${terms.lookupKey}: ${termsInWords(terms)}`],
  put_on_sale: ({ lookupKey }) => ['put on sale', lookupKey],
  take_off_sale: ({ lookupKey }) => [
    'take off sale',
    `${lookupKey}: no longer in the file; its subscribers keep it`,
  ],
  put_in_force: ({ changed }) => ['put in force', changed.join(', ')],
}

/** A step in words: what is done, and to what. */
export function inWords(step: Step): [what: string, which: string] {
  return (WORDS[step.do] as (step: Step) => [string, string])(step)
}

/** Terms in words, such as `2000 usd a month for 20 credits a month`. */
export function termsInWords(terms: Offer | FreeTerms): string {
  const { credits } = terms
  if (terms.kind === 'free') return [`free: ${credits} credits a month`, ...rulesInWords(terms)].join(', ')
  const { unitAmount, currency } = terms
  if (terms.kind === 'pack') return `${unitAmount} ${currency} for ${credits} credits`
  const { commitmentMonths, trial } = terms
  return [
    `${unitAmount} ${currency} a ${terms.interval} for ${credits} credits a month`,
    ...(commitmentMonths === null ? [] : [`bound for ${commitmentMonths} months`]),
    ...(trial === null ? [] : [`${trial.credits} credits to try it for ${trial.days} days`]),
    ...rulesInWords(terms),
  ].join(', ')
}

function rulesInWords({ renewal }: { renewal: Renewal }): string[] {
  if (renewal.rule === 'replace') return []
  return [renewal.rule === 'keep' ? 'never lapsing' : `up to ${renewal.limit} of a seat roll over`]
}
