/**
 * The guard of hints that were meant for other workers. A hint wakes one worker; that one may be dead, blocked, or not know the task. So the server names
 * a guard too (sql/functions/wake_lane.sql), and the guard looks a moment later whether the jobs are gone. One look serves all hints of that time.
 *
 * What it finds it takes itself, if it can. If it cannot, or finds jobs again at the next look, it has more and more workers notified. Where there is
 * more work than workers that is in vain, so the time between two looks doubles until a look finds nothing.
 */
import type { Logger } from "../../api/logger.js"
import { SerialWork } from "../../lib/serial-work.js"
import { clearTimeout, performance, setTimeout } from "../../lib/timers.js"
import { type LaneHint, LIMITED_LANE, LIMITED_QUEUE } from "../../postgres/notify/wake.js"

export interface WakeGuardOptions {
  readonly logger: Logger
  /** The lanes of these queues that have waiting jobs. */
  readonly look: (queues: readonly string[]) => Promise<ReadonlyMap<string, readonly LaneHint[]>>
  /** Takes what it can. False: nothing, for now. */
  readonly take: (queue: string, lanes: readonly LaneHint[]) => boolean
  /** 4 ^ level workers are to look for the jobs of these lanes. */
  readonly relay: (lanes: readonly LaneHint[], level: number) => void
}

/** From the hint to the look: a busy server answers a claim by then. */
const PAUSE_MS = 20
const MAX_PAUSE_MS = 1_000
/** Looks in a row without a new hint. By then all workers have been notified (4 ^ 5), and some of them twice. */
const MAX_LOOKS = 6
/** Under an old snapshot a look is slow; it takes no more than a twentieth of the time. */
const SHARE = 20

interface Watched {
  /** Looks in a row that have found jobs. */
  found: number
  /** Of those, since the last hint. */
  looks: number
  dueAt: number
}

export class WakeGuard {
  readonly #options: WakeGuardOptions
  readonly #queues = new Map<string, Watched>()
  readonly #looking = new SerialWork(() => this.#look())
  #timer: ReturnType<typeof setTimeout> | undefined
  #notBefore = 0
  #closed = false

  constructor(options: WakeGuardOptions) {
    this.#options = options
  }

  /** Others were notified of jobs in this queue. */
  hint(queue: string): void {
    if (this.#closed) return
    const watched = this.#queues.get(queue)
    if (watched === undefined) this.#queues.set(queue, { found: 0, looks: 0, dueAt: performance.now() + PAUSE_MS })
    else {
      watched.looks = 0
      if (watched.dueAt === Number.POSITIVE_INFINITY) watched.dueAt = performance.now() + pauseOf(watched)
    }
    this.#plan()
  }

  /** Looks no more; resolves when no look is in flight. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#looking.idle()
  }

  #plan(): void {
    clearTimeout(this.#timer)
    const dueAt = Math.min(...[...this.#queues.values()].map((watched) => watched.dueAt))
    if (this.#closed || dueAt === Number.POSITIVE_INFINITY) return
    this.#timer = setTimeout(() => this.#looking.ask(), Math.max(0, Math.max(dueAt, this.#notBefore) - performance.now()))
  }

  async #look(): Promise<void> {
    const began = performance.now()
    const due = [...this.#queues].filter(([, watched]) => watched.dueAt <= began + 1)
    if (this.#closed || due.length === 0) return this.#plan()
    for (const [, watched] of due) watched.dueAt = Number.POSITIVE_INFINITY
    try {
      const lanes = await this.#options.look(due.map(([queue]) => queue))
      for (const [queue, watched] of due) {
        this.#found(
          queue,
          watched,
          (lanes.get(queue) ?? []).filter((lane) => lane.priority !== LIMITED_QUEUE),
        )
      }
    } catch (error) {
      // Polling finds the jobs.
      this.#options.logger.debug("a look after a hint failed", { error })
      for (const [queue] of due) this.#queues.delete(queue)
    }
    this.#notBefore = performance.now() + SHARE * (performance.now() - began)
    this.#plan()
  }

  #found(queue: string, watched: Watched, lanes: readonly LaneHint[]): void {
    if (this.#closed) return
    const hintedSince = watched.dueAt !== Number.POSITIVE_INFINITY
    if (lanes.length === 0) {
      watched.found = 0
      if (!hintedSince) this.#queues.delete(queue)
      return
    }
    watched.found++
    watched.looks++
    const taken = this.#options.take(queue, lanes)
    // Jobs that wait because of a limit would wait with any worker.
    if (watched.found > 1)
      this.#options.relay(
        lanes.filter((lane) => lane.priority !== LIMITED_LANE),
        Math.min(watched.found, MAX_LOOKS - 1),
      )
    else if (!taken) this.#options.relay(lanes, 1)
    if (!hintedSince && watched.looks < MAX_LOOKS) watched.dueAt = performance.now() + pauseOf(watched)
  }
}

function pauseOf({ found }: Watched): number {
  return Math.min(PAUSE_MS * 2 ** found, MAX_PAUSE_MS)
}
