import { describe, expect, test } from "vitest"
import { InvalidOptionError } from "../../src/api/errors.js"
import type { WorkerOptions } from "../../src/api/worker.js"
import type { TaskSpec } from "../../src/task/spec.js"
import { checkWorkerOptions } from "../../src/worker/options.js"

const tasks = [
  { name: "a", queue: "mail" },
  { name: "b", queue: "default" },
  { name: "c", queue: "mail" },
] as unknown as TaskSpec[]
const check = (options: unknown) => checkWorkerOptions(options as WorkerOptions, tasks, true)

describe("worker options", () => {
  test("have defaults", () => {
    const checked = check({})
    expect([...checked.queues]).toEqual([
      ["mail", 10],
      ["default", 10],
    ])
    expect(checked).toMatchObject({ concurrency: Number.POSITIVE_INFINITY, signals: true, drainTimeoutMs: 30_000, pollMs: 5_000, leaseMs: 20_000 })
  })

  test("take queues as a list, as numbers, and as settings", () => {
    expect([...check({ queues: ["x", "y"] }).queues]).toEqual([
      ["x", 10],
      ["y", 10],
    ])
    expect([...check({ queues: { x: 3, y: { concurrency: 4 }, z: {} } }).queues]).toEqual([
      ["x", 3],
      ["y", 4],
      ["z", 10],
    ])
  })

  test("take durations with units", () => {
    expect(check({ drainTimeout: "500ms", poll: 2, lease: "1m" })).toMatchObject({ drainTimeoutMs: 500, pollMs: 2_000, leaseMs: 60_000 })
  })

  test.each<[string, unknown, RegExp]>([
    ["a misspelt option", { concurency: 4 }, /"concurency".*did you mean "?concurrency/],
    ["no object", "mail", /work\(\)/],
    ["no queues at all", { queues: [] }, /queues is empty/],
    ["queues of a wrong kind", { queues: "mail" }, /queues is "mail"/],
    ["a queue without a name", { queues: [""] }, /queues/],
    ["a misspelt setting of a queue", { queues: { mail: { concurrent: 4 } } }, /concurrent/],
    ["a concurrency of 0", { queues: { mail: 0 } }, /queues\.mail is 0/],
    ["a concurrency that is no whole number", { concurrency: 1.5 }, /concurrency is 1\.5/],
    ["a negative poll", { poll: -1 }, /poll is -1/],
    ["a lease that is too short to beat in", { lease: "500ms" }, /lease is 500ms; write at least 1 second/],
    ["a drainTimeout of 0", { drainTimeout: 0 }, /drainTimeout is 0/],
    ["onStart that is no function", { onStart: true }, /onStart/],
    ["signals that is no boolean", { signals: "yes" }, /signals/],
  ])("refuse %s", (_, options, message) => {
    expect(() => check(options)).toThrow(InvalidOptionError)
    expect(() => check(options)).toThrow(message)
  })

  test("ask for queues where no task is registered", () => {
    expect(() => checkWorkerOptions({}, [], true)).toThrow(/no task is registered.*queues: \["default"\]/)
  })
})
