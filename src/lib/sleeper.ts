import { clearTimeout, setInterval, setTimeout } from "./timers.js"

/** Longest delay that a Node timer keeps (a longer one would fire at once). */
const MAX_TIMER_MS = 2_147_483_647

/**
 * A nap that others can end. `wake()` ends the nap, or the next one when nobody sleeps just now, so that a hint that comes between two naps is
 * never lost. Aborting the signal ends every nap, for good.
 */
export class Sleeper {
  readonly #signal: AbortSignal
  readonly #unref: boolean
  readonly #naps = new Set<() => void>()
  #woken = false

  /** With `unref`, a nap does not keep the process alive. */
  constructor(signal: AbortSignal, options: { unref?: boolean } = {}) {
    this.#signal = signal
    this.#unref = options.unref === true
  }

  /** Sleeps `ms` milliseconds (`Infinity`: until woken). Resolves true when the whole time went by, false when it was ended early. */
  sleep(ms: number): Promise<boolean> {
    if (this.#signal.aborted) return Promise.resolve(false)
    if (this.#woken) {
      this.#woken = false
      return Promise.resolve(false)
    }
    return new Promise((resolve) => {
      const finish = (whole: boolean): void => {
        clearTimeout(timer)
        this.#naps.delete(wake)
        this.#signal.removeEventListener("abort", wake)
        resolve(whole)
      }
      const wake = (): void => finish(false)
      // An endless nap re-arms its timer, which also keeps the process alive where that is wanted.
      const timer =
        ms === Number.POSITIVE_INFINITY
          ? setInterval(() => undefined, MAX_TIMER_MS)
          : setTimeout(finish, Math.min(Math.max(ms, 0), MAX_TIMER_MS), true)
      if (this.#unref) timer.unref()
      this.#naps.add(wake)
      this.#signal.addEventListener("abort", wake, { once: true })
    })
  }

  /** Ends all naps; when there is none, the next one ends at once. */
  wake(): void {
    if (this.#naps.size === 0) this.#woken = true
    else for (const nap of [...this.#naps]) nap()
  }
}
