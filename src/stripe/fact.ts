/** How Stripe's objects become facts: times as instants, references as ids, and the metadata that ties them to ours. */
import type { Instant } from '../domain/calendar.ts'

/** Metadata that ties Stripe's objects to ours. */
export const METADATA = {
  account: 'perennial_account',
  order: 'perennial_order',
  topUp: 'perennial_top_up',
  /** what set a schedule: it is ours */
  command: 'perennial_command',
} as const

export function instant(seconds: number): Instant
export function instant(seconds: number | null | undefined): Instant | null
export function instant(seconds: number | null | undefined): Instant | null {
  return seconds == null ? null : new Date(seconds * 1000).toISOString()
}

/** An instant as Stripe's lists are asked for what was made since: an hour earlier, for clocks that differ. */
export function madeSince(since: Instant): number {
  return Math.floor(Date.parse(since) / 1000) - 3_600
}

export function idOf(reference: string | { id: string } | null | undefined): string | null {
  if (reference == null) return null
  return typeof reference === 'string' ? reference : reference.id
}
