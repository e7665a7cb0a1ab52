/** Repeats what may be done again: a statement whose repeat finds, or does not mind, what an earlier try has done. */
import { ConnectionError } from "../../api/errors.js"
import type { Logger } from "../../api/logger.js"
import { performance, sleep } from "../../lib/timers.js"
import { isConnectionLoss, isTransient } from "./failure.js"
import { sqlStateOf } from "./sqlstate.js"

/** For how long after its first fault a statement is repeated before the caller hears of it. */
const PATIENCE_MS = 10_000

export interface PatienceOptions {
  readonly logger: Logger
  /** For the debug line: "enqueue". */
  readonly what: string
  /** For the error: "Whether the job was stored". */
  readonly whether: string
}

/**
 * `work` is told whether an earlier try may have taken effect. A server that is not there is told of at once, as long as nothing was sent to it.
 * @throws ConnectionError with `unknown: true` when an answer was lost and none came in time
 */
export async function patiently<T>(options: PatienceOptions, work: (unknown: boolean) => Promise<T>): Promise<T> {
  // True once a statement was sent whose answer was lost.
  let unknown = false
  let lost = false
  let deadline = Number.POSITIVE_INFINITY
  for (let tries = 0; ; tries++) {
    try {
      return await work(unknown)
    } catch (error) {
      const unreachable = error instanceof ConnectionError && !error.unknown
      unknown ||= error instanceof ConnectionError && error.unknown
      if (tries === 0) deadline = performance.now() + PATIENCE_MS
      const cause = error instanceof ConnectionError ? error.cause : error
      lost ||= isConnectionLoss(cause)
      if (!isTransient(cause)) throw error
      // Nothing was done, so the caller may as well hear at once that the server is not there.
      const hopeless = unreachable && !unknown && isConnectionLoss(cause) && !isPassing(cause)
      if (hopeless || performance.now() > deadline) throw unknown ? unknownOutcome(error, options.whether, lost) : error
      options.logger.debug(`${options.what} is repeated`, { error: cause })
      await sleep(Math.min(50 * 2 ** tries, 1_000))
    }
  }
}

/** The server answers, but takes no sessions just now; or takes no writes, until a standby has been promoted. */
function isPassing(error: unknown): boolean {
  return ["57P03", "53300", "25006"].includes(sqlStateOf(error) ?? "")
}

function unknownOutcome(error: unknown, whether: string, lost: boolean): ConnectionError {
  const message = error instanceof Error ? error.message : String(error)
  const why = lost ? "a connection was lost before the answer came" : "no statement that could tell has been answered in time"
  return new ConnectionError(`${message}. ${whether} is unknown: ${why}`, { cause: error, unknown: true })
}
