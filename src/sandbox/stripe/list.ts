// Cursor lists: newest first, `limit`, `starting_after`, `ending_before`, `created`.
import { invalid } from './error.ts'
import type { List } from './wire.ts'

interface Range {
  gt?: number | undefined
  gte?: number | undefined
  lt?: number | undefined
  lte?: number | undefined
}

export interface Page {
  limit?: number | undefined
  starting_after?: string | undefined
  ending_before?: string | undefined
  created?: Range | undefined
}

/** `items` in the order shown (newest first for Stripe's lists); `keep` filters after the cursor was placed. */
export function pageOf<T extends { id: string }>(
  items: T[],
  page: Page,
  url: string,
  noun: string,
  keep: (item: T) => boolean = () => true,
): List<T> {
  const limit = limitOf(page.limit)
  const wanted = (item: T): boolean => inRange(item, page.created) && keep(item)
  if (page.starting_after !== undefined && page.ending_before !== undefined)
    throw invalid('You can only use one of starting_after or ending_before.')
  if (page.ending_before !== undefined) {
    const end = place(items, page.ending_before, noun, 'ending_before')
    const found = items.slice(0, end).filter(wanted)
    return { object: 'list', data: found.slice(-limit), has_more: found.length > limit, url }
  }
  const start =
    page.starting_after === undefined ? -1 : place(items, page.starting_after, noun, 'starting_after')
  const found = items.slice(start + 1).filter(wanted)
  return { object: 'list', data: found.slice(0, limit), has_more: found.length > limit, url }
}

/** All of a kind, newest first. */
export function newestFirst<T>(items: T[]): T[] {
  return [...items].reverse()
}

function limitOf(limit = 10): number {
  if (limit < 1)
    throw invalid(`This value must be greater than or equal to 1 (it currently is '${limit}').`, 'limit')
  if (limit > 100)
    throw invalid(`This value must be less than or equal to 100 (it currently is '${limit}').`, 'limit')
  return limit
}

function place(items: { id: string }[], id: string, noun: string, param: string): number {
  const index = items.findIndex((item) => item.id === id)
  if (index < 0) throw invalid(`No such ${noun}: '${id}'`, param, 'resource_missing')
  return index
}

export function inRange(item: object, range: Range | undefined): boolean {
  const created = (item as { created?: number }).created
  if (!range || created === undefined) return true
  return (
    created > (range.gt ?? -1) &&
    created >= (range.gte ?? 0) &&
    created < (range.lt ?? Infinity) &&
    created <= (range.lte ?? Infinity)
  )
}
