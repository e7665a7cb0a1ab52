/**
 * Stores drafts. Concurrent calls of one process fold: while a statement is on its way, the next ones wait and leave together; a caller who
 * waits for each call in turn pays nothing for it.
 *
 * Invariants: a call's jobs are stored all or none; the order of the calls is the order of their jobs' seq; a call that cannot be stored fails
 * alone; a statement whose answer was lost is repeated with the same ids, which changes nothing if it had been committed.
 */
import { ConnectionError, InvalidOptionError, UnknownJobError } from "../errors.js"
import type { Logger } from "../logger.js"
import { arrayOfTexts, arrayOfWords } from "../postgres/array-text.js"
import type { Executor } from "../postgres/executor.js"
import { connectionError, isTransient } from "../postgres/failure.js"
import { render, type SchemaNames } from "../postgres/names.js"
import { patiently } from "../postgres/patience.js"
import type { Runner } from "../postgres/pool.js"
import { raisedBy, sqlStateOf } from "../postgres/sqlstate.js"
import type { Statements } from "../postgres/statements.js"
import { type LaneHint, lanesOf, type Notifier } from "../postgres/wake.js"
import { SerialWork } from "../serial-work.js"
import type { Draft } from "../task/draft-types.js"
import type { EventFeed } from "./event-feed.js"

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
/** A plain insert is several times cheaper than add_jobs, but a statement costs a round trip: shorter runs of one kind join the others. */
const MIN_RUN = 100

export class Enqueuer {
  readonly #runner: Runner
  readonly #statements: Statements
  readonly #addJobsText: string
  readonly #addPlainText: string
  readonly #channel: string
  readonly #notifier: Notifier
  readonly #logger: Logger
  readonly #events: EventFeed
  readonly #ready: () => Promise<void>
  readonly #work = new SerialWork(() => this.#storeQueue())
  #queue: Unit[] = []

  /** `ready` resolves once the schema is known to fit. */
  constructor(options: {
    runner: Runner
    statements: Statements
    names: SchemaNames
    notifier: Notifier
    logger: Logger
    events: EventFeed
    ready: () => Promise<void>
  }) {
    this.#runner = options.runner
    this.#statements = options.statements
    this.#addJobsText = render(ADD_JOBS, options.names)
    this.#addPlainText = render(ADD_PLAIN, options.names)
    this.#channel = options.names.channel
    this.#notifier = options.notifier
    this.#logger = options.logger
    this.#events = options.events
    this.#ready = options.ready
  }

  /** Stores the drafts of one call, all or none. */
  add(drafts: readonly Draft[], ids: readonly string[]): Promise<Added[]> {
    if (drafts.length === 0) return Promise.resolve([])
    return new Promise((resolve, reject) => {
      this.#queue.push({ drafts, ids, resolve, reject })
      this.#work.ask()
    })
  }

  /** Stores the drafts in the caller's transaction. The wake-up is part of it, so it leaves with the commit. */
  async addIn(executor: Executor, drafts: readonly Draft[], ids: readonly string[]): Promise<Added[]> {
    if (drafts.length === 0) return []
    return this.#translated(drafts, async () => {
      const channel = drafts.some((d) => d.wake) ? this.#channel : null
      if (drafts.every(isPlain)) {
        await executor.query(this.#addPlainText, [draftsText(drafts, ids), channel])
        return plainlyAdded(drafts, ids)
      }
      const { rows } = await executor.query<AddedRow>(this.#addJobsText, [draftsText(drafts, ids), channel, false])
      return addedOf(rows)
    })
  }

  /** Stores one job from a draft that is JSON already. */
  async addModel(model: Record<string, unknown>, id: string): Promise<Added> {
    await this.#ready()
    const text = JSON.stringify([{ ...model, id }])
    const [row] = await this.#patiently((unknown) => this.#runner.run<AddedRow>({ text: this.#addJobsText, values: [text, null, unknown] }))
    const added = row!
    if (added.state === "waiting") this.#notifier.wake([{ queue: added.queue, priority: added.priority, seq: Number(added.seq) }])
    else this.#notifier.wake([], 0)
    return { id: added.id, queue: added.queue, created: added.created }
  }

