/** `perennial notice` and `perennial webhook-endpoint`: what was told, what became of it, and telling it once more. */
import type { Command } from 'commander'
import type { DeliveryState } from './domain/delivery.ts'
import { mailOf } from './domain/mail.ts'
import type { NoticeData, NoticeKind } from './domain/notice.ts'
import { noticeView } from './domain/notice-view.ts'
import { recordAudit } from './store/audit.ts'
import { type Pool, transaction } from './store/connect.ts'
import { deliveriesOf, type Delivery, listDeliveries, resendDelivery } from './store/delivery.ts'
import { listNotices, requireNotice } from './store/notice.ts'
import { changeEndpoint, listEndpoints } from './store/webhook-endpoint.ts'

/** What the main lends: the database, the screen, and what customers know the product by. */
export interface Terminal {
  withPool: (work: (pool: Pool) => Promise<void>) => Promise<void>
  say: (text: string) => void
  product: () => string
}

const SHOWN_MAX = 100

export function addNoticeCommands(program: Command, terminal: Terminal): void {
  const { withPool, say, product } = terminal
  const notice = program.command('notice').description('what accounts were told')
  notice
    .command('list')
    .description('the newest; or deliveries that went wrong')
    .option('--account <account>', 'of one account, acc_…')
    .option('--state <state>', 'deliveries in a state instead: failed, in_doubt, pending, …')
    .action(({ account, state }: { account?: string; state?: DeliveryState }) =>
      withPool(async (pool) => {
        if (state !== undefined) {
          for (const each of await listDeliveries(pool, { limit: SHOWN_MAX, state })) say(lineOf(each))
          return
        }
        for (const { id, createdAt, kind, account: whose } of await listNotices(pool, {
          limit: SHOWN_MAX,
          account,
        }))
          say(`${id}  ${createdAt.toISOString()}  ${kind.padEnd(24)} ${whose}`)
      }),
    )
  notice
    .command('show <notice>')
    .description('one, ntc_…, with its deliveries')
    .action((id: string) =>
      withPool(async (pool) => {
        say(JSON.stringify(noticeView(await requireNotice(pool, id)), null, 2))
        for (const each of await deliveriesOf(pool, id)) say(lineOf(each))
      }),
    )
  notice
    .command('preview <notice>')
    .description('its e-mail, as it is sent')
    .option('--html', 'the HTML instead of the text')
    .action((id: string, { html }: { html?: true }) =>
      withPool(async (pool) => {
        const { kind, data } = await requireNotice(pool, id)
        // what was written under a kind has that kind's data
        const mail = mailOf({ kind, data: data as unknown as NoticeData[NoticeKind] }, product())
        say(html ? mail.html : `Subject: ${mail.subject}\n\n${mail.text}`)
      }),
    )
  notice
    .command('resend <delivery>')
    .description('make a delivery, dlv_…, once more, whatever became of it; also one in doubt (writes)')
    .action((id: string) =>
      withPool(async (pool) => {
        const after = await transaction(pool, async (client) => {
          const subject = { account: null, actor: 'operator', action: 'notice', subject: id, detail: {} }
          await recordAudit(client, { ...subject, reasonCode: 'resent' })
          return await resendDelivery(client, id)
        })
        say(`${lineOf(after)}\nit goes out within ten seconds`)
      }),
    )

  const endpoint = program.command('webhook-endpoint').description('where signed webhooks go')
  endpoint
    .command('list')
    .description('list them, with how they fare')
    .action(() =>
      withPool(async (pool) => {
        for (const each of await listEndpoints(pool, { limit: SHOWN_MAX })) {
          const fares = each.failingSince === null ? '' : `  failing since ${each.failingSince.toISOString()}`
          const told = each.events === null ? 'all' : each.events.join(',')
          say(`${each.id}  ${each.enabled ? 'on ' : 'off'}  ${each.url}  ${told}${fares}`)
        }
      }),
    )
  for (const [verb, enabled] of [
    ['enable', true],
    ['disable', false],
  ] as const) {
    endpoint
      .command(`${verb} <endpoint>`)
      .description(
        `${verb} one, we_…; what waits for it ${enabled ? 'goes out' : 'goes on waiting'} (writes)`,
      )
      .action((id: string) =>
        withPool(async (pool) => {
          await transaction(pool, async (client) => {
            await changeEndpoint(client, id, { enabled })
            const subject = { account: null, actor: 'operator', action: 'webhook', subject: id, detail: {} }
            await recordAudit(client, { ...subject, reasonCode: 'changed' })
          })
          say(`${id} is ${verb}d`)
        }),
      )
  }
}

function lineOf({ id, state, endpoint, attempts, statusCode, detail, askedAt, notice }: Delivery): string {
  const why = [statusCode, detail].filter((one) => one !== null).join(' ')
  return `${id}  ${askedAt.toISOString()}  ${state.padEnd(9)} ${endpoint ?? 'email'}  ${attempts} tries  ${notice}  ${why}`
}
