/** Limits of tasks and queues: what may be written, and under which key a job counts. */

import type { Duration } from "../api/duration.js"
import { InvalidOptionError } from "../api/errors.js"
import type { RateStrategy } from "../api/options.js"
import { toPositiveMilliseconds } from "../lib/duration.js"
import { badOption, describeValue, invalidOption } from "../lib/invalid-option.js"
import { checkFunction, checkKeyText, checkOneOf, readOptions } from "../lib/option-checks.js"
import type { RequestEdge } from "./client.js"
import type { LimitSpec, RateSpec, TaskSpec } from "./spec.js"

const MAX_LIMIT = 1_000_000
/** As deduplication keys: they share an index with the task's name. */
const MAX_KEY_BYTES = 1_000
const STRATEGIES: readonly RateStrategy[] = ["sliding-window", "token-bucket"]

/** A number of jobs; null for `Infinity`: no limit. */
export function checkLimit(value: unknown, field: string): number | null {
  if (value === Number.POSITIVE_INFINITY) return null
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= MAX_LIMIT) return value
  throw invalidOption(field, value, "which is no number of jobs", `write an integer from 0 to ${MAX_LIMIT}, or Infinity for no limit`)
}

/** `concurrency` of a task. */
export function checkConcurrency(value: unknown, field: string): LimitSpec {
  if (typeof value === "number") throw invalidOption(field, value, "which is not an object", `write { limit: ${value} }`)
  const { limit, key } = readOptions(value, ["limit", "key"], field)
  return Object.freeze({ limit: checkLimit(limit, `limit of ${field}`), key: checkKeyFunction(key, `key of ${field}`) })
}

/** `rateLimit` of a task. */
export function checkKeyedRate(value: unknown, field: string): RateSpec {
  const { key, ...rate } = readOptions(value, ["limit", "per", "strategy", "key"], field)
  return Object.freeze({ ...checkRate(rate, field), key: checkKeyFunction(key, `key of ${field}`) })
}

/** A rate without a key, as a queue has it. */
export function checkRate(value: unknown, field: string): Omit<RateSpec, "key"> {
  const { limit, per, strategy } = readOptions(value, ["limit", "per", "strategy"], field)
  if (per === undefined) throw badOption(`${field} has no per; write the length of the window, as in { limit: 10, per: "1m" }`)
  return {
    limit: checkLimit(limit, `limit of ${field}`),
    perMs: toPositiveMilliseconds(per as Duration, `per of ${field}`),
    strategy: strategy === undefined ? "sliding-window" : checkOneOf(strategy, `strategy of ${field}`, STRATEGIES),
  }
}

/** The key of one job, given as an option or by a key function. */
export function checkLimitKey(value: unknown, field: string): string {
  if (typeof value !== "string") throw invalidOption(field, value, "which is not a string", "write a string, as in String(tenantId)")
  const key = checkKeyText(value, field, MAX_KEY_BYTES)
  const bytes = Buffer.byteLength(key)
  if (bytes <= MAX_KEY_BYTES) return key
  throw badOption(`${field} is ${bytes} bytes long (${describeValue(key)}); write at most ${MAX_KEY_BYTES}, or a hash of it`)
}

/**
 * The key under which a job counts; undefined when its task has no such limit.
 * @param edges parents whose results will fill arguments: those are not there yet, and no key may be made of them
 * @throws InvalidOptionError when the function throws, or returns no key
 */
export function keyOf(
  option: "concurrency" | "rateLimit",
  spec: TaskSpec,
  args: readonly unknown[],
  edges?: readonly RequestEdge[],
): string | undefined {
  const limit = spec[option]
  if (limit?.key === undefined) return limit === undefined ? undefined : ""
  const field = `${option}.key() of task "${spec.name}"`
  let key: unknown
  try {
    key = limit.key(...withGaps(args, edges))
  } catch (error) {
    if (error === GAP) key = GAP
    else throw new InvalidOptionError(`${field} threw: ${error instanceof Error ? error.message : describeValue(error)}`, { cause: error })
  }
  if (key !== GAP && !isGap(key)) return checkLimitKey(key, `the result of ${field}`)
  throw new InvalidOptionError(
    `${field} needs an argument that a parent's result will fill, and the job is stored before that is known; give the key with the call: with({ ${option}Key: … })`,
  )
}

function checkKeyFunction(value: unknown, field: string): ((...args: any[]) => string) | undefined {
  if (value !== undefined) checkFunction(value, field, "key: (order) => order.tenant")
  return value as ((...args: any[]) => string) | undefined
}

const GAP = new Error("not there yet")
const gaps = new WeakSet<object>()

/** An argument that is not there yet: a key must not be made of it. */
function gap(): object {
  const made = new Proxy(
    {},
    {
      get: () => {
        throw GAP
      },
    },
  )
  gaps.add(made)
  return made
}

function isGap(value: unknown): boolean {
  return typeof value === "object" && value !== null && gaps.has(value)
}

/** The arguments, with gaps where the results of parents will be put. */
function withGaps(args: readonly unknown[], edges: readonly RequestEdge[] | undefined): readonly unknown[] {
  const open = new Set(edges?.flatMap((edge) => edge.paths.map((path) => Number(path[0]))))
  return open.size === 0 ? args : args.map((arg, i) => (open.has(i) ? gap() : arg))
}
