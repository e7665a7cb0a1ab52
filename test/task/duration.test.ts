import { expect, test } from "vitest"
import type { Duration } from "../../src/api/duration.js"
import { InvalidOptionError } from "../../src/api/errors.js"
import { MAX_DURATION_MS, toMilliseconds, toPositiveMilliseconds } from "../../src/lib/duration.js"
import { thrownBy } from "./errors.js"

test.each<[Duration, number]>([
  [0, 0],
  [60, 60_000],
  [0.1, 100],
  [1.005, 1_005],
  [0.1 + 0.2, 300],
  ["250ms", 250],
  ["60s", 60_000],
  ["1.5h", 5_400_000],
  ["10m", 600_000],
  ["1d", 86_400_000],
  ["2w", 1_209_600_000],
  [".5s", 500],
  ["1e3ms", 1_000],
  ["0s", 0],
])("%j is %i ms", (duration, ms) => {
  expect(toMilliseconds(duration, "ttl")).toBe(ms)
})

test("what is above 0 stays above 0, and results are whole milliseconds", () => {
  expect(toMilliseconds(0.000_01, "ttl")).toBe(1)
  expect(toMilliseconds("0.4ms", "ttl")).toBe(1)
  expect(toMilliseconds(1.1 ** 2, "ttl")).toBe(1_210)
})

test.each([
  [-5, "negative"],
  ["-5s", "negative"],
  [Number.NaN, "not a duration"],
  [Number.POSITIVE_INFINITY, "not a duration"],
  [Number.NEGATIVE_INFINITY, "not a duration"],
  ["", "not a duration"],
  ["soon", "not a duration"],
  ["5 m", 'did you mean "5m"'],
  ["5min", 'did you mean "5m"'],
  ["60 secs", 'did you mean "60s"'],
  ["100 millis", 'did you mean "100ms"'],
  ["1 month", "not a duration"],
  ["60", "did you mean 60 (seconds)"],
  ["1h30m", "not a duration"],
  ["1e400s", "not a duration"],
  [true, "not a duration"],
  [null, "not a duration"],
  [10n, "not a duration"],
  [{}, "not a duration"],
  [new Date(), "not a duration"],
  [MAX_DURATION_MS, "longer than 100 years"],
  ["36526d", "longer than 100 years"],
])("%o is refused: %s", (value, message) => {
  const error = thrownBy(() => toMilliseconds(value as Duration, 'option "ttl" of task "t"'))
  expect(error).toBeInstanceOf(InvalidOptionError)
  expect(error.message).toContain('Option "ttl" of task "t" is ')
  expect(error.message).toContain(message)
})

test("an error names the field, the value and what to write", () => {
  expect(thrownBy(() => toMilliseconds("60 secs" as Duration, 'option "ttl" of task "emails.send"')).message).toBe(
    'Option "ttl" of task "emails.send" is "60 secs", which is not a duration; did you mean "60s"? ' +
      'Otherwise write seconds as a number (60), or a string with a unit: "500ms", "60s", "10m", "2h", "1d" or "1w"',
  )
})

test("where no time makes no sense, 0 is refused", () => {
  expect(toPositiveMilliseconds("1ms", "ttl")).toBe(1)
  expect(() => toPositiveMilliseconds(0, "ttl")).toThrow("ttl is 0, which is no time at all")
})
