import { expect, test } from "vitest"
import * as z from "zod"
import { InvalidOptionError } from "../../src/api/errors.js"
import type { EnqueueOptions, TaskOptions } from "../../src/api/options.js"
import { CLIENT } from "../../src/task/client.js"
import { checkEnqueueOptions, checkTaskOptions, mergeOptions, NO_OPTIONS, NOT_IMPLEMENTED } from "../../src/task/options.js"
import { thrownBy } from "./errors.js"

const ID = "01890a5d-ac96-774b-bcce-b302099a8057"

test("a task without options has the stock ones", () => {
  expect(checkTaskOptions({}, "build")).toEqual({
    name: "build",
    options: {},
    queue: "default",
    priority: 5,
    retries: 0,
    ttlMs: undefined,
    timeoutMs: undefined,
    backoff: undefined,
    maxCrashes: 5,
    keep: undefined,
    progress: false,
    transactional: false,
    input: undefined,
    deduplicate: undefined,
  })
})

test("everything that a task can say is kept, in milliseconds", () => {
  const input = z.string()
  const deduplicate = (id: string): string => id
  const options: TaskOptions = {
    name: "orders.ship",
    queue: "orders",
    retries: 3,
    ttl: 60,
    timeout: "1m",
    priority: -1,
    keep: { completed: false, failed: "2d" },
    backoff: { fixed: "5s" },
    progress: true,
    transactional: true,
    deduplicate,
    maxCrashes: 2,
    runIn: "main",
    onError: () => "fail",
  }
  const settings = checkTaskOptions({ ...options, input } as TaskOptions, "ignored")
  expect(settings).toMatchObject({
    name: "orders.ship",
    queue: "orders",
    retries: 3,
    ttlMs: 60_000,
    timeoutMs: 60_000,
    priority: -1,
    keep: { completed: false, failed: 172_800_000 },
    backoff: { fixed: "5s" },
    progress: true,
    transactional: true,
    maxCrashes: 2,
    input,
  })
  expect(settings.deduplicate).toBe(deduplicate)
  expect(settings.options).toEqual({ ...options, input })
  expect(Object.isFrozen(settings.options)).toBe(true)
})

test("undefined is not given", () => {
  expect(checkTaskOptions({ name: undefined, queue: undefined, ttl: undefined, backoff: undefined } as unknown as TaskOptions, "f")).toMatchObject({
    name: "f",
    queue: "default",
    ttlMs: undefined,
  })
})

test("a backoff function is for tasks", () => {
  const backoff = (): number => 5
  expect(checkTaskOptions({ backoff }, "f").backoff).toBe(backoff)
})

test.each<[object, string]>([
  [{ retrys: 1 }, 'Unknown option "retrys" of task "t"; did you mean "retries"?'],
  [{ prio: 1 }, 'did you mean "priority"?'],
  [{ Queue: "x" }, 'did you mean "queue"?'],
  [{ tll: 1 }, 'did you mean "ttl"?'],
  [{ colour: 1 }, 'Unknown option "colour" of task "t"; its options are name, queue, retries,'],
  [{ delay: 5 }, 'Unknown option "delay" of task "t"; give it with each job: task.with({ delay: … }).enqueue(…)'],
  [{ dependsOn: [] }, "give it with each job"],
  [{ name: "" }, "A task needs a name"],
  [{ name: 5 }, 'Option "name" of a task is 5, which is not a string'],
  [{ name: "a\u0000" }, "holds the character U+0000"],
  [{ name: "x".repeat(256) }, "is 256 characters long"],
  [{ queue: "" }, 'Option "queue" of task "t" is "", which is empty'],
  [{ queue: "\ud800" }, "half of a surrogate pair"],
  [{ retries: -1 }, 'Option "retries" of task "t" is -1, which is out of range or not an integer; write an integer from 0 to 32767'],
  [{ retries: 1.5 }, "retries"],
  [{ retries: 32_768 }, "retries"],
  [{ retries: "3" }, 'is "3"'],
  [{ priority: 32_768 }, "write an integer from -32768 to 32767 (lower runs first)"],
  [{ priority: -32_769 }, "priority"],
  [{ priority: Number.NaN }, "is NaN"],
  [{ ttl: 0 }, 'Option "ttl" of task "t" is 0, which is no time at all'],
  [{ ttl: -1 }, "negative"],
  [{ ttl: "60 secs" }, 'did you mean "60s"?'],
  [{ timeout: 0 }, 'Option "timeout" of task "t" is 0'],
  [{ timeout: null }, "is null, which is not a duration"],
  [{ backoff: "fast" }, 'Option "backoff" of task "t" is "fast"'],
  [{ keep: "1d" }, 'Option "keep" of task "t" is "1d", which is not an object'],
  [{ keep: { complete: 1 } }, "did you mean completed?"],
  [{ keep: { completed: true } }, 'completed of option "keep" of task "t" is true'],
  [{ progress: "yes" }, 'Option "progress" of task "t" is "yes", which is not a boolean'],
  [{ transactional: 1 }, 'Option "transactional"'],
  [{ maxCrashes: 0 }, "write an integer from 1 to 32767"],
  [{ deduplicate: "key" }, 'Option "deduplicate" of task "t" is "key", which is not a function'],
  [{ onError: "fail" }, "which is not a function"],
  [{ input: { parse() {} } }, "which is not a Standard Schema"],
  [{ runIn: "worker" }, 'write one of "main", "thread", "process"'],
])("task option %o is refused", (options, message) => {
  const error = thrownBy(() => checkTaskOptions({ name: "t", ...options } as TaskOptions))
  expect(error).toBeInstanceOf(InvalidOptionError)
  expect(error.message).toContain(message)
})

