import { types } from "node:util"

/**
 * Why an object cannot be stored and what to pass instead, or undefined for arrays, maps, sets and plain objects (also of another realm, also
 * without a prototype). An instance of a class would come back as a plain object, without its methods: refusing it beats a handler that fails on them.
 */
export function refusalOfObject(value: object): string | undefined {
  const prototype: object | null = Object.getPrototypeOf(value)
  if (prototype === null || isRoot(prototype)) return undefined
  // Array.prototype and its like stand one below the root, in any realm; those of subclasses further down.
  if (isBuiltIn(value) && isRoot(Object.getPrototypeOf(prototype))) return undefined
  return `is ${instance(value)}; ${advice(value)}`
}

function isBuiltIn(value: object): boolean {
  return Array.isArray(value) || types.isMap(value) || types.isSet(value)
}

function isRoot(prototype: object | null): boolean {
  return prototype !== null && Object.getPrototypeOf(prototype) === null
}

function advice(value: object): string {
  if (types.isPromise(value)) return "await it first"
  if (types.isNativeError(value)) return "pass its message, or { name, message }"
  if (types.isRegExp(value)) return "pass its source, and build it in the handler"
  if (types.isBoxedPrimitive(value)) return "pass the primitive value"
  if (value instanceof URL || value instanceof URLSearchParams) return "pass its text (String(value)), and parse it in the handler"
  if (types.isAnyArrayBuffer(value)) return "pass new Uint8Array(value)"
  if (ArrayBuffer.isView(value)) return "pass Array.from(value), or a Uint8Array over its buffer"
  if (Array.isArray(value)) return "pass Array.from(value)"
  if (types.isMap(value) || types.isSet(value)) return `pass new ${types.isMap(value) ? "Map" : "Set"}(value)`
  const plain = "toJSON" in value && typeof value.toJSON === "function" ? "value.toJSON()" : "a plain object ({ ...value })"
  return `pass ${plain} or its id, and build the instance in the handler`
}

function instance(value: object): string {
  const constructor: unknown = value.constructor
  const name = typeof constructor === "function" ? constructor.name : ""
  if (name === "" || name === "Object") return "an object with a prototype of its own"
  return `an instance of ${name}`
}
