import { afterEach, beforeEach, expect, expectTypeOf, test, vi } from "vitest"
import * as z from "zod"
import { InvalidOptionError, ValidationError } from "../../src/api/errors.js"
import type { EnqueueOptions, TaskOptions } from "../../src/api/options.js"
import type { ReportProgress } from "../../src/api/worker.js"
import { callParts } from "../../src/task/call.js"
import { setDefaultClient } from "../../src/task/client.js"
import { setProgressSource } from "../../src/task/progress.js"
import { findTask, forgetTasks } from "../../src/task/registry.js"
import { task } from "../../src/task/task.js"
import { thrownBy } from "./errors.js"
import { type RecordingClient, recordingClient } from "./recording-client.js"

let client: RecordingClient
beforeEach(() => {
  client = recordingClient()
  setDefaultClient(client)
})
afterEach(() => {
  setDefaultClient(undefined)
  setProgressSource(() => undefined)
  forgetTasks()
})

const requested = () => client.submitted.map((requests) => requests.map(({ args, options }) => ({ args, options })))

test("calling a task runs its function here and now, and touches no queue", async () => {
  const add = task({ name: "add" }, (a: number, b = 10) => a + b)
  const result = add(1)
  expect(result).toBeInstanceOf(Promise)
  expect(await result).toBe(11)
  expect(await add(1, 2)).toBe(3)
  await expect(
    task({ name: "throwing" }, () => {
      throw new Error("sync")
    })(),
  ).rejects.toThrow("sync")
  expect(client.submitted).toEqual([])
})

test("the function's own name is the task's, when none is given", () => {
  async function buildReport(): Promise<void> {}
  expect(task({}, buildReport).taskName).toBe("buildReport")
  const arrow = (): void => {}
  expect(task({ queue: "q" }, arrow).taskName).toBe("arrow")
  expect(task({ name: "reports.build" }, async () => {}).taskName).toBe("reports.build")
})

test("a function without a name and options without one are an error at definition", () => {
  const error = thrownBy(() => task({}, async () => {}))
  expect(error).toBeInstanceOf(InvalidOptionError)
  expect(error.message).toContain("A task needs a name, and its function has none")
  expect(findTask("")).toBeUndefined()
})

test("what plain JavaScript may get wrong is told", () => {
  const loose = task as (...args: unknown[]) => unknown
  expect(() => loose({ name: "t", retrys: 1 }, () => {})).toThrow('Unknown option "retrys" of task "t"; did you mean "retries"?')
  expect(() => loose(() => {})).toThrow("The first argument of task() is a function, which is not an object of options")
  expect(() => loose(() => {}, {})).toThrow("The first argument of task()")
  expect(() => loose()).toThrow("The first argument of task() is undefined")
  expect(() => loose({ name: "t" }, undefined)).toThrow('The second argument of task() for "t" is undefined, which is not a function')
  expect(findTask("t")).toBeUndefined()
})

test("a task is a function with its name and frozen options", () => {
  const options = { name: "t", retries: 2 } satisfies TaskOptions
  const t = task(options, () => {})
  options.retries = 5
  expect(t).toBeTypeOf("function")
  expect(t.name).toBe("t")
  expect(t.options).toEqual({ name: "t", retries: 2 })
  expect(Object.isFrozen(t.options)).toBe(true)
})

test("enqueue, delay and send are one, and need no this", async () => {
  const t = task({ name: "t" }, (to: string, times = 1) => to.repeat(times))
  const job = await t.enqueue("a", 2)
  expect(job).toMatchObject({ id: "1", task: "t", created: true })
  const { delay, send } = t
  await delay("b")
  await send("c")
  expect(requested()).toEqual([[{ args: ["a", 2], options: {} }], [{ args: ["b"], options: {} }], [{ args: ["c"], options: {} }]])
  expect(client.submitted[0]![0]!.task).toBe(findTask("t"))
})

test("enqueueMany is one submit", async () => {
  const t = task({ name: "t" }, (to: string) => to)
  const jobs = await t.enqueueMany([["a"], ["b"]])
  expect(jobs.map((job) => job.id)).toEqual(["1", "2"])
  expect(requested()).toEqual([
    [
      { args: ["a"], options: {} },
      { args: ["b"], options: {} },
    ],
  ])
  expect(await t.enqueueMany([])).toEqual([])
  expect(client.submitted).toHaveLength(1)
  const loose = t.enqueueMany as (list: unknown) => Promise<unknown>
  await expect(loose(["a"])).rejects.toThrow(
    'Item 0 of the list for enqueueMany() of task "t" is "a", which is not an argument list; write [argument]',
  )
  await expect(loose("a")).rejects.toBeInstanceOf(InvalidOptionError)
})

