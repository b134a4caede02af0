/**
 * What must always hold of the books (law 4). One list: every test runs it, the hourly audit and `perennial verify`
 * run it. Each query answers the rows that break the rule: none is what we want.
 */
import type { Queryable } from '../store/connect.ts'

export interface Invariant {
  name: string
  why: string
  sql: string
}

export const INVARIANTS: Invariant[] = [
  {
    name: 'the balance is the sum of the postings',
    why: 'every credit that came or went is in the ledger',
    sql: `select w.account_id, w.balance, coalesce(sum(p.amount), 0) as postings
            from wallet w left join posting p using (account_id)
           group by w.account_id, w.balance having w.balance <> coalesce(sum(p.amount), 0)`,
  },
  {
    name: 'the balance is what the lots hold less the debt',
    why: 'what can be spent is what is left of what was granted',
    sql: `select w.account_id, w.balance, w.debt, coalesce(sum(l.remaining), 0) as remaining
            from wallet w left join lot l using (account_id)
           group by w.account_id, w.balance, w.debt having w.balance <> coalesce(sum(l.remaining), 0) - w.debt`,
  },
  {
    name: 'postings are numbered without gaps and the wallet has the last number',
    why: 'a posting that is missing is seen',
    sql: `select w.account_id, w.seq, count(p.seq) as postings, max(p.seq) as last
            from wallet w left join posting p using (account_id)
           group by w.account_id, w.seq
          having w.seq <> count(p.seq) or w.seq <> coalesce(max(p.seq), 0)`,
  },
  {
    name: 'each posting continues the balance of the one before',
    why: 'each operation proves itself, and no two ran at once',
    sql: `select * from (
            select account_id, seq, amount, balance_after,
                   coalesce(lag(balance_after) over (partition by account_id order by seq), 0) as before
              from posting) p
           where balance_after <> before + amount`,
  },
  {
    name: 'time never runs backwards in a wallet',
    why: 'the balance at any instant can be read from the postings',
    sql: `select * from (
            select account_id, seq, occurred_at,
                   lag(occurred_at) over (partition by account_id order by seq) as before from posting) p
           where occurred_at < before`,
  },
  {
    name: 'what is left of a lot is what postings filled and drew',
    why: 'the way of every credit is known, from its payment to its use',
    sql: `select l.id, l.account_id, l.remaining, coalesce(sum(pl.amount), 0) as moved
            from lot l left join posting_lot pl on pl.lot_id = l.id
           group by l.id, l.account_id, l.remaining having l.remaining <> coalesce(sum(pl.amount), 0)`,
  },
  {
    name: 'each lot was filled once, with what it was granted',
    why: 'nothing is granted twice',
    // the filter stands beside the sums, not in the join: there the planner would reckon with few rows
    sql: `select l.id, l.granted, count(*) filter (where pl.effect = 'fill') as fills,
                 sum(pl.amount) filter (where pl.effect = 'fill') as filled
            from lot l left join posting_lot pl on pl.lot_id = l.id
           group by l.id, l.granted
          having count(*) filter (where pl.effect = 'fill') <> 1
              or sum(pl.amount) filter (where pl.effect = 'fill') <> l.granted`,
  },
  {
    name: 'what a lot repaid is not left of it',
    why: 'a debt that is given back fills its lots once, and no further than they were granted',
    sql: `select id, account_id, granted, remaining, repaid from lot where repaid < 0 or repaid > granted - remaining`,
  },
  {
    name: 'debt is what lots could not cover',
    why: 'a shortfall is neither forgotten nor counted twice',
    sql: `select w.account_id, w.debt, coalesce(d.moved, 0) - coalesce(p.posted, 0) as uncovered
            from wallet w
            left join (select account_id, sum(amount) as moved from posting_lot group by account_id) d using (account_id)
            left join (select account_id, sum(amount) as posted from posting group by account_id) p using (account_id)
           where w.debt <> coalesce(d.moved, 0) - coalesce(p.posted, 0)`,
  },
  {
    name: 'a lot belongs to the wallet whose postings move it',
    why: 'nobody spends what is another’s',
    sql: `select pl.account_id, pl.seq, l.id, l.account_id as owner
            from posting_lot pl join lot l on l.id = pl.lot_id where l.account_id <> pl.account_id`,
  },
  {
    name: 'what is held is held in lots',
    why: 'a hold reserves what is there',
    sql: `select w.account_id, w.held, coalesce(sum(l.held), 0) as in_lots
            from wallet w left join lot l using (account_id)
           group by w.account_id, w.held having w.held <> coalesce(sum(l.held), 0)`,
  },
  {
    name: 'each posting says what it is, between its customer and a system account',
    why: 'where credits come from and go to is never a riddle',
    sql: `select account_id, seq, kind, from_account, to_account, amount, feature, reason_code from posting
           where seq < 1 or kind not in ('grant', 'spend', 'capture', 'reversal', 'adjustment', 'lapse')
              or amount = 0 or case when amount > 0 then to_account else from_account end <> account_id
              or cardinality(lot_ids) <> cardinality(lot_amounts)
              or kind <> 'adjustment' and (kind in ('grant', 'reversal')) <> (to_account = account_id)
              or (kind = 'adjustment') <> ('system:adjusted' in (from_account, to_account))
              or (case when to_account = account_id then from_account else to_account end) not like 'system:%'
              or not feature ~ '^[a-z0-9][a-z0-9._-]{0,63}$' or not reason_code ~ '^[a-z][a-z0-9_]{0,63}$'`,
  },
  {
    name: 'what a lot holds is what open holds set aside',
    why: 'what a hold reserved is there when it is captured',
    sql: `select l.id, l.account_id, l.held, coalesce(h.amount, 0) as set_aside
            from lot l left join (select lot_id, sum(amount) as amount from hold_lot group by lot_id) h on h.lot_id = l.id
           where l.held <> coalesce(h.amount, 0)`,
  },
  {
    name: 'a wallet knows when something is next due',
    why: 'expired is gone at that instant, swept or not',
    sql: `select w.account_id, w.next_lapse_at, due.at
            from wallet w
            join (select account_id, min(expires_at) as at
                    from (select account_id, expires_at from lot where remaining > held
                          union all select account_id, expires_at from hold where state = 'open') one
                   group by account_id) due using (account_id)
           where due.at is not null and (w.next_lapse_at is null or w.next_lapse_at > due.at)`,
  },
  {
    name: 'nothing was drawn from a lot after it had expired',
    why: 'an expired credit pays for nothing',
    sql: `select p.account_id, p.seq, l.id, p.occurred_at, l.expires_at
            from posting p join posting_lot pl using (account_id, seq) join lot l on l.id = pl.lot_id
           where (p.kind = 'spend' or p.kind = 'adjustment' and p.amount < 0) and p.occurred_at > l.expires_at
           union all -- but by what a hold had set aside of it before
          select p.account_id, p.seq, max(l.id), p.occurred_at, max(l.expires_at)
            from posting p join posting_lot pl using (account_id, seq) join lot l on l.id = pl.lot_id
           where p.kind = 'capture' and p.occurred_at > l.expires_at
           group by p.account_id, p.seq, p.occurred_at, p.source
          having sum(-pl.amount) > (p.source ->> 'reserved')::numeric`,
  },
  {
    name: 'an expired lot has nothing left but what is held',
    why: 'what comes back to an expired lot lapses at once',
    sql: `select l.id, l.account_id, l.remaining, l.held, l.expires_at, w.touched_at
            from lot l join wallet w using (account_id)
           where l.remaining > l.held and l.expires_at <= w.touched_at`,
  },
  {
    name: 'a hold sets aside what no capture has taken, until it is closed',
    why: 'work is paid for once, and what is not used is free again',
    sql: `select coalesce(h.account_id, c.account_id) as account_id, coalesce(h.id, c.id) as hold, h.state, h.amount,
                 h.captured, aside.amount as aside, c.captured as posted, c.reserved
            from hold h
            full join (select account_id, source ->> 'hold' as id, sum(-amount) as captured,
                              sum((source ->> 'reserved')::numeric) as reserved
                         from posting where kind = 'capture' group by account_id, source ->> 'hold') c
              on c.account_id = h.account_id and c.id = h.id
            left join lateral (select coalesce(sum(a), 0) as amount from unnest(h.lot_amounts) a) aside on true
           where h.id is null or h.captured <> coalesce(c.captured, 0)
              or aside.amount <> case when h.state = 'open' then h.amount - coalesce(c.reserved, 0) else 0 end`,
  },
  {
    name: 'a spend is given back at most once over',
    why: 'a reversal mints nothing',
    sql: `select r.account_id, r.spend_seq, p.kind, p.amount, sum(r.amount) as reversed
            from reversal r left join posting p on p.account_id = r.account_id and p.seq = r.spend_seq
           group by r.account_id, r.spend_seq, p.kind, p.amount
          having sum(r.amount) > -p.amount or p.kind not in ('spend', 'capture')`,
  },
  {
    name: 'each reversal names its spend',
    why: 'credits come back only from a use',
    sql: `select p.account_id, p.seq, p.amount, r.amount as noted
            from posting p left join reversal r using (account_id, seq)
           where p.kind = 'reversal' and r.amount is distinct from p.amount`,
  },
  {
    name: 'each adjustment is what two persons wanted, and what they wanted is made',
    why: 'nobody corrects an account alone, and a correction is made once',
    sql: `select coalesce(p.account_id, a.account_id) as account_id, p.seq, p.key, p.amount, a.id, a.plan
            from (select * from posting where kind = 'adjustment') p
            full join (select * from approval where kind = 'adjustment' and state = 'executed') a
              on a.account_id = p.account_id and 'adjustment:' || a.id = p.key
           where p.seq is null or a.id is null
              or p.amount <> case a.plan ->> 'direction' when 'credit' then 1 else -1 end * (a.plan ->> 'amount')::numeric`,
  },
  {
    name: 'an entitlement is marked granted when it has its posting, and only then',
    why: 'a month that was paid for is granted once',
    sql: `select e.key, e.granted_at, p.seq from entitlement e
            left join posting p on p.account_id = e.account_id and p.key = e.key
           where (e.granted_at is null) <> (p.seq is null)`,
  },
  {
    name: 'a month of a paid year is granted as what was paid for it, less what was given back',
    why: 'money that came back buys nothing',
    sql: `select e.key, e.amount, e.cut, p.amount from entitlement e
            join posting p on p.account_id = e.account_id and p.key = e.key
           where p.amount <> e.amount - e.cut`,
  },
  {
    name: 'no account has made good more than it was given back',
    why: 'what a plan change gave back makes later grants smaller once',
    sql: 'select account_id, sum(owed) from settlement group by account_id having sum(owed) < 0',
  },
  {
    name: 'each grant of a plan names a payment that is written down, or the free plan that it is of',
    why: 'a refund finds what it takes back, and nothing is given for no reason',
    sql: `select l.id, l.account_id, l.subscription_id, l.payment_id from lot l
            left join payment p on p.id = l.payment_id
            left join subscription s on s.id = l.subscription_id and s.role = 'fallback' and s.account_id = l.account_id
           where l.kind = 'plan' and l.subscription_id is not null
             and case when s.id is null then p.id is null
                 else l.payment_id is not null or l.key not like 'free:' || s.plan_group || ':%' end`,
  },
  {
    name: 'the months of a free plan are counted from one instant, however often it is begun',
    why: 'a month’s key means one month, so that it is granted once an account and group',
    sql: `select account_id, plan_group, count(distinct anchor) as anchors from subscription
           where role = 'fallback' group by account_id, plan_group having count(distinct anchor) > 1
           union all -- and no two of them are one: the shortest has 28 days
          select account_id, null, count(*) from (
            select account_id, split_part(key, ':', 2) as plan_group, period_start,
                   lag(period_start) over (partition by account_id, split_part(key, ':', 2)
                                           order by split_part(key, ':', 3)::int) as before
              from lot where key like 'free:%') month
           where period_start < before + interval '672 hours' group by account_id`,
  },
  {
    name: 'each notice has its deliveries',
    why: 'whatever happens is told, or it is known why not',
    sql: `select n.id, n.account_id, n.kind, n.emailed, count(d.id) as mails
            from notice n left join notice_delivery d on d.notice_id = n.id and d.endpoint_id is null
           group by n.id having (count(d.id) > 0) <> n.emailed`,
  },
]

export interface Violation {
  invariant: string
  why: string
  /** up to ten of the rows that break it */
  rows: Record<string, unknown>[]
}

/** Runs the whole list, each query in a snapshot of its own. An empty answer is the proof that the books balance. */
export async function violations(database: Queryable): Promise<Violation[]> {
  const found: Violation[] = []
  for (const { name, why, sql } of INVARIANTS) {
    const { rows } = await database.query(`select * from (${sql}) violation limit 10`)
    if (rows.length > 0) found.push({ invariant: name, why, rows })
  }
  return found
}
