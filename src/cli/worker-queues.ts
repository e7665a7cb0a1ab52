/** `--queue name=concurrency`, and what a worker of these queues will do. */
import { InvalidArgumentError } from "commander"
import { allTasks } from "../task/registry.js"

/** As `WorkerOptions.queues` takes them; a queue without a number has the stock concurrency. */
export type QueueChoice = Readonly<Record<string, { concurrency?: number }>>

/** Adds one `--queue` to those before it. A name may contain "=": the number stands behind the last one. */
export function collectQueue(text: string, before: QueueChoice = {}): QueueChoice {
  const at = text.lastIndexOf("=")
  const name = at === -1 ? text : text.slice(0, at)
  const number = at === -1 ? undefined : text.slice(at + 1)
  if (name === "") throw new InvalidArgumentError("Write a queue's name, or name=concurrency as in mail=20.")
  if (number !== undefined && !(/^\d{1,6}$/.test(number) && Number(number) > 0)) {
    throw new InvalidArgumentError(`${JSON.stringify(number)} is no number of jobs at once; write ${name}=10.`)
  }
  if (name in before) throw new InvalidArgumentError(`Queue "${name}" is given twice; write it once.`)
  return { ...before, [name]: number === undefined ? {} : { concurrency: Number(number) } }
}

export interface ServedQueue {
  readonly name: string
  /** Tasks with a handler in this process whose own queue it is. */
  readonly tasks: readonly string[]
}

/** The queues that are served, by default those of all tasks, and whose they are. */
export function servedQueues(chosen: QueueChoice | undefined): readonly ServedQueue[] {
  const tasks = allTasks()
  const names = chosen === undefined ? [...new Set(tasks.map((task) => task.queue))] : Object.keys(chosen)
  return names.map((name) => ({ name, tasks: tasks.filter((task) => task.queue === name && task.handler !== undefined).map((task) => task.name) }))
}

/** `@task` methods of classes of which no instance is registered: their jobs would wait. */
export function tasksWithoutHandler(): readonly string[] {
  return allTasks()
    .filter((task) => task.handler === undefined)
    .map((task) => task.name)
}
