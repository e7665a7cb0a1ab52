/** The second walk of `encode`: builds the tagged copy of what is not plain JSON, and says precisely what cannot be stored, and where. */
import { types } from "node:util"
import { PayloadError } from "../api/errors.js"
import { textFault } from "../lib/text.js"
import { formatPath, type Segment } from "./codec-path.js"
import { refusalOfObject } from "./codec-refusal.js"
import { isTag, specialNumber } from "./codec-tags.js"

/** Levels of the stored JSON. Deeper data is a mistake more often than not, and parsers recurse. */
export const MAX_DEPTH = 1_000

interface Walk {
  /** Where the walk stands, from the root. */
  readonly path: Segment[]
  /** The objects on the way to it, with the lengths of their paths: meeting one again is a circle. */
  readonly ancestors: Map<object, number>
}

export function encodeSlowly(value: unknown, what: string): string {
  const walk: Walk = { path: [], ancestors: new Map() }
  try {
    return JSON.stringify(convert(value, walk, 0))
  } catch (error) {
    const problem = error instanceof Refusal ? error.message : `cannot be read (${error instanceof Error ? error.message : String(error)})`
    const path = formatPath(walk.path)
    const shown = path.length > 200 ? `${path.slice(0, 120)} … ${path.slice(-60)}` : path
    throw new PayloadError(`${what} cannot be stored: ${shown} ${problem}`, path, error instanceof Refusal ? undefined : { cause: error })
  }
}

/** Thrown where the walk stands, so that the path in it is the path of the trouble. */
class Refusal extends Error {}

function convert(value: unknown, walk: Walk, depth: number): unknown {
  switch (typeof value) {
    case "string": {
      const fault = textFault(value)
      if (fault !== undefined) throw new Refusal(`${fault}; remove it, or pass the bytes as a Uint8Array`)
      return value
    }
    case "boolean":
      return value
    case "number": {
      const special = specialNumber(value)
      return special === undefined ? value : { $number: special }
    }
    case "undefined":
      return { $undefined: true }
    case "bigint":
      return { $bigint: String(value) }
    case "function":
      throw new Refusal(`is a function${value.name === "" ? "" : ` (${value.name})`}; pass data, and look the function up in the handler`)
    case "symbol":
      throw new Refusal(`is a symbol (${String(value)}); pass a string`)
    default:
      return value === null ? null : convertObject(value as object, walk, depth)
  }
}

function convertObject(value: object, walk: Walk, depth: number): unknown {
  if (types.isDate(value)) {
    if (Number.isNaN(value.getTime())) throw new Refusal("is an invalid Date; check what it was made from")
    return { $date: value.toISOString() }
  }
  if (types.isUint8Array(value)) return { $bytes: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64") }
  const seen = walk.ancestors.get(value)
  if (seen !== undefined) {
    throw new Refusal(`refers back to ${formatPath(walk.path.slice(0, seen))}, a circle; pass an id instead, or leave the property out`)
  }
  if (depth >= MAX_DEPTH) throw new Refusal(`is nested deeper than ${MAX_DEPTH.toLocaleString("en")} levels; pass a flat list or an id`)
  walk.ancestors.set(value, walk.path.length)
  const converted = convertChildren(value, walk, depth)
  walk.ancestors.delete(value)
  return converted
}

function convertChildren(value: object, walk: Walk, depth: number): unknown {
  const problem = refusalOfObject(value)
  if (problem !== undefined) throw new Refusal(problem)
  // The forms of a map and a set are deeper than the values are.
  if (types.isMap(value)) {
    const entries = [...value]
    return {
      $map: entries.map(([key, element], i) => [
        step(key, { text: `.keys()[${i}]` }, walk, depth + 3),
        step(element, { text: typeof key === "string" ? `.get(${JSON.stringify(key)})` : `.values()[${i}]` }, walk, depth + 3),
      ]),
    }
  }
  if (types.isSet(value)) return { $set: [...value].map((element, i) => step(element, { text: `.values()[${i}]` }, walk, depth + 2)) }
  return Array.isArray(value) ? convertArray(value, walk, depth) : convertProperties(value, walk, depth)
}

function convertArray(array: readonly unknown[], walk: Walk, depth: number): unknown[] {
  const copy: unknown[] = []
  for (let i = 0; i < array.length; i++) {
    if (!(i in array)) {
      walk.path.push(i)
      throw new Refusal("is a hole in an array; write undefined or null there")
    }
    walk.path.push(i)
    copy.push(convert(array[i], walk, depth + 1))
    walk.path.pop()
  }
  return copy
}

function convertProperties(object: object, walk: Walk, depth: number): object {
  const keys = Object.keys(object)
  const wrapped = keys.length === 1 && isTag(keys[0]!)
  const entries = keys.map((key): [string, unknown] => {
    walk.path.push(key)
    const fault = textFault(key)
    if (fault !== undefined) throw new Refusal(`has a name that ${fault}; rename it`)
    const converted = convert((object as Record<string, unknown>)[key], walk, depth + (wrapped ? 2 : 1))
    walk.path.pop()
    return [key, converted]
  })
  // fromEntries defines properties, so a key `__proto__` stays a key.
  const copy = Object.fromEntries(entries)
  return wrapped ? { $object: copy } : copy
}

function step(value: unknown, segment: Segment, walk: Walk, depth: number): unknown {
  walk.path.push(segment)
  const converted = convert(value, walk, depth)
  walk.path.pop()
  return converted
}
