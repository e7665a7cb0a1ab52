import { afterEach, describe, expect, test, vi } from "vitest"
import { z } from "zod"
import { DuplicateTaskError } from "../../src/api/errors.js"
import { allTasks, findTask, forgetTasks, listTasks } from "../../src/task/registry.js"
import { task } from "../../src/task/task.js"
import { thrownBy } from "./errors.js"

afterEach(() => {
  forgetTasks()
  vi.unstubAllEnvs()
})

test("a task is found by its name, and listed", () => {
  const first = task({ name: "first", queue: "q", retries: 2, ttl: "1h" }, () => 1)
  const second = task({ name: "second", progress: true }, () => 2)
  expect(findTask("first")).toMatchObject({ name: "first", queue: "q", retries: 2, ttlMs: 3_600_000, local: true })
  expect(findTask("third")).toBeUndefined()
  expect(allTasks().map((spec) => spec.name)).toEqual(["first", "second"])
  expect(listTasks()).toEqual([
    { name: "first", queue: "q", retries: 2, ttl: "1h", progress: false, task: first },
    { name: "second", queue: "default", retries: 0, ttl: undefined, progress: true, task: second },
  ])
})

test("another function under a taken name is refused, the same one is not", () => {
  const run = (): number => 1
  task({ name: "taken" }, run)
  const error = thrownBy(() => task({ name: "taken" }, () => 2))
  expect(error).toBeInstanceOf(DuplicateTaskError)
  expect(error.code).toBe("DUPLICATE_TASK")
  expect(error.message).toContain('Two functions have the task name "taken"')
  expect(findTask("taken")?.handler).toBe(run)
  task({ name: "taken", retries: 3 }, run)
  expect(findTask("taken")).toMatchObject({ retries: 3, handler: run })
})

describe("a module that is evaluated twice", () => {
  const define = (word: string, options: object = {}): unknown =>
    task(
      { name: "twice", retries: 2, backoff: (n: number) => n * 1_000, deduplicate: (text: string) => text, ...options },
      async (text: string) => `${text} ${word}`,
    )

  test("is one task: the later function counts", async () => {
    for (const input of [undefined, () => z.object({ to: z.string(), of: z.array(z.date()).optional() })]) {
      define("first", { input: input?.() })
      define("second", { input: input?.() })
      expect(await findTask("twice")?.handler?.("the")).toBe("the second")
      expect(listTasks()).toHaveLength(1)
      forgetTasks()
    }
  })

  test("with other options, another schema or another function is an error that says what differs", () => {
    define("first")
    for (const options of [{ retries: 3 }, { backoff: (n: number) => n * 2_000 }, { deduplicate: undefined }, { input: z.string() }]) {
      expect(thrownBy(() => define("second", options)).message).toContain("the same text, with different options")
    }
    const message = thrownBy(() => task({ name: "twice" }, async () => "another")).message
    expect(message).toContain('=> "another"')
    expect(message).toMatch(/text\) => `\$\{text\} \$\{word\}`/)
    forgetTasks()
    define("first", { input: z.object({ to: z.string() }) })
    expect(thrownBy(() => define("second", { input: z.object({ to: z.number() }) })).code).toBe("DUPLICATE_TASK")
  })

  test("native and bound functions have no text to compare", () => {
    task({ name: "bound" }, (() => 1).bind(null))
    expect(thrownBy(() => task({ name: "bound" }, (() => 2).bind(null))).code).toBe("DUPLICATE_TASK")
  })
})

test("in development the later function replaces the earlier", () => {
  vi.stubEnv("NODE_ENV", "development")
  task({ name: "hot" }, () => 1)
  const later = (): number => 2
  task({ name: "hot" }, later)
  expect(findTask("hot")?.handler).toBe(later)
  expect(listTasks()).toHaveLength(1)
})

test("a second copy of the package sees the same tasks", async () => {
  task({ name: "shared" }, () => 1)
  vi.resetModules()
  const copy = await import("../../src/task/registry.js")
  expect(copy.findTask).not.toBe(findTask)
  expect(copy.findTask("shared")?.name).toBe("shared")
  const { task: copiedTask } = await import("../../src/task/task.js")
  const error = thrownBy(() => copiedTask({ name: "shared" }, () => 2))
  // Thrown by the other copy's class, and recognised all the same.
  expect(error).toBeInstanceOf(DuplicateTaskError)
})
