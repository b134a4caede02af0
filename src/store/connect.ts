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

/** A pool, to whoever asks the same connection more than once. */
export interface Connections extends Queryable {
  connect(): Promise<Connection>
}

export interface Connection extends Queryable {
  on(event: 'error', listener: (error: Error) => void): unknown
  off(event: 'error', listener: (error: Error) => void): unknown
  release(broken?: Error): void
}

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
    // a query is sent without waiting for the answer to the one before: `InOrder`; everybody else waits
    pipeline: true,
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
  const { client, giveBack } = await take<Client>(pool)
  let broken: Error | undefined
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
    giveBack(broken)
  }
}

interface Taken<C> {
  client: C
  /** @param broken why it cannot be used again */
  giveBack: (broken?: Error) => void
}

async function take<C extends Connection>(pool: { connect(): Promise<C> }): Promise<Taken<C>> {
  const client = await pool.connect()
  let dead: Error | undefined
  // one that dies while it is out tells so by an event, which would end the process if nobody listened
  const onError = (error: Error) => {
    dead = error
  }
  client.on('error', onError)
  return {
    client,
    giveBack(broken) {
      client.off('error', onError)
      client.release(broken ?? dead)
    },
  }
}

/**
 * Queries over one connection in the order in which they are asked, without waiting for the answers to those before, so
 * that Postgres has the next at hand. The pool has the connection back whenever nothing is asked.
 */
export class InOrder implements Queryable {
  readonly #pool: Connections
  #taken: Promise<Taken<Connection>> | undefined
  #asked = 0

  constructor(pool: Connections) {
    this.#pool = pool
  }

  async query<R extends pg.QueryResultRow>(
    text: string | pg.QueryConfig,
    values?: unknown[],
  ): Promise<pg.QueryResult<R>> {
    this.#asked += 1
    this.#taken ??= take(this.#pool)
    const taken = this.#taken
    try {
      return await (await taken).client.query<R>(text, values)
    } finally {
      this.#asked -= 1
      if (this.#asked === 0) {
        this.#taken = undefined
        void taken.then(({ giveBack }) => giveBack()).catch(() => {})
      }
    }
  }
}
