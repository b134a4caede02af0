/**
 * Fills a database as its owner: wallets with ten lots each, a history of postings that balances, and beside them the
 * two tables of the bare statement with as many rows.
 */
import { totalmem } from 'node:os'
import { connect } from '../src/store/connect.ts'

/** Of Postgres, as on a server of its own; both sides of every ratio run on it. Durability stays as Postgres ships it. */
export const SETTINGS = {
  // a quarter of the memory, as Postgres' manual advises
  shared_buffers: `${Math.floor(totalmem() / 4 / 2 ** 20)}MB`,
  max_wal_size: '16GB',
  min_wal_size: '12GB',
  checkpoint_timeout: '1h',
}

const LOTS = 10

/** How much log a run may write before it needs a new file. */
const LOG_MIB = 6_000

/** The account with this number; the hot one is the first. */
export const accountOf = (n: number): string => `acc_${n.toString(16).padStart(32, '0')}`

/**
 * @param postings how many, over all accounts: ten grants each and then spends
 * @param bare whether the bare statement is measured, too, and has as many rows
 */
export async function seed(ownerUrl: string, postings: number, accounts: number, bare = true): Promise<void> {
  const pool = connect(ownerUrl, 1)
  const spends = Math.max(0, Math.round(postings / accounts) - LOTS)
  const id = (n: string) => `'acc_' || lpad(to_hex(${n}), 32, '0')`
  try {
    await pool.query('set statement_timeout = 0')
    await pool.query(`
      create table bare_wallet (id integer primary key, balance numeric(24, 8) not null) with (fillfactor = 70);
      create table bare_ledger (id bigint generated always as identity primary key, wallet integer not null,
        amount numeric(24, 8) not null, key text not null unique, at timestamptz not null default now());
      grant select, insert, update on bare_wallet, bare_ledger to perennial_service`)
    await pool.query(`insert into bare_wallet select n, 1e12 from generate_series(0, ${accounts - 1}) n`)
    if (bare)
      await pool.query(`insert into bare_ledger (wallet, amount, key)
      select n % ${accounts}, 0.01, gen_random_uuid() from generate_series(1, ${postings}) n`)
    await pool.query(`insert into account (id) select ${id('n')} from generate_series(0, ${accounts - 1}) n`)
    await pool.query(`
      insert into lot (id, account_id, kind, key, granted, remaining, expires_at, granted_at)
      select 'lot_' || lpad(to_hex(n * ${LOTS} + l), 32, '0'), ${id('n')}, 'goodwill', 'seed:' || l, 1e6,
             case when l = 1 then 1e6 - ${spends} else 1e6 end, business_now() + l * interval '100 days', business_now()
        from generate_series(0, ${accounts - 1}) n, generate_series(1, ${LOTS}) l`)
    await pool.query(`
      insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                           actor, reason_code, lot_ids, lot_amounts, occurred_at)
      select a.id, s, case when grants then 'grant' else 'spend' end,
             case when grants then 'system:goodwill' else a.id end, case when grants then a.id else 'system:used' end,
             case when grants then 1e6 else -1 end,
             case when grants then s * 1e6 else ${LOTS} * 1e6 - (s - ${LOTS}) end,
             case when grants then 'seed:' || s else 'spend:' || gen_random_uuid() end,
             encode(sha256(int8send(s)), 'base64'), 'seed', 'seed',
             array['lot_' || lpad(to_hex(a.n * ${LOTS} + case when grants then s else 1 end), 32, '0')],
             array[case when grants then 1e6 else -1 end], now()
        from generate_series(1, ${LOTS + spends}) s
        cross join (select n, ${id('n')} as id from generate_series(0, ${accounts - 1}) n) a
        cross join lateral (select s <= ${LOTS} as grants) kind`)
    await pool.query(`
      update wallet w set seq = ${LOTS + spends}, balance = ${LOTS} * 1e6 - ${spends}, touched_at = now(),
             next_lapse_at = (select min(expires_at) from lot where lot.account_id = w.account_id)`)
    await pool.query('vacuum analyze')
    // A server that has run for a while writes its log into files that were there before. A new one is filled with zeros
    // first, which takes 50 ms, and everybody waits.
    await pool.query(
      `select pg_logical_emit_message(false, 'bench', repeat('0', 1 << 20)) from generate_series(1, ${LOG_MIB})`,
    )
    await pool.query('checkpoint')
  } finally {
    await pool.end()
  }
}
