/** The client: one schema of one database. It wires the layers and owns their life. */

import type { MigrationOutcome, TuskOptions } from "./api/client.js"
import { InvalidOptionError } from "./api/errors.js"
import type { Events } from "./api/events.js"
import type { FlowJob } from "./api/flow.js"
import type { Job, JobRef } from "./api/job.js"
import { type Logger, quietLogger } from "./api/logger.js"
import type { EnqueueMiddleware, EnqueueOptions } from "./api/options.js"
import type { JobFilter, JobPage, Queue, QueueInfo } from "./api/queue.js"
import type { Schedules } from "./api/schedule.js"
import type { Call } from "./api/task.js"
import type { JobMiddleware, Transaction, Worker, WorkerInfo, WorkerOptions } from "./api/worker.js"
import { EventHub } from "./events/emitter.js"
import { checkEventFilter, EVENT_NAMES } from "./events/event-filter.js"
import { iterateEvents } from "./events/event-streams.js"
import { flowRequests, stored } from "./flows/add-flow.js"
import { checkFilter } from "./jobs/filter.js"
import { Jobs } from "./jobs/jobs.js"
import { describeValue } from "./lib/invalid-option.js"
import { checkFunction, checkList, checkLookup, checkOneOf, readOptions } from "./lib/option-checks.js"
import { guardLogger } from "./lib/safe-logger.js"
import { timeLimit } from "./lib/timers.js"
import { Database } from "./postgres/database.js"
import { executorOf } from "./postgres/run/values.js"
import { ownTransactions } from "./postgres/transactions/transaction.js"
import { listQueues, QueueAdmin } from "./queues/queue.js"
import { ScheduleStore } from "./schedules/schedules.js"
import { callParts } from "./task/call.js"
import {
  currentDefault,
  noLongerWorking,
  nowWorking,
  replaceDefaultClient,
  setDefaultClient,
  setDefaultFactory,
  type TaskClient,
  type WorkingClient,
} from "./task/client.js"
import { bindInstance } from "./task/methods.js"
import { mergeOptions } from "./task/options.js"
import { allTasks, findTask } from "./task/registry.js"
import { remoteSpec } from "./task/task-ref.js"
import { checkTuskOptions, DEFAULT_MAX_PAYLOAD_BYTES } from "./tusk-options.js"
import { checkWorkerOptions } from "./worker/options.js"
import { QueueWorker } from "./worker/worker.js"

const ENDED = "This transaction of tusk.transaction() has ended; use it only until its callback resolves"
/** How long `close()` waits for what is under way, once the workers have drained. */
const CLOSE_MS = 10_000

let makeDefault: (tusk: Tusk) => void

/**
 * A client of pgtusk in one schema of one database. It connects on first use.
 *
 * ```ts
 * const tusk = new Tusk(process.env.DATABASE_URL)
 * await tusk.migrate()
 * const worker = await tusk.work()
 * ```
 * @throws InvalidOptionError for a wrong option
 */
export class Tusk implements AsyncDisposable {
  /** Events of jobs, from all processes: `ready` of a subscription resolves when those of others come too. */
  readonly events: Events
  /** Stored schedules: list, pause, preview, …; `task.schedule()` makes them. */
  readonly schedules: Schedules
  /** Internal. */
  readonly "~client": TaskClient
  readonly #options: TuskOptions
  readonly #database: Database
  readonly #jobs: Jobs
  readonly #maxPayloadBytes: number | null
  readonly #workers = new Set<QueueWorker>()
  readonly #around: JobMiddleware[] = []
  #closing: Promise<void> | undefined
  /** Its number is 0 while it has not been made the default. */
  #asDefault: WorkingClient = { number: 0, retire: () => undefined }
  readonly #logger: Logger

