/** Connections to Postgres. Owns the pool's settings and the one way to run a transaction. */
import pg from 'pg'

/** Anything that runs a query: a pool, or a client inside a transaction. */
export interface Queryable {
  query<R extends pg.QueryResultRow>(
    text: string | pg.QueryConfig,
    values?: unknown[],
  ): Promise<pg.QueryResult<R>>
}

export type Pool = pg.Pool
export type Client = pg.PoolClient

/**
 * Opens a pool. `numeric` and `bigint` stay strings (law 12); `timestamptz` becomes a Date.
 * @param max connections; about 8 is the best on one machine, more does not make Postgres faster
 */
export function connect(url: string, max = 8): Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max,
    application_name: 'perennial',
    connectionTimeoutMillis: 10_000,
    // a new connection plans the ledger's functions anew, which costs its first spend some 40 ms
    idleTimeoutMillis: 300_000,
    keepAlive: true,
    statement_timeout: 15_000,
    lock_timeout: 10_000,
    idle_in_transaction_session_timeout: 20_000,
  })
  // an idle connection that Postgres closes must not end the process; the next query opens a new one
  pool.on('error', () => {})
  return pool
}

/** Runs `work` in one READ COMMITTED transaction: commits when it returns, rolls back when it throws. */
export async function transaction<T>(pool: Pool, work: (client: Client) => Promise<T>): Promise<T> {
  return await within(pool, 'commit', work)
}

/** Runs `work` in a transaction that is rolled back, whatever happens: only what it returns is left of it. */
export async function undone<T>(pool: Pool, work: (client: Client) => Promise<T>): Promise<T> {
  return await within(pool, 'rollback', work)
}

async function within<T>(
  pool: Pool,
  end: 'commit' | 'rollback',
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const client = await pool.connect()
  let broken: Error | undefined
  // a connection that dies while it is out tells so by an event, which would end the process if nobody listened
  const onError = (error: Error) => {
    broken = error
  }
  client.on('error', onError)
  try {
    await client.query('begin')
    const result = await work(client)
    await client.query(end)
    return result
  } catch (error) {
    await client.query('rollback').catch((failure: Error) => {
      broken = failure
    })
    throw error
  } finally {
    client.off('error', onError)
    client.release(broken)
  }
}
