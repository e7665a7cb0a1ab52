/**
 * Stores drafts. Concurrent calls of one process fold: while a statement is on its way, the next ones wait and leave together; a caller who
 * waits for each call in turn pays nothing for it.
 *
 * Invariants: a call's jobs are stored all or none; the order of the calls is the order of their jobs' seq; a call that cannot be stored fails
 * alone; a statement whose answer was lost is repeated with the same ids, which changes nothing if it had been committed.
 */
import { setTimeout as delay } from "node:timers/promises"
import { ConnectionError, InvalidOptionError, UnknownJobError } from "../errors.js"
import type { Logger } from "../logger.js"
import type { Executor } from "../postgres/executor.js"
import { isConnectionLoss, isTransient } from "../postgres/failure.js"
import { render, type SchemaNames } from "../postgres/names.js"
import type { Runner } from "../postgres/pool.js"
import { sqlStateOf } from "../postgres/sqlstate.js"
import type { Statements } from "../postgres/statements.js"
import type { LaneHint, Notifier } from "../postgres/wake.js"
import type { Draft } from "../task/draft-types.js"

/** A stored job, or the owner of its id or key. */
export interface Added {
  readonly id: string
  readonly queue: string
  readonly created: boolean
}

/** One call: its drafts are stored together. */
interface Unit {
  readonly drafts: readonly Draft[]
  readonly ids: readonly string[]
  readonly resolve: (added: Added[]) => void
  readonly reject: (error: unknown) => void
}

/** Rows and bytes of one statement; beyond, more statements follow. */
const MAX_ROWS = 5_000
const MAX_BYTES = 8 * 1024 * 1024
/** How long a statement whose answer was lost is repeated before the caller hears of it, in milliseconds. */
const UNKNOWN_PATIENCE = 10_000

export class Enqueuer {
  readonly #runner: Runner
  readonly #statements: Statements
  readonly #addJobs: string
  readonly #channel: string
  readonly #notifier: Notifier
  readonly #logger: Logger
  readonly #ready: () => Promise<void>
  #queue: Unit[] = []
  #working: Promise<void> | undefined

  /** `ready` resolves once the schema is known to fit. */
  constructor(options: {
    runner: Runner
    statements: Statements
    names: SchemaNames
    notifier: Notifier
    logger: Logger
    ready: () => Promise<void>
  }) {
    this.#runner = options.runner
    this.#statements = options.statements
    this.#addJobs = render("select ord, id, created, queue, state, priority, seq from {schema}.add_jobs($1::text::jsonb, $2::text)", options.names)
    this.#channel = options.names.channel
    this.#notifier = options.notifier
    this.#logger = options.logger
    this.#ready = options.ready
  }

