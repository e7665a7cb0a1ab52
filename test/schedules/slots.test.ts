/** When a schedule fires: what the clock changes of two zones do to it, and what is no time at all. */
import { describe, expect, test } from "vitest"
import { ScheduleError } from "../../src/api/errors.js"
import type { StoredWhen } from "../../src/schedules/slots.js"
import { Slots } from "../../src/schedules/slots.js"
import { checkWhen, sameWhen, whenOf } from "../../src/schedules/when.js"

function slotsOf(cron: string, tz: string | undefined, after: string, count: number): string[] {
  const slots = new Slots({ cron, ...(tz === undefined ? {} : { tz }), overlap: "all", missed: "once" })
  return take(slots, after, count)
}
function take(slots: Slots, after: string, count: number): string[] {
  const found: string[] = []
  for (let slot = slots.next(new Date(after)); slot !== null && found.length < count; slot = slots.next(slot)) {
    found.push(
      slot
        .toISOString()
        .replace(/:00\.000Z$/, "Z")
        .replace(/\.000Z$/, "Z"),
    )
  }
  return found
}

describe("Europe/Berlin, 29 March 2026: 02:00 to 03:00 does not exist", () => {
  const tz = "Europe/Berlin"
  test.each([
    ["30 2 * * *", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]],
    ["15,45 2 * * *", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:15Z", "2026-03-30T00:45Z"]],
    ["* 2 * * *", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:00Z", "2026-03-30T00:01Z"]],
    ["0 2-4 * * *", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-29T02:00Z", "2026-03-30T00:00Z"]],
    ["0 */2 * * *", "2026-03-28T22:30Z", ["2026-03-28T23:00Z", "2026-03-29T01:00Z", "2026-03-29T02:00Z", "2026-03-29T04:00Z"]],
    ["*/20 30 2 * * *", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:30Z", "2026-03-30T00:30:20Z", "2026-03-30T00:30:40Z"]],
  ])("%s", (cron, after, expected) => {
    expect(slotsOf(cron, tz, after, expected.length)).toEqual(expected)
  })

  test("a skipped time that is months or a week away is not missed", () => {
    expect(slotsOf("15,45 2 29 3 *", tz, "2026-01-01T00:00Z", 2)).toEqual(["2026-03-29T01:00Z", "2027-03-29T00:15Z"])
    expect(slotsOf("30 2 * * 0", tz, "2026-03-22T12:00Z", 2)).toEqual(["2026-03-29T01:00Z", "2026-04-05T00:30Z"])
  })

  test("a schedule of every hour goes on in real time, and makes up for nothing", () => {
    expect(slotsOf("30 * * * *", tz, "2026-03-28T23:45Z", 3)).toEqual(["2026-03-29T00:30Z", "2026-03-29T01:30Z", "2026-03-29T02:30Z"])
    expect(slotsOf("@hourly", tz, "2026-03-28T23:45Z", 3)).toEqual(["2026-03-29T00:00Z", "2026-03-29T01:00Z", "2026-03-29T02:00Z"])
    expect(slotsOf("* * * * * *", tz, "2026-03-29T00:59:58Z", 3)).toEqual(["2026-03-29T00:59:59Z", "2026-03-29T01:00Z", "2026-03-29T01:00:01Z"])
  })
})

describe("Europe/Berlin, 25 October 2026: 02:00 to 03:00 comes twice", () => {
  const tz = "Europe/Berlin"
  test.each([
    ["30 2 * * *", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]],
    ["15,45 2 * * *", ["2026-10-25T00:15Z", "2026-10-25T00:45Z", "2026-10-26T01:15Z"]],
    ["0 2,3 * * *", ["2026-10-25T00:00Z", "2026-10-25T02:00Z", "2026-10-26T01:00Z"]],
  ])("%s runs the first time only", (cron, expected) => {
    expect(slotsOf(cron, tz, "2026-10-24T12:00Z", expected.length)).toEqual(expected)
  })

  test("asked in the second round, the first is not offered again", () => {
    expect(slotsOf("30 2 * * *", tz, "2026-10-25T01:15Z", 1)).toEqual(["2026-10-26T01:30Z"])
    expect(slotsOf("* 2 * * *", tz, "2026-10-25T01:15Z", 1)).toEqual(["2026-10-26T01:00Z"])
  })

  test("a schedule of every hour, or every few minutes, runs in both", () => {
    expect(slotsOf("30 * * * *", tz, "2026-10-24T23:45Z", 3)).toEqual(["2026-10-25T00:30Z", "2026-10-25T01:30Z", "2026-10-25T02:30Z"])
    expect(slotsOf("*/20 * * * *", tz, "2026-10-25T00:45Z", 4)).toEqual([
      "2026-10-25T01:00Z",
      "2026-10-25T01:20Z",
      "2026-10-25T01:40Z",
      "2026-10-25T02:00Z",
    ])
  })
})

describe("America/New_York", () => {
  const tz = "America/New_York"
  test("8 March 2026: 02:00 to 03:00 does not exist", () => {
    expect(slotsOf("15,45 2 * * *", tz, "2026-03-07T12:00Z", 2)).toEqual(["2026-03-08T07:00Z", "2026-03-09T06:15Z"])
    expect(slotsOf("15 * * * *", tz, "2026-03-08T06:20Z", 2)).toEqual(["2026-03-08T07:15Z", "2026-03-08T08:15Z"])
  })
  test("1 November 2026: 01:00 to 02:00 comes twice", () => {
    expect(slotsOf("30 1 * * *", tz, "2026-10-31T12:00Z", 2)).toEqual(["2026-11-01T05:30Z", "2026-11-02T06:30Z"])
    expect(slotsOf("30 * * * *", tz, "2026-11-01T05:00Z", 3)).toEqual(["2026-11-01T05:30Z", "2026-11-01T06:30Z", "2026-11-01T07:30Z"])
  })
})

describe("without a change of clocks", () => {
  test("a cron is read in UTC unless told otherwise", () => {
    expect(slotsOf("0 9 * * 1-5", undefined, "2026-07-03T10:00Z", 2)).toEqual(["2026-07-06T09:00Z", "2026-07-07T09:00Z"])
    expect(slotsOf("0 9 * * *", "Asia/Kolkata", "2026-07-03T10:00Z", 1)).toEqual(["2026-07-04T03:30Z"])
  })
  test("seconds, the last day of a month, 29 February", () => {
    expect(slotsOf("*/25 * * * * *", undefined, "2026-01-01T00:00:20.500Z", 3)).toEqual([
      "2026-01-01T00:00:25Z",
      "2026-01-01T00:00:50Z",
      "2026-01-01T00:01Z",
    ])
    expect(slotsOf("0 0 L * *", undefined, "2026-02-01T00:00Z", 2)).toEqual(["2026-02-28T00:00Z", "2026-03-31T00:00Z"])
    expect(slotsOf("0 0 29 2 *", undefined, "2026-01-01T00:00Z", 1)).toEqual(["2028-02-29T00:00Z"])
  })
  test("from and until are slots themselves, where the pattern names them", () => {
    const when = { cron: "0 * * * *", from: "2026-05-01T10:00:00Z", until: "2026-05-01T12:00:00Z", overlap: "all", missed: "once" } as const
    expect(take(new Slots(when), "2026-01-01T00:00Z", 9)).toEqual(["2026-05-01T10:00Z", "2026-05-01T11:00Z", "2026-05-01T12:00Z"])
    const { cron: _cron, ...grid } = { ...when, everyMs: 2_700_000 }
    expect(take(new Slots(grid), "2026-01-01T00:00Z", 9)).toEqual(["2026-05-01T10:00Z", "2026-05-01T10:45Z", "2026-05-01T11:30Z"])
  })
})

describe("checkWhen", () => {
  const refused: readonly (readonly [unknown, RegExp])[] = [
    [{ cron: "61 * * * *" }, /cron "61 \* \* \* \*", which is none.*Write five fields/],
    [{ cron: "* * * *" }, /which is none/],
    [{ cron: "* * * * * * *" }, /which is none/],
    [{ cron: "" }, /which is none/],
    [{ cron: 5 }, /has cron 5; write a text/],
    [{ cron: "0 0 30 2 *" }, /which never comes/],
    [{ cron: "0 9 * * *", tz: "Europe/Atlantis" }, /time zone "Europe\/Atlantis", which is unknown; write an IANA name/],
    [{ cron: "0 9 * * *", tz: 1 }, /has tz 1; write a text/],
    [{ every: "5 minutes" }, /is "5 minutes", which is not a duration/],
    [{ every: 0 }, /no time at all/],
    [{ every: -1 }, /negative/],
    [{ every: "50ms" }, /write at least 100 ms/],
    [{ every: 60, tz: "Europe/Berlin" }, /tz beside every/],
    [{ every: 60, cron: "* * * * *" }, /either cron or every/],
    [{}, /either cron or every/],
    [null, /has no time/],
    [{ every: 60, until: new Date(0), from: new Date(1) }, /ends \(until\) before it begins/],
    [{ every: 60, until: "tomorrow" }, /until "tomorrow"; write a Date/],
    [{ every: 60, from: new Date(Number.NaN) }, /from Invalid Date; write a Date/],
    [{ every: 60, limit: 0 }, /limit 0; write a whole number/],
    [{ every: 60, limit: 1.5 }, /limit 1.5/],
    [{ every: 60, overlap: "some" }, /overlap "some"/],
    [{ every: 60, missed: "twice" }, /missed "twice"/],
    [{ every: 60, timezone: "UTC" }, /timezone/],
  ]
  test.each(refused)("%j is a ScheduleError", (when, message) => {
    const check = (): unknown => checkWhen(when as never, "digest")
    expect(check).toThrow(ScheduleError)
    expect(check).toThrow(message)
    expect(check).toThrow(/"digest"/)
  })

  test("what is stored says what the user said", () => {
    const from = new Date("2026-05-01T10:00:00Z")
    const until = new Date("2027-05-01T10:00:00Z")
    const cron = { cron: "0 9 * * *", tz: "Europe/Berlin", from, until, limit: 3, overlap: "skip", missed: "all" } as const
    expect(whenOf(JSON.parse(JSON.stringify(checkWhen(cron, "x"))))).toEqual(cron)
    expect(whenOf(checkWhen({ every: "1.5h" }, "x"))).toEqual({ every: "5400000ms", overlap: "all", missed: "once" })
  })

  test("two that say the same are the same, whatever their order and origin", () => {
    const a: StoredWhen = { everyMs: 1_000, origin: "2026-01-01T00:00:00Z", overlap: "all", missed: "once" }
    expect(sameWhen(a, { missed: "once", overlap: "all", everyMs: 1_000 })).toBe(true)
    expect(sameWhen(a, { ...a, everyMs: 1_001 })).toBe(false)
    expect(sameWhen(a, { ...a, limit: 5 })).toBe(false)
  })
})
