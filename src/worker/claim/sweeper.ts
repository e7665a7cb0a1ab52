/**
 * Finds work that no hint told of: the poll under the notifications, and the rows below the cursors.
 *
 * It runs when asked, when a queue has just become empty, and at the latest every poll interval. Under an old snapshot a sweep walks dead index
 * entries, so it should take no more than a twentieth of the time: the pause after it is twenty times its length, no less than a quarter second,
 * and no more than the poll interval. Its length is the lesser of the last two: one that had to wait for a connection, or for its plan, says nothing of the next.
 */

import { Service, type ServiceOptions } from "../../lib/service.js"
import { performance } from "../../lib/timers.js"
import type { LaneHint } from "../../postgres/notify/wake.js"
import type { Runner } from "../../postgres/run/pool.js"
import type { Statements } from "../../postgres/statements/statements.js"

export interface SweeperOptions extends Omit<ServiceOptions, "name"> {
  readonly runner: Runner
  readonly statements: Statements
  readonly queues: readonly string[]
  readonly pollMs: number
  /** What a look that began at `beganAt` found, by queue, and in how many milliseconds something falls due (undefined: nothing will). */
  readonly found: (lanes: ReadonlyMap<string, readonly LaneHint[]>, beganAt: number, dueMs: number | undefined) => void
}

const MIN_PAUSE_MS = 250
const SHARE = 20

/** A lane; or, without a queue, what falls due next. */
interface SweepRow {
  readonly queue: string | null
  readonly priority: number
  readonly seq: string | null
}

export class Sweeper extends Service {
  readonly #options: SweeperOptions
  #dueAt = 0
  /** Not before this, unless asked by `now()`. */
  #notBefore = 0
  /** From then on sweeps have taken no more than their share of the time. */
  #affordableAt = 0
  /** How long the last sweep took. */
  #tookMs = 0

  constructor(options: SweeperOptions) {
    super({ ...options, name: "sweeper" })
    this.#options = options
  }

  /** A sweep at once. */
  now(): void {
    this.#dueAt = 0
    this.#notBefore = 0
    this.wake()
  }

  /** A sweep at once, if sweeps have not taken too much of the time; true then. */
  nowIfAllowed(): boolean {
    if (performance.now() < this.#affordableAt) return false
    this.now()
    return true
  }

  /** A sweep as soon as the budget allows. */
  soon(): void {
    if (this.#dueAt <= this.#notBefore) return
    this.#dueAt = this.#notBefore
    this.wake()
  }

  /** The lanes of these queues that have waiting jobs, and in how many milliseconds something falls due. */
  async look(queues: readonly string[]): Promise<{ lanes: Map<string, LaneHint[]>; dueMs: number | undefined }> {
    const { runner, statements } = this.#options
    const rows = await runner.run<SweepRow>({ ...statements.sweep, values: [queues] })
    const lanes = new Map<string, LaneHint[]>()
    let dueMs: number | undefined
    for (const { queue, priority, seq } of rows) {
      if (queue === null) dueMs = seq === null ? undefined : Number(seq)
      else lanes.set(queue, [...(lanes.get(queue) ?? []), { queue, priority, seq: Number(seq) }])
    }
    return { lanes, dueMs }
  }

  protected override onStart(): void {
    this.spawn(() => this.loop(() => this.#step()))
  }

  async #step(): Promise<number> {
    const wait = Math.max(this.#dueAt, this.#notBefore) - performance.now()
    if (wait > 0) return wait
    const began = performance.now()
    this.#dueAt = began + this.#options.pollMs * (0.9 + 0.2 * Math.random())
    const { lanes, dueMs } = await this.look(this.#options.queues)
    this.#options.found(lanes, began, dueMs)
    const now = performance.now()
    const share = Math.min(SHARE * Math.min(now - began, this.#tookMs), this.#options.pollMs)
    this.#tookMs = now - began
    this.#affordableAt = now + share
    this.#notBefore = Math.max(this.#notBefore, now + Math.max(MIN_PAUSE_MS, share))
    return Math.max(0, Math.max(this.#dueAt, this.#notBefore) - now)
  }
}
