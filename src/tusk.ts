/** The client: one database, one schema. It wires the layers and owns their life. */
import { randomUUID } from "node:crypto"
import type { ClientConfig } from "pg"
import { ConnectionError, InvalidOptionError, TuskError } from "./errors.js"
import { EventHub } from "./events.js"
import { Enqueuer } from "./jobs/enqueuer.js"
import { EnqueuedJob, JobAdmin, type JobContext, JobHandle } from "./jobs/job.js"
import type { Events, Job, JobEvent, JobEventName, JobRef, Schedule, Subscription } from "./jobs/types.js"
import { Waiter } from "./jobs/waiter.js"
import { type Logger, quietLogger } from "./logger.js"
import { type EmbeddedServer, startEmbedded } from "./postgres/embedded.js"
import type { Executor } from "./postgres/executor.js"
import { Listener } from "./postgres/listener.js"
import { assertSchema, type MigrationOutcome, migrateConfig, migrateIn } from "./postgres/migrate.js"
import { type SchemaNames, schemaNames } from "./postgres/names.js"
import { createPool, type PoolLike, parseConnectionString, Runner, targetOf } from "./postgres/pool.js"
import { type Statements, statementsFor } from "./postgres/statements.js"
import { executorFor } from "./postgres/transaction.js"
import { Notifier, parseHint, WakeHub } from "./postgres/wake.js"
import { callParts } from "./task/call.js"
import { currentDefault, type EnqueueRequest, setDefaultClient, setDefaultFactory, type TaskClient } from "./task/client.js"
import { buildDraft } from "./task/draft.js"
import { bindInstance } from "./task/methods.js"
import { mergeOptions } from "./task/options.js"
import { allTasks } from "./task/registry.js"
import { taskRef } from "./task/task-ref.js"
import type { Call, EnqueueOptions } from "./task/types.js"
import { checkTuskOptions, type TuskOptions } from "./tusk-options.js"
import { checkWorkerOptions } from "./worker/options.js"
import type { Transaction, Worker, WorkerInfo, WorkerOptions } from "./worker/types.js"
import { QueueWorker } from "./worker/worker.js"

/** What exists once the database's address is known. */
interface Core {
  readonly config: ClientConfig
  readonly target: string
  readonly pool: PoolLike
  readonly runner: Runner
  readonly statements: Statements
  readonly notifier: Notifier
  readonly enqueuer: Enqueuer
  readonly waiter: Waiter
  readonly jobs: JobContext
}

