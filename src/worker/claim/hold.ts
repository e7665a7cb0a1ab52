import { clearTimeout, performance, setTimeout } from "../../lib/timers.js"

/** Claims wait so long for a look at all lanes; then they go on without it. */
const MOST_MS = 1_000

/** Whether the claims of a queue wait for a look at all its lanes. */
export class Hold {
  readonly #over: () => void
  #since: number | undefined
  #timer: NodeJS.Timeout | undefined

  /** `over` is called when the look has taken too long. */
  constructor(over: () => void) {
    this.#over = over
  }

  get on(): boolean {
    return this.#since !== undefined
  }

  /** Until a look that begins from now on has answered. */
  begin(): void {
    this.#since = performance.now()
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.end()
      this.#over()
    }, MOST_MS)
  }

  /** A look that began then has answered. */
  looked(beganAt: number): void {
    if (this.#since !== undefined && beganAt >= this.#since) this.end()
  }

  end(): void {
    this.#since = undefined
    clearTimeout(this.#timer)
  }
}
