/**
 * When a schedule fires: a stateless walk over its slots.
 *
 * Cron times and time zones are croner's. What it leaves open is decided here: a wall-clock time inside the hour that a DST change skips runs
 * once, right after the gap (as in Vixie cron, not for schedules that run every hour anyway); one that a change repeats runs once.
 */
import { Cron } from "croner"
import { ScheduleError } from "../errors.js"
import { toPositiveMilliseconds } from "../task/duration.js"
import { checkKeys } from "../task/option-checks.js"
import type { When } from "../task/types.js"

/** A `When` as it is stored: JSON, in milliseconds and ISO instants. */
export interface StoredWhen {
  readonly cron?: string
  readonly tz?: string
  readonly everyMs?: number
  /** Of `every`: the grid's origin, a slot itself only when the user gave it. */
  readonly origin?: string
  readonly from?: string
  readonly until?: string
  readonly limit?: number
  readonly overlap: "all" | "skip"
  readonly missed: "skip" | "once" | "all"
}

const KNOWN = ["cron", "tz", "every", "from", "until", "limit", "overlap", "missed"]

/** @throws ScheduleError for a wrong cron, zone, interval or bound */
export function checkWhen(when: When, id: string): StoredWhen {
  const what = `Schedule "${id}"`
  if (typeof when !== "object" || when === null) throw new ScheduleError(`${what} has no time; write { cron: "0 9 * * *" } or { every: "15m" }`)
  try {
    checkKeys(when as unknown, KNOWN, what)
  } catch (error) {
    throw new ScheduleError((error as Error).message, { cause: error })
  }
  const { cron, tz, every, from, until, limit, overlap = "all", missed = "once" } = when as When & { cron?: string; tz?: string; every?: never }
  if ((cron === undefined) === (every === undefined)) throw new ScheduleError(`${what} needs either cron or every`)
  if (overlap !== "all" && overlap !== "skip") throw new ScheduleError(`${what} has overlap ${JSON.stringify(overlap)}; write "all" or "skip"`)
  if (missed !== "skip" && missed !== "once" && missed !== "all")
    throw new ScheduleError(`${what} has missed ${JSON.stringify(missed)}; write "skip", "once" or "all"`)
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
  const bounds = {
    ...(from === undefined ? {} : { from: from.toISOString() }),
    ...(until === undefined ? {} : { until: until.toISOString() }),
    ...(limit === undefined ? {} : { limit }),
    overlap,
    missed,
  }
  if (cron !== undefined) {
    const stored = { cron, ...(tz === undefined ? {} : { tz }), ...bounds }
    if (new Slots(stored, what).next(new Date()) === null && from === undefined && until === undefined) {
      throw new ScheduleError(`${what} has the cron ${JSON.stringify(cron)}, which never comes`)
    }
    return stored
  }
  if (tz !== undefined) throw new ScheduleError(`${what} has tz beside every; a time zone belongs to cron`)
  let everyMs: number
  try {
    everyMs = toPositiveMilliseconds(every as never, "every")
  } catch (error) {
    throw new ScheduleError(`${what}: ${(error as Error).message}`, { cause: error })
  }
  if (everyMs < 100) throw new ScheduleError(`${what} runs every ${everyMs} ms; write at least 100 ms`)
  return { everyMs, ...bounds }
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

export class Slots {
  readonly #when: StoredWhen
  readonly #cron: Cron | undefined
  /** The same pattern read as if there were no time zone: for wall-clock times that do not exist. */
  readonly #wall: Cron | undefined

  constructor(when: StoredWhen, what = "The schedule") {
    this.#when = when
    if (when.cron === undefined) return
    const tz = when.tz ?? "UTC"
    try {
      new Intl.DateTimeFormat("en", { timeZone: tz })
    } catch (cause) {
      throw new ScheduleError(`${what} has the time zone ${JSON.stringify(when.tz)}, which is unknown; write an IANA name such as "Europe/Berlin"`, {
        cause,
      })
    }
    try {
      this.#cron = new Cron(when.cron, { timezone: tz, mode: "5-or-6-parts", paused: true })
      if (!runsEveryHour(when.cron)) this.#wall = new Cron(when.cron, { timezone: "UTC", mode: "5-or-6-parts", paused: true })
    } catch (cause) {
      const why = (cause as Error).message.replace(/^CronPattern: /, "")
      throw new ScheduleError(
        `${what} has the cron ${JSON.stringify(when.cron)}, which is none: ${why} Write five fields, as in "0 9 * * 1-5", or six with seconds first`,
        { cause },
      )
    }
  }

  /** The first slot after `after`; null: it is over. */
  next(after: Date): Date | null {
    const { from, until } = this.#when
    // A slot at `from` itself counts.
    const since = from === undefined ? after : new Date(Math.max(after.getTime(), new Date(from).getTime() - 1))
    const slot = this.#when.everyMs === undefined ? this.#nextCron(since) : this.#nextOfGrid(since)
    return slot === null || (until !== undefined && slot > new Date(until)) ? null : slot
  }

  /** Slots after `after` up to and including `to`, the latest `most` of them. */
  between(after: Date, to: Date, most: number): Date[] {
    const found: Date[] = []
    const { everyMs } = this.#when
    let at = after
    // A grid can be entered near its end; a cron must be walked.
    if (everyMs !== undefined) at = new Date(Math.max(after.getTime(), to.getTime() - (most + 1) * everyMs))
    for (let slot = this.next(at); slot !== null && slot <= to; slot = this.next(slot)) {
      found.push(slot)
      if (found.length > most) found.shift()
    }
    return found
  }

  #nextOfGrid(after: Date): Date {
    const everyMs = this.#when.everyMs as number
    const origin = new Date((this.#when.from ?? this.#when.origin) as string).getTime()
    const steps = Math.floor((after.getTime() - origin) / everyMs) + 1
    // Without a `from` the first run is one interval after the creation.
    return new Date(origin + Math.max(steps, this.#when.from === undefined ? 1 : 0) * everyMs)
  }

  #nextCron(after: Date): Date | null {
    const next = this.#cron!.nextRun(after)
    return this.#inGap(after, next) ?? next
  }

  /** The end of a gap between the two, when the pattern names a wall-clock time inside of it. */
  #inGap(after: Date, next: Date | null): Date | null {
    if (this.#wall === undefined) return null
    const tz = this.#when.tz ?? "UTC"
    if (tz === "UTC") return null
    // Looked for over two days at most; croner itself is right about any gap beyond, one step later.
    const limit = Math.min(next?.getTime() ?? Number.POSITIVE_INFINITY, after.getTime() + 2 * 86_400_000)
    let low = after.getTime()
    for (let high = low; high < limit; low = high) {
      high = Math.min(low + 3_600_000, limit)
      const jump = offsetAt(tz, high) - offsetAt(tz, low)
      if (jump <= 0) continue
      const end = firstWithOffset(tz, low, high)
      // Wall-clock times from the last one before the gap on do not exist, for the length of the jump.
      const wallStart = end + offsetAt(tz, low)
      const named = this.#wall.nextRun(new Date(wallStart - 1_000))
      if (named !== null && named.getTime() < wallStart + jump && end > after.getTime() && (next === null || end < next.getTime()))
        return new Date(end)
    }
    return null
  }
}

/** The hour field is a star, or steps of one. */
function runsEveryHour(cron: string): boolean {
  const fields = cron.trim().split(/\s+/)
  const hour = fields.length === 6 ? fields[2] : fields[1]
  return hour !== undefined && /^\*/.test(hour)
}

const formats = new Map<string, Intl.DateTimeFormat>()

/** What the wall clock is ahead of UTC, in milliseconds. */
function offsetAt(tz: string, instant: number): number {
  let format = formats.get(tz)
  if (format === undefined) {
    format = new Intl.DateTimeFormat("en-US", {
      timeZone: tz,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    })
    formats.set(tz, format)
  }
  const parts = Object.fromEntries(format.formatToParts(instant).map((p) => [p.type, Number(p.value)]))
  const wall = Date.UTC(parts["year"]!, parts["month"]! - 1, parts["day"]!, parts["hour"]!, parts["minute"]!, parts["second"]!)
  return wall - Math.floor(instant / 1000) * 1000
}

/** The instant between the two at which the offset changes, to the second. */
function firstWithOffset(tz: string, low: number, high: number): number {
  const before = offsetAt(tz, low)
  let from = Math.floor(low / 1000)
  let to = Math.ceil(high / 1000)
  while (to - from > 1) {
    const middle = (from + to) >> 1
    if (offsetAt(tz, middle * 1000) === before) from = middle
    else to = middle
  }
  return to * 1000
}
