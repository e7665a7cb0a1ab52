import { InvalidOptionError } from "../api/errors.js"
import type { WorkerOptions } from "../api/worker.js"
import { toPositiveMilliseconds } from "../lib/duration.js"
import { describeValue } from "../lib/invalid-option.js"
import { checkBoolean, checkFunction, checkInteger, checkText, entriesOf, isList, readOptions } from "../lib/option-checks.js"
import type { TaskSpec } from "../task/spec.js"

const KNOWN = ["queues", "concurrency", "signals", "drainTimeout", "poll", "lease", "onStart", "onStop"] as const
const DEFAULT_CONCURRENCY = 10
const MAX_CONCURRENCY = 100_000
/** A statement is given up after this part of the lease, 15 s on stock settings; but for claims after this long at least, and at most. */
const ANSWER_SHARE = 0.75
const MIN_ANSWER_MS = 5_000
const MAX_ANSWER_MS = 30_000

/** Worker options with their defaults, durations in milliseconds. */
export interface CheckedWorkerOptions {
  readonly queues: ReadonlyMap<string, number>
  readonly concurrency: number
  readonly signals: boolean
  readonly drainTimeoutMs: number
  readonly pollMs: number
  readonly leaseMs: number
  /** How long a claim may take, and any other statement. A connection that is silent for longer is given up. */
  readonly claimMs: number
  readonly answerMs: number
  readonly onStart: WorkerOptions["onStart"]
  readonly onStop: WorkerOptions["onStop"]
}

/** @throws InvalidOptionError for an option that is misspelt, out of range or of the wrong kind */
export function checkWorkerOptions(given: WorkerOptions, tasks: readonly TaskSpec[], signals: boolean): CheckedWorkerOptions {
  const options: WorkerOptions = readOptions(given, KNOWN, "work()")
  if (options.onStart !== undefined) checkFunction(options.onStart, "onStart", "async (worker) => { … }")
  if (options.onStop !== undefined) checkFunction(options.onStop, "onStop", "async (worker) => { … }")
  const leaseMs = options.lease === undefined ? 20_000 : toPositiveMilliseconds(options.lease, "lease")
  if (leaseMs < 1_000)
    throw new InvalidOptionError(`lease is ${String(options.lease)}; write at least 1 second, since a worker beats every quarter of it`)
  return {
    queues: checkQueues(options.queues, tasks),
    concurrency:
      options.concurrency === undefined
        ? Number.POSITIVE_INFINITY
        : checkInteger(options.concurrency, "concurrency", 1, MAX_CONCURRENCY, "jobs at once in this worker"),
    signals: options.signals === undefined ? signals : checkBoolean(options.signals, "signals"),
    drainTimeoutMs: options.drainTimeout === undefined ? 30_000 : toPositiveMilliseconds(options.drainTimeout, "drainTimeout"),
    pollMs: options.poll === undefined ? 5_000 : toPositiveMilliseconds(options.poll, "poll"),
    leaseMs,
    claimMs: leaseMs * ANSWER_SHARE,
    answerMs: Math.min(Math.max(leaseMs * ANSWER_SHARE, MIN_ANSWER_MS), MAX_ANSWER_MS),
    onStart: options.onStart,
    onStop: options.onStop,
  }
}

function checkQueues(queues: WorkerOptions["queues"], tasks: readonly TaskSpec[]): Map<string, number> {
  if (queues === undefined) {
    if (tasks.length === 0) {
      throw new InvalidOptionError(
        'work() has no queues: no task is registered in this process; import the modules that define them first, or write queues: ["default"]',
      )
    }
    return new Map(tasks.map((spec) => [spec.queue, DEFAULT_CONCURRENCY]))
  }
  const found = new Map<string, number>()
  const entries = entriesOf(queues)
  if (isList(queues)) for (const name of queues) found.set(checkText(name, "queues"), DEFAULT_CONCURRENCY)
  else if (entries === undefined) {
    throw new InvalidOptionError(`queues is ${describeValue(queues)}; write ["default"] or { default: 10 }`)
  } else {
    for (const [name, value] of entries) {
      checkText(name, "A name in queues")
      const settings = typeof value === "object" && value !== null
      const { concurrency } = settings
        ? { concurrency: DEFAULT_CONCURRENCY, ...readOptions(value, ["concurrency"], `queues.${name}`) }
        : { concurrency: value }
      const field = `queues.${name}${settings ? ".concurrency" : ""}`
      found.set(name, checkInteger(concurrency, field, 1, MAX_CONCURRENCY, "jobs at once in this queue"))
    }
  }
  if (found.size === 0)
    throw new InvalidOptionError('queues is empty; write ["default"] or { default: 10 }, or leave it out to serve every registered task')
  return found
}