  constructor(options?: TuskOptions | string) {
    this.#options = checkTuskOptions(options)
    const logger = this.#options.logger ?? quietLogger
    this.#logger = guardLogger(logger)
    this.#maxPayloadBytes = this.#options.maxPayloadBytes === undefined ? DEFAULT_MAX_PAYLOAD_BYTES : this.#options.maxPayloadBytes
    this.#database = new Database(this.#options, logger)
    this.#jobs = new Jobs(this.#database, new EventHub(logger), this.#maxPayloadBytes)
    this.events = {
      on: (name, listener) => {
        checkOneOf(name, "The first argument of events.on()", ["*", ...EVENT_NAMES])
        checkFunction(listener, "The second argument of events.on()", 'events.on("job:failed", (event) => { … })')
        return this.#jobs.events.subscribe(name, listener)
      },
      iterate: (filter = {}) => iterateEvents(this.#jobs.events, checkEventFilter(filter)),
    }
    const schedules = new ScheduleStore({
      database: this.#database,
      draft: (request) => this.#jobs.draft(request),
      specOf: (task) => findTask(task) ?? remoteSpec(task),
      submitModel: (model) => this.#jobs.submitModel(model),
    })
    this.schedules = schedules
    this["~client"] = {
      submit: (requests) => this.#jobs.submit(requests),
      schedule: (id, when, request) => schedules.schedule(id, when, request),
      rest: () => void this.#rest(),
    }
  }

  /** The schema's name. */
  get schema(): string {
    return this.#database.names.schema
  }

  /** Where the database is, once it is known: of use with `embedded`, whose port is free to choose. Of a list of strings, the first. */
  async connectionString(): Promise<string> {
    const { connectionString } = await this.#database.connect()
    if (connectionString === undefined) {
      throw new InvalidOptionError("The connection string is not known: this client has a pool, or takes what the environment's PG variables say")
    }
    return connectionString
  }

  /**
   * Creates the schema, or brings it up to date; several at once end in one correct schema. With `tx`, in that transaction: call it from a
   * migration of your own with the transaction that it is given.
   *
   * @throws ConnectionError when the database cannot be reached or a right is missing
   * @throws SchemaVersionError when the server is older than 14, or the schema newer than this version
   */
  async migrate(options: { tx?: unknown } = {}): Promise<MigrationOutcome> {
    const { tx } = readOptions(options, ["tx"], "The options of migrate()")
    return this.#database.migrate(tx)
  }

  /** Makes the `@task` methods of an instance runnable here. */
  register(instance: object): void {
    bindInstance(instance)
  }

  /**
   * Runs `work` in a transaction (READ COMMITTED): enqueue in it with `task.with({ tx })`, and write with `tx.query`. It commits when `work`
   * resolves and rolls back when it rejects.
   */
  async transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    checkFunction(work, "The callback of transaction()", "transaction(async (tx) => { … })")
    const { runner } = await this.#database.connect()
    return runner.transaction(async (client) => {
      let open = true
      const tx: Transaction = {
        async query(sql: string, params: readonly unknown[] = []) {
          if (!open) throw new InvalidOptionError(ENDED)
          const { rows, rowCount } = await client.query(sql, params as unknown[])
          return { rows, rowCount }
        },
      }
      ownTransactions.set(tx, {
        query: (text, params) => {
          if (!open) return Promise.reject(new InvalidOptionError(ENDED))
          return executorOf(client).query(text, params)
        },
      })
      try {
        return await work(tx)
      } finally {
        open = false
      }
    })
  }

  /** Enqueues by name, for tools; `task.enqueue()` is the typed form. Options left out come from what workers publish of the task. */
  async enqueue(task: string, args: readonly unknown[] = [], options: EnqueueOptions = {}): Promise<Job> {
    const spec = remoteSpec(task)
    const merged = mergeOptions({}, options, spec.name)
    checkList(args, `The arguments of a job of task ${JSON.stringify(task)}`, "[argument] also for a single one")
    const [job] = await this.#jobs.submit([{ task: spec, args: [...args], options: merged }])
    return job!
  }

