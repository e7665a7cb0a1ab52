/**
 * What a handler threw, in the form that is stored: as Node would print it, bounded in size, with what Postgres cannot hold replaced. It never throws,
 * whatever getters, proxies and prototypes do: an error that cannot be stored must not cost a job its retries.
 */
import { types } from "node:util"
import type { JobFailure } from "../../api/events.js"

const MAX_MESSAGE = 8_000
const MAX_STACK = 8_000
const MAX_NAME = 500
/** Errors inside of errors. */
const MAX_DEPTH = 5
const MAX_ERRORS = 10
/** Of properties: levels, entries of one object, characters of one text. */
const MAX_LEVELS = 4
const MAX_ENTRIES = 50
const MAX_TEXT = 1_000
/** Values and characters in all that a thrown value carries, messages and stacks of its own apart. */
const MAX_VALUES = 500
const MAX_CHARACTERS = 32_000

/** What is left to be spent on one thrown value, and what stands around where the walk is. */
interface Walk {
  values: number
  characters: number
  readonly around: Set<object>
}

/** An error, or whatever else was thrown. */
export function failureOf(thrown: unknown): JobFailure {
  try {
    return failureIn(thrown, 0, { values: MAX_VALUES, characters: MAX_CHARACTERS, around: new Set() })
  } catch {
    return { name: "Error", message: "An error was thrown that cannot be read" }
  }
}

function failureIn(thrown: unknown, depth: number, walk: Walk): JobFailure {
  if (typeof thrown !== "object" || thrown === null) {
    return { name: "Error", message: storable(`A value that is no Error was thrown: ${describe(thrown)}`, MAX_MESSAGE) }
  }
  const outermost = depth === 0
  const stack = text(read(thrown, "stack"))
  const code = read(thrown, "code")
  const failure: { -readonly [K in keyof JobFailure]: JobFailure[K] } = {
    name: storable(nameOf(thrown), MAX_NAME),
    message: spent(walk, text(read(thrown, "message")) ?? `A value that is no Error was thrown: ${describe(thrown)}`, MAX_MESSAGE, outermost),
  }
  // The text has the causes too, for those who read no more than that.
  if (stack !== undefined) failure.stack = spent(walk, outermost ? withCauses(thrown, stack) : stack, MAX_STACK, outermost)
  if (typeof code === "string" || typeof code === "number") failure.code = storable(String(code), MAX_NAME)
  walk.around.add(thrown)
  if (depth < MAX_DEPTH) {
    const cause = read(thrown, "cause")
    if (cause !== undefined && cause !== null) failure.cause = within(cause, depth, walk)
    const errors = innerErrors(thrown)
    if (errors.length > 0) failure.errors = errors.slice(0, MAX_ERRORS).map((error) => within(error, depth, walk))
  }
  const properties = propertiesOf(thrown, walk)
  if (properties !== undefined) failure.properties = properties
  walk.around.delete(thrown)
  return failure
}

function within(inner: unknown, depth: number, walk: Walk): JobFailure {
  if (typeof inner === "object" && inner !== null && walk.around.has(inner)) return { name: "Error", message: "[Circular]" }
  return failureIn(inner, depth + 1, walk)
}

/** Of an AggregateError, and of a SuppressedError, which has one that came later and the one that it hid. */
function innerErrors(thrown: object): unknown[] {
  const errors = read(thrown, "errors")
  if (typeof errors === "object" && errors !== null && isArray(errors)) {
    const found: unknown[] = []
    for (let i = 0; i < Math.min(lengthOf(errors), MAX_ERRORS); i++) {
      const error = read(errors, String(i))
      // Other libraries have lists of texts, or of plain objects, under this name: those are properties.
      if (!isErrorLike(error)) return []
      found.push(error)
    }
    return found
  }
  const pair = [read(thrown, "error"), read(thrown, "suppressed")]
  return has(thrown, "suppressed") && has(thrown, "error") ? pair : []
}

/** The name that Node prints: that of the class where the error has none but the one of its parent. */
function nameOf(thrown: object): string {
  const name = text(read(thrown, "name"))
  const ofClass = text(read(read(thrown, "constructor"), "name"))
  if (name === "Error" && ofClass !== undefined && /(Error|Exception)$/.test(ofClass)) return ofClass
  return name ?? ofClass ?? "Error"
}

const SHOWN_ELSEWHERE = new Set(["name", "message", "stack", "code", "cause"])

/** Its own enumerable properties, and the list of issues that schema libraries hide. */
function propertiesOf(thrown: object, walk: Walk): Readonly<Record<string, unknown>> | undefined {
  const keys = keysOf(thrown).filter((key) => !SHOWN_ELSEWHERE.has(key))
  if (!keys.includes("issues") && isArray(read(thrown, "issues"))) keys.push("issues")
  const listed = innerErrors(thrown).length > 0
  const shown = keys.filter((key) => !(listed && ["errors", "error", "suppressed"].includes(key)))
  const entries = entriesOf(thrown, shown, 1, walk)
  return entries.length === 0 ? undefined : Object.fromEntries(entries)
}

function entriesOf(object: object, keys: readonly string[], level: number, walk: Walk): [string, unknown][] {
  const entries: [string, unknown][] = []
  for (const key of keys) {
    if (entries.length >= MAX_ENTRIES || walk.values <= 0 || walk.characters <= 0) {
      entries.push(["…", `${keys.length - entries.length} more`])
      break
    }
    const value = valueOf(object, key, level, walk)
    if (value !== undefined) entries.push([spent(walk, key, MAX_TEXT), value])
  }
  return entries
}

