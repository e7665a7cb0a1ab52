/** Options are checked once, where they are given; everything behind works with `TaskSpec` and `CheckedOptions`. */
import { InvalidOptionError } from "../api/errors.js"
import type { Backoff, EnqueueOptions, TaskOptions } from "../api/options.js"
import { toPositiveMilliseconds } from "../lib/duration.js"
import { describeValue, invalidOption } from "../lib/invalid-option.js"
import {
  checkBoolean,
  checkFunction,
  checkHeaders,
  checkInteger,
  checkKeep,
  checkOneOf,
  checkText,
  isList,
  propertyOf,
  readOptions,
  type StoredRetention,
} from "../lib/option-checks.js"
import { suggest } from "../lib/suggest.js"
import { checkBackoff } from "./backoff.js"
import { CLIENT } from "./client.js"
import type { DraftKey, DraftParent } from "./draft-types.js"
import { checkDeduplicate, checkDependsOn, checkDue, checkId, PARENT_FAILURES } from "./job-option-checks.js"
import { checkConcurrency, checkKeyedRate, checkLimitKey } from "./limits.js"
import { checkSchema } from "./schema-check.js"
import type { TaskSpec } from "./spec.js"

/**
 * Options that the contract has and this version does not serve yet, each with the values that ask for it. They are refused rather than ignored.
 * Delete a line when its feature arrives.
 */
export const NOT_IMPLEMENTED: Readonly<Record<string, (value: unknown) => boolean>> = {
  runIn: (value) => value === "thread" || value === "process",
}

const RUN_OPTIONS = ["queue", "retries", "backoff", "ttl", "timeout", "priority", "keep"] as const
const TASK_OPTIONS = [
  ...(["name", ...RUN_OPTIONS, "progress", "transactional", "input", "deduplicate"] as const),
  ...(["concurrency", "rateLimit", "maxCrashes", "runIn", "onError"] as const),
] as const
const ENQUEUE_OPTIONS = [
  ...RUN_OPTIONS,
  ...(["via", "tx", "delay", "dependsOn", "onParentFailure", "repeatEvery", "id", "deduplicate", "headers", "wake"] as const),
  ...(["concurrencyKey", "rateLimitKey"] as const),
] as const

export const DEFAULT_QUEUE = "default"
export const DEFAULT_PRIORITY = 5
export const DEFAULT_MAX_CRASHES = 5

/** What the options say about a task; the function is the rest of its spec. */
export type TaskSettings = Omit<TaskSpec, "handler" | "local">

/**
 * Checks the options of `task()` and fills in the defaults.
 * @param ownName the name of the function or method, used when `options.name` is not given
 * @throws InvalidOptionError
 */