  async #storeQueue(): Promise<void> {
    try {
      await this.#ready()
    } catch (error) {
      for (const unit of this.#queue.splice(0)) unit.reject(error)
      return
    }
    while (this.#queue.length > 0) await this.#storeAll(this.#next())
  }

  /** The calls that leave with the next statement, in order. Runs of calls of one kind, unless they would fall apart into small ones. */
  #next(): Unit[] {
    const ofOneKind = this.#fitting((unit) => unit.drafts.every(isPlain) === this.#queue[0]!.drafts.every(isPlain))
    const count = ofOneKind < MIN_RUN ? this.#fitting(() => true) : ofOneKind
    return this.#queue.splice(0, count)
  }

  /** How many calls from the first on fit one statement; at least one. */
  #fitting(joins: (unit: Unit) => boolean): number {
    let rows = 0
    let bytes = 0
    for (const [i, unit] of this.#queue.entries()) {
      rows += unit.drafts.length
      for (const draft of unit.drafts) bytes += draft.args.length
      if (i > 0 && (rows > MAX_ROWS || bytes > MAX_BYTES || !joins(unit))) return i
    }
    return this.#queue.length
  }

  /** Stores each call that can be stored. When the server refuses the statement, halves find out whose fault it is, in the order of the calls. */
  async #storeAll(batch: readonly Unit[]): Promise<void> {
    try {
      await this.#store(batch)
    } catch (error) {
      // A connection that is gone, a right that is missing, a server that is full: nobody's fault, and all hear of it.
      if (batch.length === 1 || error instanceof ConnectionError || isTransient(error)) {
        for (const unit of batch) unit.reject(error)
        return
      }
      const half = batch.length >> 1
      await this.#storeAll(batch.slice(0, half))
      await this.#storeAll(batch.slice(half))
    }
  }

  async #store(batch: readonly Unit[]): Promise<void> {
    const drafts = batch.flatMap((unit) => unit.drafts)
    const ids = batch.flatMap((unit) => unit.ids)
    const plain = drafts.every(isPlain)
    await this.#patiently(async (unknown) => {
      if (plain && !unknown) await this.#insert(batch, drafts, ids)
      else await this.#addJobs(batch, drafts, ids, unknown)
    })
  }

  #patiently<T>(work: (unknown: boolean) => Promise<T>): Promise<T> {
    return patiently({ logger: this.#logger, what: "enqueue", whether: "Whether the job was stored" }, work)
  }

  async #insert(batch: readonly Unit[], drafts: readonly Draft[], ids: readonly string[]): Promise<void> {
    const { insert_job, add_job, insert_jobs, add_batch } = this.#statements
    const notifier = this.#notifier
    const bare = drafts.length === 1 && isBare(drafts[0]!) ? drafts[0] : undefined
    const values = bare === undefined ? columns(drafts, ids) : fields(bare, ids[0]!)
    const insert = { ...(bare === undefined ? insert_jobs : insert_job), values }
    const wakes = drafts.some((d) => d.wake)
    const rides = wakes && notifier.mayRide()
    const add = bare === undefined ? add_batch : add_job
    const query = rides ? { ...add, values: [...values, notifier.channel, notifier.self], inTransaction: insert } : insert
    let row: InsertedRow
    try {
      row = (await this.#runner.run<InsertedRow>(query))[0]!
    } catch (error) {
      // It has committed when it wakes, and that may fail too; not by a job's own values.
      const state = sqlStateOf(error) ?? ""
      if (!rides || error instanceof ConnectionError || ["22", "23"].includes(state.slice(0, 2))) throw error
      return await this.#addJobs(batch, drafts, ids, true)
    }
    this.#events.seen(row.subscribed)
    // Committed. The callers go on; where nobody was told, the other processes hear of it in a moment.
    for (const unit of batch) unit.resolve(plainlyAdded(unit.drafts, unit.ids))
    if (!wakes) return
    const lanes = bare === undefined ? lanesOf(row.lanes) : [{ queue: queueOf(bare), priority: priorityOf(bare), seq: Number(row.seq) }]
    if (row.told === true) notifier.told(lanes, row.due_ms)
    else notifier.wake(lanes, row.due_ms)
  }

  async #addJobs(batch: readonly Unit[], drafts: readonly Draft[], ids: readonly string[], repeated: boolean): Promise<void> {
    const rows = await this.#translated(drafts, () =>
      this.#runner.run<AddedRow>({ text: this.#addJobsText, values: [draftsText(drafts, ids), null, repeated] }),
    )
    const added = addedOf(rows)
    let at = 0
    for (const unit of batch) {
      unit.resolve(added.slice(at, at + unit.drafts.length))
      at += unit.drafts.length
    }
    if (drafts.some((d) => d.wake)) {
      const lanes = lowest(rows.filter((r) => r.state === "waiting").map((r) => ({ queue: r.queue, priority: r.priority, seq: Number(r.seq) })))
      // A duplicate may have made its owner due sooner.
      const delayed = drafts.some((d) => d.delayMs !== undefined || d.runAt !== undefined || d.key?.replace === true)
      this.#notifier.wake(lanes, delayed ? least(drafts.map((d) => d.delayMs ?? 0)) : null)
    }
  }

  /** What add_jobs raises, as our errors. */
  async #translated<T>(drafts: readonly Draft[], work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      const state = sqlStateOf(error)
      const message = raisedBy(error) ?? String(error)
      if (state === "PT404") throw new UnknownJobError(`${message} (task ${JSON.stringify(drafts[0]?.task)}); nothing was stored`, { cause: error })
      if (state === "PT400") throw new InvalidOptionError(message, { cause: error })
      // A caller's client gives it as it is, a runner of ours as a ConnectionError already.
      if (state === "42501" && !(error instanceof ConnectionError)) throw connectionError(error, this.#runner.target)
      throw error
    }
  }
}

