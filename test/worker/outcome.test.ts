import { describe, expect, test, vi } from "vitest"
import {
  JobCancelledError,
  JobTimeoutError,
  LeaseLostError,
  NonRetryableError,
  PayloadError,
  RetryAfterError,
  ValidationError,
  WorkerShutdownError,
} from "../../src/api/errors.js"
import type { Backoff, TaskOptions } from "../../src/api/options.js"
import type { CurrentJob } from "../../src/api/worker.js"
import type { TaskSpec } from "../../src/task/spec.js"
import { failureOf, outcomeOfError, SnoozeSignal } from "../../src/worker/run/outcome.js"
import { hostileProxy } from "./hostile.js"

function decide(
  thrown: unknown,
  {
    options = {},
    attempt = 1,
    maxAttempts = 3,
    aborted,
    own,
  }: { options?: TaskOptions; attempt?: number; maxAttempts?: number; aborted?: unknown; own?: Backoff } = {},
) {
  const spec = { name: "t", options, backoff: options.backoff } as unknown as TaskSpec
  return outcomeOfError(thrown, aborted, spec, { attempt, maxAttempts } as CurrentJob, own)
}

describe("a thrown value becomes", () => {
  test("a retry while attempts are left, and then a failure", () => {
    expect(decide(new Error("x"), { options: { backoff: 2 } })).toMatchObject({
      kind: "retry",
      delayMs: 2_000,
      error: { name: "Error", message: "x" },
    })
    expect(decide(new Error("x"), { options: { backoff: 2 }, attempt: 2 })).toMatchObject({ kind: "retry", delayMs: 4_000 })
    expect(decide(new Error("x"), { attempt: 3 })).toMatchObject({ kind: "failed", error: { message: "x" } })
  })

  test("a retry by the job's own backoff before the task's", () => {
    expect(decide(new Error("x"), { options: { backoff: 2 }, own: { fixed: "7s" } })).toMatchObject({ kind: "retry", delayMs: 7_000 })
  })

  test("a failure at once when trying again cannot help", () => {
    for (const error of [new NonRetryableError("no"), new PayloadError("no", "$.x"), new ValidationError("no", [])]) {
      expect(decide(error)).toMatchObject({ kind: "failed", error: { name: error.name, message: "no" } })
    }
  })

  test("a retry after the delay that a RetryAfterError names, if an attempt is left", () => {
    expect(decide(new RetryAfterError("30s"))).toMatchObject({ kind: "retry", delayMs: 30_000 })
    expect(decide(new RetryAfterError("30s"), { attempt: 3 })).toMatchObject({ kind: "failed" })
    const { delayMs } = decide(new RetryAfterError(new Date(Date.now() + 60_000))) as { delayMs: number }
    expect(Math.abs(delayMs - 60_000)).toBeLessThan(2_000)
    expect(decide(new RetryAfterError(new Date(0)))).toMatchObject({ kind: "retry", delayMs: 0 })
    // A delay that is none counts as not given.
    expect(decide(new RetryAfterError("soon" as never), { options: { backoff: 3 } })).toMatchObject({ kind: "retry", delayMs: 3_000 })
  })

  test("a snooze, whatever attempts are left", () => {
    expect(decide(new SnoozeSignal(250), { attempt: 3 })).toEqual({ kind: "snoozed", delayMs: 250 })
  })

  test("what the signal's reason says, once it was aborted", () => {
    const thrown = new DOMException("This operation was aborted", "AbortError")
    expect(decide(thrown, { aborted: new LeaseLostError("x") })).toEqual({ kind: "lost" })
    expect(decide(thrown, { aborted: new WorkerShutdownError("x") })).toEqual({ kind: "released" })
    expect(decide(thrown, { aborted: new JobCancelledError("why") })).toMatchObject({ kind: "cancelled", error: { message: "why" } })
    expect(decide(thrown, { aborted: new JobTimeoutError("late") })).toMatchObject({
      kind: "retry",
      error: { name: "JobTimeoutError", message: "late" },
    })
    expect(decide(thrown, { aborted: new JobTimeoutError("late"), attempt: 3 })).toMatchObject({ kind: "failed", error: { name: "JobTimeoutError" } })
  })
})

