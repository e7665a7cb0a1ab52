/**
 * Work that is done one round at a time, in the background, whenever somebody asks for it.
 *
 * Invariant: after `ask()` a round begins that had not begun before it. (A promise that is forgotten in its own `finally` does not give that:
 * whoever asks between the end of the last round and that callback is not heard.)
 */
export class SerialWork {
  readonly #round: () => Promise<void>
  #asked = false
  #running: Promise<void> | undefined

  /** `round` must not reject: nobody waits for it. */
  constructor(round: () => Promise<void>) {
    this.#round = round
  }

  ask(): void {
    this.#asked = true
    this.#running ??= this.#run()
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
