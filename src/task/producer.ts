import type { Job } from "../api/job.js"
import type { EnqueueOptions, When } from "../api/options.js"
import type { Schedule } from "../api/schedule.js"
import type { BoundTask, Task } from "../api/task.js"
import { invalidOption } from "../lib/invalid-option.js"
import { isList } from "../lib/option-checks.js"
import { createCall } from "./call.js"
import { clientFor } from "./client.js"
import { mergeOptions } from "./options.js"
import { currentProgress } from "./progress.js"
import { runTask } from "./run.js"
import type { TaskSpec } from "./spec.js"

type AnyBoundTask = BoundTask<readonly any[], unknown>

/** The enqueueing half of a task, with options. Its methods need no `this`, so they may be taken off and passed on. */
function createProducer(spec: TaskSpec, options: EnqueueOptions): AnyBoundTask {
  const enqueue = async (...args: unknown[]): Promise<Job> => {
    const [job] = await clientFor(options.via).submit([{ task: spec, args, options }])
    return job!
  }
  return {
    taskName: spec.name,
    enqueue,
    delay: enqueue,
    send: enqueue,
    async enqueueMany(list: readonly (readonly unknown[])[]): Promise<Job[]> {
      checkArgumentLists(list, spec.name)
      if (list.length === 0) return []
      return clientFor(options.via).submit(list.map((args) => ({ task: spec, args, options })))
    },
    with: (extra: EnqueueOptions): AnyBoundTask => Object.freeze(createProducer(spec, mergeOptions(options, extra, spec.name))),
    async schedule(id: string, when: When, ...args: unknown[]): Promise<Schedule> {
      return clientFor(options.via).schedule(id, when, { task: spec, args, options })
    },
    call: (...args: unknown[]) => createCall({ task: spec, args, options }),
  }
}

/**
 * A whole task: its producer on a function that runs it here and now.
 * @param current the spec at the time of a call, for tasks whose function comes later than their name
 */
export function createTask(spec: TaskSpec, options: EnqueueOptions, current: () => TaskSpec = () => spec): Task {
  const runHere = async (...args: unknown[]): Promise<unknown> => runTask(current(), args, currentProgress())
  Object.defineProperty(runHere, "name", { value: spec.name, configurable: true })
  // Assigned as plain properties, so that a test may put spies in their place.
  return Object.assign(runHere, createProducer(spec, options), { options: spec.options }) as Task
}

function checkArgumentLists(list: unknown, taskName: string): void {
  const field = `The list for enqueueMany() of task "${taskName}"`
  if (!isList(list)) throw invalidOption(field, list, "which is not an array", "write one argument list for each job: [[first], [second]]")
  const wrong = list.findIndex((args) => !isList(args))
  if (wrong === -1) return
  throw invalidOption(`Item ${wrong} of ${lowerFirst(field)}`, list[wrong], "which is not an argument list", "write [argument] also for a single one")
}

function lowerFirst(text: string): string {
  return text[0]!.toLowerCase() + text.slice(1)
}