/** How many jobs one call may store; more would hold locks and memory for too long. */
const MAX_JOBS_A_CALL = 100_000

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
  /** Events of the jobs that this process enqueues or runs. */
  readonly events: Events
  /** Internal. */
  readonly "~client": TaskClient
  readonly #options: TuskOptions
  readonly #logger: Logger
  readonly #names: SchemaNames
  readonly #hub = new WakeHub()
  readonly #eventHub: EventHub
  readonly #self = randomUUID().slice(0, 8)
  readonly #workers = new Set<QueueWorker>()
  readonly #maxPayloadBytes: number | null
  #embedded: EmbeddedServer | undefined
  #core: Promise<Core> | undefined
  #ready: Promise<void> | undefined
  #listener: Listener | undefined
  #listening: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor(options?: TuskOptions | string) {
    this.#options = checkTuskOptions(options)
    this.#logger = this.#options.logger ?? quietLogger
    this.#names = schemaNames(this.#options.schema ?? "tusk")
    this.#maxPayloadBytes = this.#options.maxPayloadBytes === undefined ? 1024 * 1024 : this.#options.maxPayloadBytes
    if (this.#options.connectionString !== undefined) parseConnectionString(this.#options.connectionString)
    if (this.#options.listenConnectionString !== undefined) parseConnectionString(this.#options.listenConnectionString, "listenConnectionString")
    this.#eventHub = new EventHub(this.#logger)
    this.events = {
      on: (name, listener) => this.#subscribe(name, listener),
      iterate: () => {
        throw new TuskError("NOT_AVAILABLE", "events.iterate() is not available in this version; use events.on()")
      },
    }
    this["~client"] = {
      submit: (requests) => this.#submit(requests),
      schedule: (): Promise<Schedule> => Promise.reject(new TuskError("NOT_AVAILABLE", "schedules are not available in this version")),
    }
  }

  /** The schema's name. */
  get schema(): string {
    return this.#names.schema
  }

  /** Where the database is, once it is known: of use with `embedded`, whose port is free to choose. */
  async connectionString(): Promise<string> {
    const { config } = await this.#open()
    if (config.connectionString === undefined) throw new InvalidOptionError("This client has a pool; its connection string is not known")
    return config.connectionString
  }

  /**
   * Creates the schema, or brings it up to date; several at once end in one correct schema. With `tx`, in that transaction: call it from a
   * migration of your own with the transaction that it is given.
   *
   * @throws ConnectionError when the database cannot be reached or a right is missing
   * @throws SchemaVersionError when the server is older than 14, or the schema newer than this version
   */
  async migrate(options: { tx?: unknown } = {}): Promise<MigrationOutcome> {
    if (options.tx !== undefined) return migrateIn(executorFor(options.tx), this.#names)
    const { config } = await this.#open()
    const outcome = await migrateConfig(config, this.#names)
    this.#ready = undefined
    return outcome
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
    const { runner } = await this.#open()
    return runner.transaction(async (client) => {
      let open = true
      const tx: Transaction = {
        async query(sql: string, params: readonly unknown[] = []) {
          if (!open) throw new InvalidOptionError("This transaction of tusk.transaction() has ended; use it only until its callback resolves")
          const { rows, rowCount } = await client.query(sql, params as unknown[])
          return { rows, rowCount }
        },
      }
      try {
        return await work(tx)
      } finally {
        open = false
      }
    })
  }

  /** Enqueues by name, for tools; `task.enqueue()` is the typed form. Options left out come from what workers publish of the task. */
  async enqueue(task: string, args: readonly unknown[] = [], options: EnqueueOptions = {}): Promise<Job> {
    return (taskRef(task).with({ ...options, via: this }).enqueue as (...args: readonly unknown[]) => Promise<Job>)(...args)
  }

  /** Different tasks in one statement: `enqueueMany([sendEmail.call("a"), report.call([1], "x")], { tx })`. All or none. */
  async enqueueMany(calls: readonly Call<any>[], options: EnqueueOptions = {}): Promise<Job[]> {
    return this.#submit(
      calls.map((call) => {
        const parts = callParts(call)
        return { ...parts, options: mergeOptions(options, parts.options, parts.task.name) }
      }),
    )
  }

  /** The job of that id; reads nothing yet. */
  job<R = unknown>(id: string): JobRef<R> {
    return new JobHandle<R>(id, this.#openJobs)
  }

  /** The workers that live, in this process and others. */
  async workers(): Promise<WorkerInfo[]> {
    const { runner } = await this.#opened()
    const rows = await runner.run({
      text: `select id, host, pid, version, queues, running, started_at, heartbeat_at from ${this.#names.quoted}.workers where heartbeat_at > now() - lease order by started_at, id`,
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
    const core = await this.#opened()
    const worker = new QueueWorker(
      {
        config: core.config,
        listenConfig: this.#listenConfig(core),
        target: core.target,
        names: this.#names,
        statements: core.statements,
        hub: this.#hub,
        notifier: core.notifier,
        self: this.#self,
        events: this.#eventHub,
        logger: this.#logger,
        maxPayloadBytes: this.#maxPayloadBytes,
        watched: (ids) => core.notifier.ended(ids),
      },
      checked,
    )
    this.#workers.add(worker)
    void worker.stopped.then(() => this.#workers.delete(worker))
    await worker.start()
    return worker
  }

  /** Drains the workers, sends what is on its way, and closes all connections (a pool of yours stays open). */
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
    const core = await this.#core?.catch(() => undefined)
    if (core !== undefined) {
      await core.enqueuer.flush()
      await core.notifier.flush()
      core.waiter.close()
      await this.#listener?.close()
      if (this.#options.pool === undefined) await core.pool.end()
    }
    await this.#embedded?.stop()
  }

  async #submit(requests: readonly EnqueueRequest[]): Promise<Job<any>[]> {
    if (requests.length === 0) return []
    if (requests.length > MAX_JOBS_A_CALL) {
      throw new InvalidOptionError(`One call holds ${requests.length} jobs; enqueue at most ${MAX_JOBS_A_CALL} at once, in several calls`)
    }
    const tx = requests[0]!.options.tx
    const built = requests.map((request) => buildDraft(request, this.#maxPayloadBytes))
    const drafts = built.some((draft) => draft instanceof Promise)
      ? await Promise.all(built)
      : (built as Exclude<(typeof built)[number], Promise<unknown>>[])
    const executor: Executor | undefined = tx === undefined ? undefined : executorFor(tx)
    const core = await this.#open()
    const added = executor === undefined ? await core.enqueuer.add(drafts) : await core.enqueuer.addIn(executor, drafts)
    return added.map(({ id, queue, created }, i) => {
      const { task } = drafts[i]!
      const name: JobEventName = created ? "job:added" : "job:deduplicated"
      // In a transaction the job may yet be rolled back; the event tells of the call.
      if (this.#eventHub.wants(name)) this.#eventHub.emit({ name, id, task, queue, at: new Date() })
      return new EnqueuedJob(id, task, queue, created, this.#openJobs)
    })
  }

  #subscribe(name: JobEventName | "*", listener: (event: JobEvent) => void): Subscription {
    if (typeof listener !== "function") throw new InvalidOptionError(`events.on() needs a function as its second argument`)
    return Object.assign(this.#eventHub.on(name, listener), { ready: Promise.resolve() })
  }

  /** Handles may be made before anything is connected. */
  readonly #openJobs = async (): Promise<JobContext> => (await this.#opened()).jobs

  /** Connected, and the schema is known to fit. */
  async #opened(): Promise<Core> {
    const core = await this.#open()
    await this.#assertReady(core)
    return core
  }

  #assertReady(core: Core): Promise<void> {
    this.#ready ??= this.#check(core).catch((error: unknown) => {
      // The next call looks again: somebody may migrate, or the server come up.
      this.#ready = undefined
      throw error
    })
    return this.#ready
  }

  async #check(core: Core): Promise<void> {
    if (this.#options.migrate ?? this.#embedded !== undefined) await migrateConfig(core.config, this.#names)
    else await assertSchema(executorOn(core.runner), this.#names)
  }

  #open(): Promise<Core> {
    if (this.#closing !== undefined) return Promise.reject(new ConnectionError("This client of pgtusk is closed; make a new one"))
    this.#core ??= this.#connect().catch((error: unknown) => {
      this.#core = undefined
      throw error
    })
    return this.#core
  }

  async #connect(): Promise<Core> {
    const config = await this.#config()
    const target = targetOf(config)
    const pool = this.#options.pool ?? createPool(config, 10, this.#logger, "client")
    const runner = new Runner(pool, target)
    const statements = statementsFor(this.#names, this.#options.preparedStatements ?? true)
    const notifier = new Notifier({ hub: this.#hub, runner, names: this.#names, self: this.#self, logger: this.#logger })
    const waiter = new Waiter({ runner, statements, logger: this.#logger, listen: () => this.#listen() })
    this.#hub.listen((hint) => {
      if (hint.kind === "ended") waiter.told(hint.ids)
    })
    const ready = (): Promise<void> => this.#open().then((core) => this.#assertReady(core))
    const admin = new JobAdmin({ runner, notifier, statements, quoted: this.#names.quoted, watched: (ids) => notifier.ended(ids) })
    return {
      config,
      target,
      pool,
      runner,
      statements,
      notifier,
      waiter,
      enqueuer: new Enqueuer({ runner, statements, names: this.#names, notifier, logger: this.#logger, ready }),
      jobs: { runner, statements, notifier, waiter, admin },
    }
  }

  async #config(): Promise<ClientConfig> {
    const { connectionString, pool, embedded } = this.#options
    if (pool !== undefined) {
      const { max: _max, min: _min, Promise: _p, ...config } = pool.options
      return config
    }
    if (embedded !== undefined && embedded !== false) {
      this.#embedded = await startEmbedded({ ...(embedded === true ? {} : embedded), logger: this.#logger })
      return { connectionString: this.#embedded.connectionString }
    }
    const text = connectionString ?? process.env["DATABASE_URL"]
    if (text === undefined || text === "") {
      throw new InvalidOptionError(
        'pgtusk does not know your database: call configure({ connectionString: "postgres://…" }), set DATABASE_URL, or use configure({ embedded: true }) for a first try',
      )
    }
    return parseConnectionString(text, connectionString === undefined ? "DATABASE_URL" : "connectionString")
  }

  #listenConfig(core: Core): ClientConfig {
    const text = this.#options.listenConnectionString
    return text === undefined ? core.config : parseConnectionString(text, "listenConnectionString")
  }

  /** One listener for all waits of this client; polling goes on beside it. */
  #listen(): Promise<void> {
    this.#listening ??= this.#open().then(async (core) => {
      this.#listener = new Listener({
        connect: this.#listenConfig(core),
        channels: [this.#names.channel],
        logger: this.#logger,
        onNotification: (_channel, payload) => {
          const hint = parseHint(payload, this.#self)
          if (hint?.kind === "ended") core.waiter.told(hint.ids)
        },
        onLive: () => core.waiter.lookAgain(),
        onDown: () => undefined,
      })
      await this.#listener.start()
    })
    return this.#listening
  }
}

function executorOn(runner: Runner): Executor {
  return {
    async query<T>(text: string, params: readonly unknown[]) {
      const rows = await runner.run<T>({ text, values: params })
      return { rows, rowCount: rows.length }
    },
  }
}

/**
 * Makes the default client; tasks use it when no `via` is given. Without it, `DATABASE_URL` is read on first use. Nothing connects here.
 *
 * ```ts
 * export const tusk = configure({ connectionString: process.env.DATABASE_URL })
 * ```
 * @throws InvalidOptionError for a wrong option
 */
export function configure(options?: TuskOptions | string): Tusk {
  const tusk = new Tusk(options)
  setDefaultClient(tusk)
  return tusk
}

setDefaultFactory(() => new Tusk())
