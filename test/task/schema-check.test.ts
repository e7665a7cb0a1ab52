import * as v from "valibot"
import { describe, expect, test } from "vitest"
import * as z from "zod"
import { InvalidOptionError, ValidationError } from "../../src/api/errors.js"
import type { StandardSchema } from "../../src/api/options.js"
import { checkSchema, validateArgs, validateInput } from "../../src/task/schema-check.js"
import { thrownBy } from "./errors.js"

const libraries: [string, StandardSchema, StandardSchema][] = [
  [
    "zod",
    z.object({ id: z.string(), lines: z.array(z.object({ count: z.coerce.number().int() })).default([]) }),
    z.object({ id: z.string().refine(async (id) => id !== "taken", "is taken") }),
  ],
  [
    "valibot",
    v.object({ id: v.string(), lines: v.optional(v.array(v.object({ count: v.pipe(v.unknown(), v.transform(Number), v.integer()) })), []) }),
    v.objectAsync({
      id: v.pipeAsync(
        v.string(),
        v.checkAsync(async (id) => id !== "taken", "is taken"),
      ),
    }),
  ],
]

describe.each(libraries)("%s", (_, schema, asyncSchema) => {
  test("gives its output, defaults and coercions included, at once", () => {
    expect(checkSchema(schema, "input")).toBe(schema)
    expect(validateInput(schema, { id: "a" }, "t")).toEqual({ id: "a", lines: [] })
    expect(validateInput(schema, { id: "a", lines: [{ count: "3" }] }, "t")).toEqual({ id: "a", lines: [{ count: 3 }] })
  })

  test("a refusal names the task, the path and how many more", () => {
    const error = thrownBy(() => validateInput(schema, { id: 5, lines: [{ count: 1 }, { count: 1.5 }] }, "orders.ship")) as ValidationError
    expect(error).toBeInstanceOf(ValidationError)
    expect(error.message).toMatch(/^The input of task "orders\.ship" does not fit its schema: \$\.id: .+ \(and 1 more\)$/)
    expect(error.issues.map((issue) => issue.path)).toEqual([["id"], ["lines", 1, "count"]])
    expect(error.issues.every((issue) => issue.message.length > 5)).toBe(true)
  })

  test("an asynchronous schema is waited for", async () => {
    await expect(validateInput(asyncSchema, { id: "free" }, "t")).resolves.toEqual({ id: "free" })
    await expect(validateInput(asyncSchema, { id: "taken" }, "t")).rejects.toMatchObject({
      code: "VALIDATION",
      message: 'The input of task "t" does not fit its schema: $.id: is taken',
      issues: [{ path: ["id"], message: "is taken" }],
    })
  })
})

const own = (validate: (value: unknown) => unknown): StandardSchema => ({ "~standard": { version: 1, vendor: "own", validate } })

test("a schema that throws, rejects or answers rubbish is a ValidationError with its cause", async () => {
  const cause = new TypeError("no such column")
  const throwing = own(() => {
    throw cause
  })
  const error = thrownBy(() => validateInput(throwing, 1, "t"))
  expect(error).toBeInstanceOf(ValidationError)
  expect(error.message).toBe('The schema of task "t" failed on the input: no such column')
  expect(error.cause).toBe(cause)
  await expect(
    validateInput(
      own(() => Promise.reject(cause)),
      1,
      "t",
    ),
  ).rejects.toMatchObject({ code: "VALIDATION", cause })
  expect(() =>
    validateInput(
      own(() => undefined),
      1,
      "t",
    ),
  ).toThrow("it returned no result")
  expect(() =>
    validateInput(
      own(() => ({ issues: [] })),
      1,
      "t",
    ),
  ).toThrow("does not fit its schema: $: invalid")
})

test("an output of undefined, and paths with objects and symbols in them", () => {
  expect(
    validateInput(
      own(() => ({ value: undefined })),
      1,
      "t",
    ),
  ).toBeUndefined()
  const issues = [{ message: "bad", path: [{ key: "a" }, 0, Symbol("s"), "b c"] }]
  const error = thrownBy(() =>
    validateInput(
      own(() => ({ issues })),
      1,
      "t",
    ),
  ) as ValidationError
  expect(error.message).toContain('$.a[0]["Symbol(s)"]["b c"]: bad')
  expect(error.issues[0]!.path.map(String)).toEqual(["a", "0", "Symbol(s)", "b c"])
})

test("one argument, or none, is the input", () => {
  const schema = z.string().optional()
  expect(validateArgs(schema, ["a"], "t")).toBe("a")
  expect(validateArgs(schema, [], "t")).toBeUndefined()
  expect(() => validateArgs(schema, ["a", "b"], "t")).toThrow('Task "t" takes one argument, its input, and got 2')
})

test.each([undefined, null, 5, {}, { "~standard": {} }, { "~standard": null }, { parse() {} }])("%o is no schema", (value) => {
  const error = thrownBy(() => checkSchema(value, "input"))
  expect(error).toBeInstanceOf(InvalidOptionError)
  expect(error.message).toContain("which is not a Standard Schema")
})

test("a schema may be a function, as arktype's are", () => {
  const schema = Object.assign(
    () => {},
    own(() => ({ value: 1 })),
  )
  expect(checkSchema(schema, "input")).toBe(schema)
})
