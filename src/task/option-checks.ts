/** Checks that task options and enqueue options share. Each returns the value as it is kept, or throws an InvalidOptionError that says what to write. */
import { toMilliseconds } from "./duration.js"
import { badOption, describeValue, invalidOption } from "./invalid-option.js"
import { suggest } from "./suggest.js"
import { textFault } from "./text.js"
import type { Duration } from "./types.js"

/** A plain object with no key that we do not know. */
export function checkKeys(value: unknown, known: readonly string[], field: string): asserts value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalidOption(field, value, "which is not an object", `write { ${known.join(", ")} }`)
  }
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue
    const meant = suggest(key, known)
    const remedy = meant === undefined ? `it may have ${known.join(", ")}` : `did you mean ${meant}?`
    throw badOption(`${field} has an unknown key ${JSON.stringify(key)}; ${remedy}`)
  }
}

/** Text that Postgres can store: not empty, no U+0000, at most `max` characters. */
export function checkText(value: unknown, field: string, max = 255): string {
  if (typeof value !== "string") throw invalidOption(field, value, "which is not a string", "write a string")
  if (value === "") throw invalidOption(field, value, "which is empty", "write at least one character, or leave the option out")
  if (value.length > max) {
    throw badOption(`${field} is ${value.length} characters long (${describeValue(value)}); write at most ${max}`)
  }
  const fault = textFault(value)
  if (fault !== undefined) throw badOption(`${field} ${fault}; remove it`)
  return value
}

export function checkInteger(value: unknown, field: string, min: number, max: number, meaning: string): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value
  throw invalidOption(field, value, "which is out of range or not an integer", `write an integer from ${min} to ${max} (${meaning})`)
}

export function checkBoolean(value: unknown, field: string): boolean {
  if (typeof value === "boolean") return value
  throw invalidOption(field, value, "which is not a boolean", "write true or false")
}

export function checkFunction(value: unknown, field: string, example: string): void {
  if (typeof value !== "function") throw invalidOption(field, value, "which is not a function", `write one, as in ${example}`)
}

export function checkList(value: unknown, field: string, example: string): void {
  if (!Array.isArray(value)) throw invalidOption(field, value, "which is not a list", `write ${example}`)
}

export function checkOneOf<const T extends string>(value: unknown, field: string, allowed: readonly T[]): T {
  if (allowed.includes(value as T)) return value as T
  const meant = typeof value === "string" ? suggest(value, allowed) : undefined
  const list = allowed.map((one) => JSON.stringify(one)).join(", ")
  throw invalidOption(
    field,
    value,
    "which is none of its values",
    `write one of ${list}${meant === undefined ? "" : ` (did you mean ${JSON.stringify(meant)}?)`}`,
  )
}

/** Milliseconds, or false: delete at once. */
export interface StoredRetention {
  readonly completed?: number | false
  readonly failed?: number | false
}

/** `{ completed, failed }` in milliseconds; false deletes at once. */
export function checkKeep(value: unknown, field: string): StoredRetention {
  checkKeys(value, ["completed", "failed"], field)
  const stored: { completed?: number | false; failed?: number | false } = {}
  for (const end of ["completed", "failed"] as const) {
    const kept = value[end]
    if (kept !== undefined) stored[end] = kept === false ? false : toMilliseconds(kept as Duration, `${end} of ${field}`)
  }
  return stored
}

/** A copy of a flat object of strings. */
export function checkHeaders(value: unknown, field: string): Readonly<Record<string, string>> {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Map) {
    throw invalidOption(field, value, "which is not an object", 'write strings by name: { "trace-id": "4f2a" }')
  }
  const entries = Object.entries(value)
  for (const [name, text] of entries) {
    const fault = textFault(name)
    if (fault !== undefined) throw badOption(`A name in ${field} ${fault}; remove it`)
    if (typeof text !== "string") {
      throw invalidOption(`${JSON.stringify(name)} of ${field}`, text, "which is not a string", `write a string, as in String(value)`)
    }
    const valueFault = textFault(text)
    if (valueFault !== undefined) throw badOption(`${JSON.stringify(name)} of ${field} ${valueFault}; remove it`)
  }
  return Object.freeze(Object.fromEntries(entries))
}
