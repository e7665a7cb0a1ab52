import { afterEach, expect, test } from "vitest"
import * as z from "zod"
import { InvalidOptionError, PayloadError, PayloadTooLargeError, UnknownJobError, ValidationError } from "../../src/api/errors.js"
import type { EnqueueOptions } from "../../src/api/options.js"
import type { Call as CallOf, Task } from "../../src/api/task.js"
import { buildDraft } from "../../src/enqueue/draft.js"
import { callParts } from "../../src/task/call.js"
import type { Draft } from "../../src/task/draft-types.js"
import { forgetTasks } from "../../src/task/registry.js"
import { task } from "../../src/task/task.js"
import { taskRef } from "../../src/task/task-ref.js"
import { thrownBy } from "./errors.js"

const ID = "01890a5d-ac96-774b-bcce-b302099a8057"
const LIMIT = 1_048_576
type Call = CallOf<any>

afterEach(forgetTasks)

function draftOf(call: Call, limit: number | null = LIMIT): Draft {
  const draft = buildDraft(callParts(call), limit)
  if (draft instanceof Promise) throw new Error("a Promise without an asynchronous schema")
  return draft
}

test("a bare local task fills in everything it knows", () => {
  expect(draftOf(task({ name: "t" }, (to: string) => to).call("a"))).toEqual({
    task: "t",
    queue: "default",
    priority: 5,
    maxAttempts: 1,
    args: '["a"]',
    delayMs: undefined,
    runAt: undefined,
    ttlMs: undefined,
    headers: undefined,
    stored: undefined,
    customId: undefined,
    key: undefined,
    parents: [],
    wake: true,
    local: true,
  })
})

test("a job's options win over the task's", () => {
  const t = task({ name: "t", queue: "q", retries: 2, ttl: 60, priority: 1, timeout: 5, backoff: 3 }, () => {})
  expect(draftOf(t.call())).toMatchObject({ queue: "q", maxAttempts: 3, ttlMs: 60_000, priority: 1, stored: undefined })
  const options: EnqueueOptions = {
    queue: "other",
    retries: 0,
    ttl: "1h",
    priority: -5,
    delay: "1s",
    headers: { a: "b" },
    id: "x",
    wake: "poll",
    dependsOn: [ID],
  }
  expect(draftOf(t.with(options).call())).toMatchObject({
    queue: "other",
    maxAttempts: 1,
    ttlMs: 3_600_000,
    priority: -5,
    delayMs: 1_000,
    headers: { a: "b" },
    customId: "x",
    wake: false,
    parents: [{ id: ID, onFailure: "block" }],
  })
})

test("only what the row itself must carry is stored with the job", () => {
  const t = task({ name: "t", keep: { completed: "1d", failed: "2d" }, maxCrashes: 2, timeout: 5, backoff: () => 5 }, () => {})
  expect(draftOf(t.call()).stored).toEqual({ keep: { completed: 86_400_000, failed: 172_800_000 }, maxCrashes: 2 })
  const job = t.with({ keep: { completed: false }, timeout: "1m", backoff: { fixed: 1 }, repeatEvery: 3600 })
  expect(draftOf(job.call()).stored).toEqual({
    keep: { completed: false, failed: 172_800_000 },
    maxCrashes: 2,
    timeoutMs: 60_000,
    backoff: { fixed: 1 },
    repeatEveryMs: 3_600_000,
  })
  expect(draftOf(task({ name: "stock", maxCrashes: 5 }, () => {}).call()).stored).toBeUndefined()
})

test("a remote task leaves open what was not given", () => {
  const remote = taskRef<Task<[to: string]>>("emails.send")
  expect(draftOf(remote.call("a"))).toMatchObject({
    task: "emails.send",
    queue: undefined,
    priority: undefined,
    maxAttempts: undefined,
    ttlMs: undefined,
    stored: undefined,
    local: false,
  })
  expect(draftOf(remote.with({ retries: 0, keep: { failed: 0 } }).call("a"))).toMatchObject({
    queue: undefined,
    maxAttempts: 1,
    stored: { keep: { failed: 0 } },
  })
})

test("options from elsewhere are checked as well", () => {
  const parts = callParts(task({ name: "t" }, () => {}).call())
  expect(() => buildDraft({ ...parts, options: { priority: 1e9 } }, LIMIT)).toThrow(InvalidOptionError)
})