test.each([undefined, null, 5, "name", [], () => {}])("%o is no object of options", (options) => {
  expect(() => checkTaskOptions(options as unknown as TaskOptions, "f")).toThrow("which is not an object of options")
})

test("a task needs a name", () => {
  expect(() => checkTaskOptions({})).toThrow('A task needs a name, and its function has none; write task({ name: "emails.send" }, function)')
})

test("options that are not served yet are refused, not ignored", () => {
  expect(Object.keys(NOT_IMPLEMENTED)).toEqual(["runIn"])
  const asked: TaskOptions[] = [{ runIn: "thread" }, { runIn: "process" }]
  for (const options of asked) {
    const error = thrownBy(() => checkTaskOptions(options, "t"))
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(/^Option "runIn" of task "t" is .*, which this version of pgtusk does not implement yet; leave the option out$/)
  }
})

test("a job without options leaves everything open", () => {
  const nothing = { parents: [], wake: true }
  expect(JSON.parse(JSON.stringify(checkEnqueueOptions({}, "t")))).toEqual(nothing)
  expect(checkEnqueueOptions(NO_OPTIONS, "t")).toEqual(checkEnqueueOptions({}, "t"))
})

test("everything that one job can say is kept", () => {
  const client = { [CLIENT]: {} }
  const options = {
    via: client,
    tx: {},
    queue: "q",
    priority: 0,
    retries: 1,
    backoff: 2,
    ttl: "1h",
    timeout: 5,
    keep: { failed: 0 },
    delay: "5s",
    dependsOn: [ID.toUpperCase()],
    onParentFailure: "run",
    repeatEvery: 3600,
    id: "order-1",
    deduplicate: { key: "k", ttl: 60, replace: true, extend: true },
    headers: { "trace-id": "x" },
    wake: "poll",
  } as unknown as EnqueueOptions
  expect(checkEnqueueOptions(options, "t")).toEqual({
    queue: "q",
    priority: 0,
    retries: 1,
    backoff: 2,
    ttlMs: 3_600_000,
    timeoutMs: 5_000,
    keep: { failed: 0 },
    delayMs: 5_000,
    runAt: undefined,
    parents: [{ id: ID, onFailure: "run" }],
    repeatEveryMs: 3_600_000,
    customId: "order-1",
    key: { key: "k", ttlMs: 60_000, replace: true, extend: true },
    headers: { "trace-id": "x" },
    wake: false,
  })
})

test("a delay may be an instant", () => {
  expect(checkEnqueueOptions({ delay: new Date("2030-01-02T03:04:05.678Z") }, "t")).toMatchObject({
    delayMs: undefined,
    runAt: "2030-01-02T03:04:05.678Z",
  })
  expect(checkEnqueueOptions({ delay: 0 }, "t")).toMatchObject({ delayMs: 0, runAt: undefined })
})

test("parents are jobs, ids, or either with a policy, each once", () => {
  const job = { id: ID } as never
  const other = "01890a5d-ac96-774b-bcce-b302099a8058"
  const parents = (options: EnqueueOptions): unknown => checkEnqueueOptions(options, "t").parents
  expect(parents({ dependsOn: [job, ID, { job, onFailure: "block" }, { job: other, onFailure: "cancel" }] })).toEqual([
    { id: ID, onFailure: "block" },
    { id: other, onFailure: "cancel" },
  ])
  expect(parents({ dependsOn: [job, { job: other }], onParentFailure: "fail" })).toEqual([
    { id: ID, onFailure: "fail" },
    { id: other, onFailure: "fail" },
  ])
  expect(() => parents({ dependsOn: [job, { job, onFailure: "run" }] })).toThrow(`names job ${ID} twice, with onFailure block and run; name it once`)
})