test("with() is an immutable view: the later wins, and the task stays as it is", async () => {
  const t = task({ name: "t" }, (to: string) => to)
  const slow = t.with({ delay: 5, priority: 1 })
  const slower = slow.with({ delay: "1h" })
  expect(Object.isFrozen(slow)).toBe(true)
  await slower.enqueue("a")
  await slow.enqueue("b")
  await t.enqueue("c")
  await slow.with({}).enqueueMany([["d"], ["e"]])
  expect(requested().flat()).toEqual([
    { args: ["a"], options: { delay: "1h", priority: 1 } },
    { args: ["b"], options: { delay: 5, priority: 1 } },
    { args: ["c"], options: {} },
    { args: ["d"], options: { delay: 5, priority: 1 } },
    { args: ["e"], options: { delay: 5, priority: 1 } },
  ])
})

test("with() checks at once", () => {
  const t = task({ name: "t" }, () => {})
  expect(() => t.with({ delay: -1 })).toThrow('Option "delay" of a job of task "t" is -1, which is negative')
  expect(() => t.with({ dely: 1 } as EnqueueOptions)).toThrow('did you mean "delay"?')
  expect(() => t.with({ priority: 1 }).with({ id: "5" })).toThrow("made of digits only")
})

test("via chooses the client", async () => {
  const other = recordingClient()
  await task({ name: "t" }, () => {})
    .with({ via: other.via })
    .enqueue()
  expect(other.submitted).toHaveLength(1)
  expect(client.submitted).toEqual([])
})

test("schedule() goes to the client with arguments and options", async () => {
  const t = task({ name: "t" }, (to: string) => to)
  expect(await t.with({ queue: "bulk" }).schedule("digest", { cron: "0 9 * * *" }, "a")).toMatchObject({ id: "digest", task: "t" })
  expect(client.scheduled).toEqual([
    { id: "digest", when: { cron: "0 9 * * *" }, request: { task: findTask("t"), args: ["a"], options: { queue: "bulk" } } },
  ])
})

test("call() carries what enqueue would send, and enqueues nothing", () => {
  const t = task({ name: "t" }, (to: string) => to)
  const call = t.with({ delay: 5 }).call("a")
  const later = call.with({ priority: 1 })
  expect(callParts(call)).toEqual({ task: findTask("t"), args: ["a"], options: { delay: 5 } })
  expect(callParts(later).options).toEqual({ delay: 5, priority: 1 })
  expect(() => call.with({ delay: -1 })).toThrow(InvalidOptionError)
  expect(() => callParts({} as typeof call)).toThrow("A call is {}, which is none; write task.call(…arguments)")
  expect(client.submitted).toEqual([])
})

test("with progress, the function gets a reporter first, and callers pass none", async () => {
  const t = task({ name: "t", progress: true }, (report, rows: number[]) => {
    report(0.5, { rows: rows.length })
    return rows.length
  })
  expectTypeOf(t).parameters.toEqualTypeOf<[rows: number[]]>()
  expect(await t([1, 2])).toBe(2)
  const reports: Parameters<ReportProgress>[] = []
  setProgressSource(
    () =>
      (...report) =>
        reports.push(report),
  )
  expect(await t([1, 2, 3])).toBe(3)
  expect(reports).toEqual([[0.5, { rows: 3 }]])
  await t.enqueue([4])
  expect(requested()).toEqual([[{ args: [[4]], options: {} }]])
})

test("with a schema, a direct call gets its output, and a refusal does not run", async () => {
  const run = vi.fn((order: { id: string; count: number }) => order.count)
  const t = task({ name: "t", input: z.object({ id: z.string(), count: z.number().default(1) }) }, run)
  expect(await t({ id: "a" })).toBe(1)
  expect(run).toHaveBeenCalledWith({ id: "a", count: 1 })
  await expect(t({ id: 5 } as never)).rejects.toBeInstanceOf(ValidationError)
  expect(run).toHaveBeenCalledTimes(1)
})

test("a schema and progress go together, also an asynchronous one", async () => {
  const input = z.string().transform(async (text) => text.length)
  const t = task({ name: "t", input, progress: true }, (report, length: number) => {
    report(1)
    return length
  })
  expect(await t("abc")).toBe(3)
})

test("a test may put a spy in the place of a method", async () => {
  const t = task({ name: "t" }, (to: string) => to)
  const spy = vi.spyOn(t, "enqueue").mockResolvedValue({ id: "spied" } as never)
  expect(await t.enqueue("a")).toEqual({ id: "spied" })
  spy.mockRestore()
})
