import { inspect } from "node:util"
import { InvalidOptionError } from "../api/errors.js"

/** A value as an error message shows it: on one line, cut at 80 characters. */
export function describeValue(value: unknown): string {
  const text = inspectSafely(value)
  return text.length > 80 ? `${text.slice(0, 79)}…` : text
}

function inspectSafely(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value)
  if (typeof value === "function") return value.name === "" ? "a function" : `the function ${value.name}`
  try {
    return inspect(value, { depth: 1, breakLength: Number.POSITIVE_INFINITY, maxArrayLength: 5, maxStringLength: 60 })
  } catch {
    // A Proxy or a custom inspector that throws must not hide what we have to say.
    return `a value of type ${typeof value}`
  }
}

/**
 * The one shape of a complaint about an option: `<field> is <value>, <problem>; <remedy>`, as in
 * `Option "ttl" of task "emails.send" is -5, which is negative; write 0 or more`.
 */
export function invalidOption(field: string, value: unknown, problem: string, remedy: string): InvalidOptionError {
  return badOption(`${field} is ${describeValue(value)}, ${problem}; ${remedy}`)
}

/** For complaints of another shape. Fields are written to stand inside a sentence (`option "ttl" of …`); here is where one begins. */
export function badOption(message: string): InvalidOptionError {
  return new InvalidOptionError(message.replace(/^(?:option|element|the) /, (word) => word[0]!.toUpperCase() + word.slice(1)))
}
