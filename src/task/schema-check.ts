/** Input schemas, of any library that follows Standard Schema (standardschema.dev). */
import { ValidationError } from "../api/errors.js"
import type { StandardSchema } from "../api/options.js"
import { formatPath } from "../codec/codec-path.js"
import { invalidOption } from "../lib/invalid-option.js"
import { propertyOf } from "../lib/option-checks.js"

type Issue = ValidationError["issues"][number]

/** Checks that `value` is a Standard Schema of version 1. */
export function checkSchema(value: unknown, field: string): StandardSchema {
  // arktype's schemas are functions.
  const standard = propertyOf(value, "~standard")
  if (typeof standard === "object" && typeof propertyOf(standard, "validate") === "function") return value as StandardSchema
  throw invalidOption(field, value, "which is not a Standard Schema", "pass a schema of zod, valibot, arktype or another library that follows it")
}

/**
 * The schema's output for an input. A Promise only when the schema is asynchronous.
 * @throws ValidationError that names the task and the path of each issue
 */
export function validateInput(schema: StandardSchema, input: unknown, taskName: string): unknown {
  let result: unknown
  try {
    result = schema["~standard"].validate(input)
  } catch (error) {
    throw brokenSchema(error, taskName)
  }
  if (!isThenable(result)) return outputOf(result, taskName)
  return Promise.resolve(result).then(
    (settled) => outputOf(settled, taskName),
    (error) => Promise.reject(brokenSchema(error, taskName)),
  )
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function"
}

function outputOf(result: unknown, taskName: string): unknown {
  if (typeof result !== "object" || result === null) throw brokenSchema(new TypeError("it returned no result"), taskName)
  const { issues, value } = result as { issues?: unknown; value?: unknown }
  if (issues === undefined || issues === null) return value
  const list = Array.isArray(issues) ? issues.map(toIssue) : []
  const first = list[0] ?? { path: [], message: "invalid" }
  const more = list.length > 1 ? ` (and ${list.length - 1} more)` : ""
  const path = formatPath(first.path.map((key) => (typeof key === "symbol" ? String(key) : key)))
  throw new ValidationError(`The input of task "${taskName}" does not fit its schema: ${path}: ${first.message}${more}`, list)
}

function toIssue(issue: unknown): Issue {
  const { path, message } = issue as { path?: readonly (PropertyKey | { readonly key: PropertyKey })[]; message?: unknown }
  // A segment is a key, or an object that carries one.
  return { path: (path ?? []).map((segment) => (typeof segment === "object" ? segment.key : segment)), message: String(message) }
}

function brokenSchema(error: unknown, taskName: string): ValidationError {
  const message = error instanceof Error ? error.message : String(error)
  return new ValidationError(`The schema of task "${taskName}" failed on the input: ${message}`, [{ path: [], message }], { cause: error })
}

/** As `validateInput`, for an argument list: a task with a schema takes one argument. */
export function validateArgs(schema: StandardSchema, args: readonly unknown[], taskName: string): unknown {
  if (args.length <= 1) return validateInput(schema, args[0], taskName)
  const message = `takes one argument, its input, and got ${args.length}`
  throw new ValidationError(`Task "${taskName}" ${message}`, [{ path: [], message }])
}
