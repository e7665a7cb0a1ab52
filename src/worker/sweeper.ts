/**
 * Finds work that no hint told of: the poll under the notifications, and the rows below the cursors.
 *
 * It runs when asked, when a queue has just become empty, and at the latest every poll interval. Under an old snapshot a sweep walks dead index
 * entries, so it should take no more than a twentieth of the time: the pause after it is twenty times its length, no less than a quarter second,
 * and no more than the poll interval.
 */
import type { Runner } from "../postgres/pool.js"
import type { Statements } from "../postgres/statements.js"
import type { LaneHint } from "../postgres/wake.js"
import { Service, type ServiceOptions } from "../service.js"
import { performance } from "../timers.js"

export interface SweeperOptions extends Omit<ServiceOptions, "name"> {
  readonly runner: Runner
  readonly statements: Statements
  readonly queues: readonly string[]
  readonly pollMs: number
  readonly mayClaim: () => boolean
  /** What it found, by queue. */
  readonly found: (lanes: ReadonlyMap<string, readonly LaneHint[]>) => void
}

const MIN_PAUSE_MS = 250
const SHARE = 20

export class Sweeper extends Service {
  readonly #options: SweeperOptions
  #dueAt = 0
  /** Not before this, unless asked by `now()`. */
  #notBefore = 0

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

  /** A sweep as soon as the budget allows. */
  soon(): void {
    if (this.#dueAt <= this.#notBefore) return
    this.#dueAt = this.#notBefore
    this.wake()
  }

  protected override onStart(): void {
    this.spawn(() => this.loop(() => this.#step()))
  }

  async #step(): Promise<number> {
    const wait = Math.max(this.#dueAt, this.#notBefore) - performance.now()
    if (wait > 0) return wait
    const began = performance.now()
    this.#dueAt = began + this.#options.pollMs * (0.9 + 0.2 * Math.random())
    if (this.#options.mayClaim()) {
      const rows = await this.#options.runner.run<{ queue: string; priority: number; seq: string }>({
        ...this.#options.statements.sweep,
        values: [this.#options.queues],
      })
      const lanes = new Map<string, LaneHint[]>()
      for (const { queue, priority, seq } of rows) {
        const lane = { queue, priority, seq: Number(seq) }
        const known = lanes.get(queue)
        if (known === undefined) lanes.set(queue, [lane])
        else known.push(lane)
      }
      this.#options.found(lanes)
    }
    const now = performance.now()
    this.#notBefore = Math.max(this.#notBefore, now + Math.max(MIN_PAUSE_MS, Math.min(SHARE * (now - began), this.#options.pollMs)))
    return Math.max(0, Math.max(this.#dueAt, this.#notBefore) - now)
  }
}