/** One value where all have the same, which the statement then takes for all; else one each. */
function common<T>(drafts: readonly Draft[], pick: (draft: Draft) => T): T[] {
  const first = pick(drafts[0]!)
  return drafts.every((draft) => pick(draft) === first) ? [first] : drafts.map(pick)
}

/** Null where no draft has one. */
function optional<T>(drafts: readonly Draft[], pick: (draft: Draft) => T | undefined): (T | null)[] | null {
  return drafts.some((draft) => pick(draft) !== undefined) ? drafts.map((draft) => pick(draft) ?? null) : null
}

function texts(drafts: readonly Draft[], pick: (draft: Draft) => string | undefined): string | null {
  const values = optional(drafts, pick)
  return values && arrayOfTexts(values)
}

function numbers(drafts: readonly Draft[], pick: (draft: Draft) => number | undefined): string | null {
  const values = optional(drafts, pick)
  return values && arrayOfWords(values)
}

function json(value: object | undefined): string | undefined {
  return value === undefined ? undefined : JSON.stringify(value)
}

const queueOf = ({ queue = "default" }: Draft): string => queue
const priorityOf = ({ priority = 5 }: Draft): number => priority
const attemptsOf = ({ maxAttempts = 1 }: Draft): number => maxAttempts

/** A job's values, as insert_job takes them. */
function fields(draft: Draft, id: string): unknown[] {
  const { task, args, headers } = draft
  return [id, queueOf(draft), task, priorityOf(draft), attemptsOf(draft), args, json(headers) ?? null, json(storedOptions(draft)) ?? null]
}

