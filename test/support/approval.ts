/** A second person over HTTP: decides what others ask for, by a key of his own. */
import { randomUUID } from 'node:crypto'
import { assertConforms } from './contract.ts'
import { type Answer, answered, type Stack } from './stack.ts'

export type Verdict = 'approve' | 'reject'

/** Tells a decision once, and answers what came of that. */
export async function tell(
  { apiUrl }: Stack,
  apiKey: string,
  approval: string,
  verdict: Verdict,
  { key = randomUUID(), query = '' }: { key?: string; query?: string } = {},
): Promise<Answer> {
  const url = `/v1/approvals/${approval}/${verdict}${query}`
  const answer = await fetch(apiUrl + url, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${apiKey}`,
      'content-type': 'application/json',
      'idempotency-key': key,
    },
    body: verdict === 'approve' ? '{}' : '{"reason_code":"not_justified"}',
  })
  const { status, headers } = answer
  const text = await answer.text()
  await assertConforms({ method: 'POST', url, status, headers: Object.fromEntries(headers), text })
  return { status, headers, body: JSON.parse(text) }
}

/** As `tell`, and where the answer is 202, once more when there is another. */
export function decide(
  stack: Stack,
  apiKey: string,
  approval: string,
  verdict: Verdict,
  { key = randomUUID(), query = '' }: { key?: string; query?: string } = {},
): Promise<Answer> {
  return answered(stack, () => tell(stack, apiKey, approval, verdict, { key, query }))
}
