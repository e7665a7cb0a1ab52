/** Checks that task options and enqueue options share. Each returns the value as it is kept, or throws an InvalidOptionError that says what to write. */

import type { Duration } from "../api/duration.js"
import { InvalidOptionError } from "../api/errors.js"
import { toMilliseconds } from "./duration.js"
import { badOption, describeValue, invalidOption } from "./invalid-option.js"
import { suggest } from "./suggest.js"
import { textFault } from "./text.js"

/**
 * The options of an object, each read once: a getter or a proxy may answer differently the second time, and what is used must be what was checked.
 * Undefined ones are left out.
 *
 * @param refuse makes the error for an unknown key
 * @throws InvalidOptionError for a key that is not known, for what is not an object of options (a Promise or a Map has none), and when reading throws
 */
export function readOptions<K extends string>(
  value: unknown,
  known: readonly K[],
  field: string,
  refuse: (key: string) => InvalidOptionError = (key) => unknownKey(key, known, field),
): { readonly [P in K]?: any } {
  const own: { [P in K]?: unknown } = {}
  try {
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw invalidOption(field, value, "which is not an object", `write { ${known.join(", ")} }`)
    if (!mayHave(value, known)) {
      throw invalidOption(field, value, "which is not an object of options", `write { ${known.join(", ")} }`)
    }
    const given = value as { readonly [P in K]?: unknown }
    for (const key of Object.keys(value)) if (!known.includes(key as K)) throw refuse(key)
    for (const key of known) {
      const option = given[key]
      if (option !== undefined) own[key] = option
    }
  } catch (error) {
    if (error instanceof InvalidOptionError) throw error
    const message = error instanceof Error ? error.message : describeValue(error)
    throw new InvalidOptionError(badOption(`${field} is ${describeValue(value)}, which cannot be read (${message}); write a plain object`).message, {
      cause: error,
    })
  }
  return own
}

/** An instance of some class may have options; a Promise, a Map or an Error that somebody gave by mistake has none, and would be no options at all. */
function mayHave(value: object, known: readonly string[]): boolean {
  return isPlain(value) || (!(value instanceof Error) && known.some((key) => key in value))
}

/** Also one of another realm, as tests and workers make them. */
function isPlain(value: object): boolean {
  const prototype: object | null = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

export function unknownKey(key: string, known: readonly string[], field: string): InvalidOptionError {
  const meant = suggest(key, known)
  const remedy = meant === undefined ? `it may have ${known.join(", ")}` : `did you mean ${meant}?`
  return badOption(`${field} has an unknown key ${JSON.stringify(key)}; ${remedy}`)
}

/** A property of anything; undefined where there is none, or where it does not let itself be read. */
export function propertyOf(value: unknown, key: PropertyKey): unknown {
  try {
    return (typeof value === "object" && value !== null) || typeof value === "function" ? Reflect.get(value, key) : undefined
  } catch {
    return undefined
  }
}

/** `value instanceof type`, for values that may be proxies whose traps throw. */
export function isA<T>(value: unknown, type: abstract new (...args: any[]) => T): value is T {
  try {
    return value instanceof type
  } catch {
    return false
  }
}

/** `Array.isArray`, which throws for a revoked proxy. */
export function isList(value: unknown): value is readonly unknown[] {
  try {
    return Array.isArray(value)
  } catch {
    return false
  }
}

/** Text that Postgres can store: not blank, no U+0000, at most `max` characters. */
export function checkText(value: unknown, field: string, max = 255): string {
  const text = checkKeyText(value, field, max)
  if (text.trim() === "") throw invalidOption(field, value, "which is blank", "write a character that can be seen, or leave the option out")
  return text
}

/** The same, for keys that are made of data: those may be blank. */
export function checkKeyText(value: unknown, field: string, max: number): string {
  if (typeof value !== "string") throw invalidOption(field, value, "which is not a string", "write a string")
  if (value === "") throw invalidOption(field, value, "which is empty", "write at least one character, or leave the option out")
  if (value.length > max) {
    throw badOption(`${field} is ${value.length} characters long (${describeValue(value)}); write at most ${max}`)
  }
  const fault = textFault(value)
  if (fault !== undefined) throw badOption(`${field} is ${describeValue(value)}, which ${fault}; remove it`)
  return value
}

/** Text as `checkText` takes it, or the empty text. */
export function checkAnyText(value: unknown, field: string): string {
  if (typeof value !== "string") throw invalidOption(field, value, "which is not a string", "write a string")
  const fault = textFault(value)
  if (fault !== undefined) throw badOption(`${field} is ${describeValue(value)}, which ${fault}; remove it`)
  return value
}

/** Something that is looked up by a text: any text, since one that nothing can have finds nothing. */
export function checkLookup(value: unknown, field: string): string {
  if (typeof value === "string") return value
  const remedy = isA(value, Promise) ? "await it first" : "write a string"
  throw invalidOption(field, value, isA(value, Promise) ? "which is a Promise" : "which is not a string", remedy)
}

/** A Date that is one. */
export function checkDate(value: unknown, field: string): Date {
  if (!isA(value, Date)) throw badOption(`${field} is ${describeValue(value)}; write a Date, as in new Date("2030-01-02T03:04:05Z")`)
  const time = value.getTime()
  if (Number.isNaN(time)) throw invalidOption(field, value, "which is an invalid Date", "check what the Date was made from")
  const copy = new Date(time)
  const year = copy.getUTCFullYear()
  // ISO text of other years has six digits, which Postgres does not read.
  if (year < 1 || year > 9_999) throw invalidOption(field, value, "which lies outside of the years 1 to 9999", "check what the Date was made from")
  return copy
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
  if (!isList(value)) throw invalidOption(field, value, "which is not a list", `write ${example}`)
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
  const given = readOptions(value, ["completed", "failed"], field)
  const stored: { completed?: number | false; failed?: number | false } = {}
  for (const end of ["completed", "failed"] as const) {
    const kept: unknown = given[end]
    if (kept !== undefined) stored[end] = kept === false ? false : toMilliseconds(kept as Duration, `${end} of ${field}`)
  }
  return stored
}

/** A copy of a flat object of strings. */
export function checkHeaders(value: unknown, field: string): Readonly<Record<string, string>> {
  const entries = entriesOf(value)
  if (entries === undefined) throw invalidOption(field, value, "which is not an object", 'write strings by name: { "trace-id": "4f2a" }')
  for (const [name, text] of entries) {
    const fault = textFault(name)
    if (fault !== undefined) throw badOption(`A name in ${field} ${fault}; remove it`)
    if (typeof text !== "string") {
      throw invalidOption(`${JSON.stringify(name)} of ${field}`, text, "which is not a string", `write a string, as in String(value)`)
    }
    const valueFault = textFault(text)
    if (valueFault !== undefined) throw badOption(`${JSON.stringify(name)} of ${field} is ${describeValue(text)}, which ${valueFault}; remove it`)
  }
  return Object.freeze(Object.fromEntries(entries)) as Readonly<Record<string, string>>
}

/** What an object has by names, each read once; undefined for anything that has no names of its own (a Map, a Promise), and when reading throws. */
export function entriesOf(value: unknown): [string, unknown][] | undefined {
  try {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined
    const entries = Object.entries(value)
    return entries.length === 0 && !isPlain(value) ? undefined : entries
  } catch {
    return undefined
  }
}
