/** Pauses between tries of something that must succeed in the end (a connection, a statement): doubling, capped, jittered, without end. */
export class RetryPause {
  readonly #min: number
  readonly #max: number
  #tries = 0

  /** The first pause is at most `min` milliseconds, none is more than `max`. Defaults: 100 and 10,000. */
  constructor(options: { min?: number; max?: number } = {}) {
    this.#min = options.min ?? 100
    this.#max = options.max ?? 10_000
  }

  /** Milliseconds to wait now. Between half and all of the nominal pause, so that many processes do not come back in step. */
  next(): number {
    // Past 2^30 every realistic minimum has met its maximum.
    const nominal = Math.min(this.#max, this.#min * 2 ** Math.min(this.#tries++, 30))
    return Math.ceil(nominal * (0.5 + Math.random() / 2))
  }

  /** After a success: the next pause is a first one. */
  reset(): void {
    this.#tries = 0
  }
}
