/** From what a caller asks for to a row: options merged, the input validated, the arguments encoded and measured. */
import { InvalidOptionError, PayloadTooLargeError, UnknownJobError } from "../api/errors.js"
import { encodeArgs } from "../codec/codec.js"
import { describeValue } from "../lib/invalid-option.js"
import type { StoredRetention } from "../lib/option-checks.js"
import type { EnqueueRequest, RequestEdge } from "../task/client.js"
import type { Draft, DraftKey, DraftParent, StoredOptions } from "../task/draft-types.js"
import { checkDeduplicate } from "../task/job-option-checks.js"
import { keyOf } from "../task/limits.js"
import { type CheckedOptions, checkEnqueueOptions, DEFAULT_MAX_CRASHES } from "../task/options.js"
import { validateArgs } from "../task/schema-check.js"
import type { TaskSpec } from "../task/spec.js"

/**
 * Builds the draft of one job; a Promise only when the task's schema is asynchronous.
 *
 * @param maxPayloadBytes largest argument list as JSON in UTF-8; null: no limit
 * @throws InvalidOptionError, PayloadError, PayloadTooLargeError, ValidationError, and UnknownJobError for a parent's id that cannot be one
 */
export function buildDraft(request: EnqueueRequest, maxPayloadBytes: number | null): Draft | Promise<Draft> {
  const { task: spec, args } = request
  const checked = checkEnqueueOptions(request.options, spec.name)
  checkParentIds(checked.parents, spec.name)
  // Encoded before anything is awaited: what is stored is what the caller passed, whatever becomes of the objects later.
  const json = encodeArgs(args, `The argument list of task "${spec.name}"`)
  checkSize(json, maxPayloadBytes, spec.name)
  // What a parent's result will fill is not there yet; the worker validates it before the run.
  if (spec.input === undefined || request.edges?.some((edge) => edge.paths.length > 0)) return assemble(spec, checked, json, args, request.edges)
  const output = validateArgs(spec.input, args, spec.name)
  return output instanceof Promise ? output.then((value) => assemble(spec, checked, json, [value])) : assemble(spec, checked, json, [output])
}

/** @param seen the arguments as the task's own functions see them: the schema's output where there is one */
function assemble(spec: TaskSpec, checked: CheckedOptions, json: string, seen: readonly unknown[], edges?: readonly RequestEdge[]): Draft {
  const { local } = spec
  const retries = checked.retries ?? (local ? spec.retries : undefined)
  return {
    task: spec.name,
    queue: checked.queue ?? (local ? spec.queue : undefined),
    priority: checked.priority ?? (local ? spec.priority : undefined),
    maxAttempts: retries === undefined ? undefined : retries + 1,
    args: json,
    delayMs: checked.delayMs,
    runAt: checked.runAt,
    ttlMs: checked.ttlMs ?? (local ? spec.ttlMs : undefined),
    headers: checked.headers,
    stored: storedOptions(spec, checked),
    customId: checked.customId,
    key: checked.key ?? keyFromTask(spec, seen),
    concurrencyKey: checked.concurrencyKey ?? keyOf("concurrency", spec, seen, edges),
    rateKey: checked.rateKey ?? keyOf("rateLimit", spec, seen, edges),
    parents: checked.parents,
    wake: checked.wake,
    local,
  }
}

/**
 * What the row itself must carry. A worker takes backoff and timeout from the task, which it has; retention and the crash limit also concern jobs
 * whose worker is gone, so those of the task travel with the job.
 */
function storedOptions(spec: TaskSpec, checked: CheckedOptions): StoredOptions | undefined {
  const { backoff, timeoutMs, repeatEveryMs } = checked
  const keep: StoredRetention | undefined = spec.local && spec.keep !== undefined ? { ...spec.keep, ...checked.keep } : checked.keep
  const maxCrashes = spec.local && spec.maxCrashes !== DEFAULT_MAX_CRASHES ? spec.maxCrashes : undefined
  if (backoff === undefined && timeoutMs === undefined && keep === undefined && maxCrashes === undefined && repeatEveryMs === undefined)
    return undefined
  return {
    ...(backoff !== undefined && { backoff }),
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(keep !== undefined && { keep }),
    ...(maxCrashes !== undefined && { maxCrashes }),
    ...(repeatEveryMs !== undefined && { repeatEveryMs }),
  }
}

function keyFromTask(spec: TaskSpec, args: readonly unknown[]): DraftKey | undefined {
  if (spec.deduplicate === undefined) return undefined
  let key: unknown
  try {
    key = spec.deduplicate(...args)
  } catch (error) {
    const message = error instanceof Error ? error.message : describeValue(error)
    throw new InvalidOptionError(`deduplicate() of task "${spec.name}" threw: ${message}`, { cause: error })
  }
  return checkDeduplicate(key, `the result of deduplicate() of task "${spec.name}"`)
}

function checkSize(json: string, limit: number | null, taskName: string): void {
  // A UTF-16 unit takes at most three bytes: short text needs no counting.
  if (limit === null || json.length * 3 <= limit) return
  const bytes = Buffer.byteLength(json)
  if (bytes <= limit) return
  throw new PayloadTooLargeError(
    `The arguments of task "${taskName}" take ${bytes.toLocaleString("en")} bytes as JSON, and the limit is ${limit.toLocaleString("en")}; ` +
      "store the data elsewhere and pass its id, or raise maxPayloadBytes in configure()",
  )
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

function checkParentIds(parents: readonly DraftParent[], taskName: string): void {
  for (const { id } of parents) {
    if (UUID.test(id)) continue
    throw new UnknownJobError(
      `A job of task "${taskName}" depends on ${describeValue(id)}, which is no job's id; pass job.id (a custom id finds its job by ` +
        "await tusk.queue(name).job(customId))",
    )
  }
}
