import type { Duration } from "../api/duration.js"
import type { InvalidOptionError } from "../api/errors.js"
import { invalidOption } from "./invalid-option.js"

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 }

/** 100 years. Longer ones are mistakes, and Postgres cannot add them to a timestamp without end. */
export const MAX_DURATION_MS = 3_155_760_000_000

const TEXT = /^(\d+(?:\.\d+)?(?:e[+-]?\d+)?|\.\d+)(ms|s|m|h|d|w)$/i
const HOW = 'write seconds as a number (60), or a string with a unit: "500ms", "60s", "10m", "2h", "1d" or "1w"'

/**
 * A duration in whole milliseconds: a number is seconds, a string carries its unit. What is above 0 stays above 0 (at least 1 ms).
 * The only place that reads durations.
 *
 * @param field how an error names the value, for example `option "ttl" of task "emails.send"`
 * @throws InvalidOptionError for anything negative, not finite, longer than 100 years, or not a duration
 * @example toMilliseconds(1.5, "ttl") // 1500
 * @example toMilliseconds("10m", "ttl") // 600000
 */
export function toMilliseconds(duration: Duration, field: string): number {
  const value: unknown = duration
  const exact = typeof value === "number" ? value * 1_000 : typeof value === "string" ? parseText(value, field) : Number.NaN
  if (!Number.isFinite(exact)) throw notADuration(value, field)
  if (exact < 0) throw invalidOption(field, value, "which is negative", "write a duration of 0 or more")
  if (exact > MAX_DURATION_MS) throw invalidOption(field, value, "which is longer than 100 years", `${HOW} (a bare number is seconds)`)
  return exact === 0 ? 0 : Math.max(1, Math.round(exact))
}

/** As `toMilliseconds`, for options that 0 makes no sense for. */
export function toPositiveMilliseconds(duration: Duration, field: string): number {
  const ms = toMilliseconds(duration, field)
  if (ms === 0) throw invalidOption(field, duration, "which is no time at all", "write a duration above 0, or leave the option out")
  return ms
}

function parseText(text: string, field: string): number {
  const match = TEXT.exec(text)
  if (match !== null) return Number(match[1]) * UNITS[match[2]!.toLowerCase()]!
  if (text.startsWith("-") && TEXT.test(text.slice(1))) throw invalidOption(field, text, "which is negative", "write a duration of 0 or more")
  throw notADuration(text, field)
}

function notADuration(value: unknown, field: string): InvalidOptionError {
  const meant = typeof value === "string" ? guess(value) : undefined
  return invalidOption(field, value, "which is not a duration", meant === undefined ? HOW : `did you mean ${meant}? Otherwise ${HOW}`)
}

/** What "60 secs", "1 hour" or "60" most likely meant. */
function guess(text: string): string | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(|ms|milli\w*|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)\s*$/i.exec(text)
  if (match === null) return undefined
  const [, amount, word = ""] = match
  if (word === "") return `${amount} (seconds)`
  return `"${amount}${/^mi?l?l?i?s|^milli/i.test(word) ? "ms" : word[0]!.toLowerCase()}"`
}
