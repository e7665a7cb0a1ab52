/**
 * `@task({ … })` on methods, for standard decorators (TC39; the second argument is a context) and for legacy ones (`experimentalDecorators`; the
 * second argument is the method's name). Both register the task while the class is defined and leave the method as it is.
 */
import { InvalidOptionError } from "../api/errors.js"
import type { TaskOptions } from "../api/options.js"
import { checkTaskOptions, NO_OPTIONS } from "./options.js"
import { createTask } from "./producer.js"
import { findMethod, findTask, registerTask, rememberMethod } from "./registry.js"
import type { AnyFunction } from "./same-task.js"
import type { TaskSpec } from "./spec.js"

export type TaskDecorator = (target: any, context?: any, descriptor?: any) => any

type Owner = Readonly<Record<PropertyKey, AnyFunction>>

export function methodDecorator(options: TaskOptions): TaskDecorator {
  return (target: unknown, context?: unknown, descriptor?: PropertyDescriptor): void => {
    if (isStandardContext(context)) decorateStandard(options, target, context)
    else decorateLegacy(options, target, context, descriptor)
  }
}

interface StandardContext {
  readonly kind: string
  readonly name: PropertyKey
  readonly static?: boolean
  readonly private?: boolean
  addInitializer(initializer: (this: unknown) => void): void
}

function isStandardContext(context: unknown): context is StandardContext {
  return typeof context === "object" && context !== null && "kind" in context
}

function decorateStandard(options: TaskOptions, method: unknown, context: StandardContext): void {
  if (context.kind !== "method") throw notAMethod(context.kind, context.name)
  if (context.private === true) {
    throw new InvalidOptionError(`@task cannot be on the private method ${String(context.name)}: nobody could reach it; give it a public name`)
  }
  if (context.static !== true) {
    registerMethod(options, method as AnyFunction, context.name, undefined)
    return
  }
  // The class does not exist yet; a static method's initializer runs once it does.
  let owner: Owner | undefined
  context.addInitializer(function () {
    owner = this as Owner
  })
  registerMethod(options, method as AnyFunction, context.name, () => owner!)
}

function decorateLegacy(options: TaskOptions, target: unknown, key: unknown, descriptor: PropertyDescriptor | undefined): void {
  if (typeof key !== "string" && typeof key !== "symbol") throw notAMethod("class", (target as { name?: string } | undefined)?.name ?? "")
  const method: unknown = descriptor?.value
  if (typeof method !== "function") throw notAMethod(descriptor === undefined ? "field" : "accessor", key)
  registerMethod(options, method as AnyFunction, key, typeof target === "function" ? () => target as unknown as Owner : undefined)
}

/** @param owner the class of a static method; undefined for an instance's, which gets its handler from `tusk.register(instance)` */
function registerMethod(options: TaskOptions, method: AnyFunction, key: PropertyKey, owner: (() => Owner) | undefined): void {
  const settings = checkTaskOptions(options, typeof key === "string" ? key : "")
  const other = findMethod(method)
  if (other !== undefined) {
    throw new InvalidOptionError(`Method ${String(key)} has @task twice ("${other.registered.spec.name}" and "${settings.name}"); leave one`)
  }
  const handler: AnyFunction | undefined = owner && ((...args) => owner()[key]!(...args))
  const spec: TaskSpec = Object.freeze({ ...settings, handler, local: true })
  const task = createTask(spec, NO_OPTIONS, () => findTask(spec.name) ?? spec)
  const registered = { spec, task, source: method }
  registerTask(registered)
  rememberMethod(method, { key, registered })
}

function notAMethod(kind: string, name: PropertyKey): InvalidOptionError {
  return new InvalidOptionError(`@task is on the ${kind} ${String(name)}; it goes on methods (for a function write task({ … }, function))`)
}
