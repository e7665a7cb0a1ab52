/** Which slots of a due schedule get a job, and when it is due next. */
import { describe, expect, test } from "vitest"
import { slotsToFire } from "../../src/schedules/fire.js"
import type { StoredWhen } from "../../src/schedules/slots.js"

const EVERY_10_MINUTES: StoredWhen = { everyMs: 600_000, from: "2026-05-01T00:00:00Z", overlap: "all", missed: "once" }

function fire(when: Partial<StoredWhen>, due: string, now: string, state: { busy?: boolean; runs?: number } = {}) {
  const spec = when.cron === undefined ? { ...EVERY_10_MINUTES, ...when } : ({ overlap: "all", missed: "once", ...when } as StoredWhen)
  const { slots, next } = slotsToFire({
    next_run_at: new Date(due),
    now: new Date(now),
    runs: String(state.runs ?? 0),
    busy: state.busy ?? false,
    spec,
  })
  return { slots: slots.map((slot) => slot.toISOString().slice(11, 19)), next: next?.toISOString().slice(11, 19) ?? null }
}

describe("on time", () => {
  test("one slot, and the next one on the grid", () => {
    expect(fire({}, "2026-05-01T10:00Z", "2026-05-01T10:00:00.030Z")).toEqual({ slots: ["10:00:00"], next: "10:10:00" })
  })
  test.each(["skip", "once", "all"] as const)("within a minute it is not missed (%s)", (missed) => {
    expect(fire({ missed }, "2026-05-01T10:00Z", "2026-05-01T10:01Z")).toEqual({ slots: ["10:00:00"], next: "10:10:00" })
  })
  test("within half the interval it is not missed, where that is less", () => {
    const when = { everyMs: 10_000, missed: "skip" } as const
    expect(fire(when, "2026-05-01T10:00Z", "2026-05-01T10:00:05Z")).toEqual({ slots: ["10:00:00"], next: "10:00:10" })
    expect(fire(when, "2026-05-01T10:00Z", "2026-05-01T10:00:05.001Z")).toEqual({ slots: [], next: "10:00:10" })
  })
})

describe("missed", () => {
  const late = ["2026-05-01T10:00Z", "2026-05-01T10:35:30Z"] as const
  test("skip: none of them", () => {
    expect(fire({ missed: "skip" }, ...late)).toEqual({ slots: [], next: "10:40:00" })
  })
  test("once: the latest of them", () => {
    expect(fire({ missed: "once" }, ...late)).toEqual({ slots: ["10:30:00"], next: "10:40:00" })
  })
  test("all: each of them", () => {
    expect(fire({ missed: "all" }, ...late)).toEqual({ slots: ["10:00:00", "10:10:00", "10:20:00", "10:30:00"], next: "10:40:00" })
  })
  test("the one that is on time comes beside", () => {
    const at = ["2026-05-01T10:00Z", "2026-05-01T10:30:20Z"] as const
    expect(fire({ missed: "skip" }, ...at).slots).toEqual(["10:30:00"])
    expect(fire({ missed: "once" }, ...at).slots).toEqual(["10:20:00", "10:30:00"])
    expect(fire({ missed: "all" }, ...at).slots).toEqual(["10:00:00", "10:10:00", "10:20:00", "10:30:00"])
  })
  test("all makes 1,000 at most, the latest; a month of seconds is not walked for it", () => {
    const began = performance.now()
    const { slots } = slotsToFire({
      next_run_at: new Date("2026-05-01T00:00Z"),
      now: new Date("2026-06-01T00:00:00.100Z"),
      runs: "0",
      busy: false,
      spec: { cron: "* * * * * *", tz: "Europe/Berlin", overlap: "all", missed: "all" },
    })
    expect(slots).toHaveLength(1_000)
    expect(slots.at(-1)).toEqual(new Date("2026-06-01T00:00Z"))
    expect(slots[0]).toEqual(new Date("2026-05-31T23:43:21Z"))
    // 2.7 million slots of some 0.1 ms would take minutes.
    expect(performance.now() - began).toBeLessThan(20_000)
  })
  test("once and skip of a month of seconds", () => {
    const due = ["2026-05-01T00:00Z", "2026-06-01T00:00:00.700Z"] as const
    expect(fire({ cron: "* * * * * *", missed: "once" }, ...due)).toEqual({ slots: ["00:00:00"], next: "00:00:01" })
    expect(fire({ cron: "* * * * * *", missed: "skip" }, ...due)).toEqual({ slots: [], next: "00:00:01" })
  })
  test("a slot that DST skipped can be missed too", () => {
    const when = { cron: "30 2 * * *", tz: "Europe/Berlin" } as const
    expect(fire(when, "2026-03-29T01:00Z", "2026-03-29T05:00Z")).toEqual({ slots: ["01:00:00"], next: "00:30:00" })
  })
})

describe("overlap: skip", () => {
  test("nothing while the last job lives, and the next slot is tried", () => {
    expect(fire({ overlap: "skip" }, "2026-05-01T10:00Z", "2026-05-01T10:00:01Z", { busy: true })).toEqual({ slots: [], next: "10:10:00" })
  })
  test("one of several, since the second would overlap the first", () => {
    expect(fire({ overlap: "skip", missed: "all" }, "2026-05-01T10:00Z", "2026-05-01T10:35:30Z").slots).toEqual(["10:30:00"])
  })
  test("all: the last job is no matter", () => {
    expect(fire({ overlap: "all" }, "2026-05-01T10:00Z", "2026-05-01T10:00:01Z", { busy: true }).slots).toEqual(["10:00:00"])
  })
})

describe("the end", () => {
  test("limit: not one more, and then it is over", () => {
    const due = ["2026-05-01T10:00Z", "2026-05-01T10:35:30Z"] as const
    expect(fire({ limit: 3, missed: "all" }, ...due, { runs: 1 })).toEqual({ slots: ["10:00:00", "10:10:00"], next: null })
    expect(fire({ limit: 5, missed: "all" }, ...due, { runs: 0 })).toEqual({
      slots: ["10:00:00", "10:10:00", "10:20:00", "10:30:00"],
      next: "10:40:00",
    })
    expect(fire({ limit: 4, missed: "all" }, ...due, { runs: 0 }).next).toBeNull()
  })
  test("until: the last slot fires, then it is over", () => {
    expect(fire({ until: "2026-05-01T10:00:00Z" }, "2026-05-01T10:00Z", "2026-05-01T10:00:01Z")).toEqual({ slots: ["10:00:00"], next: null })
    expect(fire({ until: "2026-05-01T10:15:00Z", missed: "all" }, "2026-05-01T10:00Z", "2026-05-01T12:00Z")).toEqual({
      slots: ["10:00:00", "10:10:00"],
      next: null,
    })
  })
})
