/**
 * The tasks of this process, by name. They stand on `globalThis` under a shared symbol, since bundlers (and an ESM and a CommonJS importer) may
 * load this package more than once: all copies see the same tasks.
 */
import { DuplicateTaskError } from "../errors.js"
import type { TaskSpec } from "./spec.js"
import type { Duration, Task } from "./types.js"

export type AnyFunction = (...args: any[]) => unknown

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
 * Puts a task under its name. With NODE_ENV=development a second function replaces the first, as hot reload needs it.
 * @throws DuplicateTaskError when another function has the name
 */
export function registerTask(entry: RegisteredTask): void {
  const { name } = entry.spec
  const known = registry.tasks.get(name)
  if (known !== undefined && known.source !== entry.source && !isDevelopment()) {
    throw new DuplicateTaskError(
      `Two functions have the task name "${name}"; give one of them another name (a module that is loaded twice also does this; with ` +
        "NODE_ENV=development, for hot reload, the later replaces the earlier)",
    )
  }
  registry.tasks.set(name, entry)
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
    const taken = known !== undefined && (known.source !== registered.source || (known.instance !== undefined && known.instance !== instance))
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

function isDevelopment(): boolean {
  return process.env.NODE_ENV === "development"
}
