import fc from "fast-check"
import { describe, expect, test } from "vitest"
import type { Logger } from "../src/api/logger.js"
import { RetryPause } from "../src/lib/retry-pause.js"
import { Service, type ServiceState } from "../src/lib/service.js"
import { Sleeper } from "../src/lib/sleeper.js"

const ORDER: readonly ServiceState[] = ["idle", "starting", "running", "stopping", "stopped"]

/** How one service of the stress test behaves. */
interface Plan {
  /** Turns of the event loop that each hook takes; 0 is synchronous. */
  startTurns: number
  stopTurns: number
  startFails: boolean
  stopFails: boolean
  stopsItselfWhileStarting: boolean
  workers: readonly ("sleeper" | "looper" | "crasher" | "failing step" | "short" | "nested")[]
  loggerFails: boolean
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function recorder(fails: boolean): { logger: Logger; lines: string[] } {
  const lines: string[] = []
  const write = (message: string): void => {
    lines.push(message)
    if (fails) throw new Error("the logger is broken")
  }
  return { lines, logger: { debug: write, info: write, warn: write, error: write } }
}

class Subject extends Service {
  readonly journal: string[] = []
  readonly lines: string[]
  running = 0
  readonly #plan: Plan

  constructor(plan: Plan) {
    const { logger, lines } = recorder(plan.loggerFails)
    super({ name: "subject", logger })
    this.#plan = plan
    this.lines = lines
  }

