import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { QueueLanes } from "../../src/worker/claim/lanes.js"
import { pickSeed } from "../support/seed.js"

/** What a claim finds: rows that are there, in the lanes of the plan, above their cursors, in order, at most `limit`. */
function claim(lanes: QueueLanes, rows: Map<number, number>, limit: number): number[] {
  const plan = lanes.plan()!
  const found: { priority: number; seq: number }[] = []
  plan.priorities.forEach((priority, i) => {
    const inLane = [...rows].filter(([seq, p]) => p === priority && seq > plan.cursors[i]!).map(([seq]) => seq)
    for (const seq of inLane.sort((a, b) => a - b).slice(0, limit - found.length)) found.push({ priority, seq })
  })
  for (const { seq } of found) rows.delete(seq)
  lanes.claimed(plan, found, found.length >= limit)
  return found.map((job) => job.seq)
}

describe("a lane", () => {
  test("is read from its hint on, and forgotten when a claim found it empty", () => {
    const lanes = new QueueLanes()
    expect([lanes.hot, lanes.plan()]).toEqual([false, undefined])
    lanes.hint(5, 10)
    expect(lanes.plan()).toEqual({ priorities: [5], cursors: [9] })
    lanes.claimed({ priorities: [5], cursors: [9] }, [{ priority: 5, seq: 10 }], false)
    expect(lanes.hot).toBe(false)
  })

  test("stays, with its cursor moved on, when a claim came back full", () => {
    const lanes = new QueueLanes()
    lanes.hint(5, 10)
    const plan = lanes.plan()!
    lanes.claimed(
      plan,
      [
        { priority: 5, seq: 10 },
        { priority: 5, seq: 14 },
      ],
      true,
    )
    expect(lanes.plan()).toEqual({ priorities: [5], cursors: [14] })
  })

  test("is read in the order of priorities; a full claim leaves the lanes behind its last row untouched", () => {
    const lanes = new QueueLanes()
    for (const priority of [5, -3, 9]) lanes.hint(priority, 100)
    const plan = lanes.plan()!
    expect(plan.priorities).toEqual([-3, 5, 9])
    lanes.claimed(plan, [{ priority: 5, seq: 100 }], true)
    expect(lanes.plan()).toEqual({ priorities: [5, 9], cursors: [100, 99] })
  })

  test("that was seen is in every plan, however many others somebody tells of; those are bounded, and the rest is left to a sweep", () => {
    const lanes = new QueueLanes()
    const kept = Array.from({ length: 65_000 }, (_, n) => lanes.hint(n - 32_768, Number.MAX_SAFE_INTEGER)).filter((was) => was).length
    expect(kept).toBe(256)
    // Real work in one of them, and in one that was not kept.
    expect([lanes.hint(-32_600, 3), lanes.hint(7, 5), lanes.hint(7, 5, true)]).toEqual([true, false, true])
    const plan = lanes.plan()!
    expect([plan.priorities.length, plan.priorities.at(-1), plan.cursors.at(-1)]).toEqual([64, 7, 4])
    expect([...plan.priorities].sort((a, b) => a - b)).toEqual(plan.priorities)
    lanes.claimed(plan, [{ priority: 7, seq: 5 }], true)
    // All before the last row were empty. It was full, so there may be more.
    expect(lanes.plan()!.priorities).toContain(7)
  })

  test("goes back for a hint that comes while a claim is on its way, and is not forgotten", () => {
    const lanes = new QueueLanes()
    lanes.hint(5, 50)
    const plan = lanes.plan()!
    lanes.hint(5, 7)
    lanes.claimed(plan, [{ priority: 5, seq: 60 }], false)
    expect(lanes.plan()).toEqual({ priorities: [5], cursors: [6] })
    // The next claim has passed it.
    lanes.claimed({ priorities: [5], cursors: [6] }, [{ priority: 5, seq: 7 }], false)
    expect(lanes.hot).toBe(false)
  })

  test("is not forgotten by a claim that failed", () => {
    const lanes = new QueueLanes()
    lanes.hint(5, 50)
    lanes.failed(lanes.plan()!)
    expect(lanes.plan()).toEqual({ priorities: [5], cursors: [49] })
  })

  test("that Postgres cannot name is no lane: a claim with it would fail for good", () => {
    const lanes = new QueueLanes()
    for (const priority of [32_768, -32_769, 1.5, Number.NaN]) lanes.hint(priority, 1)
    for (const seq of [Number.NaN, Number.POSITIVE_INFINITY, 1.5, 2 ** 60]) lanes.hint(5, seq)
    expect(lanes.hot).toBe(false)
  })

  test("more lanes than fit one claim are served one set after the other", () => {
    const lanes = new QueueLanes()
    const rows = new Map<number, number>()
    for (let priority = 0; priority < 200; priority++) {
      lanes.hint(priority, priority + 1)
      rows.set(priority + 1, priority)
    }
    const taken: number[] = []
    for (let claims = 0; lanes.hot; claims++) {
      expect(claims).toBeLessThan(10)
      taken.push(...claim(lanes, rows, 1_000))
    }
    expect(taken).toEqual(Array.from({ length: 200 }, (_, i) => i + 1))
  })
})

