import { describe, expect, test } from "vitest"
import type { Sample } from "./sample.js"
import { judge, RULES, report } from "./verdict.js"

const LEVEL: Sample = {
  "heap worker 1, MB": 30,
  "rss worker 1, MB": 120,
  connections: 40,
  "connections unused for 90 s": 6,
  "table jobs, kB": 2_000,
  "indexes jobs, kB": 1_000,
  "dead rows jobs": 2_000,
  "bytes a stored job": 3_000,
  "jobs a second": 160,
  "live jobs": 20,
  "pickup p50, ms": 15,
}

/** Thirty samples; the named measure goes from its value to `to`, evenly. */
function samples(name = "", to = 0): Sample[] {
  return Array.from({ length: 30 }, (_, i) => ({
    ...LEVEL,
    ...(name === "" ? {} : { [name]: LEVEL[name]! + ((to - LEVEL[name]!) * i) / 29 }),
  }))
}

const uneven = (of: readonly Sample[]): string[] =>
  judge(of)
    .filter((line) => !line.level)
    .map((line) => line.name)

describe("the soak's verdict", () => {
  test("what is level passes", () => {
    expect(uneven(samples())).toEqual([])
    // Each rule is for something that is measured.
    expect(RULES.filter((rule) => !Object.keys(LEVEL).some((name) => rule.of.test(name)))).toEqual([])
  })

  test.each(Object.entries(LEVEL))("%s that does not stay where it was fails", (name, start) => {
    const worse = name === "jobs a second" ? start * 0.8 : start * 6 + 4_000 * Number(name.startsWith("dead")) + 60 * Number(name.startsWith("live"))
    expect(uneven(samples(name, worse))).toEqual([name])
    expect(
      report(judge(samples(name, worse)))
        .split("\n")
        .filter((line) => line.endsWith("✗")),
    ).toHaveLength(1)
  })

  test("one bad moment does not", () => {
    const some = samples()
    some[29] = { ...LEVEL, "pickup p50, ms": 900, "heap worker 1, MB": 90, "jobs a second": 10 }
    expect(uneven(some)).toEqual([])
  })

  test("a process that is gone does, and too few samples are no verdict", () => {
    const gone = samples().map((sample, i) => (i < 25 ? sample : { ...sample, "heap worker 1, MB": Number.NaN }))
    expect(uneven(gone)).toEqual(["heap worker 1, MB"])
    expect(() => judge(samples().slice(0, 8))).toThrow("for a verdict it takes 9")
  })
})