test.each<[object, string]>([
  [{ dely: 5 }, 'Unknown option "dely" of a job of task "t"; did you mean "delay"?'],
  [{ progress: true }, 'Unknown option "progress" of a job of task "t"; give it to the task: task({ progress: … }, function)'],
  [{ priority: 1e6 }, 'Option "priority" of a job of task "t" is 1000000'],
  [{ retries: -1 }, "write an integer from 0 to 32767"],
  [{ delay: -1 }, 'Option "delay" of a job of task "t" is -1, which is negative'],
  [{ delay: Number.NaN }, "which is not a duration"],
  [{ delay: new Date(Number.NaN) }, "which is an invalid Date"],
  [{ delay: new Date("+012026-01-01T00:00:00Z") }, "outside of the years 1 to 9999"],
  [{ repeatEvery: 0 }, 'Option "repeatEvery" of a job of task "t" is 0'],
  [{ backoff: () => 5 }, "which cannot be stored with one job; put the function on the task"],
  [{ id: "" }, "which is empty"],
  [{ id: "42" }, 'is "42", which is made of digits only; write something more, as in "order-42"'],
  [{ id: "a:b" }, 'which holds a ":"; write another sign, as in "a-b"'],
  [{ id: "x".repeat(256) }, "write at most 255"],
  [{ id: 42 }, "which is not a string"],
  [{ id: "a\u0000" }, "U+0000"],
  [{ deduplicate: "" }, "which is empty"],
  [{ deduplicate: 5 }, "which is not a key"],
  [{ deduplicate: () => "k" }, "which is not a key"],
  [{ deduplicate: {} }, 'key of option "deduplicate" of a job of task "t" is undefined'],
  [{ deduplicate: { key: "k", ttl: 0 } }, "ttl of option"],
  [{ deduplicate: { key: "k", extend: true } }, "which needs a time to extend"],
  [{ deduplicate: { key: "k", replace: 1 } }, "which is not a boolean"],
  [{ deduplicate: { key: "k", tll: 1 } }, "did you mean ttl?"],
  [{ deduplicate: "é".repeat(600) }, "is 1200 bytes long"],
  [{ headers: ["a"] }, "which is not an object"],
  [{ headers: new Map([["a", "b"]]) }, "which is not an object"],
  [{ headers: { a: 1 } }, '"a" of option "headers" of a job of task "t" is 1, which is not a string'],
  [{ headers: { a: { b: "c" } } }, "which is not a string"],
  [{ headers: { a: "\u0000" } }, "U+0000"],
  [{ headers: { "a\u0000": "b" } }, "A name in option"],
  [{ wake: "never" }, 'write one of "now", "poll"'],
  [{ wake: false }, "which is none of its values"],
  [{ onParentFailure: "ignore" }, 'write one of "block", "fail", "cancel", "run"'],
  [{ dependsOn: ID }, "which is not a list; write dependsOn: [job]"],
  [{ dependsOn: [Promise.resolve({ id: ID })] }, "which is a Promise; await enqueue() first"],
  [{ dependsOn: [5] }, 'Element 0 of option "dependsOn" of a job of task "t" is 5, which is not a job'],
  [{ dependsOn: [{ job: 5 }] }, "which is not a job"],
  [{ dependsOn: [{ job: ID, onFail: "run" }] }, "did you mean onFailure?"],
  [{ dependsOn: [{ job: ID, onFailure: "runn" }] }, '(did you mean "run"?)'],
  [{ via: {} }, "which is not a client of pgtusk"],
  [{ via: "postgres://" }, "pass what configure() or new Tusk() returned"],
  [{ tx: null }, "is null, which is no transaction"],
])("enqueue option %o is refused", (options, message) => {
  const error = thrownBy(() => checkEnqueueOptions(options as EnqueueOptions, "t"))
  expect(error).toBeInstanceOf(InvalidOptionError)
  expect(error.message).toContain(message)
})

test("merging: the later wins, undefined changes nothing, both stay as they were", () => {
  const first = mergeOptions(NO_OPTIONS, { delay: 5, priority: 1 }, "t")
  const second = mergeOptions(first, { priority: 2, delay: undefined, queue: "q" } as unknown as EnqueueOptions, "t")
  expect(first).toEqual({ delay: 5, priority: 1 })
  expect(second).toEqual({ delay: 5, priority: 2, queue: "q" })
  expect(Object.isFrozen(second)).toBe(true)
  expect(() => mergeOptions(first, null as unknown as EnqueueOptions, "t")).toThrow('The options of a job of task "t" is null')
})

test("a copy of a merged view, or an object on top of one, is checked anew", () => {
  const merged = mergeOptions(NO_OPTIONS, { priority: 1 }, "t")
  expect(checkEnqueueOptions({ ...merged, priority: 2 }, "t").priority).toBe(2)
  expect(checkEnqueueOptions(Object.create(merged, { priority: { value: 3, enumerable: true } }), "t").priority).toBe(3)
  expect(() => checkEnqueueOptions({ ...merged, priority: 1e9 }, "t")).toThrow(InvalidOptionError)
})

test("what the caller changes later changes nothing", () => {
  const headers = { a: "1" }
  const dependsOn = [ID]
  const at = new Date("2030-01-01T00:00:00Z")
  const merged = mergeOptions(NO_OPTIONS, { headers, dependsOn, delay: at, deduplicate: { key: "k" } }, "t")
  headers.a = "2"
  dependsOn.pop()
  at.setFullYear(1990)
  expect(checkEnqueueOptions(merged, "t")).toMatchObject({ headers: { a: "1" }, parents: [{ id: ID }], runAt: "2030-01-01T00:00:00.000Z" })
})

test("a header named __proto__ is a header", () => {
  const { headers } = checkEnqueueOptions({ headers: JSON.parse('{"__proto__":"x"}') }, "t")
  expect(Object.entries(headers!)).toEqual([["__proto__", "x"]])
})
