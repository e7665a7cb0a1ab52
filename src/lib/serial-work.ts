import { keepContext } from "./async-context.js"

/**
 * Work that is done one round at a time, in the background, whenever somebody asks for it.
 *
 * Invariant: after `ask()` a round begins that had not begun before it. (A promise that is forgotten in its own `finally` does not give that:
 * whoever asks between the end of the last round and that callback is not heard.)
 *
 * Rounds run in the async context in which this was made, whoever asks: they do the work of many.
 */
export class SerialWork {
  readonly #round: () => Promise<void>
  readonly #begin: () => Promise<void>
  #asked = false
  #running: Promise<void> | undefined

  /** `round` must not reject: nobody waits for it. */
  constructor(round: () => Promise<void>) {
    this.#round = round
    this.#begin = keepContext(() => this.#run())
  }

  ask(): void {
    this.#asked = true
    this.#running ??= this.#begin()
  }

  /** A round runs, or is asked for. */
  get busy(): boolean {
    return this.#running !== undefined
  }

  /** Resolves when no round runs and none is asked for. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  async #run(): Promise<void> {
    // Never before `ask()` has kept the promise.
    await undefined
    while (this.#asked) {
      this.#asked = false
      await this.#round()
    }
    this.#running = undefined
  }
}
