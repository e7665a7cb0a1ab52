import type { EnqueueOptions } from "../api/options.js"
import type { Task } from "../api/task.js"
import { checkName, DEFAULT_MAX_CRASHES, DEFAULT_PRIORITY, DEFAULT_QUEUE, mergeOptions } from "./options.js"
import { createTask } from "./producer.js"
import { findTask } from "./registry.js"
import type { TaskSpec } from "./spec.js"

/**
 * A producer's view of a task whose code lives elsewhere: import its type only, and the producer's bundle holds nothing of the worker. Defaults
 * (queue, retries, ttl, …) come from what workers publish about the task, under the options given here. Calling it runs the task when its module
 * happens to be loaded in this process too, and otherwise rejects with UnknownTaskError.
 *
 * @throws InvalidOptionError for an empty name or wrong options
 * @example
 * import type { sendEmail } from "./worker/tasks.js"
 * const remote = taskRef<typeof sendEmail>("emails.send")
 * await remote.enqueue("a@b.c", "Hi")
 */
export function taskRef<T extends Task<any, any>>(name: string, options: EnqueueOptions = {}): T {
  const spec = remoteSpec(name)
  return createTask(spec, mergeOptions({}, options, spec.name), () => findTask(spec.name) ?? spec) as T
}

/** A task of which only the name is known; what is left out of its jobs comes from the table in which workers publish. */
export function remoteSpec(name: string): TaskSpec {
  const checked = checkName(name)
  return Object.freeze({
    name: checked,
    options: Object.freeze({ name: checked }),
    queue: DEFAULT_QUEUE,
    priority: DEFAULT_PRIORITY,
    retries: 0,
    ttlMs: undefined,
    timeoutMs: undefined,
    backoff: undefined,
    maxCrashes: DEFAULT_MAX_CRASHES,
    keep: undefined,
    progress: false,
    transactional: false,
    input: undefined,
    deduplicate: undefined,
    concurrency: undefined,
    rateLimit: undefined,
    handler: undefined,
    local: false,
  })
}
