/** What the whole fleet is like now, in numbers: for dashboards and alarms. Read from the rows, whoever asks. */
import type { Queryable } from './connect.ts'
import { type BreakerState, readBreaker } from './breaker.ts'

/** Ages are machine time, in seconds; 0 when there is nothing that could be old. */
export interface Fleet {
  breaker: BreakerState
  /** events that wait for a run of their owner, and how long the oldest has */
  inboxBacklog: number
  inboxOldest: number
  /** events that a person must look at */
  inboxParked: number
  /** open alerts by kind */
  alerts: Record<string, number>
  /** since each duty ended well; a duty that never did is not there */
  dutyAges: Record<string, number>
  commandsPending: number
  commandsOldest: number
  /** notices that are still to be delivered */
  deliveriesPending: number
  deliveriesOldest: number
  /** deliveries that a person must look at */
  deliveriesInDoubt: number
}

/** One round trip and the breaker's row; every count and age has an index. */
export async function readFleet(database: Queryable): Promise<Fleet> {
  const breaker = await readBreaker(database)
  const { rows } = await database.query<Omit<Fleet, 'breaker'>>(
    `with recursive now as (select clock_timestamp() as at),
     inbox as (
       select count(*) as many, min(received_at) as oldest from processed_webhook_events
        where settled_at is null and parked_at is null
     ), waiting as (
       select count(*) as many, min(created_at) as oldest from command where state = 'pending' and owner is not null
     ), untold as (
       select count(*) as many, min(asked_at) as oldest from notice_delivery where state = 'pending'
     ), known as (
       -- each name by one step through the index
       select min(duty) as name from duty_run
       union all
       select (select min(duty) from duty_run where duty > known.name) from known where name is not null
     )
     select inbox.many::int as "inboxBacklog", coalesce(extract(epoch from now.at - inbox.oldest), 0)::float8 as "inboxOldest",
            (select count(*)::int from processed_webhook_events
              where settled_at is null and parked_at is not null) as "inboxParked",
            (select coalesce(json_object_agg(kind, many), '{}') from
              (select kind, count(*) as many from alert where resolved_at is null group by kind) open) as alerts,
            (select coalesce(json_object_agg(duty, age), '{}') from
              (select name as duty, extract(epoch from (select at from now) - finished_at) as age
                 from known cross join lateral (select finished_at from duty_run where duty_run.duty = known.name
                   and finished_at is not null order by started_at desc limit 1) last) run) as "dutyAges",
            waiting.many::int as "commandsPending",
            coalesce(extract(epoch from now.at - waiting.oldest), 0)::float8 as "commandsOldest",
            untold.many::int as "deliveriesPending",
            coalesce(extract(epoch from now.at - untold.oldest), 0)::float8 as "deliveriesOldest",
            (select count(*)::int from notice_delivery where state = 'in_doubt') as "deliveriesInDoubt"
       from now, inbox, waiting, untold`,
  )
  return { breaker, ...(rows[0] as Omit<Fleet, 'breaker'>) }
}
