/**
 * Stores drafts. Concurrent calls of one process fold: while a statement is on its way, the next ones wait and leave together; a caller who
 * waits for each call in turn pays nothing for it. Very many leave in two halves by turns: while the server stores one, this process tells the callers of
 * the other, and makes what they call next.
 *
 * Invariants: a call's jobs are stored all or none; the order of the calls is the order of their jobs' seq; a call that cannot be stored fails
 * alone; a statement whose answer was lost is repeated with the same ids, which changes nothing if it had been committed.
 */
import { ConnectionError, InvalidOptionError, TuskError, UnknownJobError } from "../api/errors.js"
import type { Logger } from "../api/logger.js"
import type { EventFeed } from "../events/event-feed.js"
import { SerialWork } from "../lib/serial-work.js"
import { setImmediate } from "../lib/timers.js"
import { type LaneHint, lanesOf, type Notifier } from "../postgres/notify/wake.js"
import type { Executor } from "../postgres/run/executor.js"
import { connectionError, isConnectionLoss, isNotOfTheCaller, isTransient, refusedByRule } from "../postgres/run/failure.js"
import type { Runner } from "../postgres/run/pool.js"
import { patiently } from "../postgres/run/retry.js"
import { raisedBy, sqlStateOf } from "../postgres/run/sqlstate.js"
import { render, type SchemaNames } from "../postgres/statements/names.js"
import type { Statements } from "../postgres/statements/statements.js"
import type { Draft } from "../task/draft-types.js"
import { columns, draftsText, fields, isBare, isPlain, priorityOf, queueOf } from "./columns.js"

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
  /** An insert is enough for them. */
  readonly plain: boolean
  readonly resolve: (added: Added[]) => void
  readonly reject: (error: unknown) => void
}

/** Calls that leave with one statement. */
interface Batch {
  readonly units: readonly Unit[]
  readonly drafts: readonly Draft[]
  readonly ids: readonly string[]
  readonly plain: boolean
  /** It is one job, and there is nothing to be computed for it. */
  readonly bare: Draft | undefined
  /** Of an insert, once they are made. */
  values: readonly unknown[] | undefined
}

/** The server took no session, or no writes: the statement was not begun. */
const REFUSED_BEFORE = /^(28|3D|53300|25006)/
/** Rows and bytes of one statement; beyond, more statements follow. */
const MAX_ROWS = 5_000
const MAX_BYTES = 8 * 1024 * 1024
/** A plain insert is several times cheaper than add_jobs, but a statement costs a round trip: shorter runs of one kind join the others. */
const MIN_RUN = 100
/** So many calls and fewer leave together. */
const MIN_HALF = 250

