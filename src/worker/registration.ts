/** What the database knows of a worker: its row, which its heartbeat keeps fresh, and the options of its tasks, for producers without the code. */
import { hostname } from "node:os"
import { VERSION } from "../lib/version.js"
import { refusedByRule } from "../postgres/run/failure.js"
import type { Query, Runner } from "../postgres/run/pool.js"
import { render, type SchemaNames } from "../postgres/statements/names.js"
import type { Statements } from "../postgres/statements/statements.js"
import { DEFAULT_MAX_CRASHES } from "../task/options.js"
import { allTasks } from "../task/registry.js"
import type { TaskSpec } from "../task/spec.js"

export interface RegistrationOptions {
  readonly runner: Runner
  readonly statements: Statements
  readonly names: SchemaNames
  readonly workerId: string
  readonly leaseMs: number
  readonly queues: readonly string[]
  /** May it be woken by notifications now? */
  readonly listens: () => boolean
}

export class Registration {
  readonly #options: RegistrationOptions
  #told: readonly string[] = []
  #known: { count: number; names: readonly string[] } = { count: -1, names: [] }

  constructor(options: RegistrationOptions) {
    this.#options = options
  }

  /** The tasks that this process can run now: more may be defined, and instances registered, while the worker runs. */
  knownTasks(): readonly string[] {
    const tasks = runnable()
    if (tasks.length !== this.#known.count) this.#known = { count: tasks.length, names: tasks.map((spec) => spec.name) }
    return this.#known.names
  }

  /** Makes the worker known, or known again after it was taken for dead. */
  async register(): Promise<void> {
    const { statements, workerId, leaseMs, queues } = this.#options
    const tasks = this.knownTasks()
    await this.#store({
      ...statements.register_worker,
      values: [workerId, leaseMs, process.pid, hostname(), VERSION, queues, tasks, this.#options.listens()],
    })
    this.#told = tasks
  }

  /** Tells of tasks that have been defined since. */
  async refresh(): Promise<void> {
    if (this.knownTasks() === this.#told) return
    await this.publishTasks()
    await this.register()
  }

  async publishTasks(): Promise<void> {
    const tasks = runnable().filter((spec) => spec.local)
    if (tasks.length === 0) return
    const { statements } = this.#options
    await this.#store({
      ...statements.publish_tasks,
      values: [
        tasks.map((t) => t.name),
        tasks.map((t) => t.queue),
        tasks.map((t) => t.priority),
        tasks.map((t) => t.retries),
        tasks.map((t) => t.ttlMs ?? null),
        tasks.map(storedOptions),
        tasks.map(storedLimits),
      ],
    })
  }

  async #store(query: Query): Promise<void> {
    const { runner } = this.#options
    try {
      await runner.run(query)
    } catch (error) {
      throw refusedByRule(error, runner.target, "what a worker stores of itself and its tasks")
    }
  }

  async deregister(): Promise<void> {
    const { runner, names, workerId } = this.#options
    await runner.run({ text: render("delete from {schema}.workers where id = $1", names), values: [workerId] }, 5_000)
  }
}

function runnable(): TaskSpec[] {
  return allTasks().filter((spec) => spec.handler !== undefined)
}

/** What a job must carry itself, as JSON; null: nothing. */
function storedOptions({ keep, maxCrashes }: TaskSpec): string | null {
  const crashes = maxCrashes === DEFAULT_MAX_CRASHES ? undefined : maxCrashes
  return keep === undefined && crashes === undefined ? null : JSON.stringify({ keep, maxCrashes: crashes })
}

/** The limits that hold for the task's jobs, as JSON; null: none. They are read at each claim, so those of the latest worker to start hold for all jobs. */
function storedLimits({ concurrency, rateLimit }: TaskSpec): string | null {
  if (concurrency === undefined && rateLimit === undefined) return null
  const rate = rateLimit && { limit: rateLimit.limit, perMs: rateLimit.perMs, strategy: rateLimit.strategy }
  return JSON.stringify({ concurrency: concurrency && { limit: concurrency.limit }, rate })
}
