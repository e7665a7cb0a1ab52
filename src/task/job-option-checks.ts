/** Checks of the options that only one job can have, not a task. */

import type { Duration } from "../api/duration.js"
import type { OnParentFailure } from "../api/options.js"
import { toMilliseconds, toPositiveMilliseconds } from "../lib/duration.js"
import { badOption, describeValue, invalidOption } from "../lib/invalid-option.js"
import { checkBoolean, checkDate, checkKeyText, checkOneOf, checkText, isA, isList, propertyOf, readOptions } from "../lib/option-checks.js"
import type { DraftKey, DraftParent } from "./draft-types.js"

export const PARENT_FAILURES: readonly OnParentFailure[] = ["block", "fail", "cancel", "run"]

/** `delay`: a duration from now, or an instant. */
export function checkDue(delay: unknown, field: string): { delayMs: number | undefined; runAt: string | undefined } {
  if (delay === undefined) return { delayMs: undefined, runAt: undefined }
  if (!isA(delay, Date)) return { delayMs: toMilliseconds(delay as Duration, field), runAt: undefined }
  return { delayMs: undefined, runAt: checkDate(delay, field).toISOString() }
}

/** A custom id. Digits alone and `:` are kept back, so that an id can never be taken for a number or a key of ours. */
export function checkId(value: unknown, field: string): string {
  const id = checkText(value, field)
  if (/^\d+$/.test(id)) throw invalidOption(field, id, "which is made of digits only", `write something more, as in ${JSON.stringify(`order-${id}`)}`)
  if (id.includes(":")) throw invalidOption(field, id, 'which holds a ":"', `write another sign, as in ${JSON.stringify(id.replaceAll(":", "-"))}`)
  return id
}

// Keys and queues share an index, and Postgres limits an index row to 2,704 bytes.
const MAX_KEY_BYTES = 1_000

/** `deduplicate`: a key, or a key with its rules. */
export function checkDeduplicate(value: unknown, field: string): DraftKey {
  if (typeof value === "string") return { key: checkKey(value, field), ttlMs: undefined, replace: false, extend: false }
  if (typeof value !== "object" || value === null) {
    throw invalidOption(field, value, "which is not a key", 'write a string, or { key: "user-42", ttl: "1h", replace: false, extend: false }')
  }
  const given = readOptions(value, ["key", "ttl", "replace", "extend"], field)
  const ttlMs = given.ttl === undefined ? undefined : toPositiveMilliseconds(given.ttl as Duration, `ttl of ${field}`)
  const extend = given.extend === undefined ? false : checkBoolean(given.extend, `extend of ${field}`)
  if (extend && ttlMs === undefined) throw invalidOption(`extend of ${field}`, true, "which needs a time to extend", 'add a ttl, as in ttl: "1h"')
  const replace = given.replace === undefined ? false : checkBoolean(given.replace, `replace of ${field}`)
  return { key: checkKey(given.key, `key of ${field}`), ttlMs, replace, extend }
}

function checkKey(value: unknown, field: string): string {
  const key = checkKeyText(value, field, MAX_KEY_BYTES)
  const bytes = Buffer.byteLength(key)
  if (bytes <= MAX_KEY_BYTES) return key
  throw badOption(`${field} is ${bytes} bytes long (${describeValue(key)}); write at most ${MAX_KEY_BYTES}, or a hash of it`)
}

/** `dependsOn` as edges. One parent twice is one edge; with two different policies it is an error. */
export function checkDependsOn(value: unknown, fallback: OnParentFailure, field: string): readonly DraftParent[] {
  if (!isList(value)) throw invalidOption(field, value, "which is not a list", "write dependsOn: [job]")
  const parents = new Map<string, DraftParent>()
  for (const [i, element] of value.entries()) {
    const parent = checkParent(element, fallback, `element ${i} of ${field}`)
    const known = parents.get(parent.id)
    if (known !== undefined && known.onFailure !== parent.onFailure) {
      throw badOption(`${field} names job ${parent.id} twice, with onFailure ${known.onFailure} and ${parent.onFailure}; name it once`)
    }
    parents.set(parent.id, parent)
  }
  return [...parents.values()]
}

function checkParent(element: unknown, fallback: OnParentFailure, field: string): DraftParent {
  const id = idOf(element)
  if (id !== undefined) return { id, onFailure: fallback }
  if (isA(element, Promise)) throw invalidOption(field, element, "which is a Promise", "await enqueue() first, and pass the job")
  if (!has(element, "job")) {
    throw invalidOption(field, element, "which is not a job", 'write a job, a job\'s id, or { job, onFailure: "run" }')
  }
  const edge = readOptions(element, ["job", "onFailure"], field)
  const inner = idOf(edge.job)
  if (inner === undefined) throw invalidOption(`job of ${field}`, edge.job, "which is not a job", "write a job or a job's id")
  const onFailure = edge.onFailure === undefined ? fallback : checkOneOf(edge.onFailure, `onFailure of ${field}`, PARENT_FAILURES)
  return { id: inner, onFailure }
}

/** Whether the id is one of ours, a uuid, is asked when the job is stored: until then it is a job that may not exist. */
function idOf(value: unknown): string | undefined {
  if (typeof value === "string") return value.toLowerCase()
  const id = propertyOf(value, "id")
  return typeof id === "string" ? id.toLowerCase() : undefined
}

/** Whether it is an object with that property; not for one that does not let itself be asked. */
function has(value: unknown, property: string): boolean {
  try {
    return typeof value === "object" && value !== null && property in value
  } catch {
    return false
  }
}
