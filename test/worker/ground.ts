/** What the worker's tests stand on: a database for the file, clients and names for each test, and all that the clients say. */
import { afterAll, afterEach, beforeAll } from "vitest"
import {
  configure,
  type JobEvent,
  type JobState,
  type Logger,
  type Tusk,
  type TuskOptions,
  type Worker,
  type WorkerOptions,
} from "../../src/index.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { waitFor } from "../support/wait.js"

interface LogLine {
  readonly level: keyof Logger
  readonly message: string
  readonly fields: Record<string, any>
}

export interface Ground {
  readonly db: TestDatabase
  /** What the clients of this test logged, without the debug lines. */
  readonly log: readonly LogLine[]
  /** A client of this file's database, and the default one for tasks from now on. Closed after the test. */
  open(options?: Omit<TuskOptions, "logger">): Tusk
  /** A worker on a client of its own. */
  work(options?: WorkerOptions, client?: Omit<TuskOptions, "logger">): Promise<Worker>
  /** A name that no other test uses. */
  name(prefix?: string): string
  /** The row of a job, live or finished. */
  row(id: string): Promise<Record<string, any>>
  /** How many jobs of a queue are in each state. */
  counts(queue: string): Promise<Partial<Record<JobState, number>>>
  messages(level: keyof Logger): string[]
}

let names = 0

/** Call it once, at the top of a test file. */
export function ground(): Ground {
  let db: TestDatabase
  let log: LogLine[] = []
  let clients: Tusk[] = []
  const logger: Logger = {
    debug() {},
    info: (message, fields = {}) => log.push({ level: "info", message, fields }),
    warn: (message, fields = {}) => log.push({ level: "warn", message, fields }),
    error: (message, fields = {}) => log.push({ level: "error", message, fields }),
  }

  beforeAll(async () => {
    db = await createDatabase()
  })
  afterEach(async () => {
    await Promise.all(clients.map((client) => client.close()))
    clients = []
    log = []
  })
  afterAll(() => db.close())

  const open: Ground["open"] = (options = {}) => {
    const tusk = configure({ ...(options.pool === undefined ? { connectionString: db.url } : {}), signals: false, ...options, logger })
    clients.push(tusk)
    return tusk
  }
  return {
    get db() {
      return db
    },
    get log() {
      return log
    },
    open,
    work: (options = {}, client = {}) => open(client).work({ drainTimeout: 2, ...options }),
    name: (prefix = "x") => `${prefix}-${++names}`,
    row: async (id) => {
      const rows = await db.query(
        `select to_jsonb(j) || '{"live": true}' as row from tusk.jobs j where id = $1
         union all select to_jsonb(f) || '{"live": false}' from tusk.finished_jobs f where id = $1`,
        [id],
      )
      if (rows.length !== 1) throw new Error(`Job ${id} has ${rows.length} rows`)
      return rows[0].row
    },
    counts: async (queue) => {
      const rows = await db.query(
        `select state, count(*)::int as n from (select state from tusk.jobs where queue = $1
         union all select state from tusk.finished_jobs where queue = $1) s group by state`,
        [queue],
      )
      return Object.fromEntries(rows.map((row) => [row.state, row.n]))
    },
    messages: (level) => log.filter((line) => line.level === level).map((line) => line.message),
  }
}

/** Collects the events of a client from now on. */
export function eventsOf(tusk: Tusk): JobEvent[] {
  const events: JobEvent[] = []
  tusk.events.on("*", (event) => {
    events.push(event)
  })
  return events
}

/** Waits until a job is in a state. */
export async function reaches(job: { id: string; state(): Promise<JobState> }, state: JobState, timeout?: number): Promise<void> {
  await waitFor(async () => (await job.state()) === state, { what: `job ${job.id} to be ${state}`, ...(timeout === undefined ? {} : { timeout }) })
}

/** A gate that handlers wait at, and what came to it. */
export class Gate {
  readonly arrived: string[] = []
  #open = false
  #waiting: (() => void)[] = []

  /** Waits until the gate is opened, or rejects when the signal aborts. */
  async pass(label: string, signal?: AbortSignal): Promise<void> {
    this.arrived.push(label)
    if (this.#open) return
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push(resolve)
      signal?.addEventListener("abort", () => reject(signal.reason))
    })
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** Lets one through; false when nobody waits. */
  letOne(): boolean {
    const next = this.#waiting.shift()
    next?.()
    return next !== undefined
  }

  open(): void {
    this.#open = true
    for (const go of this.#waiting.splice(0)) go()
  }
}