export function checkTaskOptions(options: TaskOptions, ownName = ""): TaskSettings {
  const first = "The first argument of task()"
  if (typeof options !== "object" || options === null || isList(options)) {
    throw invalidOption(first, options, "which is not an object of options", 'write task({ name: "emails.send" }, function)')
  }
  const input: TaskOptions & { input?: unknown } = readOptions(options, TASK_OPTIONS, first, (key) => {
    const move = (): string => `give it with each job: task.with({ ${key}: … }).enqueue(…)`
    return unknownOption(key, TASK_OPTIONS, `of task ${describeValue(options.name ?? ownName)}`, ENQUEUE_OPTIONS, move)
  })
  const name = checkName(input.name === undefined ? ownName : input.name)
  const field = (option: string): string => `option "${option}" of task "${name}"`
  if (input.runIn !== undefined) checkOneOf(input.runIn, field("runIn"), ["main", "thread", "process"])
  for (const [option, asksForIt] of Object.entries(NOT_IMPLEMENTED)) {
    const value: unknown = input[option as keyof TaskOptions]
    if (value === undefined || !asksForIt(value)) continue
    throw invalidOption(field(option), value, "which this version of pgtusk does not implement yet", "leave the option out")
  }
  if (input.deduplicate !== undefined) checkFunction(input.deduplicate, field("deduplicate"), "deduplicate: (orderId) => orderId")
  if (input.onError !== undefined) checkFunction(input.onError, field("onError"), 'onError: (error) => (error.status === 404 ? "fail" : undefined)')
  return {
    name,
    options: Object.freeze(input),
    queue: input.queue === undefined ? DEFAULT_QUEUE : checkText(input.queue, field("queue")),
    priority: input.priority === undefined ? DEFAULT_PRIORITY : checkPriority(input.priority, field("priority")),
    retries: input.retries === undefined ? 0 : checkRetries(input.retries, field("retries")),
    ttlMs: input.ttl === undefined ? undefined : toPositiveMilliseconds(input.ttl, field("ttl")),
    timeoutMs: input.timeout === undefined ? undefined : toPositiveMilliseconds(input.timeout, field("timeout")),
    backoff: input.backoff === undefined || typeof input.backoff === "function" ? input.backoff : checkBackoff(input.backoff, field("backoff")),
    maxCrashes:
      input.maxCrashes === undefined
        ? DEFAULT_MAX_CRASHES
        : checkInteger(input.maxCrashes, field("maxCrashes"), 1, 32_767, "workers that may vanish with a job of it"),
    keep: input.keep === undefined ? undefined : checkKeep(input.keep, field("keep")),
    progress: input.progress === undefined ? false : checkBoolean(input.progress, field("progress")),
    transactional: input.transactional === undefined ? false : checkBoolean(input.transactional, field("transactional")),
    input: input.input === undefined ? undefined : checkSchema(input.input, field("input")),
    deduplicate: input.deduplicate,
    concurrency: input.concurrency === undefined ? undefined : checkConcurrency(input.concurrency, field("concurrency")),
    rateLimit: input.rateLimit === undefined ? undefined : checkKeyedRate(input.rateLimit, field("rateLimit")),
  }
}

/** The name of a task, as `options.name`, a function's own name and `taskRef` give it. */
export function checkName(name: unknown): string {
  if (name === "") throw new InvalidOptionError('A task needs a name, and its function has none; write task({ name: "emails.send" }, function)')
  return checkText(name, 'option "name" of a task')
}

/** The options of one job, checked: durations in milliseconds, copies of what the caller could still change. */
export interface CheckedOptions {
  readonly queue: string | undefined
  readonly priority: number | undefined
  readonly retries: number | undefined
  readonly backoff: Backoff | undefined
  readonly ttlMs: number | undefined
  readonly timeoutMs: number | undefined
  readonly keep: StoredRetention | undefined
  readonly delayMs: number | undefined
  /** ISO text. */
  readonly runAt: string | undefined
  readonly parents: readonly DraftParent[]
  readonly repeatEveryMs: number | undefined
  readonly customId: string | undefined
  readonly key: DraftKey | undefined
  readonly concurrencyKey: string | undefined
  readonly rateKey: string | undefined
  readonly headers: Readonly<Record<string, string>> | undefined
  readonly wake: boolean
}

// Views made by `with()` are frozen and used for many jobs: each carries what its check found. (Not in a WeakMap: that costs as much as the check.)
const CHECKED: unique symbol = Symbol("checked")

/** No options, for jobs of a bare task. */
export const NO_OPTIONS: EnqueueOptions = mergeOptions({}, {}, "")

/** `base` with `extra` over it, checked and frozen. What is undefined in `extra` is not given, and changes nothing. */
export function mergeOptions(base: EnqueueOptions, extra: EnqueueOptions, taskName: string): EnqueueOptions {
  const merged = { ...(isView(base) ? base : readJobOptions(base, taskName)), ...readJobOptions(extra, taskName) }
  Object.defineProperty(merged, CHECKED, { value: check(merged, taskName) })
  return Object.freeze(merged)
}

/**
 * Checks the options of one job.
 * @throws InvalidOptionError
 */
export function checkEnqueueOptions(options: EnqueueOptions, taskName: string): CheckedOptions {
  const view = options as { [CHECKED]?: CheckedOptions }
  // Its own: an object that inherits from a view may say something else.
  return (isView(view) ? view[CHECKED] : undefined) ?? check(readJobOptions(options, taskName), taskName)
}