test("the task's deduplicate gets the arguments, unless the job brings its own", () => {
  const t = task(
    { name: "t", progress: true, deduplicate: (id, count) => `${id}-${count}` },
    (_report, id: string, count: number) => id.length + count,
  )
  expect(draftOf(t.call("a", 2)).key).toEqual({ key: "a-2", ttlMs: undefined, replace: false, extend: false })
  expect(draftOf(t.with({ deduplicate: { key: "own", ttl: 5, replace: true } }).call("a", 2)).key).toEqual({
    key: "own",
    ttlMs: 5_000,
    replace: true,
    extend: false,
  })
})

test("a deduplicate that throws or returns no key is told", () => {
  const failing = (name: string, deduplicate: () => string): Call => task({ name, deduplicate }, () => {}).call()
  const cause = new Error("no id")
  const error = thrownBy(() =>
    draftOf(
      failing("a", () => {
        throw cause
      }),
    ),
  )
  expect(error).toBeInstanceOf(InvalidOptionError)
  expect(error).toMatchObject({ message: 'deduplicate() of task "a" threw: no id', cause })
  expect(() => draftOf(failing("b", () => undefined as never))).toThrow('The result of deduplicate() of task "b" is undefined, which is not a key')
  expect(() => draftOf(failing("c", () => ""))).toThrow("which is empty")
})

test("what cannot be stored names the task and the path", () => {
  const t = task({ name: "t" }, (order: object) => order)
  const error = thrownBy(() => draftOf(t.call({ items: [{ callback: () => {} }] })))
  expect(error).toBeInstanceOf(PayloadError)
  expect(error.path).toBe("$[0].items[0].callback")
  expect(error.message).toContain('The argument list of task "t" cannot be stored: $[0].items[0].callback is a function')
})

test("the size is counted in UTF-8 bytes", () => {
  const t = task({ name: "t" }, (text: string) => text)
  const exactly = LIMIT - '[""]'.length
  expect(draftOf(t.call("x".repeat(exactly))).args).toHaveLength(LIMIT)
  expect(draftOf(t.call("é".repeat(exactly / 2))).args).toHaveLength(exactly / 2 + 4)
  const error = thrownBy(() => draftOf(t.call("é".repeat(exactly / 2 + 1))))
  expect(error).toBeInstanceOf(PayloadTooLargeError)
  expect(error.message).toBe(
    'The arguments of task "t" take 1,048,578 bytes as JSON, and the limit is 1,048,576; store the data elsewhere and pass its id, or raise maxPayloadBytes in configure()',
  )
  expect(draftOf(t.call("x".repeat(LIMIT)), null).args).toHaveLength(LIMIT + 4)
})

test("a parent must be a job's id", () => {
  const t = task({ name: "t" }, () => {})
  const error = thrownBy(() => draftOf(t.with({ dependsOn: ["order-1"] }).call()))
  expect(error).toBeInstanceOf(UnknownJobError)
  expect(error.message).toContain('A job of task "t" depends on "order-1", which is no job\'s id; pass job.id')
})

test("the input is stored as given, after it passed; deduplicate sees the output", () => {
  const input = z.object({ id: z.string(), at: z.coerce.date(), count: z.number().default(1) })
  const t = task({ name: "t", input, deduplicate: (order) => `${order.id}-${order.count}-${order.at.getTime()}` }, (order) => order)
  const draft = draftOf(t.call({ id: "a", at: "1970-01-01T00:00:00Z" }))
  expect(draft.args).toBe('[{"id":"a","at":"1970-01-01T00:00:00Z"}]')
  expect(draft.key?.key).toBe("a-1-0")
  const error = thrownBy(() => draftOf(t.call({ id: 5 } as never)))
  expect(error).toBeInstanceOf(ValidationError)
  expect(error.message).toContain('The input of task "t" does not fit its schema: $.id')
  const tooMany = t.call as (...args: unknown[]) => Call
  expect(() => draftOf(tooMany({ id: "a", at: 0 }, 2))).toThrow('Task "t" takes one argument')
})

test("an asynchronous schema makes the draft a Promise, of the arguments as they were", async () => {
  const input = z.object({ id: z.string().refine(async (id) => id !== "taken") })
  const t = task({ name: "t", input }, (order) => order)
  const order = { id: "free" }
  const draft = buildDraft(callParts(t.call(order)), LIMIT)
  expect(draft).toBeInstanceOf(Promise)
  order.id = "changed"
  expect(await draft).toMatchObject({ args: '[{"id":"free"}]' })
  await expect(buildDraft(callParts(t.call({ id: "taken" })), LIMIT)).rejects.toBeInstanceOf(ValidationError)
})
