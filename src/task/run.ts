import { UnknownTaskError } from "../api/errors.js"
import type { ReportProgress } from "../api/worker.js"
import { validateArgs } from "./schema-check.js"
import type { TaskSpec } from "./spec.js"

/**
 * Runs the function of a task, for a direct call and for a worker alike: the arguments pass the schema first (the function gets its output), and
 * `report` stands before them when the task asks for progress. Returns what the function returns, or a Promise of it with an asynchronous schema.
 *
 * @throws UnknownTaskError when the task has no function in this process
 * @throws ValidationError when the schema refuses the input
 */
export function runTask(spec: TaskSpec, args: readonly unknown[], report: ReportProgress): unknown {
  const { handler, input } = spec
  if (handler === undefined) {
    throw new UnknownTaskError(
      `Task "${spec.name}" has no function in this process; import the module that defines it (for a method also call tusk.register(instance)), ` +
        "or enqueue it and let a worker run it",
    )
  }
  if (input === undefined) return call(handler, args, spec.progress, report)
  const output = validateArgs(input, args, spec.name)
  return output instanceof Promise
    ? output.then((value) => call(handler, [value], spec.progress, report))
    : call(handler, [output], spec.progress, report)
}

function call(handler: NonNullable<TaskSpec["handler"]>, args: readonly unknown[], progress: TaskSpec["progress"], report: ReportProgress): unknown {
  return progress ? handler(report, ...args) : handler(...args)
}
