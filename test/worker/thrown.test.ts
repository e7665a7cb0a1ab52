/** What a handler throws, as it is stored and read again. */
import { runInNewContext } from "node:vm"
import pg from "pg"
import { describe, expect, test } from "vitest"
import { z } from "zod"
import { JobFailedError } from "../../src/api/errors.js"
import { task } from "../../src/index.js"
import { failureOf } from "../../src/worker/run/thrown.js"
import { bench, rejection, startWorker } from "../jobs/setup.js"
import { hostileProxy } from "./hostile.js"

describe("an error keeps", () => {
  test("the chain of its causes, whatever they are, five deep, and no circle", () => {
    const failure = failureOf(new Error("a", { cause: new TypeError("b", { cause: { status: 500 } }) }))
    expect(failure).toMatchObject({ message: "a", cause: { name: "TypeError", message: "b", cause: { properties: { status: 500 } } } })
    expect(failure.cause?.stack).toContain("TypeError: b")
    const circle: Error & { cause?: unknown } = new Error("round")
    circle.cause = new Error("and round", { cause: circle })
    expect(failureOf(circle)).toMatchObject({ message: "round", cause: { message: "and round", cause: { message: "[Circular]" } } })
    let deep = new Error("0")
    for (let i = 1; i < 1_000; i++) deep = new Error(String(i), { cause: deep })
    expect(JSON.stringify(failureOf(deep)).length).toBeLessThan(60_000)
  })

  test("the errors of an AggregateError, and of a SuppressedError", () => {
    const failure = failureOf(new AggregateError([new RangeError("one"), Object.assign(new Error("two"), { code: "E2" })], "both"))
    expect(failure).toMatchObject({
      name: "AggregateError",
      message: "both",
      errors: [
        { name: "RangeError", message: "one" },
        { message: "two", code: "E2" },
      ],
    })
    expect(failure.properties).toBeUndefined()
    const suppressed = Object.defineProperties(new Error("An error was suppressed during disposal."), {
      name: { value: "SuppressedError" },
      error: { value: new Error("in dispose") },
      suppressed: { value: new Error("in the block") },
    })
    expect(failureOf(suppressed)).toMatchObject({ name: "SuppressedError", errors: [{ message: "in dispose" }, { message: "in the block" }] })
    expect(failureOf(Object.assign(new Error("fields"), { errors: ["email is wrong"] })).properties).toEqual({ errors: ["email is wrong"] })
  })

  test("its own properties, of common libraries too", () => {
    const sqlError = Object.assign(new pg.DatabaseError("duplicate key", 10, "error"), {
      code: "23505",
      detail: "Key (id)=(1) already exists.",
      table: "t",
    })
    expect(failureOf(sqlError)).toMatchObject({ code: "23505", properties: { detail: "Key (id)=(1) already exists.", table: "t" } })
    const { error } = z.object({ age: z.number() }).safeParse({ age: "x" })
    expect(failureOf(error).properties?.["issues"]).toMatchObject([{ code: "invalid_type", path: ["age"] }])
    class Socket {
      buffer = "x".repeat(1_000_000)
    }
    const request: Record<string, unknown> = { socket: new Socket(), method: "GET" }
    request["self"] = request
    const http = Object.assign(new Error("Request failed with status code 503"), {
      status: 503,
      isHttp: true,
      response: { status: 503, headers: { "retry-after": "1" }, data: Buffer.alloc(1_000_000), request },
      at: new Date(0),
      url: new URL("https://example.com/a"),
      count: 10n,
      ratio: Number.NaN,
      retry() {},
      nothing: undefined,
      seen: new Set([1]),
    })
    expect(failureOf(http).properties).toEqual({
      status: 503,
      isHttp: true,
      response: {
        status: 503,
        headers: { "retry-after": "1" },
        data: "[Buffer: 1000000 bytes]",
        request: { socket: "[Socket]", method: "GET", self: "[Circular]" },
      },
      at: "1970-01-01T00:00:00.000Z",
      url: "https://example.com/a",
      count: "10n",
      ratio: "NaN",
      retry: "[Function: retry]",
      seen: [1],
    })
  })

  test("the name that Node prints", () => {
    class PaymentError extends Error {}
    class Named extends Error {
      override readonly name = "CardDeclined"
    }
    expect(failureOf(new PaymentError("x")).name).toBe("PaymentError")
    expect(failureOf(new Named("x")).name).toBe("CardDeclined")
    expect(failureOf(new DOMException("gone", "AbortError"))).toMatchObject({ name: "AbortError", message: "gone", code: "20" })
    expect(failureOf(runInNewContext('new RangeError("there", { cause: new Error("inner") })'))).toMatchObject({
      name: "RangeError",
      message: "there",
      cause: { message: "inner" },
    })
    expect(failureOf(Object.assign(new Error("x"), { [Symbol.toStringTag]: "Odd", toJSON: () => ({ nothing: true }) }))).toMatchObject({
      name: "Error",
      message: "x",
    })
  })
})

