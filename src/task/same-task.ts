/**
 * Whether two definitions are one task whose module was evaluated twice, as a bundler's two entries, `vi.resetModules()` or an import with a query
 * do. Their functions are different objects then, with the same text but for names that a minifier chose; so are their options, with
 * the same content.
 */
import { sameButForShortNames } from "./same-text.js"

export type AnyFunction = (...args: any[]) => unknown

interface Definition {
  readonly source: AnyFunction
  readonly spec: { readonly options: object }
}

export function isSameTask(a: Definition, b: Definition): boolean {
  return sameText(a.source, b.source) && same(a.spec.options, b.spec.options, new Map())
}

export function textOf(source: unknown): string {
  return Function.prototype.toString.call(source)
}

/** A native or bound function has no text of its own. */
function sameText(a: unknown, b: unknown): boolean {
  return a === b || (sameCode(a, b) && !/\{\s*\[native code\]\s*\}$/.test(textOf(a)))
}

function sameCode(a: unknown, b: unknown): boolean {
  return textOf(a) === textOf(b) || sameButForShortNames(textOf(a), textOf(b))
}

/** By content: functions by text, objects (schemas, too) by their own properties. `seen`: pairs under comparison, since schemas have cycles. */
function same(a: unknown, b: unknown, seen: Map<object, object>): boolean {
  if (Object.is(a, b)) return true
  if (typeof a === "function" && typeof b === "function") return sameCode(a, b)
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false
  if (seen.get(a) === b) return true
  seen.set(a, b)
  if (a.constructor?.name !== b.constructor?.name) return false
  if (a instanceof Date || a instanceof RegExp) return String(a) === String(b) && Number(a) === Number(b)
  if (a instanceof Map || a instanceof Set) return same([...a], [...(b as Map<unknown, unknown>)], seen)
  const keys = Reflect.ownKeys(a)
  if (keys.length !== Reflect.ownKeys(b).length) return false
  return keys.every((key) => Object.hasOwn(b, key) && same(read(a, key), read(b, key), seen))
}

/** Schemas compute some of it on demand, and refuse some questions. */
function read(object: object, key: PropertyKey): unknown {
  try {
    return Reflect.get(object, key)
  } catch {
    return undefined
  }
}
