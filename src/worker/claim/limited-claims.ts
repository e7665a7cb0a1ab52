/**
 * Claims where limits hold: jobs whose tasks have a limit, and all jobs of a queue that is limited itself.
 *
 *   cold --hint, freed, timer--> hot --claim--> hot    it got all it asked for, the round is not over, or a hint came meanwhile
 *                                           \-> cold   nothing more can start now; a timer is set when a rate allows a start later, or when
 *                                                      somebody else was claiming from the same key
 *
 * Keys take turns: this side goes round the circle of the queue's keys, wherever it stood last (sql/functions/claim_limited.sql).
 *
 * A run that ends makes room for others of its key. The worker that settled it claims again; the others hear of it only when it cannot (its
 * slots are taken, it stops), or when it got all it asked for, so that there may be more. A lost word of that costs a poll.
 */

import { clearTimeout, performance, setTimeout } from "../../lib/timers.js"
import { LIMITED_LANE, type Notifier } from "../../postgres/notify/wake.js"
import type { Runner } from "../../postgres/run/pool.js"
import { TYPES_WITH_JSON_TEXT } from "../../postgres/run/values.js"
import type { Statements } from "../../postgres/statements/statements.js"
import { type ClaimedRow, claimedRow } from "./claimed-job.js"

export interface LimitedHost {
  readonly runner: Runner
  readonly statements: Statements
  readonly notifier: Notifier
  readonly workerId: string
  readonly claimTimeoutMs: number
  /** Slots of the worker that claims on their way may fill. */
  reserved: number
  knownTasks(): readonly string[]
}

/** The column of claim_limited behind those of a job. */
const NEXT = 14
/** Others are told of free places at most this often. */
const TELL_EVERY_MS = 50
/** Somebody else was claiming from the key: again after this, and up to so much more, at random. */
const CONTENDED_MS = { min: 1, max: 16 }

interface Next {
  readonly at: string
  readonly complete: boolean
  readonly blocked: boolean
  readonly contended: boolean
  readonly waitMs: number | null
  readonly whole: boolean
}

export class LimitedClaims {
  readonly #queue: string
  readonly #host: LimitedHost
  /** The queue itself is limited: all its jobs are claimed here. */
  whole = false
  /** Slots that a claim on its way may fill. */
  reserved = 0
  #hot = false
  /** A hint came while a claim was on its way. */
  #hinted = false
  /** Something was full when this side looked last. */
  #blocked = false
  /** Runs have ended since a claim found nothing more. */
  #madeRoom = false
  #at: string = randomPlace()
  /** Where the round began; undefined between rounds. */
  #roundFrom: string | undefined
  #waitMs = Number.POSITIVE_INFINITY
  #contentions = 0
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY
  #toldAt = Number.NEGATIVE_INFINITY
  #tellTimer: NodeJS.Timeout | undefined
  readonly #awake: () => void

  /** `awake` is called when it has become hot by itself. */
  constructor(queue: string, host: LimitedHost, awake: () => void) {
    this.#queue = queue
    this.#host = host
    this.#awake = awake
  }

  /** There may be something to claim, and no claim is on its way. */
  get ready(): boolean {
    return this.#hot && this.reserved === 0
  }

  /** There may be something to claim, or a claim is on its way. */
  get active(): boolean {
    return this.#hot || this.reserved > 0
  }

  /** There may be something to start. */
  hint(): void {
    this.#hot = true
    this.#hinted = true
  }

  /** A run of a limited job has ended. True: there may be another to start in its place. */
  freed(): boolean {
    if (!this.#hot && !this.#blocked && this.reserved === 0) return false
    this.hint()
    this.#madeRoom = true
    return true
  }

  /** There are free places that this worker does not fill: others may. */
  tell(): void {
    if (this.#tellTimer !== undefined) return
    const wait = this.#toldAt + TELL_EVERY_MS - performance.now()
    if (wait > 0) this.#tellTimer = setTimeout(() => this.#tellNow(), wait)
    else this.#tellNow()
  }

  #tellNow(): void {
    clearTimeout(this.#tellTimer)
    this.#tellTimer = undefined
    this.#toldAt = performance.now()
    this.#host.notifier.wake([{ queue: this.#queue, priority: LIMITED_LANE, seq: 0 }])
  }

  /** Tells what is still to be told, and sets no timers any more. */
  close(): void {
    clearTimeout(this.#timer)
    if (this.#tellTimer !== undefined) this.#tellNow()
  }

  /** Takes up to `limit` jobs; the slots are reserved until `take` has them. */
  async claim(limit: number, take: (rows: ClaimedRow[]) => void): Promise<void> {
    this.reserved = limit
    this.#host.reserved += limit
    this.#hinted = false
    if (this.#roundFrom === undefined) {
      // A new round: what is full and what is late is seen anew.
      this.#roundFrom = this.#at
      this.#blocked = false
      this.#waitMs = Number.POSITIVE_INFINITY
    }
    try {
      const { runner, statements, workerId, claimTimeoutMs } = this.#host
      const values = await runner.run<readonly any[]>(
        {
          ...statements.claim_limited,
          rowMode: "array",
          types: TYPES_WITH_JSON_TEXT,
          values: [this.#queue, limit, workerId, this.#host.knownTasks(), this.#at, this.#roundFrom],
        },
        claimTimeoutMs,
      )
      const next: Next = JSON.parse(values.pop()![NEXT])
      const rows = values.map(claimedRow)
      for (const row of rows) row.limited = true
      this.#learn(next, rows.length, limit)
      if (rows.length > 0) take(rows)
    } finally {
      this.reserved = 0
      this.#host.reserved -= limit
    }
  }

  #learn(next: Next, taken: number, limit: number): void {
    this.#at = next.at
    this.whole = next.whole
    this.#blocked ||= next.blocked
    this.#waitMs = Math.min(this.#waitMs, next.waitMs ?? Number.POSITIVE_INFINITY)
    if (next.contended) this.#waitMs = Math.min(this.#waitMs, this.#contendedMs())
    else if (taken > 0) this.#contentions = 0
    if (taken > 0 || next.complete) this.#roundFrom = undefined
    const full = taken >= limit
    this.#hot = this.#hinted || full || !next.complete
    if (full && this.#madeRoom) this.tell()
    this.#madeRoom &&= full
    if (!this.#hot && this.#waitMs !== Number.POSITIVE_INFINITY) this.#wakeIn(this.#waitMs)
  }

  #contendedMs(): number {
    this.#contentions = Math.min(this.#contentions + 1, 5)
    return CONTENDED_MS.min + Math.random() * Math.min(2 ** this.#contentions, CONTENDED_MS.max)
  }

  #wakeIn(ms: number): void {
    const at = performance.now() + ms
    if (this.#timer !== undefined && this.#timerAt <= at) return
    clearTimeout(this.#timer)
    this.#timerAt = at
    // Longer than a timer can be: it looks again in between.
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined
        this.hint()
        this.#awake()
      },
      Math.min(Math.ceil(ms), 2 ** 31 - 1),
    )
    this.#timer.unref()
  }
}

/** Workers begin in different places, so that they do not all want the same key. */
function randomPlace(): string {
  return String(BigInt(Math.floor((Math.random() - 0.5) * 2 ** 53)) * 2n ** 10n)
}
