import { readFileSync } from "node:fs"
import { transformSync } from "esbuild"
import ts from "typescript"
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest"
import { DuplicateTaskError, InvalidOptionError, UnknownTaskError } from "../../src/api/errors.js"
import { setDefaultClient } from "../../src/task/client.js"
import { bindInstance, tasksOf } from "../../src/task/methods.js"
import { setProgressSource } from "../../src/task/progress.js"
import { findTask, forgetTasks } from "../../src/task/registry.js"
import { runTask } from "../../src/task/run.js"
import { task } from "../../src/task/task.js"
import { thrownBy } from "./errors.js"
import { recordingClient } from "./recording-client.js"

type Fixture = typeof import("./fixtures/mail.js")

const source = readFileSync(new URL("fixtures/mail.ts", import.meta.url), "utf8")

function withEsbuild(experimentalDecorators: boolean): string {
  return transformSync(source, { loader: "ts", target: "es2022", tsconfigRaw: { compilerOptions: { experimentalDecorators } } }).code
}

function withTypeScript(experimentalDecorators: boolean): string {
  const { ESNext } = ts.ModuleKind
  return ts.transpileModule(source, { compilerOptions: { experimentalDecorators, module: ESNext, target: ts.ScriptTarget.ES2022 } }).outputText
}

const compiled: [string, string][] = [
  ["standard decorators by esbuild", withEsbuild(false)],
  ["legacy decorators by esbuild", withEsbuild(true)],
  ["standard decorators by TypeScript", withTypeScript(false)],
  ["legacy decorators by TypeScript", withTypeScript(true)],
]

let run = 0
const freshPrefix = (): string => `mail${++run}`
const ignore = (): void => {}

beforeEach(() => setDefaultClient(undefined))
afterEach(() => {
  setProgressSource(() => undefined)
  vi.unstubAllEnvs()
  forgetTasks()
})

