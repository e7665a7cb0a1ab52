/**
 * When a schedule fires: a stateless walk over its slots.
 *
 * croner reads the pattern and walks wall times, as if there were no time zones; what they mean in a zone is decided here:
 *   a pattern of certain hours   a wall time that a clock change skips is one slot, at the instant of the change (several skipped ones are one);
 *                                one that a change repeats is a slot the first time;
 *   a pattern of every hour      goes on in real time: what is skipped is not made up for, what is repeated runs both times.
 */
import { Cron } from "croner"
import { ScheduleError } from "../api/errors.js"
import { describeValue } from "../lib/invalid-option.js"
import { WallClock } from "./wall-clock.js"

/** A `When` as it is stored: JSON, in milliseconds and ISO instants. */
export interface StoredWhen {
  readonly cron?: string
  readonly tz?: string
  readonly everyMs?: number
  /** Of `every` without a `from`: the instant of creation. The grid begins there; it is no slot itself. */
  readonly origin?: string
  readonly from?: string
  readonly until?: string
  readonly limit?: number
  readonly overlap: "all" | "skip"
  readonly missed: "skip" | "once" | "all"
}

export class Slots {
  readonly #when: StoredWhen
  readonly #cron: Cron | undefined
  readonly #clock: WallClock | undefined
  readonly #everyHour: boolean

  /** @throws ScheduleError for a cron or a zone that is none */
  constructor(when: StoredWhen, what = "The schedule") {
    this.#when = when
    this.#everyHour = when.cron !== undefined && runsEveryHour(when.cron)
    if (when.cron === undefined) return
    try {
      this.#clock = new WallClock(when.tz ?? "UTC")
    } catch (cause) {
      throw new ScheduleError(`${what} has the time zone ${describeValue(when.tz)}, which is unknown; write an IANA name such as "Europe/Berlin"`, {
        cause,
      })
    }
    try {
      this.#cron = new Cron(when.cron, { timezone: "UTC", mode: "5-or-6-parts", paused: true })
    } catch (cause) {
      const why = (cause as Error).message.replace(/^CronPattern: /, "")
      throw new ScheduleError(
        `${what} has the cron ${JSON.stringify(when.cron)}, which is none: ${why} Write five fields, as in "0 9 * * 1-5", or six with seconds first`,
        { cause },
      )
    }
  }

  /** Whether a cron ever comes, bounds apart: 30 February does not. */
  comes(): boolean {
    return this.#cron === undefined || this.#nextWall(0) !== null
  }

  /** The first slot after `after`; null: it is over. */
  next(after: Date): Date | null {
    const { from, until, everyMs } = this.#when
    // A slot at `from` itself counts.
    const since = from === undefined ? after.getTime() : Math.max(after.getTime(), new Date(from).getTime() - 1)
    const slot = everyMs !== undefined ? this.#nextOfGrid(since, everyMs) : this.#everyHour ? this.#nextInRealTime(since) : this.#nextOnWall(since)
    return slot === null || (until !== undefined && slot > new Date(until).getTime()) ? null : new Date(slot)
  }

  /**
   * Slots after `after` up to and including `to`, the latest `most` of them. Looked for in growing spans before `to`: a schedule of every second
   * that was away for a month has millions.
   */
  between(after: Date, to: Date, most: number): Date[] {
    if (most <= 0) return []
    const begin = after.getTime()
    for (let span = (this.#when.everyMs ?? 1_000) * most; ; span *= 4) {
      const start = Math.max(begin, to.getTime() - span)
      const found: Date[] = []
      for (let slot = this.next(new Date(start)); slot !== null && slot <= to; slot = this.next(slot)) found.push(slot)
      if (found.length >= most || start === begin) return found.slice(-most)
    }
  }

  #nextOfGrid(after: number, everyMs: number): number {
    const origin = new Date((this.#when.from ?? this.#when.origin) as string).getTime()
    const steps = Math.floor((after - origin) / everyMs) + 1
    // Without a `from` the first run is one interval after the creation.
    return origin + Math.max(steps, this.#when.from === undefined ? 1 : 0) * everyMs
  }

  #nextOnWall(after: number): number | null {
    const clock = this.#clock!
    // While the clock repeats an hour, slots of its first round are passed over.
    for (let wall = this.#nextWall(after + clock.offsetAt(after)); wall !== null; wall = this.#nextWall(wall)) {
      const slot = clock.instantOf(wall)
      if (slot > after) return slot
    }
    return null
  }

  #nextInRealTime(after: number): number | null {
    const clock = this.#clock!
    let offset = clock.offsetAt(after)
    for (let from = after; ; ) {
      const wall = this.#nextWall(from + offset)
      if (wall === null) return null
      const change = clock.changeBetween(Math.max(from, after), wall - offset)
      if (change === undefined) return wall - offset
      // Begin anew at the change; what the wall shows then counts.
      offset = clock.offsetAt(change)
      from = change - 1
      after = change
    }
  }

  /** The first wall time after this one that the pattern names. */
  #nextWall(wall: number): number | null {
    return this.#cron!.nextRun(new Date(wall))?.getTime() ?? null
  }
}

function runsEveryHour(cron: string): boolean {
  const fields = cron.trim().split(/\s+/)
  const hour = fields.length === 6 ? fields[2] : fields[1]
  return fields.length === 1 ? /^@hourly$/i.test(cron.trim()) : /^(\*(\/1)?|0-23(\/1)?)$/.test(hour ?? "")
}
