/** Recognising objects of libraries that pgtusk does not depend on: by what they can do, never by `instanceof`. */
import type { QueryOutcome } from "../run/executor.js"

/** An object of a library, seen through the names that we look at. */
export type Shape = object & Record<string, any>

/** Whether `value` (an object or a function) has all these methods. */
export function hasMethods<K extends string>(value: unknown, ...names: readonly K[]): value is Shape & Record<K, (...args: any[]) => any> {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false
  return names.every((name) => typeof Reflect.get(value, name) === "function")
}

/** Rows and count of what postgres.js returns: an array with a `count`. Undefined for anything else. */
export function outcomeOfArray<T>(result: unknown): QueryOutcome<T> | undefined {
  if (!Array.isArray(result)) return undefined
  return { rows: Array.from<T>(result), rowCount: countOf(Reflect.get(result, "count")) ?? result.length }
}

/** Rows and count of what pg and its kin return: `{ rows, rowCount }`. Undefined for anything else. */
export function outcomeOfResult<T>(result: unknown): QueryOutcome<T> | undefined {
  if (typeof result !== "object" || result === null) return undefined
  const rows: unknown = Reflect.get(result, "rows")
  if (!Array.isArray(rows)) return undefined
  return { rows, rowCount: countOf(Reflect.get(result, "rowCount")) ?? countOf(Reflect.get(result, "affectedRows")) }
}

function countOf(value: unknown): number | null {
  return typeof value === "number" ? value : typeof value === "bigint" ? Number(value) : null
}