export class Enqueuer {
  readonly #runner: Runner
  readonly #statements: Statements
  readonly #addJobsText: string
  readonly #addJobsInText: string
  readonly #addPlainText: string
  readonly #lookText: string
  readonly #channel: string
  readonly #notifier: Notifier
  readonly #logger: Logger
  readonly #events: EventFeed
  readonly #ready: () => Promise<void>
  readonly #work = new SerialWork(() => this.#storeQueue())
  #queue: Unit[] = []
  /** Calls that have not been answered: those that wait, and those on their way. */
  #open = 0
  /** What leaves next, made while another statement is on its way. */
  #prepared: Batch | undefined

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
    this.#addJobsInText = render(ADD_JOBS_IN, options.names)
    this.#addPlainText = render(ADD_PLAIN, options.names)
    this.#lookText = render(LOOK, options.names)
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
      this.#open++
      this.#queue.push({ drafts, ids, plain: drafts.every(isPlain), resolve, reject })
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
      const { rows } = await executor.query<{ added: unknown }>(this.#addJobsInText, [draftsText(drafts, ids), channel, false])
      const added: unknown = rows[0]?.added
      // Some clients are told to parse whatever looks like JSON.
      return addedOf((typeof added === "string" ? JSON.parse(added) : (added ?? [])) as AddedRow[])
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
      this.#reject([...(this.#prepared?.units ?? []), ...this.#queue.splice(0)], error)
      this.#prepared = undefined
      return
    }
    for (;;) {
      const batch = this.#prepared ?? this.#next()
      this.#prepared = undefined
      if (batch === undefined) return
      await this.#storeAll(batch)
    }
  }

  /** Makes the next half, when there is one. */
  #prepare(): void {
    if (this.#prepared !== undefined || this.#queue.length < MIN_HALF) return
    this.#prepared = this.#next()!
    if (!this.#prepared.plain) return
    try {
      valuesOf(this.#prepared)
    } catch {
      // Too much for a string, say: its calls hear of it when it is their turn.
    }
  }

  /** The calls that leave with the next statement, in order. Runs of calls of one kind, unless they would fall apart into small ones. */
  #next(): Batch | undefined {
    if (this.#queue.length === 0) return undefined
    const ofOneKind = this.#fitting((unit) => unit.plain === this.#queue[0]!.plain)
    const count = ofOneKind < MIN_RUN ? this.#fitting(() => true) : ofOneKind
    const half = Math.max(MIN_HALF, Math.ceil(this.#open / 2))
    return batchOf(this.#queue.splice(0, Math.min(count, half)))
  }

  /** How many calls from the first on fit one statement; at least one. */
  #fitting(joins: (unit: Unit) => boolean): number {
    let rows = 0
    let bytes = 0
    for (let i = 0; i < this.#queue.length; i++) {
      const unit = this.#queue[i]!
      rows += unit.drafts.length
      for (const draft of unit.drafts) bytes += draft.args.length
      if (i > 0 && (rows > MAX_ROWS || bytes > MAX_BYTES || !joins(unit))) return i
    }
    return this.#queue.length
  }

  /** Stores each call that can be stored. When the server refuses the statement, halves find out whose fault it is, in the order of the calls. */
  async #storeAll(batch: Batch): Promise<void> {
    const { units } = batch
    try {
      await this.#patiently(async (unknown) => {
        if (batch.plain && !unknown) await this.#insert(batch)
        else await this.#addJobs(batch, unknown)
      })
    } catch (error) {
      // A connection that is gone, a right that is missing, a server that is full: nobody's fault, and all hear of it.
      if (units.length === 1 || error instanceof ConnectionError || isTransient(error)) {
        this.#reject(units, this.#refused(error))
        return
      }
      const half = units.length >> 1
      await this.#storeAll(batchOf(units.slice(0, half)))
      await this.#storeAll(batchOf(units.slice(half)))
    }
  }

  /** The database has rules of its own for our tables, a trigger or a constraint say, and this call breaks one. */
  #refused(error: unknown): unknown {
    const own = error instanceof TuskError && error.code === "REFUSED" ? error.cause : error
    return refusedByRule(own, this.#runner.target, "the job, and nothing was stored")
  }

  #reject(units: readonly Unit[], error: unknown): void {
    this.#open -= units.length
    for (const unit of units) unit.reject(error)
  }

  #patiently<T>(work: (unknown: boolean) => Promise<T>): Promise<T> {
    return patiently({ logger: this.#logger, what: "enqueue", whether: "Whether the job was stored" }, work)
  }

  async #insert(batch: Batch): Promise<void> {
    const { insert_job, add_job, insert_jobs, add_batch } = this.#statements
    const notifier = this.#notifier
    const { drafts, bare } = batch
    const values = valuesOf(batch)
    const insert = { ...(bare === undefined ? insert_jobs : insert_job), values }
    const wakes = drafts.some((d) => d.wake)
    const mark = wakes ? notifier.ride(queueOf(drafts[0]!)) : undefined
    const rides = mark !== undefined
    const add = bare === undefined ? add_batch : add_job
    const query = rides ? { ...add, values: [...values, notifier.channel, mark], inTransaction: insert } : insert
    let row: InsertedRow
    try {
      row = (await this.#runner.run<InsertedRow>(query))[0]!
    } catch (error) {
      // It has committed when it wakes, and that may fail too; not by a job's own values.
      const state = sqlStateOf(error) ?? ""
      const said = !(error instanceof ConnectionError) || (state !== "" && !isConnectionLoss(error) && !REFUSED_BEFORE.test(state))
      if (!rides || !said || ["22", "23"].includes(state.slice(0, 2))) throw error
      return await this.#afterAll(batch, error)
    }
    this.#events.seen(row.subscribed)
    // Committed. The callers go on, when the next statement is on its way; where nobody was told, the other processes hear of it in a moment.
    const tell = (): void => {
      this.#open -= batch.units.length
      for (const unit of batch.units) unit.resolve(plainlyAdded(unit.drafts, unit.ids))
    }
    if (this.#queue.length === 0 && this.#prepared === undefined) tell()
    else
      setImmediate(() => {
        tell()
        setImmediate(() => this.#prepare())
      })
    if (!wakes) return
    const lanes = bare === undefined ? lanesOf(row.lanes) : [{ queue: queueOf(bare), priority: priorityOf(bare), seq: Number(row.seq) }]
    if (row.told === true) notifier.told(lanes, row.due_ms)
    else notifier.wake(lanes, row.due_ms)
  }

  /**
   * The server has answered a call with an error, and it may have stored the jobs before: then they are added, which is no more than to wait for the disk.
   * Should that fail in passing, whoever tries again has to look for them as well.
   */
  async #afterAll(batch: Batch, error: unknown): Promise<void> {
    try {
      const { length } = await this.#runner.run({ text: this.#lookText, values: [batch.ids] })
      if (length > 0) return await this.#addJobs(batch, true)
    } catch (again) {
      const cause = again instanceof ConnectionError ? again.cause : again
      if (!isTransient(cause)) throw again
      throw new ConnectionError(again instanceof Error ? again.message : String(again), { cause, unknown: true })
    }
    throw error
  }

  async #addJobs({ units, drafts, ids }: Batch, repeated: boolean): Promise<void> {
    const rows = await this.#translated(drafts, () =>
      this.#runner.run<AddedRow>({ text: this.#addJobsText, values: [draftsText(drafts, ids), null, repeated] }),
    )
    const added = addedOf(rows)
    let at = 0
    this.#open -= units.length
    for (const unit of units) {
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
      if (isNotOfTheCaller(error) && !(error instanceof ConnectionError)) throw connectionError(error, this.#runner.target)
      throw this.#refused(error)
    }
  }
}

