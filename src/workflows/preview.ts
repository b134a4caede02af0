/** A preview: what a command would do, looked up once and written nowhere. */
import type { Foresight } from '../domain/effect.ts'
import type { PreviewInput } from './message.ts'
import { previewActivities } from './proxy.ts'

export async function preview(input: PreviewInput): Promise<Foresight> {
  return await previewActivities.preview(input)
}
