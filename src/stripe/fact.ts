/** How Stripe's objects become facts: times as instants, references as ids, and the metadata that ties them to ours. */
import type { Instant } from '../domain/calendar.ts'

/** Metadata that ties Stripe's objects to ours. */
export const METADATA = {
  account: 'perennial_account',
  order: 'perennial_order',
  topUp: 'perennial_top_up',
} as const

export function instant(seconds: number): Instant
export function instant(seconds: number | null | undefined): Instant | null
export function instant(seconds: number | null | undefined): Instant | null {
  return seconds == null ? null : new Date(seconds * 1000).toISOString()
}

export function idOf(reference: string | { id: string } | null | undefined): string | null {
  if (reference == null) return null
  return typeof reference === 'string' ? reference : reference.id
}
