import fc from "fast-check"
import { expect, test } from "vitest"
import { InvalidOptionError } from "../../src/api/errors.js"
import type { Backoff, BackoffFunction } from "../../src/api/options.js"
import { MAX_DURATION_MS } from "../../src/lib/duration.js"
import { checkBackoff, retryDelayMs } from "../../src/task/backoff.js"
import { seeded } from "../support/seed.js"
import { thrownBy } from "./errors.js"

const waits = (backoff: Backoff | BackoffFunction | undefined, retries: number, random = 0): number[] =>
  Array.from({ length: retries }, (_, i) => retryDelayMs(backoff, i + 1, new Error("x"), () => random))

test("a number is an exponential base, without jitter", () => {
  expect(waits(2, 4, 0.9)).toEqual([2_000, 4_000, 8_000, 16_000])
  expect(waits(1, 3, 0.9)).toEqual([1_000, 1_000, 1_000])
  expect(waits(1.1, 2)).toEqual([1_100, 1_210])
  expect(waits(0, 3, 0.9)).toEqual([0, 0, 0])
})

test("the default doubles from a second up to an hour, plus up to a tenth", () => {
  expect(waits(undefined, 5)).toEqual([1_000, 2_000, 4_000, 8_000, 16_000])
  expect(waits(undefined, 2, 0.5)).toEqual([1_050, 2_100])
  expect(retryDelayMs(undefined, 100, null, () => 0)).toBe(3_600_000)
})

test("{ base } takes from the default what it leaves out", () => {
  expect(waits({ base: 3, jitter: 0 }, 3, 0.9)).toEqual([1_000, 3_000, 9_000])
  expect(waits({ base: 3, first: "10s", max: "1m", jitter: 0 }, 3)).toEqual([10_000, 30_000, 60_000])
  expect(waits({ base: 3 }, 1, 0.5)).toEqual([1_050])
  expect(waits({ base: 2, first: 0 }, 2_000).at(-1)).toBe(0)
})

test("{ fixed } is the same each time, with jitter only when asked for", () => {
  expect(waits({ fixed: "30s" }, 2, 0.9)).toEqual([30_000, 30_000])
  expect(waits({ fixed: "30s", jitter: 1 }, 1, 0.5)).toEqual([45_000])
})

test("{ steps } repeats its last", () => {
  expect(waits({ steps: [0, "10s", "1m"] }, 5, 0.9)).toEqual([0, 10_000, 60_000, 60_000, 60_000])
})

test("a function gets the retry's number and the error", () => {
  const error = new Error("busy")
  const seen: unknown[] = []
  const backoff: BackoffFunction = (...args) => {
    seen.push(...args)
    return "5m"
  }
  expect(retryDelayMs(backoff, 3, error, () => 0)).toBe(300_000)
  expect(seen).toEqual([3, error])
})

test("a function that throws or returns rubbish counts as the default", () => {
  const rubbish: unknown[] = [undefined, null, Number.NaN, -1, "soon", {}, Promise.resolve(5), Promise.reject(new Error("async"))]
  for (const value of rubbish) expect(waits((() => value) as BackoffFunction, 2)).toEqual([1_000, 2_000])
  expect(
    waits(() => {
      throw new Error("in backoff")
    }, 2),
  ).toEqual([1_000, 2_000])
})

test("a stored backoff that makes no sense counts as the default", () => {
  for (const stored of [null, "x", {}, { steps: [] }, { base: "x" }, { fixed: "never" }, Number.NaN, []]) {
    expect(waits(stored as unknown as Backoff, 2)).toEqual([1_000, 2_000])
  }
})

test("no wait is negative, fractional, or longer than 100 years", () => {
  expect(retryDelayMs(10, 5_000, null, () => 0)).toBe(MAX_DURATION_MS)
  const anyBackoff = fc.oneof(
    fc.double({ min: 0, noNaN: true }),
    fc.record({
      base: fc.double({ min: 0, noNaN: true }),
      first: fc.double({ min: 0, max: 1e6, noNaN: true }),
      jitter: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  )
  fc.assert(
    fc.property(anyBackoff, fc.integer({ min: 1, max: 40_000 }), fc.double({ min: 0, max: 0.999, noNaN: true }), (backoff, retry, random) => {
      const ms = retryDelayMs(backoff, retry, null, () => random)
      expect(Number.isInteger(ms)).toBe(true)
      expect(ms).toBeGreaterThanOrEqual(0)
      expect(ms).toBeLessThanOrEqual(MAX_DURATION_MS)
    }),
    { seed: seeded().seed },
  )
})

test("what can be stored passes the check", () => {
  const good: Backoff[] = [
    0,
    2,
    { base: 2 },
    { base: 1.5, first: "1s", max: "1h", jitter: 0.2 },
    { fixed: 5 },
    { fixed: "5s", jitter: 0 },
    { steps: [1, "5m"] },
  ]
  for (const backoff of good) expect(checkBackoff(backoff, "backoff")).toEqual(backoff)
})

test.each<[unknown, string]>([
  [-1, "backoff is -1, which is not a base"],
  [Number.NaN, "backoff is NaN, which is not a base"],
  [() => 5, "cannot be stored with one job; put the function on the task"],
  ["2s", 'backoff is "2s", which is not a backoff'],
  [null, "which is not a backoff"],
  [[1, 2], "which is not a backoff"],
  [{}, "which is not a backoff"],
  [{ base: 2, maximum: "1h" }, 'backoff has an unknown key "maximum"; did you mean max?'],
  [{ base: "2" }, 'base of backoff is "2"'],
  [{ base: 2, first: "-1s" }, 'first of backoff is "-1s", which is negative'],
  [{ base: 2, max: "soon" }, 'max of backoff is "soon"'],
  [{ base: 2, jitter: 1.5 }, "jitter of backoff is 1.5, which is not a fraction"],
  [{ fixed: "5s", first: 1 }, 'unknown key "first"'],
  [{ steps: [] }, "steps of backoff is [], which is not a list of durations"],
  [{ steps: "10s" }, "which is not a list of durations"],
  [{ steps: [1, -1] }, "steps[1] of backoff is -1"],
])("%o is refused", (value, message) => {
  const error = thrownBy(() => checkBackoff(value, "backoff"))
  expect(error).toBeInstanceOf(InvalidOptionError)
  expect(error.message).toContain(message)
})
