/** What a user says about the times of a schedule, checked, and the form in which it is stored. */
import { ScheduleError } from "../errors.js"
import { toPositiveMilliseconds } from "../task/duration.js"
import { checkKeys } from "../task/option-checks.js"
import type { When } from "../task/types.js"
import { Slots, type StoredWhen } from "./slots.js"

const KNOWN = ["cron", "tz", "every", "from", "until", "limit", "overlap", "missed"]
const MIN_EVERY_MS = 100

/** @throws ScheduleError for a wrong cron, zone, interval or bound */
export function checkWhen(when: When, id: string): StoredWhen {
  const what = `Schedule "${id}"`
  const given: unknown = when
  if (typeof given !== "object" || given === null) throw new ScheduleError(`${what} has no time; write { cron: "0 9 * * *" } or { every: "15m" }`)
  try {
    checkKeys(given, KNOWN, what)
  } catch (error) {
    throw new ScheduleError((error as Error).message, { cause: error })
  }
  const { cron, tz, every, overlap = "all", missed = "once" } = when as When & { cron?: unknown; tz?: unknown; every?: unknown }
  if ((cron === undefined) === (every === undefined)) throw new ScheduleError(`${what} needs either cron or every`)
  if (overlap !== "all" && overlap !== "skip") throw new ScheduleError(`${what} has overlap ${JSON.stringify(overlap)}; write "all" or "skip"`)
  if (missed !== "skip" && missed !== "once" && missed !== "all")
    throw new ScheduleError(`${what} has missed ${JSON.stringify(missed)}; write "skip", "once" or "all"`)
  const rest = { ...checkBounds(when, what), overlap, missed }
  if (every !== undefined) {
    if (tz !== undefined) throw new ScheduleError(`${what} has tz beside every; a time zone belongs to cron`)
    return { everyMs: checkEvery(every, what), ...rest }
  }
  for (const [name, value] of [
    ["cron", cron],
    ["tz", tz],
  ]) {
    if (value !== undefined && typeof value !== "string") throw new ScheduleError(`${what} has ${String(name)} ${String(value)}; write a text`)
    if (value !== undefined && value.length > 255) throw new ScheduleError(`${what} has a ${name} of ${value.length} characters; write at most 255`)
  }
  const stored = { cron: cron as string, ...(tz === undefined ? {} : { tz: tz as string }), ...rest }
  if (!new Slots(stored, what).comes()) throw new ScheduleError(`${what} has the cron ${JSON.stringify(cron)}, which never comes`)
  return stored
}

function checkBounds({ from, until, limit }: When, what: string): Pick<StoredWhen, "from" | "until" | "limit"> {
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit > 0))
    throw new ScheduleError(`${what} has limit ${String(limit)}; write a whole number above 0`)
  for (const [name, bound] of [
    ["from", from],
    ["until", until],
  ] as const) {
    if (bound !== undefined && !(bound instanceof Date && !Number.isNaN(bound.getTime())))
      throw new ScheduleError(`${what} has ${name} ${String(bound)}; write a Date`)
  }
  if (from !== undefined && until !== undefined && until <= from) throw new ScheduleError(`${what} ends (until) before it begins (from)`)
  return {
    ...(from === undefined ? {} : { from: from.toISOString() }),
    ...(until === undefined ? {} : { until: until.toISOString() }),
    ...(limit === undefined ? {} : { limit }),
  }
}

function checkEvery(every: unknown, what: string): number {
  let everyMs: number
  try {
    everyMs = toPositiveMilliseconds(every as never, "every")
  } catch (error) {
    throw new ScheduleError(`${what}: ${(error as Error).message}`, { cause: error })
  }
  if (everyMs < MIN_EVERY_MS) throw new ScheduleError(`${what} runs every ${everyMs} ms; write at least ${MIN_EVERY_MS} ms`)
  return everyMs
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