test("nothing that is thrown makes it throw, or takes more room than there is", () => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const getters = Object.create(Error.prototype, { message: { value: "getters" } })
  for (const key of ["cause", "errors", "issues", "status", "name", "stack", "code"]) {
    Object.defineProperty(getters, key, {
      enumerable: true,
      get() {
        throw new Error(key)
      },
    })
  }
  const wide = Object.assign(new Error("wide"), Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`k${i}`, "v".repeat(100)])))
  const deepObject: Record<string, unknown> = {}
  let at = deepObject
  for (let i = 0; i < 100_000; i++) at = at["next"] = {} as Record<string, unknown>
  const nul = Object.assign(new Error("a\0"), { "k\0\uD800": "v\0\uDC00", ["__proto__x"]: 1, list: ["\0"] })
  const proto = Object.defineProperty(new Error("p"), "__proto__", { value: { polluted: true }, enumerable: true })
  const many = new AggregateError(
    Array.from({ length: 10_000 }, (_, i) => Object.assign(new Error(`${i}`.repeat(10_000)), { n: i })),
    "many",
  )
  const prepared = Object.defineProperty(new Error("sites"), "stack", { value: [{ file: "a" }] })
  for (const thrown of [
    proxy,
    hostileProxy(),
    getters,
    wide,
    Object.assign(new Error("deep"), { deepObject }),
    nul,
    proto,
    many,
    prepared,
    () => 1,
    Symbol("s"),
    class A {},
    [],
    "\0",
  ]) {
    const text = JSON.stringify(failureOf(thrown))
    expect(text.length).toBeLessThan(80_000)
    expect(text).not.toContain("\\u0000")
    expect(text).not.toMatch(/\\ud[89a-f]/i)
  }
  expect(failureOf(getters)).toMatchObject({ message: "getters", properties: { status: "[Getter]" } })
  expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined()
})

describe("a job that failed", () => {
  const it = bench()
  const pay = task({ name: "thrown.pay", retries: 1, backoff: { fixed: 0 } }, async () => {
    const declined = Object.assign(new Error("declined\0", { cause: new TypeError("issuer says no") }), { status: 402, meta: { "k\0": "\uD800" } })
    throw Object.assign(new AggregateError([declined], "two ways failed"), { code: "E_PAY" })
  })

  test("has all of it in its snapshot, in each attempt, in the event, and in the cause of what waiters get", async () => {
    const seen: unknown[] = []
    const off = it.tusk.events.on("job:failed", (event) => seen.push(event.error))
    await startWorker(it.tusk, { queues: ["default"] })
    const job = await pay.with({ via: it.tusk }).enqueue()
    const error = await rejection(job.result({ timeout: 20 }))
    const stored = {
      name: "AggregateError",
      message: "two ways failed",
      code: "E_PAY",
      errors: [{ message: "declined\uFFFD", properties: { status: 402, meta: { "k\uFFFD": "\uFFFD" } }, cause: { name: "TypeError" } }],
    }
    const snapshot = await job.snapshot()
    expect(snapshot.error).toMatchObject(stored)
    expect(snapshot.attempts.map((a) => a.error)).toMatchObject([stored, stored])
    expect(seen).toMatchObject([stored])
    off()
    expect(error).toBeInstanceOf(JobFailedError)
    expect(error.cause).toBeInstanceOf(AggregateError)
    expect(error.cause).toMatchObject({ message: "two ways failed", code: "E_PAY" })
    expect(error.cause.errors[0]).toMatchObject({ message: "declined\uFFFD", status: 402 })
    expect(error.cause.errors[0].cause).toMatchObject({ name: "TypeError", message: "issuer says no" })
    expect(error.cause.stack).toContain("two ways failed")
  })
})
