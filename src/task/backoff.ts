import type { Duration } from "../api/duration.js"
import type { Backoff, BackoffFunction } from "../api/options.js"
import { MAX_DURATION_MS, toMilliseconds } from "../lib/duration.js"
import { invalidOption } from "../lib/invalid-option.js"
import { isList, readOptions, unknownKey } from "../lib/option-checks.js"

/** What counts when a task and a job say nothing; also fills in what `{ base }` leaves out. */
const DEFAULT_BACKOFF: { base: number; first: Duration; max: Duration; jitter: number } = { base: 2, first: "1s", max: "1h", jitter: 0.1 }

/**
 * The wait in milliseconds before retry `retry` (1 is the first). Never throws and never exceeds 100 years: a function that throws or returns
 * rubbish, and a stored backoff that makes no sense, count as the default.
 *
 * - a number b: `b ** retry` seconds exactly, 0 at once
 * - `{ base, first, max, jitter }`: `first * base ** (retry - 1)`, at most `max`, and then up to the fraction `jitter` of it on top, so that jobs
 *   which wait for as long as they may do not all return at once
 * - `{ fixed, jitter }`: the same each time, jitter 0 unless given
 * - `{ steps }`: one after the other, the last repeats
 *
 * @param random 0 ≤ x < 1, `Math.random` outside of tests
 */
export function retryDelayMs(backoff: Backoff | BackoffFunction | undefined, retry: number, error: unknown, random: () => number): number {
  try {
    const ms = typeof backoff === "function" ? fromFunction(backoff, retry, error) : compute(backoff ?? DEFAULT_BACKOFF, retry, random)
    if (ms >= 0) return Math.min(ms, MAX_DURATION_MS)
  } catch {
    // Falls through to the default: a fault in a backoff must not decide about the job.
  }
  return compute(DEFAULT_BACKOFF, retry, random)
}

function fromFunction(backoff: BackoffFunction, retry: number, error: unknown): number {
  const answer: unknown = backoff(retry, error)
  // An async function is rubbish too; its rejection must not end the process.
  if (answer instanceof Promise) answer.catch(() => {})
  return toMilliseconds(answer as Duration, "backoff()")
}

function compute(backoff: Backoff, retry: number, random: () => number): number {
  if (typeof backoff === "number") return Math.round(backoff ** retry * 1_000)
  if ("steps" in backoff) return toMilliseconds(backoff.steps[Math.min(retry, backoff.steps.length) - 1]!, "steps")
  if ("fixed" in backoff) return jittered(toMilliseconds(backoff.fixed, "fixed"), backoff.jitter ?? 0, random)
  const { first = DEFAULT_BACKOFF.first, max = DEFAULT_BACKOFF.max, jitter = DEFAULT_BACKOFF.jitter } = backoff
  const firstMs = toMilliseconds(first, "first")
  // 0 * Infinity is not a number: no first wait means no wait at all.
  const ms = firstMs === 0 ? 0 : Math.min(firstMs * backoff.base ** (retry - 1), toMilliseconds(max, "max"))
  return jittered(ms, jitter, random)
}

function jittered(ms: number, jitter: number, random: () => number): number {
  return Math.round(ms * (1 + jitter * random()))
}

const PARTS = ["base", "first", "max", "jitter", "fixed", "steps"] as const
const SHAPES = 'write a base (2), { base: 2, first: "1s", max: "1h", jitter: 0.1 }, { fixed: "30s" } or { steps: ["10s", "1m", "10m"] }'

/**
 * Checks a backoff that can be stored, and returns it as it is.
 * @throws InvalidOptionError that names the part, its value and what to write
 */
export function checkBackoff(value: unknown, field: string): Backoff {
  if (typeof value === "number") return checkNumber(value, field)
  if (typeof value === "function") throw invalidOption(field, value, "which cannot be stored with one job", "put the function on the task")
  if (typeof value !== "object" || value === null || isList(value)) throw invalidOption(field, value, "which is not a backoff", SHAPES)
  const shape = readOptions(value, PARTS, field, (key) =>
    ["base", "fixed", "steps"].some((part) => part in value)
      ? unknownKey(key, PARTS, field)
      : invalidOption(field, value, "which is not a backoff", SHAPES),
  )
  // Of a known part in the wrong shape: which parts go together.
  const only = (parts: readonly string[]): unknown => readOptions(shape, parts, field)
  if (shape.steps !== undefined) {
    only(["steps"])
    const steps: readonly unknown[] = isList(shape.steps) ? [...shape.steps] : []
    if (steps.length === 0) {
      throw invalidOption(`steps of ${field}`, shape.steps, "which is not a list of durations", 'write at least one: { steps: ["10s", "1m"] }')
    }
    for (const [i, step] of steps.entries()) toMilliseconds(step as Duration, `steps[${i}] of ${field}`)
    return { steps: steps as readonly Duration[] }
  }
  if (shape.fixed !== undefined) {
    only(["fixed", "jitter"])
    toMilliseconds(shape.fixed, `fixed of ${field}`)
  } else if (shape.base !== undefined) {
    only(["base", "first", "max", "jitter"])
    checkNumber(shape.base, `base of ${field}`)
    if (shape.first !== undefined) toMilliseconds(shape.first, `first of ${field}`)
    if (shape.max !== undefined) toMilliseconds(shape.max, `max of ${field}`)
  } else {
    throw invalidOption(field, value, "which is not a backoff", SHAPES)
  }
  const jitter: unknown = shape.jitter
  if (jitter !== undefined && !(typeof jitter === "number" && jitter >= 0 && jitter <= 1)) {
    throw invalidOption(`jitter of ${field}`, jitter, "which is not a fraction", "write a number from 0 (none) to 1 (up to twice the wait)")
  }
  return { ...shape } as Backoff
}

function checkNumber(value: unknown, field: string): number {
  if (typeof value === "number" && Number.isFinite(value) && value >= 0) return value
  throw invalidOption(field, value, "which is not a base", "write a finite number of 0 or more; retry n waits base ** n seconds")
}