  /** Stores the drafts of one call, all or none. */
  add(drafts: readonly Draft[], ids: readonly string[]): Promise<Added[]> {
    if (drafts.length === 0) return Promise.resolve([])
    return new Promise((resolve, reject) => {
      this.#queue.push({ drafts, ids, resolve, reject })
      this.#working ??= this.#work().finally(() => {
        this.#working = undefined
      })
    })
  }

  /** Stores the drafts in the caller's transaction. The wake-up is part of it, so it leaves with the commit. */
  async addIn(executor: Executor, drafts: readonly Draft[], ids: readonly string[]): Promise<Added[]> {
    if (drafts.length === 0) return []
    return translated(drafts, async () => {
      const wake = drafts.some((d) => d.wake)
      const { rows } = await executor.query<AddedRow>(this.#addJobs, [draftsText(drafts, ids), wake ? this.#channel : null])
      return rows.map((row) => ({ id: row.id, queue: row.queue, created: row.created }))
    })
  }

  /** Resolves when nothing is on its way. */
  async flush(): Promise<void> {
    while (this.#working !== undefined) await this.#working
  }

  async #work(): Promise<void> {
    try {
      await this.#ready()
    } catch (error) {
      for (const unit of this.#queue.splice(0)) unit.reject(error)
      return
    }
    while (this.#queue.length > 0) {
      const batch = this.#next()
      const plain = isPlain(batch[0]!)
      try {
        await this.#store(batch, plain)
      } catch (error) {
        if (batch.length === 1) batch[0]!.reject(error)
        else await this.#storeEach(batch, plain, error)
      }
    }
  }

  /** The longest run of calls of one kind that fits a statement. */
  #next(): Unit[] {
    const plain = isPlain(this.#queue[0]!)
    let rows = 0
    let bytes = 0
    let count = 0
    for (const unit of this.#queue) {
      rows += unit.drafts.length
      for (const draft of unit.drafts) bytes += draft.args.length
      if (count > 0 && (rows > MAX_ROWS || bytes > MAX_BYTES || isPlain(unit) !== plain)) break
      count++
    }
    return this.#queue.splice(0, count)
  }

  /** The batch failed as a whole: find out whose fault it was. A connection that is gone is nobody's: all hear of it. */
  async #storeEach(batch: Unit[], plain: boolean, error: unknown): Promise<void> {
    if (error instanceof ConnectionError || isTransient(error)) {
      for (const unit of batch) unit.reject(error)
      return
    }
    for (const unit of batch) {
      try {
        await this.#store([unit], plain)
      } catch (own) {
        unit.reject(own)
      }
    }
  }

  async #store(batch: readonly Unit[], plain: boolean): Promise<void> {
    const drafts = batch.flatMap((unit) => unit.drafts)
    const ids = batch.flatMap((unit) => unit.ids)
    const deadline = performance.now() + UNKNOWN_PATIENCE
    for (let tries = 0; ; tries++) {
      try {
        if (plain) await this.#insert(batch, drafts, ids, tries > 0)
        else await this.#addKeyed(batch, drafts, ids)
        return
      } catch (error) {
        const cause = error instanceof ConnectionError ? error.cause : error
        // A connection that could not even be opened stored nothing; tell the caller at once.
        const never = /ECONNREFUSED|ENOTFOUND|password|role|does not exist/.test(String((cause as Error)?.message)) && tries === 0
        if (never || !isTransient(cause) || performance.now() > deadline) {
          if (!never && isConnectionLoss(cause)) {
            throw new ConnectionError(
              `${(error as Error).message}. Whether the job was stored is unknown: the connection was lost before the answer came`,
              { cause },
            )
          }
          throw error
        }
        this.#logger.debug("enqueue is repeated", { error: cause })
        await delay(Math.min(50 * 2 ** tries, 1_000))
      }
    }
  }

  async #insert(batch: readonly Unit[], drafts: readonly Draft[], ids: readonly string[], repeated: boolean): Promise<void> {
    const column = <T>(pick: (draft: Draft) => T | undefined): (T | null)[] | null => {
      let any = false
      const values = drafts.map((d) => {
        const value = pick(d)
        if (value === undefined) return null
        any = true
        return value
      })
      return any ? values : null
    }
    const rows = await this.#runner.run<LaneRow>({
      ...this.#statements.insert_jobs,
      values: [
        ids,
        drafts.map((d) => d.queue ?? "default"),
        drafts.map((d) => d.task),
        drafts.map((d) => d.priority ?? 5),
        drafts.map((d) => d.maxAttempts ?? 1),
        drafts.map((d) => d.args),
        column((d) => d.delayMs),
        column((d) => d.runAt),
        column((d) => d.ttlMs),
        column((d) => (d.headers === undefined ? undefined : JSON.stringify(d.headers))),
        column((d) => (storedOptions(d) === undefined ? undefined : JSON.stringify(storedOptions(d)))),
        repeated,
      ],
    })
    // Committed. The callers go on; the other processes hear of it in a moment.
    for (const unit of batch) unit.resolve(unit.drafts.map((d, i) => ({ id: unit.ids[i]!, queue: d.queue ?? "default", created: true })))
    if (drafts.some((d) => d.wake)) {
      const lanes = rows.filter((r) => r.seq !== null).map((r) => ({ queue: r.queue, priority: r.priority, seq: Number(r.seq) }))
      const due = Math.min(...rows.map((r) => r.due_ms ?? Number.POSITIVE_INFINITY))
      this.#notifier.wake(lanes, Number.isFinite(due) ? due : null)
    }
  }

  async #addKeyed(batch: readonly Unit[], drafts: readonly Draft[], ids: readonly string[]): Promise<void> {
    const added = await translated(drafts, async () => this.#runner.run<AddedRow>({ text: this.#addJobs, values: [draftsText(drafts, ids), null] }))
    let at = 0
    for (const unit of batch) {
      unit.resolve(added.slice(at, at + unit.drafts.length).map((row) => ({ id: row.id, queue: row.queue, created: row.created })))
      at += unit.drafts.length
    }
    if (drafts.some((d) => d.wake)) {
      const lanes = lowest(added.filter((r) => r.state === "waiting").map((r) => ({ queue: r.queue, priority: r.priority, seq: Number(r.seq) })))
      // A duplicate may have made its owner due sooner.
      const delayed = drafts.some((d) => d.delayMs !== undefined || d.runAt !== undefined || d.key?.replace === true)
      this.#notifier.wake(lanes, delayed ? Math.min(...drafts.map((d) => d.delayMs ?? 0)) : null)
    }
  }
}