/**
 * The model: rows take a seq when they are inserted and can be claimed when they are committed, in any order. Every commit hints, also late ones
 * below the cursor, unless the hint is lost; a sweep hints every lane that has rows with its lowest.
 */
type Step =
  | { kind: "insert"; priority: number }
  | { kind: "commit"; pick: number; told: boolean }
  | { kind: "claim"; limit: number; meanwhile: number }
  | { kind: "fail" }
  | { kind: "sweep" }

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("insert" as const), priority: fc.integer({ min: -2, max: 2 }) }),
  fc.record({ kind: fc.constant("commit" as const), pick: fc.nat(), told: fc.boolean() }),
  fc.record({ kind: fc.constant("claim" as const), limit: fc.integer({ min: 1, max: 4 }), meanwhile: fc.nat() }),
  fc.record({ kind: fc.constant("fail" as const) }),
  fc.record({ kind: fc.constant("sweep" as const) }),
)

test("no order of commits, hints, claims and sweeps loses a row, or claims a lane that it emptied", () => {
  const seed = pickSeed()
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const lanes = new QueueLanes()
      let seq = 0
      const open: [number, number][] = []
      const rows = new Map<number, number>()
      /** Rows whose hint has been given and not been used up: a claim must find them without a sweep. */
      const told = new Set<number>()
      const sweep = (): void => {
        for (const priority of new Set(rows.values())) {
          const lowest = Math.min(...[...rows].filter(([, p]) => p === priority).map(([s]) => s))
          lanes.hint(priority, lowest)
        }
        for (const s of rows.keys()) told.add(s)
      }
      const commit = (pick: number, tell: boolean): void => {
        const [row] = open.splice(pick % Math.max(open.length, 1), 1)
        if (row === undefined) return
        rows.set(row[0], row[1])
        if (tell) {
          lanes.hint(row[1], row[0])
          told.add(row[0])
        }
      }
      for (const action of steps) {
        if (action.kind === "insert") open.push([++seq, action.priority])
        else if (action.kind === "commit") commit(action.pick, action.told)
        else if (action.kind === "sweep") sweep()
        else if (lanes.hot && action.kind === "fail") lanes.failed(lanes.plan()!)
        else if (lanes.hot && action.kind === "claim") {
          const plan = lanes.plan()!
          // Something commits after the statement's snapshot was taken, and its hint overtakes the answer.
          const snapshot = new Map(rows)
          commit(action.meanwhile, true)
          const found: { priority: number; seq: number }[] = []
          plan.priorities.forEach((priority, i) => {
            const inLane = [...snapshot].filter(([s, p]) => p === priority && s > plan.cursors[i]!).map(([s]) => s)
            for (const s of inLane.sort((a, b) => a - b).slice(0, action.limit - found.length)) found.push({ priority, seq: s })
          })
          for (const { seq: s } of found) {
            rows.delete(s)
            told.delete(s)
          }
          lanes.claimed(plan, found, found.length >= action.limit)
        }
        // The invariant: whatever was told of is read by the lanes as they stand.
        if (told.size > 0) {
          const plan = peek(lanes)
          for (const s of told) {
            const at = plan.priorities.indexOf(rows.get(s)!)
            expect(at).toBeGreaterThanOrEqual(0)
            expect(plan.cursors[at]!).toBeLessThan(s)
          }
        }
      }
      // In the end everything is found, by one sweep and as many claims as there are full ones, and one for each lane that may be empty.
      while (open.length > 0) commit(0, false)
      sweep()
      const left = rows.size
      const taken = new Set<number>()
      let claims = 0
      while (lanes.hot) {
        expect(++claims).toBeLessThanOrEqual(Math.ceil(left / 3) + 2)
        for (const s of claim(lanes, rows, 3)) taken.add(s)
      }
      expect([taken.size, rows.size]).toEqual([left, 0])
    }),
    { seed, numRuns: 2_000 },
  )
})

/** The lanes as the next claim would read them, without sending one. */
function peek(lanes: QueueLanes): { priorities: readonly number[]; cursors: readonly number[] } {
  const plan = lanes.plan()
  if (plan === undefined) return { priorities: [], cursors: [] }
  // Nothing was read, so nothing is known: the hints that the plan took over stand.
  lanes.failed(plan)
  return plan
}
