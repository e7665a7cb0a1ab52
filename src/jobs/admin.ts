import type { JobState } from "../api/events.js"
import type { EventFeed } from "../events/event-feed.js"
import type { Notifier } from "../postgres/notify/wake.js"
import type { Runner } from "../postgres/run/pool.js"
import { sqlStateOf } from "../postgres/run/sqlstate.js"
import type { Statements } from "../postgres/statements/statements.js"
import type { checkDue } from "../task/job-option-checks.js"
import { Aftermath, type Consequences, type ToldJob } from "./consequences.js"

/** Postgres calls a row that fits no partition a violated check. */
const NO_PARTITION = "23514"

/** The SQL functions that change jobs, for one id or many. */
export class JobAdmin {
  readonly #runner: Runner
  readonly #notifier: Notifier
  readonly #events: EventFeed
  readonly #aftermath: Aftermath
  readonly #texts: { cancel: string; retry: string; remove: string }
  readonly #statements: Statements

  constructor(options: { runner: Runner; notifier: Notifier; events: EventFeed; statements: Statements; quoted: string }) {
    this.#runner = options.runner
    this.#notifier = options.notifier
    this.#events = options.events
    this.#aftermath = new Aftermath(options)
    this.#statements = options.statements
    const subscribed = `exists (select from ${options.quoted}.subscribers where expires_at > now()) as subscribed`
    this.#texts = {
      cancel: `select ids, active, null as retried, lanes, due_ms, watched, ended, ${subscribed} from ${options.quoted}.cancel_jobs($1, $2)`,
      retry: `select ids, null as active, retried, lanes, null as due_ms, watched, ended, ${subscribed} from ${options.quoted}.retry_jobs($1)`,
      remove: `select ids, active, null as retried, lanes, due_ms, watched, ended, ${subscribed} from ${options.quoted}.remove_jobs($1, $2)`,
    }
  }

  /** Each returns the ids that it did something to. */
  cancel(ids: readonly string[], reason: string | undefined): Promise<readonly string[]> {
    return this.#change({ text: this.#texts.cancel, values: [ids, reason ?? null] })
  }
  retry(ids: readonly string[]): Promise<readonly string[]> {
    return this.#change({ text: this.#texts.retry, values: [ids] })
  }
  /** With `only`, those that are in one of these states by then. */
  remove(ids: readonly string[], only?: readonly JobState[]): Promise<readonly string[]> {
    return this.#change({ text: this.#texts.remove, values: [ids, only ?? null] })
  }

  async promote(ids: readonly string[]): Promise<readonly string[]> {
    const rows = await this.#runner.run<MovedRow>({ ...this.#statements.promote_jobs, values: [ids] })
    this.#notifier.wake(rows.map((r) => ({ queue: r.queue, priority: r.priority, seq: Number(r.seq) })))
    return rows.map((r) => r.id)
  }

  async reschedule(ids: readonly string[], { delayMs, runAt }: ReturnType<typeof checkDue>): Promise<readonly string[]> {
    const rows = await this.#runner.run<MovedRow & { state: string; due_ms: number }>({
      ...this.#statements.reschedule,
      values: [ids, delayMs ?? null, runAt ?? null],
    })
    const waiting = rows.filter((r) => r.state === "waiting").map((r) => ({ queue: r.queue, priority: r.priority, seq: Number(r.seq) }))
    const delayed = rows.filter((r) => r.state === "delayed").map((r) => r.due_ms)
    this.#notifier.wake(waiting, delayed.length === 0 ? null : Math.min(...delayed))
    return rows.map((r) => r.id)
  }

  async #change(query: { text: string; values: unknown[] }): Promise<readonly string[]> {
    const [row] = await this.#runWithPartitions<ChangeRow>(query)
    if (row === undefined) return []
    this.#events.seen(row.subscribed)
    if (row.active !== null) this.#notifier.cancel(row.active)
    this.#aftermath.tell("job:retrying", row.retried)
    this.#aftermath.follow(row)
    return row.ids ?? []
  }

  /** Workers make the partitions that ended jobs go to, days ahead. After weeks without a worker there is none for today. */
  async #runWithPartitions<Row extends object>(query: { text: string; values: unknown[] }): Promise<Row[]> {
    try {
      return await this.#runner.run<Row>(query)
    } catch (error) {
      if (sqlStateOf(error) !== NO_PARTITION) throw error
      await this.#runner.run(this.#statements.partitions)
      return this.#runner.run<Row>(query)
    }
  }
}

interface ChangeRow extends Consequences {
  readonly ids: string[] | null
  readonly active: string[] | null
  readonly retried: ToldJob[] | null
  readonly subscribed: boolean
}

interface MovedRow {
  id: string
  queue: string
  priority: number
  seq: string
}
