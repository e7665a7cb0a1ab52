/**
 * Records outcomes. What ends while a statement is on its way leaves with the next one.
 *
 * Invariants: an outcome leaves here only when Postgres has recorded it, or has said that its lease is lost; a lost connection is retried for
 * ever (the fence makes a repeat harmless); an outcome that cannot be stored becomes a failure of that job alone.
 */
import { ConnectionError, PayloadError } from "../../api/errors.js"
import type { JobFailure } from "../../api/events.js"
import type { EventFeed } from "../../events/event-feed.js"
import { Aftermath } from "../../jobs/consequences.js"
import { Service, type ServiceOptions } from "../../lib/service.js"
import { setImmediate } from "../../lib/timers.js"
import type { Notifier } from "../../postgres/notify/wake.js"
import { arrayOfTexts, arrayOfWords } from "../../postgres/run/array-text.js"
import { isConnectionLoss, isTransient } from "../../postgres/run/failure.js"
import type { Runner } from "../../postgres/run/pool.js"
import { sqlStateOf } from "../../postgres/run/sqlstate.js"
import type { Statements } from "../../postgres/statements/statements.js"
import { failureOf, type Outcome, type SettleRow } from "../run/outcome.js"
import type { Run } from "../run/run.js"

export interface Settlement {
  readonly run: Run
  outcome: Exclude<Outcome, { kind: "lost" | "recorded" }>
  /** The server has refused it once; `outcome` is what is stored instead. */
  spoiled?: boolean
}

/** What became of a settlement: recorded as asked, overruled by a cancel (with its reason), or not ours any more. */
export type Verdict = "recorded" | "lost" | { readonly cancelled: JobFailure }

export interface SettlerOptions extends Omit<ServiceOptions, "name"> {
  readonly runner: Runner
  readonly statements: Statements
  readonly notifier: Notifier
  readonly events: EventFeed
  readonly workerId: string
  readonly settled: (settlement: Settlement, verdict: Verdict) => void
  /** A batch is done with. */
  readonly concluded: () => void
}

const MAX_BATCH = 2_000
/** Characters of results in one batch. */
const MAX_BATCH_SIZE = 8 * 1024 * 1024
const RETRY_MS = { min: 50, max: 5_000 }

export class Settler extends Service {
  readonly #options: SettlerOptions
  readonly #aftermath: Aftermath
  #pending: Settlement[] = []
  readonly #onTheWay = new Set<Settlement>()
  #idle: (() => void)[] = []

  constructor(options: SettlerOptions) {
    super({ ...options, name: "settler" })
    this.#options = options
    this.#aftermath = new Aftermath(options)
  }

  /** Outcomes not yet recorded. */
  get unsettled(): number {
    return this.#pending.length + this.#onTheWay.size
  }