describe.each(compiled)("%s", (_, code) => {
  const load = (): Promise<Fixture> => import(/* @vite-ignore */ `data:text/javascript,${encodeURIComponent(code)}`)

  test("methods are tasks, and stay methods", async () => {
    const prefix = freshPrefix()
    const { Mail } = (await load()).define(task, prefix)
    expect(findTask(`${prefix}.send`)).toMatchObject({ queue: "mail", retries: 3, progress: false })
    expect(findTask(`${prefix}.report`)?.progress).toBe(true)
    const mail = new Mail("me")
    expect(await mail.send("you", 2)).toBe("me>youx2")
    expect(await Mail.purge(1)).toBe(8)
    expect(Object.keys(tasksOf(Mail)).sort()).toEqual(["purge", "report", "send"])
  })

  test("tasksOf enqueues, static methods and those of instances alike", async () => {
    const client = recordingClient()
    setDefaultClient(client)
    const prefix = freshPrefix()
    const { Mail, Base } = (await load()).define(task, prefix)
    await tasksOf(Mail).send.enqueue("you")
    await tasksOf(Mail).purge.with({ delay: 5 }).enqueue(3)
    expect(client.submitted.flat().map(({ task: spec, args, options }) => [spec.name, args, options])).toEqual([
      [`${prefix}.send`, ["you"], {}],
      [`${prefix}.purge`, [3], { delay: 5 }],
    ])
    expect(tasksOf(Base).send).toBe(tasksOf(Mail).send)
    expect(tasksOf(Mail)).toBe(tasksOf(Mail))
  })

  test("a static method has its handler at once, with its class as this", async () => {
    const prefix = freshPrefix()
    const { Mail } = (await load()).define(task, prefix)
    expect(await runTask(findTask(`${prefix}.purge`)!, [1], ignore)).toBe(8)
    vi.spyOn(Mail, "none").mockReturnValue(100)
    expect(await tasksOf(Mail).purge(1)).toBe(108)
  })

  test("an instance's method has its handler once an instance is registered", async () => {
    const prefix = freshPrefix()
    const { Mail } = (await load()).define(task, prefix)
    expect(findTask(`${prefix}.send`)?.handler).toBeUndefined()
    await expect(tasksOf(Mail).send("you")).rejects.toBeInstanceOf(UnknownTaskError)
    await expect(tasksOf(Mail).send("you")).rejects.toThrow("for a method also call tusk.register(instance)")
    const mail = new Mail("me")
    bindInstance(mail)
    bindInstance(mail)
    expect(await tasksOf(Mail).send("you")).toBe("me>youx1")
    expect(await runTask(findTask(`${prefix}.send`)!, ["you", 3], ignore)).toBe("me>youx3")
    expect(findTask(`${prefix}.send`)).toMatchObject({ queue: "mail", retries: 3, local: true })
  })

  test("progress is injected first", async () => {
    const prefix = freshPrefix()
    const { Mail } = (await load()).define(task, prefix)
    bindInstance(new Mail("me"))
    const report = vi.fn()
    expect(runTask(findTask(`${prefix}.report`)!, [5], report)).toBe("me:5")
    expect(report).toHaveBeenCalledWith(0.5)
    setProgressSource(() => report)
    expect(await tasksOf(Mail).report(6)).toBe("me:6")
    expect(report).toHaveBeenCalledTimes(2)
  })

  test("a second instance of a class is refused, and nothing of it is bound", async () => {
    const prefix = freshPrefix()
    const { Mail } = (await load()).define(task, prefix)
    bindInstance(new Mail("first"))
    const error = thrownBy(() => bindInstance(new Mail("second")))
    expect(error).toBeInstanceOf(DuplicateTaskError)
    // Some compilers rename a class that its own body names.
    expect(error.message.replace("_Mail", "Mail")).toBe(
      `Task "${prefix}.send" already runs on another object (Mail); register one instance of a class`,
    )
    expect(await tasksOf(Mail).send("you")).toBe("first>youx1")
    vi.stubEnv("NODE_ENV", "development")
    bindInstance(new Mail("reloaded"))
    expect(await tasksOf(Mail).send("you")).toBe("reloaded>youx1")
  })

  test("a subclass runs its overrides; one with a task of its own replaces nothing", async () => {
    const prefix = freshPrefix()
    const { Bulk, Mail } = (await load()).define(task, prefix)
    bindInstance(new Bulk("me"))
    expect(await tasksOf(Bulk).send("you")).toBe("bulk me>youx1")
    expect(await tasksOf(Bulk).report(1)).toBe("bulk me:1")
    expect(tasksOf(Bulk).report.taskName).toBe(`${prefix}.bulk-report`)
    expect(tasksOf(Mail).report.taskName).toBe(`${prefix}.report`)
    expect(findTask(`${prefix}.report`)?.handler).toBeUndefined()
  })

  test("a member without @task is told apart from one that does not exist", async () => {
    const { Mail } = (await load()).define(task, freshPrefix())
    const error = thrownBy(() => tasksOf(Mail).plain)
    expect(error).toBeInstanceOf(UnknownTaskError)
    expect(error.message.replace(/^_/, "")).toBe("Mail.plain is not a task; put @task({ … }) on it, above its other decorators if it has any")
    const loose = tasksOf(Mail) as unknown as Record<string, unknown>
    expect(() => loose["sned"]).toThrow("Mail has no method sned; did you mean send?")
    expect(() => loose["archive"]).toThrow("Mail has no method archive; its tasks are")
    // Awaiting or printing it asks for members that are no misspelt tasks.
    expect(await loose).toBe(loose)
    expect(() => String(Object.prototype.toString.call(loose))).not.toThrow()
  })

  test("a static and an instance method of one name are refused by tasksOf", async () => {
    const Both = (await load()).defineBoth(task, freshPrefix())
    expect(() => tasksOf(Both)).toThrow("has a static and an instance method run with @task; rename one")
  })

  test("without a name in the options, the method's name is the task's", async () => {
    const Names = (await load()).defineUnnamed(task)
    expect(tasksOf(Names).decoratorsOwnName.taskName).toBe("decoratorsOwnName")
  })

  test("other decorators go below @task", async () => {
    const { defineWrapped } = await load()
    const prefix = freshPrefix()
    // Takes both call signatures: (method, context), and (prototype, name, descriptor).
    const double = (target: any, _name: unknown, descriptor?: PropertyDescriptor): unknown => {
      const method = descriptor?.value ?? target
      const wrapped = function (this: unknown, x: number): number {
        return 2 * method.call(this, x)
      }
      return descriptor === undefined ? wrapped : { ...descriptor, value: wrapped }
    }
    const Outside = defineWrapped(task, prefix, double, "task outside")
    bindInstance(new Outside())
    expect(await tasksOf(Outside).run(4)).toBe(8)
    const Inside = defineWrapped(task, freshPrefix(), double, "task inside")
    expect(() => tasksOf(Inside).run).toThrow("put @task({ … }) on it, above its other decorators")
    expect(() => bindInstance(new Inside())).toThrow("whose class has no @task methods; put @task({ … }) on a method, above its other decorators")
  })

  test.each<[keyof Fixture["mistakes"], string]>([
    ["twice", "Method run has @task twice"],
    ["getter", "it goes on methods"],
    ["field", "@task is on the field run; it goes on methods"],
    ["misspelt", 'did you mean "retries"?'],
    ["symbol", "A task needs a name"],
  ])("a mistake is told when the class is defined: %s", async (mistake, message) => {
    const { mistakes } = await load()
    const error = thrownBy(() => mistakes[mistake](task, freshPrefix()))
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toContain(message)
  })

  test("on a class it is refused", async () => {
    const { defineOnClass } = await load()
    expect(() => defineOnClass(task)).toThrow("@task is on the class Whole; it goes on methods")
  })

  test("a class that is evaluated twice is the same one; something else with the name of one of its tasks is refused", async () => {
    const { define } = await load()
    const prefix = freshPrefix()
    define(task, prefix)
    expect(() => define(task, prefix)).not.toThrow()
    expect(() => task({ name: `${prefix}.send`, queue: "mail", retries: 3 }, () => "not that method")).toThrow(DuplicateTaskError)
  })
})

test("a private method cannot be a task", async () => {
  const { code } = transformSync("export const define = (task) => class { @task({ name: 'private' }) #run() {} }", { loader: "ts", target: "es2022" })
  const { define } = await import(/* @vite-ignore */ `data:text/javascript,${encodeURIComponent(code)}`)
  expect(() => define(task)).toThrow("@task cannot be on the private method #run")
})

test("what is no class and no instance is told", () => {
  expect(() => tasksOf({} as never)).toThrow("The argument of tasksOf() is {}, which is not a class")
  expect(() => bindInstance(class {} as never)).toThrow("which is not an instance of a class; pass one, as in register(new Mail())")
  expect(() => bindInstance(null as never)).toThrow(InvalidOptionError)
  expect(() => bindInstance({})).toThrow("whose class has no @task methods")
})
