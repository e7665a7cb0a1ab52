/**
 * Waits for the ends of jobs: one for all waits of a client, so that a thousand of them cost a handful of statements.
 *
 * A wait marks its job as watched; whoever ends a watched job says so, in this process by a call, to others by NOTIFY. Then one statement reads
 * all ends that were told of. A wait that was told nothing (the notification was lost) is found by a poll over all open waits, every few seconds.
 *
 * Invariant: the listener is live, or the poll runs, before a job is marked; so an end cannot fall between looking and listening.
 */

import { UnknownJobError, WaitTimeoutError } from "../api/errors.js"
import type { JobState } from "../api/events.js"
import type { Logger } from "../api/logger.js"
import type { JobSnapshot } from "../api/snapshot.js"
import { outside } from "../lib/async-context.js"
import { SerialWork } from "../lib/serial-work.js"
import { clearInterval, clearTimeout, setImmediate, setInterval, setTimeout, sleep } from "../lib/timers.js"
import type { Notifier } from "../postgres/notify/wake.js"
import { isTransient } from "../postgres/run/failure.js"
import type { Runner } from "../postgres/run/pool.js"
import type { Statements } from "../postgres/statements/statements.js"
import { type SnapshotRow, snapshotOf } from "./snapshot.js"

interface Wait {
  readonly resolve: (snapshot: JobSnapshot<any>) => void
  readonly reject: (error: unknown) => void
}

const POLL_MS = 5_000
/** Until a job is asked for again whose row somebody held. */
const HELD_MS = 100
const ENDS: ReadonlySet<JobState> = new Set<JobState>(["completed", "failed", "expired", "cancelled"])

interface WatchRow {
  readonly id: string
  readonly marked: boolean
  readonly queue: string
  readonly priority: number
  readonly seq: string | null
}

export interface WaiterOptions {
  readonly runner: Runner
  readonly notifier: Notifier
  readonly statements: Statements
  readonly logger: Logger
  /** Makes sure that notifications are listened to; resolves when they are, or when that has failed. */
  readonly listen: () => Promise<void>
}

export class Waiter {
  readonly #options: WaiterOptions
  readonly #waits = new Map<string, Set<Wait>>()
  readonly #work = new SerialWork(() => this.#rounds())
  #toMark = new Set<string>()
  #toRead = new Set<string>()
  #poll: NodeJS.Timeout | undefined
  #later: NodeJS.Timeout | undefined
  #closed = false

  constructor(options: WaiterOptions) {
    this.#options = options
  }