interface LaneRow {
  queue: string
  priority: number
  seq: string | null
  due_ms: number | null
}
interface AddedRow extends Record<string, unknown> {
  id: string
  created: boolean
  queue: string
  state: string
  priority: number
  seq: string
}

/** Needs nothing but an insert. */
function isPlain(unit: Unit): boolean {
  return unit.drafts.every((d) => d.local && d.customId === undefined && d.key === undefined && d.parents.length === 0)
}

/** The job's `options` column; what a repeat needs to start afresh stands in it too. */
function storedOptions(draft: Draft): object | undefined {
  if (draft.stored === undefined) return undefined
  const { repeatEveryMs, ...rest } = draft.stored
  if (repeatEveryMs === undefined) return rest
  return {
    ...rest,
    repeat: { everyMs: repeatEveryMs, maxAttempts: draft.maxAttempts ?? 1, ...(draft.ttlMs === undefined ? {} : { ttlMs: draft.ttlMs }) },
  }
}

/** The drafts as add_jobs reads them. The arguments are JSON text already and go in as they are. */
function draftsText(drafts: readonly Draft[], ids: readonly string[]): string {
  return `[${drafts
    .map((d, i) => {
      const { args, stored, wake: _wake, parents, ...rest } = d
      const options = storedOptions(d)
      const head = JSON.stringify({
        ...rest,
        id: ids[i],
        ...(options === undefined ? {} : { options }),
        ...(parents.length === 0 ? {} : { parents }),
      })
      return `${head.slice(0, -1)},"args":${args}}`
    })
    .join(",")}]`
}

/** The lowest seq of each lane. */
function lowest(lanes: readonly LaneHint[]): LaneHint[] {
  const found = new Map<string, LaneHint>()
  for (const lane of lanes) {
    const key = `${lane.priority} ${lane.queue}`
    const known = found.get(key)
    if (known === undefined || lane.seq < known.seq) found.set(key, lane)
  }
  return [...found.values()]
}

/** What add_jobs raises, as our errors. */
async function translated<T>(drafts: readonly Draft[], work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const state = sqlStateOf(error)
    const message = error instanceof Error ? error.message.replace(/^.*pgtusk: /s, "") : String(error)
    if (state === "PT404") throw new UnknownJobError(`${message} (task ${JSON.stringify(drafts[0]?.task)}); nothing was stored`, { cause: error })
    if (state === "PT400") throw new InvalidOptionError(message, { cause: error })
    throw error
  }
}