  /** Different tasks in one statement: `enqueueMany([sendEmail.call("a"), report.call([1], "x")], { tx })`. All or none. */
  async enqueueMany(calls: readonly Call<any>[], options: EnqueueOptions = {}): Promise<Job[]> {
    checkList(calls, "The list for enqueueMany()", "calls: [task.call(…arguments)]")
    return this.#jobs.submit(
      calls.map((call) => {
        const parts = callParts(call)
        const { name } = parts.task
        if (parts.options.via !== undefined && parts.options.via !== this) {
          throw new InvalidOptionError(`The call for a job of task "${name}" has another client (option "via"); enqueue it with that client`)
        }
        return { ...parts, options: mergeOptions(options, parts.options, name) }
      }),
    )
  }

  /**
   * Stores a graph by names, all or nothing; returns the jobs' ids in the order given. `flow()` is the typed form.
   * @throws FlowError for a name that stands twice, an unknown parent, or a cycle
   */
  async addFlow(jobs: readonly FlowJob[], options: Pick<EnqueueOptions, "tx"> = {}): Promise<string[]> {
    const own: EnqueueOptions = readOptions(options, ["tx"], "The options of addFlow()")
    const requests = flowRequests(jobs, (task) => findTask(task) ?? remoteSpec(task))
    const all = this.#jobs.submit(requests.map((r) => ({ ...r, options: mergeOptions(r.options, own, r.task.name) })))
    return (await stored(all, "The flow cannot be stored")).map((job) => job.id)
  }

  /** The job of that id; reads nothing yet. */
  job<R = unknown>(id: string): JobRef<R> {
    return this.#jobs.handle<R>(checkLookup(id, "The id for job()"))
  }

  /** Jobs by filter, live and finished alike, a page at a time. */
  async jobs(filter: JobFilter = {}): Promise<JobPage> {
    const checked = checkFilter(filter)
    const { runner } = await this.#database.ready()
    const { searchJobs } = await import("./jobs/search.js")
    return searchJobs(runner, this.schema, checked)
  }

  /** One queue; it needs no row to exist. */
  queue(name: string): Queue {
    return new QueueAdmin(name, {
      database: this.#database,
      admin: () => this.#jobs.admin(),
      job: (id, task, queue) => this.#jobs.known(id, task, queue),
    })
  }

  /** Every queue that has jobs, settings or a worker. */
  queues(): Promise<QueueInfo[]> {
    return listQueues(this.#database)
  }

  /** The workers that live, in this process and others. */
  async workers(): Promise<WorkerInfo[]> {
    const { runner } = await this.#database.ready()
    const rows = await runner.run({
      text: `select id, host, pid, version, queues, running, started_at, heartbeat_at from ${this.#database.names.quoted}.workers where heartbeat_at > now() - lease order by started_at, id`,
    })
    return rows.map((row) => ({
      id: row.id,
      host: row.host,
      pid: row.pid,
      version: row.version,
      queues: row.queues,
      running: row.running,
      startedAt: row.started_at,
      heartbeatAt: row.heartbeat_at,
    }))
  }

  /**
   * Starts a worker in this process. Resolves when it claims; it goes on until it is drained, stopped, or the process is told to end.
   *
   * @throws InvalidOptionError, ConnectionError, SchemaVersionError, or what `onStart` throws
   */
  async work(options: WorkerOptions = {}): Promise<Worker> {
    const checked = checkWorkerOptions(options, allTasks(), this.#options.signals ?? true)
    const connected = await this.#database.ready()
    const worker = new QueueWorker(
      { database: this.#database, connected, events: this.#jobs.events, maxPayloadBytes: this.#maxPayloadBytes, around: this.#around },
      checked,
    )
    this.#workers.add(worker)
    void worker.stopped.then(() => {
      this.#workers.delete(worker)
      if (this.#workers.size === 0) noLongerWorking(this.#asDefault)
    })
    await worker.start()
    if (this.#asDefault.number > 0 && this.#workers.size > 0) nowWorking(this.#asDefault)
    return worker
  }

  /**
   * Wraps the execution of every job that this client's workers run, also of those that have started already. The first given is the outermost.
   *
   * ```ts
   * tusk.use(async (job, next) => {
   *   const began = performance.now()
   *   try { return await next() } finally { metrics.observe(job.task, performance.now() - began) }
   * })
   * ```
   */
  use(middleware: JobMiddleware): this {
    if (typeof middleware !== "function") throw needsFunction("use()", middleware, "async (job, next) => next()")
    this.#around.push(middleware)
    return this
  }

  /** Wraps every enqueue of this client: for headers, tenancy, policies. The first given is the outermost. */
  onEnqueue(middleware: EnqueueMiddleware): this {
    if (typeof middleware !== "function") throw needsFunction("onEnqueue()", middleware, "async (draft, next) => next()")
    this.#jobs.onEnqueue.push(middleware)
    return this
  }

  /**
   * Drains the workers, sends what is on its way, and closes all connections (a pool of yours stays open). It resolves at the latest 10 s after the
   * workers have drained (`drainTimeout`, and up to 10 s more where handlers do not end); connections that are still at work then are cut off.
   *
   * A program need not call it to end: a client without workers and without open calls keeps no process alive.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#workers].map((worker) => worker.drain()))
    if (currentDefault() === this) setDefaultClient(undefined)
    const within = timeLimit(CLOSE_MS)
    await this.#jobs.close(within)
    await this.#database.close(within)
  }

  async #retire(): Promise<void> {
    const workers = [...this.#workers]
    this.#logger.info("A later configure() has started a worker, so the workers of this client drain (NODE_ENV is development)")
    await Promise.all(workers.map((worker) => worker.drain()))
    await this.#rest()
  }

  /** Closes what nobody uses now. The client can go on to be used: another copy of the module that made it may hold it. */
  async #rest(): Promise<void> {
    await Promise.allSettled([this.#jobs.rest(), this.#database.rest()])
  }

  static {
    makeDefault = (tusk) => {
      tusk.#asDefault = { number: replaceDefaultClient(tusk), retire: () => void tusk.#retire() }
    }
  }
}

function needsFunction(call: string, given: unknown, example: string): InvalidOptionError {
  return new InvalidOptionError(`${call} needs a function, and got ${describeValue(given)}; write ${example}`)
}

/**
 * Makes the default client; tasks use it when no `via` is given. Without it, `DATABASE_URL` is read on first use. Nothing connects here.
 *
 * With NODE_ENV=development a module may be evaluated again and again (hot reload). The latest default client that calls `work()` is then the only one
 * that works: the workers of the earlier ones drain. For two databases in one process, use `new Tusk()`.
 *
 * ```ts
 * export const tusk = configure({ connectionString: process.env.DATABASE_URL })
 * ```
 * @throws InvalidOptionError for a wrong option
 */
export function configure(options?: TuskOptions | string): Tusk {
  const tusk = new Tusk(options)
  makeDefault(tusk)
  return tusk
}

setDefaultFactory(() => new Tusk())