describe("onError", () => {
  const retry = (onError: TaskOptions["onError"], attempt = 3) => decide(new Error("x"), { options: { onError: onError!, backoff: 2 }, attempt })

  test("decides, also beyond the attempts", () => {
    expect(retry(() => "fail", 1)).toMatchObject({ kind: "failed" })
    expect(retry(() => "retry")).toMatchObject({ kind: "retry", delayMs: 8_000 })
    expect(retry(() => ({ retryIn: "1m" }))).toMatchObject({ kind: "retry", delayMs: 60_000 })
    expect(retry(() => undefined, 1)).toMatchObject({ kind: "retry", delayMs: 2_000 })
    expect(retry(() => undefined)).toMatchObject({ kind: "failed" })
  })

  test("sees the error and the job, but not what is final", () => {
    const onError = vi.fn(() => undefined)
    const error = new Error("x")
    decide(error, { options: { onError } })
    expect(onError).toHaveBeenCalledExactlyOnceWith(error, expect.objectContaining({ attempt: 1 }))
    decide(new NonRetryableError("x"), { options: { onError } })
    expect(onError).toHaveBeenCalledOnce()
  })

  test("that throws, or answers rubbish, decides nothing: the budget still ends", () => {
    const rubbish: unknown[] = [
      () => {
        throw new Error("onError itself")
      },
      async () => "retry",
      async () => {
        throw new Error("later")
      },
      () => ({ retryIn: "soon" }),
      () => ({}),
      () => ({
        get retryIn() {
          throw new Error("getter")
        },
      }),
      () => 5,
      () => null,
      () => "again",
    ]
    for (const onError of rubbish) {
      expect(retry(onError as never), String(onError)).toMatchObject({ kind: "failed" })
      expect(retry(onError as never, 1), String(onError)).toMatchObject({ kind: "retry", delayMs: 2_000 })
    }
  })
})

test("a backoff function that throws counts as the default", () => {
  const backoff = (): never => {
    throw new Error("x")
  }
  const { delayMs } = decide(new Error("x"), { options: { backoff } }) as { delayMs: number }
  expect(delayMs).toBeGreaterThanOrEqual(1_000)
  expect(delayMs).toBeLessThanOrEqual(1_100)
})

describe("failureOf", () => {
  test("keeps name, message, stack with causes, and code", () => {
    class OrderError extends TypeError {
      override name = "OrderError"
      code = "E_ORDER"
    }
    const failure = failureOf(new OrderError("no stock", { cause: new RangeError("empty", { cause: "shelf" }) }))
    expect(failure).toMatchObject({ name: "OrderError", message: "no stock", code: "E_ORDER" })
    expect(failure.stack).toMatch(/no stock[\s\S]+Caused by: RangeError: empty/)
  })

  test("describes what is no error", () => {
    expect(failureOf(undefined).message).toBe("A value that is no Error was thrown: undefined")
    expect(failureOf(null).message).toBe("A value that is no Error was thrown: null")
    expect(failureOf("boom").message).toBe('A value that is no Error was thrown: "boom"')
    expect(failureOf({ status: 404 }).message).toBe('A value that is no Error was thrown: {"status":404}')
    expect(failureOf(Symbol("s")).message).toBe("A value that is no Error was thrown: Symbol(s)")
    expect(failureOf(10n).message).toBe("A value that is no Error was thrown: 10")
    expect(failureOf(Object.create(null))).toMatchObject({ name: "Error", message: "A value that is no Error was thrown: {}" })
  })

  test("survives getters and Proxies that throw, and keeps what can be read", () => {
    const half = new Error("the message")
    Object.defineProperty(half, "stack", {
      get() {
        throw new Error("getter")
      },
    })
    expect(failureOf(half)).toEqual({ name: "Error", message: "the message" })
    expect(failureOf(hostileProxy()).message).toContain("cannot be read")
    expect(failureOf(Object.assign(new Error("x"), { name: 5, code: {} }))).toMatchObject({ name: "Error", message: "x" })
    const circular: Record<string, unknown> = {}
    circular["self"] = circular
    expect(failureOf(circular).message).toContain("no Error was thrown")
  })

  test("a thrown Proxy that refuses everything is an error like any other", () => {
    expect(decide(hostileProxy(), { options: { backoff: 2 } })).toMatchObject({ kind: "retry", delayMs: 2_000, error: { name: "Error" } })
    expect(decide(hostileProxy(), { attempt: 3 })).toMatchObject({ kind: "failed" })
  })

  test("holds nothing that Postgres refuses, and no more than a few thousand characters", () => {
    expect(failureOf(new Error("a\0b\uD800c"))).toMatchObject({ message: "a\uFFFDb\uFFFDc" })
    const long = failureOf(Object.assign(new Error("x".repeat(10_000_000)), { name: "n".repeat(10_000_000), code: "c".repeat(10_000_000) }))
    expect(JSON.stringify(long).length).toBeLessThan(30_000)
  })
})
