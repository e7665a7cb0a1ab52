/**
 * The tasks of this process, by name. They stand on `globalThis` under a shared symbol, since bundlers (and an ESM and a CommonJS importer) may
 * load this package more than once: all copies see the same tasks.
 */

import type { Duration } from "../api/duration.js"
import { DuplicateTaskError } from "../api/errors.js"
import type { Task } from "../api/task.js"
import { isDevelopment } from "../lib/development.js"
import { type AnyFunction, isSameTask, textOf } from "./same-task.js"
import type { TaskSpec } from "./spec.js"

/** A task and what stands behind its name. */
export interface RegisteredTask {
  readonly spec: TaskSpec
  readonly task: Task
  /** The function or method itself: the same one again is no duplicate. */
  readonly source: AnyFunction
  /** The object whose method runs, once it is registered. */
  readonly instance?: object
}

/** A method under `@task`. */
export interface MethodTask {
  readonly key: PropertyKey
  readonly registered: RegisteredTask
}

interface Registry {
  readonly tasks: Map<string, RegisteredTask>
  /** By the method's function, which class and instances share whatever a bundler does to names. */
  readonly methods: WeakMap<AnyFunction, MethodTask>
}

const REGISTRY: unique symbol = Symbol.for("pgtusk.registry")
const registry: Registry = ((globalThis as { [REGISTRY]?: Registry })[REGISTRY] ??= { tasks: new Map(), methods: new WeakMap() })

/**
 * Puts a task under its name. The same task again (its module was evaluated twice) replaces the first; with NODE_ENV=development any other does, as
 * hot reload needs it.
 * @throws DuplicateTaskError when a task with another function or other options has the name
 */
export function registerTask(entry: RegisteredTask): void {
  const { name } = entry.spec
  const known = registry.tasks.get(name)
  if (known !== undefined && known.source !== entry.source && !isDevelopment() && !isSameTask(known, entry)) {
    const how =
      textOf(known.source) === textOf(entry.source) ? "the same text, with different options" : `${sketch(known.source)} and ${sketch(entry.source)}`
    throw new DuplicateTaskError(
      `Two functions have the task name "${name}"; give one of them another name: ${how} (a module that is loaded twice is one task only if nothing ` +
        "has changed in it; with NODE_ENV=development, for hot reload, the later replaces the earlier)",
    )
  }
  // A method of which this copy of the module has no object yet: the worker goes on with the one that it has.
  if (known?.instance !== undefined && entry.spec.handler === undefined) return
  registry.tasks.set(name, entry)
}

/** The beginning of a function's text, for messages. */
function sketch(source: AnyFunction): string {
  const text = textOf(source).replace(/\s+/g, " ")
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

/** The task of that name as it is now; its handler is undefined while it is a method without a registered instance. */
export function findTask(name: string): TaskSpec | undefined {
  return registry.tasks.get(name)?.spec
}

/** Every task of this process, in the order of definition. */
export function allTasks(): readonly TaskSpec[] {
  return Array.from(registry.tasks.values(), (entry) => entry.spec)
}

/**
 * The tasks that are defined in this process, for tools and tests.
 * @example console.table(listTasks().map(({ name, queue, retries }) => ({ name, queue, retries })))
 */
export function listTasks(): readonly { name: string; queue: string; retries: number; ttl: Duration | undefined; progress: boolean; task: Task }[] {
  return Array.from(registry.tasks.values(), ({ spec, task }) => {
    const { name, queue, retries, progress } = spec
    return { name, queue, retries, ttl: spec.options.ttl, progress, task }
  })
}

/** Empties the registry, for tests. */
export function forgetTasks(): void {
  registry.tasks.clear()
}

export function findMethod(method: AnyFunction): MethodTask | undefined {
  return registry.methods.get(method)
}

export function rememberMethod(method: AnyFunction, entry: MethodTask): void {
  registry.methods.set(method, entry)
}

/**
 * Lets the methods of one object be the handlers of their tasks: all of them or, on an error, none.
 * @throws DuplicateTaskError when one of them already runs on another object
 */
export function bindMethods(instance: object, methods: readonly MethodTask[]): void {
  for (const { registered } of methods) {
    const { name } = registered.spec
    const known = registry.tasks.get(name)
    const taken =
      known !== undefined &&
      (known.source === registered.source ? known.instance !== undefined && known.instance !== instance : !isSameTask(known, registered))
    if (!taken || isDevelopment()) continue
    throw new DuplicateTaskError(
      `Task "${name}" already runs on another object (${known.instance?.constructor.name ?? "a function of that name"}); register one instance of a class`,
    )
  }
  for (const { key, registered } of methods) {
    // By key at the time of the call, so that an override in a subclass and a spy in a test are what runs.
    const handler: AnyFunction = (...args) => (instance as Record<PropertyKey, AnyFunction>)[key]!(...args)
    registry.tasks.set(registered.spec.name, { ...registered, instance, spec: Object.freeze({ ...registered.spec, handler }) })
  }
}
