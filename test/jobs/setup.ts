/** What the tests of the producer's side share. */
import pg from "pg"
import { afterAll, beforeAll, beforeEach, onTestFinished } from "vitest"
import type { TuskOptions } from "../../src/api/client.js"
import type { Worker, WorkerOptions } from "../../src/api/worker.js"
import { Tusk } from "../../src/tusk.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { waitFor } from "../support/wait.js"

export interface Bench {
  readonly db: TestDatabase
  readonly tusk: Tusk
}

/** A database and a client for a test file, empty before each test. */
export function bench(options: TuskOptions = {}): Bench {
  let db: TestDatabase | undefined
  let tusk: Tusk | undefined
  beforeAll(async () => {
    db = await createDatabase()
    tusk = new Tusk({ connectionString: db.url, signals: false, ...options })
  })
  beforeEach(async () => {
    // Faster than truncate for the few rows of a test.
    for (const table of ["jobs", "finished_jobs", "keys", "job_dependencies", "tasks", "queues"]) await db?.query(`delete from tusk.${table}`)
  })
  afterAll(async () => {
    await tusk?.close()
    await db?.close()
  })
  return {
    get db() {
      return db as TestDatabase
    },
    get tusk() {
      return tusk as Tusk
    },
  }
}

/** A client that is closed when the test ends. */
export function openTusk(options: TuskOptions): Tusk {
  const tusk = new Tusk({ signals: false, ...options })
  onTestFinished(() => tusk.close())
  return tusk
}

/** A worker that is stopped when the test ends. */
export async function startWorker(tusk: Tusk, options: WorkerOptions = {}): Promise<Worker> {
  const worker = await tusk.work(options)
  onTestFinished(() => worker.stop())
  return worker
}

/** A connection of the test's own, closed when it ends. */
export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url })
  client.on("error", () => {})
  await client.connect()
  onTestFinished(() => client.end())
  return client
}

/** A pool that remembers the statements that were sent through it. */
export class RecordingPool extends pg.Pool {
  readonly statements: string[] = []

  constructor(config: pg.PoolConfig) {
    super(config)
    this.on("error", () => {})
    this.on("connect", (client) => {
      const query = client.query.bind(client) as (...args: unknown[]) => unknown
      Object.assign(client, {
        query: (...args: unknown[]) => {
          const [first] = args
          this.statements.push(typeof first === "string" ? first : String((first as { text?: string }).text))
          return query(...args)
        },
      })
    })
  }

  /** How many of them contain this. */
  count(part: string): number {
    return this.statements.filter((text) => text.includes(part)).length
  }
}

/** Resolves once a session of this database waits for a lock. */
export async function waitForLock(db: TestDatabase, sessions = 1): Promise<void> {
  await waitFor(
    async () => {
      const [row] = await db.query<{ n: number }>(
        "select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      )
      return row!.n >= sessions
    },
    { what: `${sessions} session(s) to wait for a lock` },
  )
}

/** What a promise rejects with; fails when it resolves. */
export async function rejection(promise: PromiseLike<unknown>): Promise<any> {
  const outcome = await Promise.resolve(promise).then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  if ("error" in outcome) return outcome.error
  throw new Error(`It resolved with ${JSON.stringify(outcome.value)}`)
}

/** Milliseconds until now. */
export async function timed(work: () => PromiseLike<unknown>): Promise<number> {
  const began = performance.now()
  await work()
  return performance.now() - began
}