  /** The finished job, or the reason of `signal` if that comes first. @throws UnknownJobError */
  async ended(id: string, signal: AbortSignal): Promise<JobSnapshot<any>> {
    await unlessAborted(this.#options.listen(), signal)
    let wait: Wait | undefined
    try {
      const end = new Promise<JobSnapshot<any>>((resolve, reject) => {
        wait = { resolve, reject }
        if (this.#closed) return reject(closedError())
        const waits = this.#waits.get(id) ?? new Set()
        waits.add(wait)
        this.#waits.set(id, waits)
        this.#toMark.add(id)
        this.#work.ask()
        this.#poll ??= outside(() => setInterval(() => this.#pollNow(), POLL_MS))
      })
      return await unlessAborted(end, signal)
    } finally {
      const waits = this.#waits.get(id)
      if (wait !== undefined) waits?.delete(wait)
      if (waits?.size === 0) this.#waits.delete(id)
      if (this.#waits.size === 0) {
        clearInterval(this.#poll)
        this.#poll = undefined
      }
    }
  }

  /** Whether somebody waits. */
  get waits(): boolean {
    return this.#waits.size > 0
  }

  /** These jobs have ended; called for every told end, also of jobs that nobody here waits for. */
  told(ids: readonly string[]): void {
    for (const id of ids) if (this.#waits.has(id)) this.#toRead.add(id)
    if (this.#toRead.size > 0) this.#work.ask()
  }

  /** Ends may have been missed. */
  lookAgain(): void {
    if (this.#waits.size > 0) this.#pollNow()
  }

  /** Rejects all open waits. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#later)
    for (const waits of this.#waits.values()) for (const wait of waits) wait.reject(closedError())
  }

  #pollNow(): void {
    for (const id of this.#waits.keys()) this.#toMark.add(id)
    this.#work.ask()
  }

  async #rounds(): Promise<void> {
    // A turn later, so that a burst of waits leaves together.
    await new Promise((resolve) => setImmediate(resolve))
    while ((this.#toMark.size > 0 || this.#toRead.size > 0) && !this.#closed) {
      const mark = [...this.#toMark].filter((id) => this.#waits.has(id))
      const read = new Set([...this.#toRead].filter((id) => this.#waits.has(id)))
      this.#toMark = new Set()
      this.#toRead = new Set()
      try {
        const held = mark.length === 0 ? [] : await this.#mark(mark, read)
        if (read.size > 0) await this.#read([...read])
        if (held.length > 0) {
          for (const id of held) this.#toMark.add(id)
          // Only they are left: whoever holds them needs a moment. A new wait, or an end that is told of, must not wait for that.
          if (this.#toMark.size === held.length && this.#toRead.size === 0) {
            this.#askLater()
            return
          }
        }
      } catch (error) {
        if (!isTransient((error as Error).cause ?? error)) {
          for (const id of [...mark, ...read]) for (const wait of this.#waits.get(id) ?? []) wait.reject(error)
          continue
        }
        this.#options.logger.debug("waiting for jobs: the database does not answer, trying again", { error: error as Error })
        for (const id of mark) this.#toMark.add(id)
        for (const id of read) this.#toMark.add(id)
        await sleep(500)
      }
    }
  }

  /** Marks the jobs; those that are not live are added to `read`. Returns those that somebody holds. */
  async #mark(ids: readonly string[], read: Set<string>): Promise<string[]> {
    const { runner, statements, notifier } = this.#options
    const rows = await runner.run<WatchRow>({ ...statements.watch, values: [ids] })
    const live = new Set(rows.map((row) => row.id))
    for (const id of ids) if (!live.has(id)) read.add(id)
    const passedOver = rows.filter((row) => row.seq !== null)
    if (passedOver.length > 0) notifier.wake(passedOver.map((row) => ({ queue: row.queue, priority: row.priority, seq: Number(row.seq) })))
    return rows.filter((row) => !row.marked).map((row) => row.id)
  }

  #askLater(): void {
    this.#later ??= setTimeout(() => {
      this.#later = undefined
      this.#work.ask()
    }, HELD_MS)
  }

  async #read(ids: readonly string[]): Promise<void> {
    const rows = await this.#options.runner.run<SnapshotRow>({ ...this.#options.statements.snapshots, values: [ids] })
    const found = new Map(rows.map((row) => [row.id, row]))
    for (const id of ids) {
      const row = found.get(id)
      const waits = this.#waits.get(id)
      if (waits === undefined) continue
      if (row === undefined) for (const wait of waits) wait.reject(unknownJob(id))
      else if (ENDS.has(row.state)) for (const wait of waits) wait.resolve(snapshotOf(row))
      // Live again: somebody retried it.
      else this.#toMark.add(id)
    }
  }
}

/** The promise's outcome, or the reason of the signal if that comes first. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let onAbort: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason)
    if (signal.aborted) onAbort()
    signal.addEventListener("abort", onAbort, { once: true })
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener("abort", onAbort!)
  }
}

function closedError(): Error {
  return new WaitTimeoutError("The client was closed while it waited for the job; the job goes on")
}

export function unknownJob(id: string): UnknownJobError {
  return new UnknownJobError(
    `There is no job ${id}: it was never stored, its transaction has not committed or was rolled back, it was removed, or its retention is over`,
  )
}
