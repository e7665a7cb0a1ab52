import type { Logger } from "../../api/logger.js"
import { performance } from "../../lib/timers.js"

/** Different causes that one outage may warn of; more are for the debug log. */
const MAX_WARNINGS = 20

/** Tells the log about interruptions: one warning a cause and outage, however many attempts fail. */
export class OutageLog {
  readonly #logger: Logger
  #outage: { readonly since: number; readonly told: Set<string> } | undefined

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** An attempt failed or the connection was lost. Returns whether an outage begins with it. */
  fault(error: Error): boolean {
    const begins = this.#outage === undefined
    this.#outage ??= { since: performance.now(), told: new Set() }
    const { told } = this.#outage
    const news = !told.has(error.message) && told.size < MAX_WARNINGS
    if (news) told.add(error.message)
    const message = `Notifications do not arrive, and jobs are found by polling until they do: ${error.message}`
    this.#logger[news ? "warn" : "debug"](message, { error: error.cause ?? error })
    return begins
  }

  /** It listens. */
  over(target: string): void {
    if (this.#outage === undefined) this.#logger.debug(`Listening at ${target}`)
    else this.#logger.info(`Listening again at ${target}`, { downMs: Math.round(performance.now() - this.#outage.since) })
    this.#outage = undefined
  }
}
