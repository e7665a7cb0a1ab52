/** What may be written as a limit. */
import { expect, test } from "vitest"
import type { TaskOptions } from "../../src/api/options.js"
import { checkTaskOptions } from "../../src/task/options.js"
import { ground } from "../worker/ground.js"

const on = ground()

test("limits are kept with their units", () => {
  const key = (): string => "k"
  expect(checkTaskOptions({ concurrency: { limit: 3, key }, rateLimit: { limit: 5, per: "1m", key } }, "t")).toMatchObject({
    concurrency: { limit: 3, key },
    rateLimit: { limit: 5, perMs: 60_000, strategy: "sliding-window", key },
  })
  expect(checkTaskOptions({ concurrency: { limit: Number.POSITIVE_INFINITY } }, "t").concurrency).toEqual({ limit: null, key: undefined })
  expect(checkTaskOptions({ rateLimit: { limit: 0, per: 1, strategy: "token-bucket" } }, "t").rateLimit).toMatchObject({
    limit: 0,
    strategy: "token-bucket",
  })
})

test.each([
  [{ concurrency: 5 }, 'Option "concurrency" of task "t" is 5, which is not an object; write { limit: 5 }'],
  [{ concurrency: {} }, 'limit of option "concurrency" of task "t" is undefined, which is no number of jobs; write an integer from 0 to 1000000'],
  [{ concurrency: { limit: -1 } }, "is -1, which is no number of jobs"],
  [{ concurrency: { limit: 1.5 } }, "is 1.5, which is no number of jobs"],
  [{ concurrency: { limit: Number.NaN } }, "is NaN, which is no number of jobs"],
  [{ concurrency: { limit: "5" } }, 'is "5", which is no number of jobs'],
  [{ concurrency: { limit: 1, keys: () => "k" } }, 'unknown key "keys"; did you mean key?'],
  [{ concurrency: { limit: 1, key: "tenant" } }, 'is "tenant", which is not a function; write one, as in key: (order) => order.tenant'],
  [{ rateLimit: { limit: 1 } }, 'Option "rateLimit" of task "t" has no per; write the length of the window, as in { limit: 10, per: "1m" }'],
  [{ rateLimit: { limit: 1, per: 0 } }, "which is no time at all"],
  [{ rateLimit: { limit: 1, per: "1 minute" } }, "did you mean"],
  [{ rateLimit: { limit: 1, per: 1, strategy: "leaky-bucket" } }, 'write one of "sliding-window", "token-bucket"'],
])("%o is refused", (options, message) => {
  expect(() => checkTaskOptions(options as unknown as TaskOptions, "t")).toThrow(message)
})

test.each([
  [{ concurrency: -1 }, 'concurrency of queue "x" is -1, which is no number of jobs'],
  [{ rateLimit: { limit: 1 } }, 'rateLimit of queue "x" has no per'],
  [{ rateLimit: { limit: 1, per: 1, key: () => "k" } }, 'unknown key "key"'],
])("configure() refuses %o and changes nothing", async (settings, message) => {
  const queue = on.open().queue("x")
  await expect(queue.configure(settings as never)).rejects.toThrow(message)
  expect(await on.db.query("select from tusk.queues")).toEqual([])
})