function isView(options: unknown): boolean {
  try {
    return typeof options === "object" && options !== null && Object.hasOwn(options, CHECKED)
  } catch {
    return false
  }
}

function readJobOptions(options: unknown, taskName: string): EnqueueOptions {
  const of = `of a job of task "${taskName}"`
  if (typeof options !== "object" || options === null || isList(options)) {
    throw invalidOption(`The options ${of}`, options, "which is not an object", "write with({ delay: 5 })")
  }
  return readOptions(options, ENQUEUE_OPTIONS, `The options ${of}`, (key) =>
    unknownOption(key, ENQUEUE_OPTIONS, of, TASK_OPTIONS, () => `give it to the task: task({ ${key}: … }, function)`),
  )
}

function check(options: EnqueueOptions, taskName: string): CheckedOptions {
  const field = (option: string): string => `option "${option}" of a job of task "${taskName}"`
  checkVia(options.via, field("via"))
  if (options.tx === null) {
    throw invalidOption(field("tx"), null, "which is no transaction", "pass the transaction that your client gave you, or leave the option out")
  }
  const onParentFailure =
    options.onParentFailure === undefined ? "block" : checkOneOf(options.onParentFailure, field("onParentFailure"), PARENT_FAILURES)
  return {
    queue: options.queue === undefined ? undefined : checkText(options.queue, field("queue")),
    priority: options.priority === undefined ? undefined : checkPriority(options.priority, field("priority")),
    retries: options.retries === undefined ? undefined : checkRetries(options.retries, field("retries")),
    backoff: options.backoff === undefined ? undefined : checkBackoff(options.backoff, field("backoff")),
    ttlMs: options.ttl === undefined ? undefined : toPositiveMilliseconds(options.ttl, field("ttl")),
    timeoutMs: options.timeout === undefined ? undefined : toPositiveMilliseconds(options.timeout, field("timeout")),
    keep: options.keep === undefined ? undefined : checkKeep(options.keep, field("keep")),
    ...checkDue(options.delay, field("delay")),
    parents: options.dependsOn === undefined ? [] : checkDependsOn(options.dependsOn, onParentFailure, field("dependsOn")),
    repeatEveryMs: options.repeatEvery === undefined ? undefined : toPositiveMilliseconds(options.repeatEvery, field("repeatEvery")),
    customId: options.id === undefined ? undefined : checkId(options.id, field("id")),
    key: options.deduplicate === undefined ? undefined : checkDeduplicate(options.deduplicate, field("deduplicate")),
    concurrencyKey: options.concurrencyKey === undefined ? undefined : checkLimitKey(options.concurrencyKey, field("concurrencyKey")),
    rateKey: options.rateLimitKey === undefined ? undefined : checkLimitKey(options.rateLimitKey, field("rateLimitKey")),
    headers: options.headers === undefined ? undefined : checkHeaders(options.headers, field("headers")),
    wake: options.wake === undefined ? true : checkOneOf(options.wake, field("wake"), ["now", "poll"]) === "now",
  }
}

function checkVia(via: unknown, field: string): void {
  if (via === undefined || propertyOf(via, CLIENT) !== undefined) return
  throw invalidOption(field, via, "which is not a client of pgtusk", "pass what configure() or new Tusk() returned")
}

function checkPriority(value: unknown, field: string): number {
  return checkInteger(value, field, -32_768, 32_767, "lower runs first")
}

function checkRetries(value: unknown, field: string): number {
  return checkInteger(value, field, 0, 32_767, "extra runs after the first")
}

/** `elsewhere` are the options of the other kind; for one of them, `move` says where it belongs. */
function unknownOption(key: string, known: readonly string[], of: string, elsewhere: readonly string[], move: () => string): InvalidOptionError {
  const meant = suggest(key, known)
  const remedy = elsewhere.includes(key)
    ? move()
    : meant === undefined
      ? `its options are ${known.join(", ")}`
      : `did you mean ${JSON.stringify(meant)}?`
  return new InvalidOptionError(`Unknown option ${JSON.stringify(key)} ${of}; ${remedy}`)
}
