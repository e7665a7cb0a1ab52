/** What a user says about the times of a schedule, checked, and the form in which it is stored. */
import { ScheduleError } from "../api/errors.js"
import type { When } from "../api/options.js"
import { toPositiveMilliseconds } from "../lib/duration.js"
import { describeValue } from "../lib/invalid-option.js"
import { checkDate, isA, readOptions } from "../lib/option-checks.js"
import { Slots, type StoredWhen } from "./slots.js"

const KNOWN = ["cron", "tz", "every", "from", "until", "limit", "overlap", "missed"] as const
const MIN_EVERY_MS = 100

/** @throws ScheduleError for a wrong cron, zone, interval or bound */
export function checkWhen(when: When, id: string): StoredWhen {
  const what = `Schedule "${id}"`
  if (typeof when !== "object" || when === null)
    throw new ScheduleError(`${what} has no time: when is ${describeValue(when)}; write { cron: "0 9 * * *" } or { every: "15m" }`)
  const { cron, tz, every, from, until, limit, overlap = "all", missed = "once" } = asScheduleError(() => readOptions(when, KNOWN, what))
  if ((cron === undefined) === (every === undefined))
    throw new ScheduleError(`${what} needs either cron or every; write { cron: "0 9 * * *" } or { every: "15m" }`)
  if (overlap !== "all" && overlap !== "skip") throw new ScheduleError(`${what} has overlap ${describeValue(overlap)}; write "all" or "skip"`)
  if (missed !== "skip" && missed !== "once" && missed !== "all")
    throw new ScheduleError(`${what} has missed ${describeValue(missed)}; write "skip", "once" or "all"`)
  const rest = { ...checkBounds({ from, until, limit }, what), overlap, missed } as const
  if (every !== undefined) {
    if (tz !== undefined) throw new ScheduleError(`${what} has tz beside every; a time zone belongs to cron, so leave ${describeValue(tz)} out`)
    return { everyMs: checkEvery(every, what), ...rest }
  }
  for (const [name, value] of [
    ["cron", cron],
    ["tz", tz],
  ]) {
    if (value !== undefined && typeof value !== "string") throw new ScheduleError(`${what} has ${String(name)} ${describeValue(value)}; write a text`)
    if (value !== undefined && value.length > 255) throw new ScheduleError(`${what} has a ${name} of ${value.length} characters; write at most 255`)
  }
  const stored = { cron: cron as string, ...(tz === undefined ? {} : { tz: tz as string }), ...rest }
  if (!new Slots(stored, what).comes())
    throw new ScheduleError(`${what} has the cron ${JSON.stringify(cron)}, which never comes; write one that does, as in "0 9 * * *"`)
  return stored
}

function checkBounds(given: { from: unknown; until: unknown; limit: unknown }, what: string): Pick<StoredWhen, "from" | "until" | "limit"> {
  const { limit } = given as { limit: number | undefined }
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit > 0))
    throw new ScheduleError(`${what} has limit ${describeValue(limit)}; write a whole number above 0`)
  const bound = (name: "from" | "until"): Date | undefined => {
    const value = given[name]
    if (value === undefined) return undefined
    if (!isA(value, Date) || Number.isNaN(value.getTime())) throw new ScheduleError(`${what} has ${name} ${describeValue(value)}; write a Date`)
    return asScheduleError(() => checkDate(value, `${name} of ${what}`))
  }
  const from = bound("from")
  const until = bound("until")
  if (from !== undefined && until !== undefined && until <= from)
    throw new ScheduleError(`${what} ends (until) before it begins (from): ${until.toISOString()} and ${from.toISOString()}; write a later until`)
  return {
    ...(from === undefined ? {} : { from: from.toISOString() }),
    ...(until === undefined ? {} : { until: until.toISOString() }),
    ...(limit === undefined ? {} : { limit }),
  }
}

function checkEvery(every: unknown, what: string): number {
  const everyMs = asScheduleError(() => toPositiveMilliseconds(every as never, "every"), `${what}: `)
  if (everyMs < MIN_EVERY_MS) throw new ScheduleError(`${what} runs every ${everyMs} ms; write at least ${MIN_EVERY_MS} ms`)
  return everyMs
}

function asScheduleError<T>(check: () => T, where = ""): T {
  try {
    return check()
  } catch (error) {
    throw new ScheduleError(`${where}${(error as Error).message}`, { cause: error })
  }
}

/** The public form of what is stored. */
export function whenOf(stored: StoredWhen): When {
  const { everyMs, origin: _origin, from, until, cron, ...rest } = stored
  return {
    ...rest,
    ...(cron === undefined ? { every: `${everyMs as number}ms` as const } : { cron }),
    ...(from === undefined ? {} : { from: new Date(from) }),
    ...(until === undefined ? {} : { until: new Date(until) }),
  } as When
}

/** Whether two say the same, whatever the order of their keys; the origin of a grid is not the user's. */
export function sameWhen(a: StoredWhen, b: StoredWhen): boolean {
  const plain = ({ origin: _origin, ...rest }: StoredWhen): string => JSON.stringify(Object.entries(rest).sort(([x], [y]) => (x < y ? -1 : 1)))
  return plain(a) === plain(b)
}
