import { performance } from "../../lib/timers.js"
import { ALL_WORKERS, type LaneHint } from "../../postgres/notify/wake.js"

/** Other workers are notified of what is left at most this often; while that goes on, each pause is twice the one before. */
const PAUSE_MS = { min: 20, max: 1_000 }

/** Has other workers look for the jobs of a queue that this worker leaves: a hint of level n has had 4 ^ n workers, and the next has four times as many. */
export class Relay {
  readonly #send: (lane: LaneHint, level: number) => void
  /** Of the hint by which there was work here; ALL_WORKERS: there is nobody else to notify, or another worker does. */
  #level = ALL_WORKERS
  #notBefore = 0
  #pauseMs = PAUSE_MS.min

  constructor(send: (lane: LaneHint, level: number) => void) {
    this.#send = send
  }

  /** There is work again, by a hint of this level that this worker is to pass on. */
  begin(level: number): void {
    this.#level = level
  }

  /** More is left than this worker takes now; `level`: of the hint that told of it. */
  left(lane: LaneHint, level: number = this.#level): void {
    const now = performance.now()
    if (level === ALL_WORKERS || now < this.#notBefore) return
    this.#notBefore = now + this.#pauseMs
    this.#pauseMs = Math.min(this.#pauseMs * 2, PAUSE_MS.max)
    this.#send(lane, level + 1)
  }

  /** Nothing is left. */
  done(): void {
    this.#level = ALL_WORKERS
    this.#pauseMs = PAUSE_MS.min
  }
}
