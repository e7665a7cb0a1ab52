/** Counts how often each job ran: a result counts only if that is once. */
import type { Contestant, Store } from "../peers/peer.js"
import { clock, sleep } from "./scenario.js"

const LIMIT_MS = 120_000

export class Executions {
  readonly #counts: Uint8Array
  readonly #ended: Promise<void>
  #left: number
  #end: () => void = () => undefined
  /** When the last one ran, by `clock`. */
  lastAt = 0

  constructor(jobs: number) {
    this.#counts = new Uint8Array(jobs)
    this.#left = jobs
    this.#ended = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  get ran(): number {
    return this.#counts.length - this.#left
  }

  /** Call it once a run. */
  add(n: number): void {
    this.#counts[n]!++
    if (--this.#left > 0) return
    this.lastAt = clock()
    this.#end()
  }

  /** Resolves when as many runs were seen as there are jobs. */
  async all(contestant: Contestant): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`${contestant.name}: ${this.#left} of ${this.#counts.length} jobs had not run after ${LIMIT_MS / 1000} s`)),
        LIMIT_MS,
      )
    })
    try {
      await Promise.race([this.#ended, late])
    } finally {
      clearTimeout(timer)
    }
  }

  /** Once the worker has stopped: each job ran once, and none is left. */
  async verify(contestant: Contestant, store: Store): Promise<void> {
    const lost = this.#counts.filter((count) => count === 0).length
    const repeated = this.#counts.filter((count) => count > 1).length
    if (lost > 0 || repeated > 0)
      throw new Error(`${contestant.name}: of ${this.#counts.length} jobs ${lost} never ran and ${repeated} ran more than once`)
    let left = await store.unfinished()
    for (let i = 0; i < 40 && left > 0; i++) {
      await sleep(50)
      left = await store.unfinished()
    }
    if (left > 0) throw new Error(`${contestant.name}: ${left} of ${this.#counts.length} jobs are not recorded as finished`)
  }
}
