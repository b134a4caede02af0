/** What "the same content" means for a key: a fingerprint of the request, kept with the key. */
import { hash } from 'node:crypto'

/** The fingerprint of a request: equal for the same content, whatever the order of its fields. */
export function contentHash(content: Record<string, string | boolean | null>): string {
  const names = Object.keys(content).sort()
  return digest(JSON.stringify(names.map((name) => [name, content[name]])))
}

/**
 * A caller's notes as part of a content. They may hold personal data and can be erased, so that only a hash stays, salted
 * with the key: nobody looks a text up in a table of hashes.
 */
export function metadataHash(
  key: string,
  metadata: Record<string, string> | undefined,
): { metadata?: string } {
  if (metadata === undefined || Object.keys(metadata).length === 0) return {}
  return { metadata: digest(`${key}\n${contentHash(metadata)}`) }
}

/** A caller's notes as the database takes them: nothing when there are none. */
export function metadataText(metadata: Record<string, string> | undefined): string | null {
  return metadata === undefined || Object.keys(metadata).length === 0 ? null : JSON.stringify(metadata)
}

/** A caller's notes in one order, so that they are answered with the same bytes however they were sent. */
export function sortedMetadata(metadata: Record<string, string> | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata ?? {}).sort(([a], [b]) => (a < b ? -1 : 1)))
}

function digest(text: string): string {
  return hash('sha256', text, 'base64url')
}