/** Arrays of values, as insert_jobs takes them. */
function columns(drafts: readonly Draft[], ids: readonly string[]): unknown[] {
  return [
    arrayOfWords(ids),
    arrayOfTexts(common(drafts, queueOf)),
    arrayOfTexts(common(drafts, (d) => d.task)),
    arrayOfWords(common(drafts, priorityOf)),
    arrayOfWords(common(drafts, attemptsOf)),
    arrayOfTexts(drafts.map((d) => d.args)),
    numbers(drafts, (d) => d.delayMs),
    texts(drafts, (d) => d.runAt),
    numbers(drafts, (d) => d.ttlMs),
    texts(drafts, (d) => json(d.headers)),
    texts(drafts, (d) => json(storedOptions(d))),
    texts(drafts, (d) => d.concurrencyKey),
    texts(drafts, (d) => d.rateKey),
  ]
}

/** What the statements for plain jobs return. */
interface InsertedRow {
  /** Of one job. */
  readonly seq?: string
  /** Of several. */
  readonly lanes?: unknown
  readonly due_ms?: number | null
  readonly subscribed: boolean
  /** Workers were woken by the same statement. */
  readonly told?: boolean
}
/** Rows without `ord`, the last ones, are no jobs of the call but lanes to look at again. */
interface AddedRow extends Record<string, unknown> {
  ord: number | null
  id: string
  created: boolean
  queue: string
  state: string
  priority: number
  seq: string
}

const ADD_PLAIN = "select {schema}.add_plain_jobs($1::text::jsonb, $2::text)"
const ADD_JOBS = "select ord, id, created, queue, state, priority, seq from {schema}.add_jobs($1::text::jsonb, $2::text, $3::boolean)"

function addedOf(rows: readonly AddedRow[]): Added[] {
  return rows.filter((row) => row.ord !== null).map(({ id, queue, created }) => ({ id, queue, created }))
}

/** Not by spreading: a call may hold more jobs than a function takes arguments. */
function least(numbers: readonly number[]): number {
  return numbers.reduce((least, n) => Math.min(least, n), Number.POSITIVE_INFINITY)
}

/** Needs nothing but an insert. */
function isPlain({ local, customId, key, parents }: Draft): boolean {
  return local && customId === undefined && key === undefined && parents.length === 0
}

/** Due at once, for good, and without limits: a row and nothing to be computed. */
function isBare({ delayMs, runAt, ttlMs, concurrencyKey, rateKey }: Draft): boolean {
  return delayMs === undefined && runAt === undefined && ttlMs === undefined && concurrencyKey === undefined && rateKey === undefined
}

function plainlyAdded(drafts: readonly Draft[], ids: readonly string[]): Added[] {
  return drafts.map((draft, i) => ({ id: ids[i]!, queue: draft.queue ?? "default", created: true }))
}

/** The job's `options` column; what a repeat needs to start afresh stands in it too. */
function storedOptions(draft: Draft): object | undefined {
  if (draft.stored === undefined) return undefined
  const { repeatEveryMs, ...rest } = draft.stored
  if (repeatEveryMs === undefined) return rest
  return {
    ...rest,
    // What is left out here add_jobs takes from the published task.
    repeat: { everyMs: repeatEveryMs, maxAttempts: draft.maxAttempts, ttlMs: draft.ttlMs },
  }
}

/** The drafts as add_jobs reads them. The arguments are JSON text already and go in as they are. */
function draftsText(drafts: readonly Draft[], ids: readonly string[]): string {
  return `[${drafts.map((draft, i) => draftText(draft, ids[i])).join(",")}]`
}

/** One draft as add_jobs reads it; without an id it is a model for jobs to come. */
export function draftText(draft: Draft, id: string | undefined): string {
  const { args, stored: _stored, wake: _wake, parents, ...rest } = draft
  const options = storedOptions(draft)
  const head = JSON.stringify({ ...rest, id, ...(options === undefined ? {} : { options }), ...(parents.length === 0 ? {} : { parents }) })
  return `${head.slice(0, -1)},"args":${args}}`
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
