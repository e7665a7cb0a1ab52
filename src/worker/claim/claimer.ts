/**
 * Takes jobs from the lanes of one queue and keeps its slots busy.
 *
 * Invariants: never more runs than slots; what is claimed ahead is bounded by what fast handlers will finish in about 50 ms, and goes back when
 * it has waited for a second; one claim of a queue is on its way at a time; nothing is claimed while the worker is paused, stopping, or has too
 * many outcomes unrecorded; while jobs with limits and jobs without both wait, each kind has half of the slots. (Turns alone would not do: a limited
 * claim is on its way for milliseconds, and whatever slots become free meanwhile would all go to the others.)
 *
 * A hint tells of one lane from one seq on. While this worker does not know what else waits in the queue (it has just started, was paused, did not listen, or
 * the queue's settings changed), that would put the youngest job first: claims are held until a look at all lanes has answered.
 */

import { clearImmediate, clearTimeout, performance, setImmediate, setTimeout } from "../../lib/timers.js"
import { ALL_WORKERS, type LaneHint, LIMITED_LANE, LIMITED_QUEUE } from "../../postgres/notify/wake.js"
import { TYPES_WITH_JSON_TEXT } from "../../postgres/run/values.js"
import type { ClaimHost } from "./claim-host.js"
import { type ClaimedRow, claimedRow, type Slot } from "./claimed-job.js"
import { Hold } from "./hold.js"
import type { QueueLanes } from "./lanes.js"
import { LimitedClaims } from "./limited-claims.js"
import { Pace } from "./pace.js"
import { Relay } from "./relay.js"

const STALE_MS = 1_000

/** For whom a hint is; left out: for this worker, and all others have had it too. */
export interface HintReach {
  readonly meant?: boolean
  readonly level?: number
  readonly lead?: boolean
}

export class QueueClaimer implements Slot {
  readonly queue: string
  readonly concurrency: number
  readonly lanes: QueueLanes
  /** The other way to claim, where limits hold. */
  readonly limited: LimitedClaims
  readonly #host: ClaimHost
  #buffer: ClaimedRow[] = []
  #at = 0
  #running = 0
  #runningLimited = 0
  #claiming: Promise<void> | undefined
  #claimingLimited: Promise<void> | undefined
  /** Of an odd number of slots both kinds have the odd one in turn. */
  #limitedWasLast = false
  #lastLimit = 0
  readonly #pace: Pace
  #staleTimer: NodeJS.Timeout | undefined
  #pumping = false
  #endOfTurn: NodeJS.Immediate | undefined
  /** Jobs came since the lanes were empty last. */
  #gained = false
  readonly #hold = new Hold(() => this.pump())
  readonly #relay: Relay
  /** All slots were taken since the last look at all lanes. */
  #wasFull = false

  constructor(queue: string, concurrency: number, lanes: QueueLanes, host: ClaimHost) {
    this.queue = queue
    this.concurrency = concurrency
    this.#pace = new Pace(concurrency)
    this.lanes = lanes
    this.#host = host
    this.limited = new LimitedClaims(queue, host, () => this.pump())
    this.#relay = new Relay((lane, level) => host.relay(lane, level))
  }

  get running(): number {
    return this.#running
  }
  /** Claimed, not started. */
  get buffered(): number {
    return this.#buffer.length - this.#at
  }
  /** The leases of what is claimed and not started. */
  leases(): string[] {
    return this.#buffer.slice(this.#at).map((row) => row.lease)
  }
  /** Resolves when no claim is on its way. */
  async claimed(): Promise<void> {
    await this.#claiming
    await this.#claimingLimited
  }

  /**
   * There may be work in this lane. `meant`: for this worker, and for 4 ^ level in all; who leads those passes on what is left. A hint for others counts
   * where the lane is read anyway.
   */
  hint(lane: LaneHint, { meant = true, level = ALL_WORKERS, lead = false }: HintReach = {}): void {
    if (!meant && !this.#reads(lane)) return
    if (meant && lead && !this.lanes.hot && !this.limited.active) this.#relay.begin(level)
    if (!this.#note(lane, false)) this.#host.lookAround()
    this.pump()
    if (meant && lead && !this.takes()) this.#relay.left(lane, level)
  }

  /** Whether it would start a job now. */
  takes(): boolean {
    return this.#host.mayClaim() && (this.#free() > 0 || this.#pace.ahead() > 0)
  }

  /** Looks for these jobs, which were found waiting. False: it could not start one. */
  takeIfFree(lanes: readonly LaneHint[]): boolean {
    const takes = this.takes()
    for (const lane of lanes) this.#note(lane, true)
    this.pump()
    return takes
  }

  /** What a look at all lanes, which began then, has found of this queue. */
  swept(lanes: readonly LaneHint[], beganAt: number): void {
    this.limited.whole = lanes.some((lane) => lane.priority === LIMITED_QUEUE)
    for (const lane of lanes) this.#note(lane, true)
    this.#wasFull = false
    this.#hold.looked(beganAt)
    this.pump()
  }

  /** Nothing is claimed until a look that begins from now on has answered, or has taken too long. */
  hold(): void {
    this.#hold.begin()
  }

  #reads({ priority }: LaneHint): boolean {
    return priority === LIMITED_LANE || this.limited.whole ? this.limited.active : this.lanes.has(priority)
  }

  /** False: a sweep has to look for it. */
  #note({ priority, seq }: LaneHint, sure: boolean): boolean {
    if (priority !== LIMITED_LANE && !this.limited.whole) return this.lanes.hint(priority, seq, sure)
    this.limited.hint()
    return true
  }

