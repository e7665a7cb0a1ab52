import type { StandardSchema, TaskOptions } from "../api/options.js"
import type { Task } from "../api/task.js"
import type { ReportProgress } from "../api/worker.js"
import { invalidOption } from "../lib/invalid-option.js"
import { methodDecorator } from "./decorator.js"
import type { AnyKey, Arguments, Fits, In, Known, OptionsWithKey, Out, Plain, Result, Settled, Tail, WithReport } from "./infer.js"
import { checkTaskOptions, NO_OPTIONS } from "./options.js"
import { createTask } from "./producer.js"
import { registerTask } from "./registry.js"
import type { AnyFunction } from "./same-task.js"
import type { TaskSpec } from "./spec.js"

/**
 * Makes a function a task: call it to run it here and now, `enqueue` to have a worker run it. Defining one registers its name and touches no
 * database.
 *
 * Arguments and results keep JSON values, undefined, NaN and infinities, Date, bigint, Uint8Array, Map and Set; anything else is a PayloadError.
 * With `progress: true` the function gets `reportProgress` as its first parameter, and callers do not pass it. With `input` (a Standard Schema)
 * it takes one argument: the input is checked on `enqueue`, stored as given, and the function gets the schema's output of it.
 *
 * @throws InvalidOptionError for an option that is misspelt or out of range, and when there is no name
 * @throws DuplicateTaskError when another function has the name
 * @example
 * export const sendEmail = task({ name: "emails.send", retries: 3, ttl: "1h" }, async (to: string, subject: string, body = "") => { … })
 * await sendEmail.enqueue("a@b.c", "Hi")
 * await sendEmail.with({ delay: "10m" }).enqueue("a@b.c", "Hi", "later")
 * @example
 * const report = task({ name: "reports.build", progress: true }, async (reportProgress, rows: number[]) => { reportProgress(0.5) })
 * await report.enqueue([1, 2, 3])
 */
export function task<S extends StandardSchema<any, any>, R>(
  options: TaskOptions<[Out<S>]> & { input: S; progress: true },
  fn: (report: ReportProgress, input: Out<S>) => R,
): Task<[input: In<S>], Awaited<R>>
export function task<S extends StandardSchema<any, any>, R>(
  options: TaskOptions<[Out<S>]> & { input: S; progress?: false },
  fn: (input: Out<S>) => R,
): Task<[input: In<S>], Awaited<R>>
export function task<F extends WithReport>(
  options: TaskOptions<Known<Tail<Arguments<F>>>> & { progress: true },
  fn: Settled<F>,
): Task<Tail<Arguments<F>>, Result<F>>
export function task<F extends WithReport, D extends AnyKey>(
  options: OptionsWithKey<D> & { progress: true },
  fn: Fits<F, D, Tail<Arguments<F>>>,
): Task<Tail<Arguments<F>>, Result<F>>
export function task<F extends Plain>(options: TaskOptions<Known<Arguments<F>>> & { progress?: false }, fn: Settled<F>): Task<Arguments<F>, Result<F>>
export function task<F extends Plain, D extends AnyKey>(
  options: OptionsWithKey<D> & { progress?: false },
  fn: Fits<F, D, Arguments<F>>,
): Task<Arguments<F>, Result<F>>
/**
 * `@task({ … })` makes a static or instance method a task, with standard and with legacy (`experimentalDecorators`) decorators. The method itself
 * stays as it is; `tasksOf(Class)` has its task, and `tusk.register(instance)` says on which object the methods of instances run.
 */
export function task(options: TaskOptions): (target: any, context?: any, descriptor?: any) => any
export function task(options: TaskOptions, ...rest: unknown[]): unknown {
  if (rest.length === 0 && typeof options === "object") return methodDecorator(options)
  const [fn] = rest
  const settings = checkTaskOptions(options, typeof fn === "function" ? fn.name : "(none)")
  if (typeof fn !== "function") {
    const remedy = "pass the function that does the work (one that is imported in a circle of modules may not exist yet)"
    throw invalidOption(`The second argument of task() for "${settings.name}"`, fn, "which is not a function", remedy)
  }
  const handler = fn as AnyFunction
  const spec: TaskSpec = Object.freeze({ ...settings, handler, local: true })
  const created = createTask(spec, NO_OPTIONS)
  registerTask({ spec, task: created, source: handler })
  return created
}