function batchOf(units: readonly Unit[]): Batch {
  const drafts = units.flatMap((unit) => unit.drafts)
  const ids = units.flatMap((unit) => unit.ids)
  const plain = units.every((unit) => unit.plain)
  const bare = drafts.length === 1 && plain && isBare(drafts[0]!) ? drafts[0] : undefined
  return { units, drafts, ids, plain, bare, values: undefined }
}

function valuesOf(batch: Batch): readonly unknown[] {
  const { drafts, ids, bare } = batch
  batch.values ??= bare === undefined ? columns(drafts, ids) : fields(bare, ids[0]!)
  return batch.values
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

/** Those of the ids $1 that are there, live or finished; each a lookup by key, and no plan whose cost grows with the length of the list. */
const LOOK = `select from unnest((select $1::uuid[])) r (id)
where exists (select from {schema}.jobs j where j.id = r.id) or exists (select from {schema}.finished_jobs f where f.id = r.id)`
// In a transaction of the caller's the session is as the caller has it, and so is the client that reads the answer. Hence names that no search_path
// turns into others, functions that set for themselves what they need, and one text for an answer.
const ADD_PLAIN = "select {schema}.add_plain_jobs($1::pg_catalog.text::pg_catalog.jsonb, $2::pg_catalog.text)"
const ADD_JOBS_IN =
  "select pg_catalog.json_agg(a)::pg_catalog.text as added from {schema}.add_jobs($1::pg_catalog.text::pg_catalog.jsonb, $2::pg_catalog.text, $3::boolean) a"
const ADD_JOBS = "select ord, id, created, queue, state, priority, seq from {schema}.add_jobs($1::text::jsonb, $2::text, $3::boolean)"

function addedOf(rows: readonly AddedRow[]): Added[] {
  return rows.filter((row) => row.ord !== null).map(({ id, queue, created }) => ({ id, queue, created }))
}

/** Not by spreading: a call may hold more jobs than a function takes arguments. */
function least(numbers: readonly number[]): number {
  return numbers.reduce((least, n) => Math.min(least, n), Number.POSITIVE_INFINITY)
}

function plainlyAdded(drafts: readonly Draft[], ids: readonly string[]): Added[] {
  return drafts.map((draft, i) => ({ id: ids[i]!, queue: draft.queue ?? "default", created: true }))
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