  /** The leases of outcomes not yet recorded. */
  leases(): string[] {
    return [...this.#pending, ...this.#onTheWay].map((s) => s.run.row.lease)
  }

  add(settlement: Settlement): void {
    this.#pending.push(settlement)
    if (this.#pending.length === 1) this.wake()
  }

  /** A completion that its own transaction has recorded: what follows from it is the same. */
  recorded(run: Run, row: SettleRow): void {
    this.#conclude([{ run, outcome: { kind: "completed", result: null } }], row)
  }

  /** Resolves when everything added so far, and since, is recorded. */
  async drained(): Promise<void> {
    if (this.unsettled === 0) return
    await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  protected override onStart(): void {
    this.spawn(() => this.loop(() => this.#step()))
  }

  async #step(): Promise<number> {
    // A turn of the event loop first: runs that end in the same turn leave together.
    await new Promise((resolve) => setImmediate(resolve))
    const batch = this.#pending.splice(0, countWithin(this.#pending))
    if (batch.length > 0) {
      for (const settlement of batch) this.#onTheWay.add(settlement)
      await this.#settle(batch)
    }
    if (this.#pending.length > 0) return 0
    for (const resolve of this.#idle.splice(0)) resolve()
    return Number.POSITIVE_INFINITY
  }

  async #settle(batch: Settlement[]): Promise<void> {
    let pause = RETRY_MS.min
    // True once a call was sent whose answer was lost.
    let unknown = false
    for (;;) {
      try {
        await this.#send(batch, unknown)
        return
      } catch (error) {
        if (isAboutData(error) && (batch.length > 1 || !batch[0]!.spoiled)) {
          if (batch.length === 1) this.#spoil(batch[0]!, error)
          // One of them cannot be stored; halves find it without holding up the rest.
          else for (const half of [batch.slice(0, batch.length >> 1), batch.slice(batch.length >> 1)]) await this.#settle(half)
          if (batch.length > 1) return
          continue
        }
        // For ever: until it is recorded, the outcome is only here. A stopping worker gives up when its lease is lost anyway.
        if (this.signal.aborted) throw error
        unknown ||= error instanceof ConnectionError && error.unknown
        if (pause > RETRY_MS.min)
          this.logger.warn("outcomes cannot be recorded yet and are tried again", { jobs: batch.length, error: error as Error })
        await this.sleep(isConnectionLoss(error) ? pause : Math.min(pause, 200))
        pause = Math.min(pause * 2, RETRY_MS.max)
      }
    }
  }

  /** The server refuses this outcome itself; the job fails with what it said. */
  #spoil(settlement: Settlement, error: unknown): void {
    const { run } = settlement
    settlement.spoiled = true
    this.logger.error("an outcome cannot be stored; the job fails instead", { job: run.id, task: run.task, error: error as Error })
    if (settlement.outcome.kind === "failed") {
      settlement.outcome = { kind: "failed", error: { name: "PayloadError", message: "The error of this run could not be stored" } }
    } else {
      const what = new PayloadError(
        `Postgres cannot store the outcome of task "${run.task}" (${sqlStateOf(error) ?? "no code"}): ${(error as Error).message}`,
        "$",
      )
      settlement.outcome = { kind: "failed", error: failureOf(what) }
    }
    run.unstoredProgress = undefined
  }

  async #send(batch: readonly Settlement[], repeated: boolean): Promise<void> {
    const column = <T>(pick: (s: Settlement) => T | null | undefined): (T | null)[] | null => {
      let any = false
      const values = batch.map((s) => {
        const value = pick(s) ?? null
        any ||= value !== null
        return value
      })
      return any ? values : null
    }
    const texts = (pick: (s: Settlement) => string | null | undefined): string | null => {
      const values = column(pick)
      return values && arrayOfTexts(values)
    }
    const [row] = await this.#options.runner.run<SettleRow>({
      ...this.#options.statements.settle,
      values: [
        this.#options.workerId,
        arrayOfWords(batch.map((s) => s.run.id)),
        arrayOfWords(batch.map((s) => s.run.row.lease)),
        arrayOfWords(batch.map((s) => s.outcome.kind)),
        column((s) => ("delayMs" in s.outcome ? s.outcome.delayMs : null)),
        texts((s) => (s.outcome.kind === "completed" ? s.outcome.result : null)),
        texts((s) => ("error" in s.outcome ? JSON.stringify(s.outcome.error) : null)),
        texts((s) => s.run.unstoredProgress),
      ],
    })
    const whole = repeated && row!.settled !== null ? await this.#withThoseBefore(batch, row!) : row!
    for (const settlement of batch) this.#onTheWay.delete(settlement)
    this.#conclude(batch, whole)
  }

  /** What an earlier call recorded is found settled by nobody: it counts as settled now. */
  async #withThoseBefore(batch: readonly Settlement[], row: SettleRow): Promise<SettleRow> {
    const settled = new Set(row.settled)
    const rest = batch.filter((s) => !settled.has(s.run.id))
    const before = await this.#options.runner.run<{ id: string; cancelled: JobFailure | null }>({
      ...this.#options.statements.settled_before,
      values: [rest.map((s) => s.run.id), this.#options.workerId, rest.map((s) => s.run.attempt)],
    })
    const cancelled = Object.fromEntries(before.flatMap(({ id, cancelled }) => (cancelled === null ? [] : [[id, cancelled]])))
    return { ...row, settled: [...settled, ...before.map(({ id }) => id)], cancelled: { ...row.cancelled, ...cancelled } }
  }

  #conclude(batch: readonly Settlement[], row: SettleRow): void {
    this.#options.events.seen(row.subscribed)
    const settled = row.settled === null ? undefined : new Set(row.settled)
    for (const settlement of batch) {
      const id = settlement.run.id
      const cancelled = row.cancelled?.[id]
      const verdict = settled === undefined || settled.has(id) ? "recorded" : "lost"
      this.#options.settled(settlement, cancelled === undefined ? verdict : { cancelled })
    }
    this.#aftermath.follow(row)
    this.#options.concluded()
  }
}

/**
 * How many of these fit one statement; at least one. None with a job twice: after a lost lease this worker may have run it again, and the answer, which
 * knows jobs by their ids, would take the stale run for the other.
 */
function countWithin(settlements: readonly Settlement[]): number {
  let size = 0
  const ids = new Set<string>()
  for (let i = 0; i < Math.min(settlements.length, MAX_BATCH); i++) {
    const { run, outcome } = settlements[i]!
    if (ids.has(run.id)) return i
    ids.add(run.id)
    if (outcome.kind === "completed") size += outcome.result?.length ?? 0
    if (size > MAX_BATCH_SIZE) return Math.max(i, 1)
  }
  return Math.min(settlements.length, MAX_BATCH)
}

/**
 * Whether one of the values is what the statement fails by: data exceptions, broken constraints, limits, and what pg itself cannot send. Anything
 * else (a right that was revoked, a function that a migration is replacing) is no fault of an outcome, and passes.
 */
function isAboutData(error: unknown): boolean {
  if (isTransient(error) || error instanceof ConnectionError) return false
  const state = sqlStateOf(error)
  return state === undefined || ["22", "23", "54"].includes(state.slice(0, 2))
}
