/** How fast the handlers of a queue are in this worker, and its claims; and so how many jobs it is worth having at hand beyond the slots. */

/** A batch is what the slots will finish in this time. */
const AHEAD_MS = 50
/** Handlers slower than this get nothing claimed ahead, unless a claim takes longer still. */
const FAST_MS = 10
const MAX_AHEAD = 1_000
/** Runs to have seen before anything is claimed ahead. */
const MIN_RUNS = 8
/** Over so many the time is averaged. */
const RUNS = 50
const CLAIMS = 8

export class Pace {
  readonly #concurrency: number
  #runs = 0
  #runMs = 0
  #claims = 0
  #claimMs = 0

  constructor(concurrency: number) {
    this.#concurrency = concurrency
  }

  ran(ms: number): void {
    this.#runs++
    this.#runMs += (ms - this.#runMs) / Math.min(this.#runs, RUNS)
  }

  claimed(ms: number): void {
    this.#claims++
    this.#claimMs += (ms - this.#claimMs) / Math.min(this.#claims, CLAIMS)
  }

  /** The handlers are not what they were: nothing is claimed ahead until enough runs have been seen. */
  learnAnew(): void {
    this.#runs = 0
    this.#runMs = 0
  }

  /**
   * None where handlers are slow: others could run the jobs meanwhile. But where a claim takes longer than a run (a distant server; a busy machine, on which the
   * delay of the event loop counts into each run), slots without jobs at hand would be idle most of the time.
   */
  ahead(): number {
    if (this.#runs < MIN_RUNS || this.#runMs > Math.max(FAST_MS, this.#claimMs)) return 0
    return Math.min(MAX_AHEAD, Math.ceil((this.#concurrency * AHEAD_MS) / Math.max(this.#runMs, 0.01)))
  }
}
