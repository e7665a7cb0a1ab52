/** Random schedules against an oracle that looks at every minute: which of them does the wall clock show, and does the pattern name it? */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { Slots } from "../../src/schedules/slots.js"
import { pickSeed } from "../support/seed.js"

const MINUTE = 60_000
const DAY = 86_400_000

/** Weeks around changes of each zone's clock: forward, back, by half an hour, at midnight, and none. */
const WEEKS: readonly (readonly [tz: string, from: string])[] = [
  ["Europe/Berlin", "2026-03-26T00:00Z"],
  ["Europe/Berlin", "2026-10-22T00:00Z"],
  ["America/New_York", "2026-03-05T00:00Z"],
  ["America/New_York", "2026-10-29T00:00Z"],
  ["Australia/Lord_Howe", "2026-04-02T00:00Z"],
  ["Australia/Lord_Howe", "2026-10-01T00:00Z"],
  ["Africa/Cairo", "2026-04-22T00:00Z"],
  ["Africa/Cairo", "2026-10-28T00:00Z"],
  ["Asia/Kolkata", "2026-03-26T00:00Z"],
  ["UTC", "2026-03-26T00:00Z"],
]
const SPAN = 6 * DAY

interface Pattern {
  readonly minutes: readonly number[]
  /** null: every hour. */
  readonly hours: readonly number[] | null
  /** Days of the week; null: every day. */
  readonly days: readonly number[] | null
}

const list = (max: number, maxLength: number) => fc.uniqueArray(fc.integer({ min: 0, max }), { minLength: 1, maxLength })
const patterns: fc.Arbitrary<Pattern> = fc.record({
  minutes: list(59, 4),
  // The early hours, in which clocks change, more often.
  hours: fc.option(fc.oneof(list(4, 4), list(23, 6)), { freq: 3 }),
  days: fc.option(list(6, 3), { freq: 2 }),
})

function cronOf({ minutes, hours, days }: Pattern): string {
  return `${minutes.join(",")} ${hours === null ? "*" : hours.join(",")} * * ${days === null ? "*" : days.join(",")}`
}

/** What the wall shows at each minute from `from` on, as milliseconds of a clock without a zone. */
function wallsOf(tz: string, from: number): number[] {
  const format = new Intl.DateTimeFormat("en-CA", { timeZone: tz, dateStyle: "short", timeStyle: "short", hourCycle: "h23" })
  const walls: number[] = []
  for (let at = from; at < from + SPAN; at += MINUTE) walls.push(Date.parse(`${format.format(at).replace(", ", "T")}Z`))
  return walls
}
const known = new Map<string, number[]>()

function expected(pattern: Pattern, tz: string, from: number): number[] {
  const key = `${tz} ${from}`
  const walls = known.get(key) ?? wallsOf(tz, from)
  known.set(key, walls)
  const named = (wall: number): boolean => {
    const at = new Date(wall)
    return (
      pattern.minutes.includes(at.getUTCMinutes()) &&
      (pattern.hours?.includes(at.getUTCHours()) ?? true) &&
      (pattern.days?.includes(at.getUTCDay()) ?? true)
    )
  }
  const instant = (i: number): number => from + i * MINUTE
  if (pattern.hours === null) return walls.flatMap((wall, i) => (named(wall) ? [instant(i)] : []))
  const slots = new Set<number>()
  for (let wall = walls[0]!; wall <= walls.at(-1)!; wall += MINUTE) {
    if (!named(wall)) continue
    const shown = walls.indexOf(wall)
    // Where no minute shows it, the first that shows a later time ends the gap.
    slots.add(instant(shown === -1 ? walls.findIndex((later) => later > wall) : shown))
  }
  return [...slots].sort((a, b) => a - b)
}

function walk(slots: Slots, after: number, until: number): number[] {
  const found: number[] = []
  for (let slot = slots.next(new Date(after)); slot !== null && slot.getTime() <= until; slot = slots.next(slot)) found.push(slot.getTime())
  return found
}

describe("cron", () => {
  test("every slot that the wall clock shows, once, and none beside, whatever the clock does", () => {
    fc.assert(
      fc.property(patterns, fc.constantFrom(...WEEKS), (pattern, [tz, start]) => {
        const from = Date.parse(start)
        const slots = new Slots({ cron: cronOf(pattern), tz, overlap: "all", missed: "once" })
        const all = expected(pattern, tz, from).filter((at) => at > from && at <= from + SPAN - DAY)
        expect(walk(slots, from, from + SPAN - DAY).map((at) => new Date(at).toISOString())).toEqual(all.map((at) => new Date(at).toISOString()))
      }),
      { numRuns: 40, seed: pickSeed() },
    )
  })

  test("next() is later than what it is asked after, from any instant, and skips nothing", () => {
    fc.assert(
      fc.property(patterns, fc.constantFrom(...WEEKS), fc.integer({ min: 0, max: SPAN - 2 * DAY }), (pattern, [tz, start], offset) => {
        const from = Date.parse(start)
        const after = from + offset
        const next = new Slots({ cron: cronOf(pattern), tz, overlap: "all", missed: "once" }).next(new Date(after))!.getTime()
        expect(next).toBeGreaterThan(after)
        const first = expected(pattern, tz, from).find((at) => at > after)
        if (first !== undefined && first < from + SPAN - DAY) expect(new Date(next).toISOString()).toBe(new Date(first).toISOString())
      }),
      { numRuns: 200, seed: pickSeed() },
    )
  })
})

describe("every", () => {
  const grids = fc.record({
    everyMs: fc.integer({ min: 100, max: 3 * DAY }),
    from: fc.option(fc.integer({ min: 0, max: 10 * DAY }), { nil: undefined }),
    origin: fc.integer({ min: 0, max: 10 * DAY }),
    length: fc.option(fc.integer({ min: 1, max: 20 * DAY }), { nil: undefined }),
    after: fc.integer({ min: -DAY, max: 20 * DAY }),
  })

  test("stands on its grid: the first slot after any instant, within from and until", () => {
    fc.assert(
      fc.property(grids, ({ everyMs, from, origin, length, after }) => {
        const zero = from ?? origin
        const until = length === undefined ? undefined : zero + length
        const slots = new Slots({
          everyMs,
          ...(from === undefined ? { origin: new Date(origin).toISOString() } : { from: new Date(from).toISOString() }),
          ...(until === undefined ? {} : { until: new Date(until).toISOString() }),
          overlap: "all",
          missed: "once",
        })
        // Without a `from` the origin itself is no slot.
        let slot = from === undefined ? zero + everyMs : zero
        slot += Math.max(0, Math.floor((after - slot) / everyMs) + 1) * everyMs
        expect(slots.next(new Date(after))?.getTime() ?? null).toBe(until !== undefined && slot > until ? null : slot)
      }),
      { numRuns: 1_000, seed: pickSeed() },
    )
  })
})

describe("between", () => {
  test("is what a walk finds, the latest of it", () => {
    fc.assert(
      fc.property(
        patterns,
        fc.constantFrom(...WEEKS),
        fc.integer({ min: 0, max: 2 * DAY }),
        fc.integer({ min: 0, max: 30 }),
        (pattern, [tz, start], length, most) => {
          const from = Date.parse(start) + DAY
          const slots = new Slots({ cron: cronOf(pattern), tz, overlap: "all", missed: "once" })
          const walked = walk(slots, from, from + length)
          expect(slots.between(new Date(from), new Date(from + length), most).map((slot) => slot.getTime())).toEqual(
            most === 0 ? [] : walked.slice(-most),
          )
        },
      ),
      { numRuns: 40, seed: pickSeed() },
    )
  })
})
