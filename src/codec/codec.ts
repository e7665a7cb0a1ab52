/**
 * How arguments and results become JSON, and come back.
 *
 * Rows hold plain JSON, readable in SQL. What JSON has no form for is tagged, each as an object with one key:
 *
 * | value | stored |
 * |---|---|
 * | Date | `{"$date": "2026-01-01T00:00:00.000Z"}` |
 * | bigint | `{"$bigint": "12345678901234567890"}` |
 * | Uint8Array (a Buffer comes back as one) | `{"$bytes": "aGVsbG8="}` |
 * | NaN, Infinity, -Infinity, -0 | `{"$number": "NaN"}` |
 * | undefined, in an array or as a property | `{"$undefined": true}` |
 * | Map | `{"$map": [[key, value], …]}` |
 * | Set | `{"$set": [value, …]}` |
 * | an object of the user's that looks like one of these | `{"$object": {"$date": …}}` |
 *
 * The forms are public: a SQL producer may write them. One that is malformed (`{"$date": "soon"}`) stays the object that it is.
 * As with JSON and `structuredClone`, symbol keys and properties that are not enumerable are left out; jsonb also orders the keys of objects.
 * Everything else (functions, class instances, holes, circles, U+0000, …) is a PayloadError with the path at which it stands.
 */

import { encodeSlowly, MAX_DEPTH } from "./codec-slow.js"
import { isTag, restoreTag } from "./codec-tags.js"

/** The walk that only looks goes this deep, and leaves deeper values (circles too) to the one that keeps track of where it is. */
const FAST_DEPTH = 32

/**
 * JSON text of a value. Plain JSON is looked through once and left to `JSON.stringify`; only when something in it needs a tag or is refused,
 * a second walk builds the tagged copy or the error.
 *
 * @param what how an error names the value, as in `The result of task "reports.build"`
 * @throws PayloadError with the path of what cannot be stored, `$` being the value itself: `$.items[3].callback`
 */
export function encode(value: unknown, what = "The value"): string {
  let text: string | undefined
  try {
    if (isPlain(value, 0)) text = JSON.stringify(value)
  } catch {
    // A getter or a Proxy threw; the slow walk meets it again and says where.
  }
  // JSON.stringify writes U+0000 and halves of surrogate pairs as \u escapes, so text without any holds neither.
  return text === undefined || text.includes("\\u") ? encodeSlowly(value, what) : text
}

/**
 * JSON text of an argument list. Trailing undefined arguments are dropped, so that the defaults of the function apply.
 * @throws PayloadError whose path begins with the argument's index: `$[0].items[3].callback` stands in the first argument
 */
export function encodeArgs(args: readonly unknown[], what = "The argument list"): string {
  let length = args.length
  while (length > 0 && args[length - 1] === undefined) length--
  return encode(length === args.length ? args : args.slice(0, length), what)
}

/** The value of parsed JSON. Returns the JSON itself, not a copy, where nothing in it is tagged; never throws. */
export function decode(json: unknown): unknown {
  return restore(json, 0)
}

/**
 * The value of JSON text, as Postgres prints `json` and `jsonb`.
 * @throws SyntaxError when it is not JSON
 */
export function decodeText(text: string): unknown {
  const json: unknown = JSON.parse(text)
  // One rare sign is found faster than two of which the first is in every key.
  return text.includes("$") ? restore(json, 0) : json
}

/** True when `JSON.stringify` alone says it all, strings apart. */
function isPlain(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true
    case "number":
      // The difference is NaN for NaN and the infinities; -0 is the zero whose inverse is negative.
      return value - value === 0 && (value !== 0 || 1 / value > 0)
    case "object":
      return value === null || (depth < FAST_DEPTH && isPlainObject(value, depth + 1))
    default:
      return false
  }
}

function isPlainObject(value: object, depth: number): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Array.prototype && Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (!isPlain(value[i], depth)) return false
    return true
  }
  if (prototype !== Object.prototype && prototype !== null) return false
  const keys = Object.keys(value)
  for (let i = 0; i < keys.length; i++) if (!isPlain((value as Record<string, unknown>)[keys[i]!], depth)) return false
  return keys.length !== 1 || !isTag(keys[0]!)
}

function restore(value: unknown, depth: number): unknown {
  // What we encode is never deeper; leaving the rest of foreign JSON as it is cannot overflow the stack.
  if (typeof value !== "object" || value === null || depth > MAX_DEPTH) return value
  if (Array.isArray(value)) return restoreArray(value, depth)
  const keys = Object.keys(value)
  const object = value as Record<string, unknown>
  if (keys.length === 1 && isTag(keys[0]!)) {
    const key = keys[0]!
    const inner = object[key]
    if (key === "$object") return typeof inner === "object" && inner !== null && !Array.isArray(inner) ? restoreProperties(inner, depth + 1) : value
    return restoreTag(key, inner, value, (element) => restore(element, depth + 2))
  }
  return restoreProperties(value, depth)
}

function restoreArray(array: readonly unknown[], depth: number): readonly unknown[] {
  let copy: unknown[] | undefined
  for (let i = 0; i < array.length; i++) {
    const restored = restore(array[i], depth + 1)
    if (restored === array[i]) continue
    copy ??= array.slice()
    copy[i] = restored
  }
  return copy ?? array
}

function restoreProperties(value: object, depth: number): object {
  const object = value as Record<string, unknown>
  let copy: Record<string, unknown> | undefined
  for (const key of Object.keys(object)) {
    const restored = restore(object[key], depth + 1)
    if (restored === object[key]) continue
    // The spread makes every key a property of the copy, `__proto__` too: the assignment then finds it and never reaches the setter.
    copy ??= { ...object }
    copy[key] = restored
  }
  return copy ?? value
}