  protected override onStart(): void | Promise<void> {
    this.journal.push("start")
    for (const kind of this.#plan.workers) this.spawn(() => this.#work(kind))
    if (this.#plan.stopsItselfWhileStarting) this.requestStop()
    if (this.#plan.startTurns > 0) return this.#finishStart()
    if (this.#plan.startFails) throw new Error("start failed")
    this.journal.push("started")
  }

  protected override async onStop(): Promise<void> {
    this.journal.push(`stop with ${this.running} at work`)
    for (let i = 0; i < this.#plan.stopTurns; i++) await turn()
    if (this.#plan.stopFails) throw new Error("stop failed")
    this.journal.push("stopped")
  }

  async #finishStart(): Promise<void> {
    for (let i = 0; i < this.#plan.startTurns; i++) await turn()
    if (this.#plan.startFails) throw new Error("start failed")
    this.journal.push("started")
  }

  async #work(kind: Plan["workers"][number]): Promise<void> {
    this.running++
    try {
      if (kind === "sleeper") while (!this.signal.aborted) await this.sleep(Number.POSITIVE_INFINITY)
      if (kind === "looper")
        await this.loop(async () => {
          await turn()
          return 0
        })
      if (kind === "failing step")
        await this.loop(() => {
          throw new Error("step failed")
        })
      if (kind === "short") await turn()
      if (kind === "nested") {
        await turn()
        this.spawn(() => this.#work("short"))
      }
      if (kind === "crasher") {
        await turn()
        throw new Error("work failed")
      }
    } finally {
      this.running--
    }
  }
}

const plans: fc.Arbitrary<Plan> = fc.record({
  startTurns: fc.nat(3),
  stopTurns: fc.nat(3),
  startFails: fc.boolean(),
  stopFails: fc.boolean(),
  stopsItselfWhileStarting: fc.boolean(),
  workers: fc.array(fc.constantFrom("sleeper", "looper", "crasher", "failing step", "short", "nested"), { maxLength: 4 }),
  loggerFails: fc.boolean(),
})
const moves = fc.array(fc.constantFrom("start", "stop", "wake", "turn", "microtask"), { maxLength: 14 })

/** Well above any run, which waits for no timer; it only bounds a hang. */
const HANG_MS = 5_000

function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${HANG_MS} ms`)), HANG_MS)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

describe("Service", () => {
  test("keeps its invariants under any order of start and stop", async () => {
    await fc.assert(
      fc.asyncProperty(plans, moves, async (plan, script) => {
        const subject = new Subject(plan)
        const starts: Promise<PromiseSettledResult<void>>[] = []
        const stops: Promise<void>[] = []
        let rank = 0
        const look = (): void => {
          const now = ORDER.indexOf(subject.state)
          expect(now, "the state went back").toBeGreaterThanOrEqual(rank)
          rank = now
        }
        for (const move of script) {
          if (move === "start") starts.push(Promise.allSettled([subject.start()]).then(([result]) => result!))
          if (move === "stop") {
            stops.push(subject.stop())
            expect(subject.signal.aborted).toBe(true)
          }
          if (move === "wake") subject.wake()
          if (move === "turn") await turn()
          if (move === "microtask") await undefined
          look()
        }
        stops.push(subject.stop())
        await within(Promise.all(stops), "stop()")
        await within(subject.stopped, "stopped")
        const outcomes = await within(Promise.all(starts), "start()")

        expect(subject.state).toBe("stopped")
        expect(subject.running, "work outlived stopped").toBe(0)
        const begun = subject.journal.filter((line) => line === "start").length
        expect(begun).toBeLessThanOrEqual(1)
        expect(subject.journal.filter((line) => line.startsWith("stop with"))).toEqual(begun === 1 ? ["stop with 0 at work"] : [])
        if (begun === 1) {
          const expected = ["start", ...(plan.startFails ? [] : ["started"]), "stop with 0 at work", ...(plan.stopFails ? [] : ["stopped"])]
          expect(subject.journal).toEqual(expected)
        }
        const rejected = outcomes.filter((outcome) => outcome.status === "rejected")
        if (begun === 0) expect(rejected).toEqual([])
        else if (plan.startFails) expect(rejected.length, "start() hid its error").toBeGreaterThan(0)
        else expect(rejected).toEqual([])
        if (begun === 1 && plan.stopFails) expect(subject.lines).toContain("The subject did not stop cleanly")

        await within(subject.start(), "start() after stop()").catch(() => undefined)
        expect(subject.journal.filter((line) => line === "start").length).toBe(begun)
      }),
      { numRuns: 600 },
    )
  })

  test("work that fails stops the service, which says why", async () => {
    const subject = new Subject({ ...quiet, workers: ["sleeper", "crasher"] })
    await subject.start()
    await within(subject.stopped, "stopped")
    expect(subject.failure).toEqual(new Error("work failed"))
    expect(subject.lines).toEqual(["The subject stops: its work failed"])
  })

  test("a failed start is reported once, to the caller of start()", async () => {
    const subject = new Subject({ ...quiet, startTurns: 1, startFails: true })
    await expect(subject.start()).rejects.toThrow("start failed")
    await within(subject.stopped, "stopped")
    expect(subject.lines).toEqual([])
    expect(subject.failure).toEqual(new Error("start failed"))
  })

  test("a step that throws is logged and repeated", async () => {
    const { logger, lines } = recorder(false)
    let steps = 0
    class Retrying extends Service {
      protected override onStart(): void {
        this.spawn(() =>
          this.loop(() => {
            steps++
            if (steps === 1) throw new Error("once")
            this.requestStop()
            return Number.POSITIVE_INFINITY
          }),
        )
      }
    }
    const service = new Retrying({ name: "retrying", logger })
    await service.start()
    await within(service.stopped, "stopped")
    expect(steps).toBe(2)
    expect(lines).toEqual([expect.stringMatching(/^The retrying failed and tries again in \d+ ms$/)])
  })
})

const quiet: Plan = {
  startTurns: 0,
  stopTurns: 0,
  startFails: false,
  stopFails: false,
  stopsItselfWhileStarting: false,
  workers: [],
  loggerFails: false,
}

test("RetryPause doubles between its limits, jittered, and begins anew after a reset", () => {
  const pause = new RetryPause({ min: 100, max: 1_000 })
  for (let round = 0; round < 200; round++) {
    for (const nominal of [100, 200, 400, 800, 1_000, 1_000]) {
      const ms = pause.next()
      expect(ms).toBeGreaterThanOrEqual(nominal / 2)
      expect(ms).toBeLessThanOrEqual(nominal)
    }
    pause.reset()
  }
})

describe("Sleeper", () => {
  test("a wake between two naps ends the next one, once", async () => {
    const sleeper = new Sleeper(new AbortController().signal)
    sleeper.wake()
    sleeper.wake()
    expect(await sleeper.sleep(Number.POSITIVE_INFINITY)).toBe(false)
    expect(await sleeper.sleep(1)).toBe(true)
  })

  test("a wake ends every nap of the moment and none later", async () => {
    const sleeper = new Sleeper(new AbortController().signal)
    const naps = [sleeper.sleep(Number.POSITIVE_INFINITY), sleeper.sleep(60_000)]
    sleeper.wake()
    expect(await Promise.all(naps)).toEqual([false, false])
    expect(await sleeper.sleep(1)).toBe(true)
  })

  test("an abort ends naps for good", async () => {
    const aborter = new AbortController()
    const sleeper = new Sleeper(aborter.signal)
    const nap = sleeper.sleep(Number.POSITIVE_INFINITY)
    aborter.abort()
    expect(await nap).toBe(false)
    expect(await sleeper.sleep(Number.POSITIVE_INFINITY)).toBe(false)
  })
})