  /** Runs have ended, and that is recorded. `madeRoom`: limited ones, so that others of their keys may start. */
  concluded(madeRoom: boolean): void {
    const startable = madeRoom && this.limited.freed()
    this.pump()
    if (startable && this.limited.ready) this.limited.tell()
  }

  /**
   * A slot is free again. What is at hand starts at once. Where nothing is claimed ahead, all slots that become free in this turn of the event loop are
   * filled by one claim: a claim for the first of a hundred would hold up the claim for the others.
   */
  freed(): void {
    if (this.#pumping) return
    if (this.#pace.ahead() > 0) {
      this.pump()
      return
    }
    this.#fill()
    this.#endOfTurn ??= setImmediate(() => {
      this.#endOfTurn = undefined
      this.pump()
    })
  }

  /** Starts what it can and claims what it should. Cheap when there is nothing to do; call it whenever something may have changed. */
  pump(): void {
    // A synchronous handler's end calls back in here; the loop of `#fill` goes on by itself.
    if (this.#pumping) return
    this.#fill()
    if (this.#isHeld()) return
    if (this.limited.ready) this.#pumpLimited()
    if (this.#claiming === undefined && this.lanes.hot && !this.limited.whole && this.#host.mayClaim()) {
      const limit = this.#limit()
      if (limit > 0) this.#claiming = this.#claim(limit)
    }
  }

  #fill(): void {
    this.#pumping = true
    try {
      while (this.buffered > 0 && (this.#buffer[this.#at]!.limited ? this.#free() : this.#freeForPlain()) > 0) {
        if (!this.#host.holdsLease()) this.releaseAll()
        else if (performance.now() >= this.#buffer[this.#at]!.staleAt) this.#host.release([this.#next()], this)
        else this.#startNext()
      }
    } finally {
      this.#pumping = false
    }
    this.#watchBuffer()
  }

  /**
   * Whether claims wait for a look at all lanes. They also do when a slot of slow handlers becomes free after all were taken: meanwhile jobs of other lanes
   * may have come, of which only other workers were notified.
   */
  #isHeld(): boolean {
    if (this.#hold.on) return true
    if (this.#free() <= 0) this.#wasFull = true
    else if (this.#wasFull && this.#host.shared && this.#pace.ahead() === 0 && this.#host.mayClaim()) {
      this.#wasFull = false
      if (this.#host.lookNow()) {
        this.hold()
        return true
      }
    }
    return false
  }

  /** Ends what it waits for. */
  close(): void {
    clearImmediate(this.#endOfTurn)
    this.#hold.end()
    this.limited.close()
  }

  /** Hands back everything that was not started. */
  releaseAll(): void {
    const rest = this.#buffer.slice(this.#at)
    this.#buffer = []
    this.#at = 0
    clearTimeout(this.#staleTimer)
    this.#staleTimer = undefined
    if (rest.length > 0) this.#host.release(rest, this)
  }

  /** Hands back those of these jobs that were not started: they were cancelled or removed meanwhile. */
  withdraw(ids: ReadonlySet<string>): void {
    if (this.buffered === 0) return
    const waiting = this.#buffer.slice(this.#at)
    const gone = waiting.filter((row) => ids.has(row.id))
    if (gone.length === 0) return
    this.#buffer = waiting.filter((row) => !ids.has(row.id))
    this.#at = 0
    this.#host.release(gone, this)
  }

  #next(): ClaimedRow {
    const row = this.#buffer[this.#at++]!
    if (this.#at === this.#buffer.length) {
      this.#buffer = []
      this.#at = 0
    }
    return row
  }

  #startNext(): void {
    const row = this.#next()
    this.#running++
    if (row.limited) this.#runningLimited++
    this.#limitedWasLast = row.limited
    this.#host.start(row, this)
  }

  returned(row: ClaimedRow, ranMs: number): void {
    this.#running--
    if (row.limited) this.#runningLimited--
    this.#pace.ran(ranMs)
  }

  #limit(): number {
    const free = this.#freeForPlain()
    const ahead = this.#pace.ahead()
    // Claimed ahead in halves, so that the next batch arrives before this one is used up.
    if (this.buffered > ahead / 2) return 0
    const want = free + ahead - this.buffered
    // It grows step by step: one sudden slow job must not find hundreds behind it.
    return Math.min(want, Math.max(this.concurrency, this.#lastLimit * 4))
  }

  /** Slots that are neither taken nor reserved. */
  #free(): number {
    return Math.min(this.concurrency - this.#running - this.limited.reserved, this.#host.freeSlots())
  }

  /** Of those, what jobs without limits may have. */
  #freeForPlain(): number {
    const free = this.#free()
    return this.limited.active ? Math.min(free, this.#share(false) - this.#running + this.#runningLimited) : free
  }

  /** The half of one kind while both have work. */
  #share(limited: boolean): number {
    const half = Math.min(this.concurrency, this.#host.slots) / 2
    return this.#limitedWasLast === limited ? Math.floor(half) : Math.ceil(half)
  }

  #pumpLimited(): void {
    if (!this.#host.mayClaim()) return
    const others = this.buffered > 0 || (this.lanes.hot && !this.limited.whole)
    const free = others ? Math.min(this.#free(), this.#share(true) - this.#runningLimited) : this.#free()
    if (free <= 0) return
    this.#limitedWasLast = true
    this.#claimingLimited = this.#claimLimited(free)
  }

  async #claimLimited(limit: number): Promise<void> {
    const sent = performance.now()
    try {
      await this.limited.claim(limit, (rows) => this.#take(rows, sent, true))
    } catch (error) {
      this.#host.failed(error)
      return
    } finally {
      this.#claimingLimited = undefined
    }
    if (this.limited.ready && this.#free() <= 0) this.#relay.left({ queue: this.queue, priority: LIMITED_LANE, seq: 0 })
    this.pump()
  }

  async #claim(limit: number): Promise<void> {
    this.#lastLimit = limit
    const plan = this.lanes.plan()!
    const sent = performance.now()
    let full = false
    try {
      const values = await this.#host.runner.run<readonly any[]>(
        {
          ...this.#host.statements.claim,
          rowMode: "array",
          types: TYPES_WITH_JSON_TEXT,
          values: [this.queue, plan.priorities, plan.cursors, limit, this.#host.workerId, this.#host.knownTasks()],
        },
        this.#host.claimTimeoutMs,
      )
      this.#pace.claimed(performance.now() - sent)
      const rows = values.map(claimedRow)
      full = rows.length >= limit
      this.lanes.claimed(
        plan,
        rows.map((row) => ({ priority: row.priority, seq: Number(row.seq) })),
        full,
      )
      if (rows.length > 0) this.#take(inOrder(rows), sent)
    } catch (error) {
      this.lanes.failed(plan)
      this.#host.failed(error)
      return
    } finally {
      this.#claiming = undefined
    }
    const left = this.lanes.first()
    if (left === undefined) this.#relay.done()
    else if (full) this.#relay.left({ queue: this.queue, ...left })
    if (!this.lanes.hot && this.#gained) {
      // What the claims passed over (locked just then, or committed late) is worth a look; where nothing was to be had a sweep finds no more.
      this.#gained = false
      this.#host.lookAround()
    }
    this.pump()
  }

  #take(rows: ClaimedRow[], sent: number, first = false): void {
    const now = performance.now()
    for (const row of rows) {
      row.claimedAt = now
      if (row.ttl !== null) row.staleAt = sent + row.ttl
    }
    this.#host.events.seen(rows[0]!.subscribed)
    this.#gained ||= !first
    const rest = this.buffered === 0 ? [] : this.#buffer.slice(this.#at)
    // Slots are kept free for limited ones, which start at once.
    this.#buffer = rest.length === 0 ? rows : first ? rows.concat(rest) : rest.concat(rows)
    this.#at = 0
    if (!this.#host.mayClaim()) this.releaseAll()
  }

  /** What waits behind slow jobs for a second goes back, where others can take it. */
  #watchBuffer(): void {
    if (this.buffered === 0) {
      clearTimeout(this.#staleTimer)
      this.#staleTimer = undefined
      return
    }
    if (this.#staleTimer !== undefined) return
    const due = (this.#buffer[this.#at]?.claimedAt ?? 0) + STALE_MS
    this.#staleTimer = setTimeout(
      () => {
        this.#staleTimer = undefined
        const oldest = this.#buffer[this.#at]?.claimedAt ?? Number.POSITIVE_INFINITY
        // A timer may fire a little early.
        if (performance.now() - oldest < STALE_MS - 5) return this.#watchBuffer()
        // These handlers are not fast any more.
        this.#pace.learnAnew()
        this.#lastLimit = 0
        this.releaseAll()
      },
      Math.max(due - performance.now(), 0),
    )
  }
}

/** In the order in which they shall start. The plan of the claim usually returns them so, but nothing obliges it to. */
function inOrder(rows: ClaimedRow[]): ClaimedRow[] {
  const later = (a: ClaimedRow, b: ClaimedRow): number => a.priority - b.priority || Number(a.seq) - Number(b.seq)
  for (let i = 1; i < rows.length; i++) if (later(rows[i - 1]!, rows[i]!) > 0) return rows.sort(later)
  return rows
}

/** The claimers in the order in which they may have what a queue leaves: the next one first, its own last. */
export function inTurnAfter(queue: string, claimers: readonly QueueClaimer[]): QueueClaimer[] {
  const at = claimers.findIndex((claimer) => claimer.queue === queue) + 1
  return [...claimers.slice(at), ...claimers.slice(0, at)]
}
