import type { Call } from "../api/task.js"
import { invalidOption } from "../lib/invalid-option.js"
import { propertyOf } from "../lib/option-checks.js"
import type { EnqueueRequest } from "./client.js"
import { mergeOptions } from "./options.js"

// A shared symbol, so that a call made by one copy of the package is one for the other too.
const PARTS: unique symbol = Symbol.for("pgtusk.call")

/** A task with its arguments and options, not yet enqueued. */
export function createCall<R>(parts: EnqueueRequest): Call<R> {
  const call = {
    [PARTS]: parts,
    with: (options: EnqueueRequest["options"]): Call<R> => createCall({ ...parts, options: mergeOptions(parts.options, options, parts.task.name) }),
  }
  // `~result` only carries the type.
  return Object.freeze(call) as unknown as Call<R>
}

/**
 * What a call is made of: the request that `enqueue` would have sent.
 * @throws InvalidOptionError when it is no call
 */
export function callParts(call: Call<any>): EnqueueRequest {
  const parts: unknown = propertyOf(call, PARTS)
  if (parts === undefined) throw invalidOption("A call", call, "which is none", "write task.call(…arguments)")
  return parts as EnqueueRequest
}
