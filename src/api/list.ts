/** Lists: `{ data, has_more, next_cursor }`, and cursors that a caller cannot read anything into. */
import { z } from 'zod'
import { Problem } from './problem.ts'

/** The query of every list. */
export const pageQuery = {
  limit: z.coerce.number().int().min(1).max(100).default(20).describe('how many at most'),
  cursor: z.string().max(300).optional().describe('next_cursor of the page before'),
}

/** The answer of every list. */
export function listOf<T extends z.ZodType>(item: T) {
  const examples = item.meta()?.examples as unknown[] | undefined
  return z
    .object({ data: z.array(item), has_more: z.boolean(), next_cursor: z.string().nullable() })
    .meta(
      examples === undefined ? {} : { examples: [{ data: examples, has_more: false, next_cursor: null }] },
    )
}

/**
 * Makes a page of rows that were read with one more than asked for.
 * @param kind which list: a cursor of another list is refused
 * @param place what the cursor after a row says
 */
export function pageOf<Row, View>(
  kind: string,
  rows: Row[],
  limit: number,
  view: (row: Row) => View,
  place: (row: Row) => string[],
): { data: View[]; has_more: boolean; next_cursor: string | null } {
  const shown = rows.slice(0, limit)
  const last = shown.at(-1)
  const more = rows.length > limit && last !== undefined
  return {
    data: shown.map(view),
    has_more: more,
    next_cursor: more ? Buffer.from(JSON.stringify([kind, ...place(last)])).toString('base64url') : null,
  }
}

/** What a cursor says, each part checked. @throws Problem `cursor_invalid` */
export function readCursor(
  kind: string,
  cursor: string | undefined,
  parts: ((text: string) => boolean)[],
): string[] | undefined {
  if (cursor === undefined) return undefined
  const read = parse(cursor)
  const [found, ...values] = Array.isArray(read) ? (read as unknown[]) : []
  const texts = values.filter((value) => typeof value === 'string')
  const fits = found === kind && texts.length === parts.length && texts.length === values.length
  if (!fits || !parts.every((check, index) => check(texts[index] ?? ''))) {
    throw new Problem('cursor_invalid', 'send next_cursor of the page before, unchanged')
  }
  return texts
}

/** The position after a row in lists that go by time and id. */
export function positionIn(kind: string, cursor: string | undefined): { at: string; id: string } | undefined {
  const [at, id] = readCursor(kind, cursor, [isInstant, isId]) ?? []
  return at === undefined || id === undefined ? undefined : { at, id }
}

/** The sequence number of a posting, as a cursor says it. */
export const isSequence = (text: string): boolean => /^\d{1,18}$/.test(text)

const isId = (text: string): boolean => /^[A-Za-z0-9_]{1,255}$/.test(text)

function isInstant(text: string): boolean {
  const at = new Date(text)
  return /^(19|2\d)\d\d-/.test(text) && !Number.isNaN(at.getTime()) && at.toISOString() === text
}

function parse(cursor: string): unknown {
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
  } catch {
    return undefined
  }
}
