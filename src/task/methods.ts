/** Classes with `@task` methods: their tasks, and the object whose methods run. */
import { InvalidOptionError, UnknownTaskError } from "../api/errors.js"
import type { Task } from "../api/task.js"
import type { ReportProgress } from "../api/worker.js"
import { invalidOption } from "../lib/invalid-option.js"
import { suggest } from "../lib/suggest.js"
import { bindMethods, findMethod, type MethodTask } from "./registry.js"
import type { AnyFunction } from "./same-task.js"

type IsExactly<A, B> = 0 extends 1 & A ? false : [A] extends [B] ? ([B] extends [A] ? true : false) : false
/** A method's arguments in a job: without a leading `reportProgress`, which is injected. */
type JobArguments<A extends readonly unknown[]> = A extends readonly [infer First, ...infer Rest]
  ? IsExactly<First, ReportProgress> extends true
    ? Rest
    : A
  : A

/** The methods of `T` as tasks. */
export type TasksOf<T> = {
  [K in keyof T as T[K] extends AnyFunction ? K : never]: T[K] extends AnyFunction
    ? Task<JobArguments<Parameters<T[K]>>, Awaited<ReturnType<T[K]>>>
    : never
}

type AnyClass = abstract new (...args: any[]) => any

const views = new WeakMap<AnyClass, object>()

/**
 * The tasks of a class with `@task` methods, static ones and those of instances, also inherited. Types cannot see decorators: asking for a method
 * without one compiles, and throws.
 *
 * @throws UnknownTaskError when the member is not a task
 * @example
 * class Mail {
 *   @task({ name: "mail.send", retries: 3 }) async send(to: string) { … }
 * }
 * tusk.register(new Mail())                          // in the worker
 * await tasksOf(Mail).send.enqueue("a@b.c")
 */
export function tasksOf<C extends AnyClass>(cls: C): TasksOf<InstanceType<C>> & TasksOf<Omit<C, "prototype">> {
  if (typeof cls !== "function") throw invalidOption("The argument of tasksOf()", cls, "which is not a class", "pass the class itself: tasksOf(Mail)")
  let view = views.get(cls)
  if (view === undefined) {
    view = createView(cls)
    views.set(cls, view)
  }
  return view as TasksOf<InstanceType<C>> & TasksOf<Omit<C, "prototype">>
}

function createView(cls: AnyClass): object {
  const tasks: Record<PropertyKey, Task> = Object.create(null)
  const ofInstances = methodsOf(cls.prototype)
  for (const [key, { registered }] of ofInstances) tasks[key] = registered.task
  for (const [key, { registered }] of methodsOf(cls)) {
    if (ofInstances.has(key)) {
      throw new InvalidOptionError(`Class ${cls.name} has a static and an instance method ${String(key)} with @task; rename one`)
    }
    tasks[key] = registered.task
  }
  return new Proxy(Object.freeze(tasks), {
    get(target, key) {
      // Inspectors ask for symbols, and `await` for `then`: those are no misspelt tasks.
      if (key in target || typeof key === "symbol" || key === "then") return target[key]
      throw new UnknownTaskError(describeMissing(cls, key, Object.keys(target)))
    },
  })
}

function describeMissing(cls: AnyClass, key: string, known: readonly string[]): string {
  if (key in cls.prototype || key in cls) {
    return `${cls.name}.${key} is not a task; put @task({ … }) on it, above its other decorators if it has any`
  }
  const meant = suggest(key, known)
  const list = known.length === 0 ? "it has no @task methods" : `its tasks are ${known.join(", ")}`
  return `${cls.name} has no method ${key}; ${meant === undefined ? list : `did you mean ${meant}?`}`
}

/**
 * Makes the methods of one object the handlers of their tasks in this process; the same object again changes nothing.
 * @throws InvalidOptionError when it has no `@task` methods
 * @throws DuplicateTaskError when another instance of the class is registered; then nothing is bound
 */
export function bindInstance(instance: object): void {
  if (typeof instance !== "object" || instance === null) {
    throw invalidOption("The argument of register()", instance, "which is not an instance of a class", "pass one, as in register(new Mail())")
  }
  const methods = methodsOf(prototypeOf(instance))
  if (methods.size > 0) {
    bindMethods(instance, [...methods.values()])
    return
  }
  const remedy = "put @task({ … }) on a method, above its other decorators if it has any (static methods need no register)"
  throw invalidOption("The argument of register()", instance, "whose class has no @task methods", remedy)
}

/** None for a proxy that does not say. */
function prototypeOf(instance: object): object | null {
  try {
    return Object.getPrototypeOf(instance)
  } catch {
    return null
  }
}

/** The decorated methods on an object and up its prototypes; a nearer one hides those behind. */
function methodsOf(start: object | null): Map<PropertyKey, MethodTask> {
  const found = new Map<PropertyKey, MethodTask>()
  for (let holder = start; holder !== null && holder !== Object.prototype && holder !== Function.prototype; holder = Object.getPrototypeOf(holder)) {
    for (const key of Reflect.ownKeys(holder)) {
      if (found.has(key)) continue
      const value: unknown = Object.getOwnPropertyDescriptor(holder, key)?.value
      const method = typeof value === "function" ? findMethod(value as AnyFunction) : undefined
      if (method !== undefined) found.set(key, method)
    }
  }
  return found
}