function valueOf(object: object, key: string, level: number, walk: Walk): unknown {
  // A getter may compute, or ask a server. Node calls none either; that of `issues` is a library's.
  if (isAccessor(object, key)) return "[Getter]"
  return plain(read(object, key), level, walk)
}

/** A value as JSON can hold it, or a word for it. */
function plain(value: unknown, level: number, walk: Walk): unknown {
  walk.values--
  switch (typeof value) {
    case "undefined":
      return undefined
    case "string":
      return spent(walk, value, MAX_TEXT)
    case "boolean":
      return value
    case "number":
      return Number.isFinite(value) ? value : String(value)
    case "bigint":
      return spent(walk, `${value}n`, MAX_TEXT)
    case "symbol":
      return spent(walk, String(value), MAX_TEXT)
    case "function":
      return spent(walk, `[Function: ${text(read(value, "name")) || "anonymous"}]`, MAX_TEXT)
    default:
      return value === null ? null : plainObject(value as object, level, walk)
  }
}

function plainObject(value: object, level: number, walk: Walk): unknown {
  if (walk.around.has(value)) return "[Circular]"
  if (types.isProxy(value)) return "[Proxy]"
  if (types.isDate(value)) return Number.isNaN(value.getTime()) ? "Invalid Date" : new Date(value.getTime()).toISOString()
  if (types.isRegExp(value) || isUrl(value)) return spent(walk, String(value), MAX_TEXT)
  if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) return `[${classOf(value)}: ${value.byteLength} bytes]`
  if (isErrorLike(value) && level < MAX_LEVELS) return failureIn(value, MAX_DEPTH - 1, walk)
  if (level >= MAX_LEVELS) return `[${isArray(value) ? "Array" : classOf(value)}]`
  walk.around.add(value)
  try {
    if (isArray(value)) return list(value, level, walk)
    if (types.isMap(value) || types.isSet(value)) return list([...(value as Iterable<unknown>)], level, walk)
    // Sockets, requests, clients: what they hold is their own, and without end.
    if (!isPlain(value) && level > 1) return `[${classOf(value)}]`
    return Object.fromEntries(entriesOf(value, keysOf(value), level + 1, walk))
  } finally {
    walk.around.delete(value)
  }
}

function list(values: object, level: number, walk: Walk): unknown[] {
  const length = lengthOf(values)
  const listed: unknown[] = []
  for (let i = 0; i < Math.min(length, MAX_ENTRIES) && walk.values > 0 && walk.characters > 0; i++) {
    listed.push(plain(read(values, String(i)), level + 1, walk) ?? null)
  }
  if (listed.length < length) listed.push(`… ${length - listed.length} more`)
  return listed
}

/** The part of a text that there is room for. Of the outermost error, whose message and stack always have their own. */
function spent(walk: Walk, value: string, most: number, free = false): string {
  const kept = free ? most : Math.min(most, Math.max(walk.characters, 100))
  if (!free) walk.characters -= Math.min(value.length, kept)
  return storable(value, kept)
}

/** A property, whatever the object does to those who look: a getter or a Proxy that throws has none. */
function read(value: unknown, key: string): unknown {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return undefined
  try {
    return Reflect.get(value, key)
  } catch {
    return undefined
  }
}

function keysOf(value: object): string[] {
  try {
    return Object.keys(value)
  } catch {
    return []
  }
}

function has(value: object, key: string): boolean {
  try {
    return Object.hasOwn(value, key)
  } catch {
    return false
  }
}

function isAccessor(value: object, key: string): boolean {
  try {
    return Object.getOwnPropertyDescriptor(value, key)?.get !== undefined
  } catch {
    return false
  }
}

function isArray(value: unknown): boolean {
  try {
    return Array.isArray(value)
  } catch {
    // A Proxy that was revoked.
    return false
  }
}

function lengthOf(values: object): number {
  const length = read(values, "length")
  return typeof length === "number" ? length : 0
}

/** Of this realm or another. */
function isErrorLike(value: unknown): value is object {
  if (types.isNativeError(value)) return true
  return typeof value === "object" && value !== null && text(read(value, "message")) !== undefined && text(read(value, "stack")) !== undefined
}

function isPlain(value: object): boolean {
  try {
    const prototype: unknown = Object.getPrototypeOf(value)
    // The prototype of plain objects of any realm has none itself.
    return prototype === null || Object.getPrototypeOf(prototype) === null
  } catch {
    return false
  }
}

function isUrl(value: object): boolean {
  return value instanceof URL
}

function classOf(value: object): string {
  return text(read(read(value, "constructor"), "name")) || "Object"
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined
}

function describe(value: unknown): string {
  try {
    if (typeof value === "string") return JSON.stringify(storable(value, 500))
    return (typeof value === "object" ? JSON.stringify(value) : String(value)).slice(0, 500)
  } catch {
    return typeof value === "object" ? "an object that cannot be read" : `a ${typeof value}`
  }
}

/** The stack with those of its causes, up to five deep. */
function withCauses(error: object, stack: string): string {
  let all = stack
  let cause = read(error, "cause")
  const seen = new Set<unknown>([error])
  for (let depth = 0; depth < 5 && typeof cause === "object" && cause !== null && !seen.has(cause); depth++) {
    seen.add(cause)
    all += `\nCaused by: ${text(read(cause, "stack")) ?? describe(cause)}`
    cause = read(cause, "cause")
  }
  return all
}

/** Postgres stores neither U+0000 nor half a surrogate pair. */
function storable(value: string, most: number): string {
  return value
    .slice(0, most)
    .replaceAll("\0", "\uFFFD")
    .replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, "\uFFFD")
}
