/**
 * The wall clock of a time zone, and what its changes (daylight saving) do to it.
 *
 * A *wall time* is what the clock on the wall shows, as milliseconds of a clock that knows no zone: a wall that shows 1970-01-01 00:01 is at 60,000.
 */
const DAY_MS = 86_400_000
/** Two changes of one zone lie further apart. */
const STEP_MS = 7 * DAY_MS

export class WallClock {
  /** undefined: UTC, which never changes. */
  readonly #format: Intl.DateTimeFormat | undefined

  /** @throws RangeError for a zone that is unknown */
  constructor(tz: string) {
    const format = new Intl.DateTimeFormat("en-US", {
      timeZone: tz,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    })
    this.#format = format.resolvedOptions().timeZone === "UTC" ? undefined : format
  }

  /** How many milliseconds the wall is ahead of UTC at an instant. */
  offsetAt(instant: number): number {
    if (this.#format === undefined) return 0
    const parts: Record<string, number> = {}
    for (const { type, value } of this.#format.formatToParts(instant)) parts[type] = Number(value)
    const wall = Date.UTC(parts["year"]!, parts["month"]! - 1, parts["day"]!, parts["hour"]!, parts["minute"]!, parts["second"]!)
    return wall - Math.floor(instant / 1_000) * 1_000
  }

  /** The first instant at which the wall shows this; of a time that a change skips, the instant of the change. Never decreases with the time. */
  instantOf(wall: number): number {
    const before = this.offsetAt(wall - 2 * DAY_MS)
    const after = this.offsetAt(wall + 2 * DAY_MS)
    if (before === after) return wall - before
    const change = this.changeBetween(wall - 2 * DAY_MS, wall + 2 * DAY_MS) as number
    if (wall - before < change) return wall - before
    return Math.max(wall - after, change)
  }

  /** The first instant after `from`, up to and including `to`, from which on the offset is another one. */
  changeBetween(from: number, to: number): number | undefined {
    const before = this.offsetAt(from)
    for (let low = from; low < to; low = Math.min(low + STEP_MS, to)) {
      const high = Math.min(low + STEP_MS, to)
      if (this.offsetAt(high) !== before) return this.#change(low, high, before)
    }
    return undefined
  }

  /** Clocks change at full seconds. */
  #change(from: number, to: number, before: number): number {
    let low = Math.floor(from / 1_000)
    let high = Math.floor(to / 1_000)
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2)
      if (this.offsetAt(middle * 1_000) === before) low = middle
      else high = middle
    }
    return high * 1_000
  }
}
