import { afterEach, beforeEach, expect, test } from "vitest"
import { InvalidOptionError, UnknownTaskError } from "../../src/api/errors.js"
import type { Task } from "../../src/api/task.js"
import { setDefaultClient } from "../../src/task/client.js"
import { forgetTasks, listTasks } from "../../src/task/registry.js"
import { task } from "../../src/task/task.js"
import { remoteSpec, taskRef } from "../../src/task/task-ref.js"
import { type RecordingClient, recordingClient } from "./recording-client.js"

type Send = Task<[to: string], number>

let client: RecordingClient
beforeEach(() => {
  client = recordingClient()
  setDefaultClient(client)
})
afterEach(() => {
  setDefaultClient(undefined)
  forgetTasks()
})

test("it enqueues by name and registers nothing", async () => {
  const remote = taskRef<Send>("emails.send")
  expect(remote.taskName).toBe("emails.send")
  expect(remote.options).toEqual({ name: "emails.send" })
  await remote.with({ delay: 5 }).enqueue("a")
  expect(client.submitted[0]![0]).toEqual({ task: remoteSpec("emails.send"), args: ["a"], options: { delay: 5 } })
  expect(client.submitted[0]![0]!.task.local).toBe(false)
  expect(listTasks()).toEqual([])
})

test("options given with the name stand under those of with()", async () => {
  const remote = taskRef<Send>("emails.send", { queue: "bulk", priority: 1 })
  await remote.with({ priority: 2 }).enqueue("a")
  await remote.enqueue("b")
  expect(client.submitted.flat().map((request) => request.options)).toEqual([
    { queue: "bulk", priority: 2 },
    { queue: "bulk", priority: 1 },
  ])
})

test("calling it needs the code: it rejects with what to do, or runs the task of this process", async () => {
  const remote = taskRef<Send>("emails.send")
  await expect(remote("a")).rejects.toBeInstanceOf(UnknownTaskError)
  await expect(remote("a")).rejects.toThrow('Task "emails.send" has no function in this process; import the module that defines it')
  task({ name: "emails.send" }, (to: string) => to.length)
  expect(await remote("abc")).toBe(3)
})

test("a wrong name and wrong options are refused at once", () => {
  expect(() => taskRef("")).toThrow(InvalidOptionError)
  expect(() => taskRef(undefined as unknown as string)).toThrow("which is not a string")
  expect(() => taskRef("t", { retries: -1 })).toThrow('Option "retries" of a job of task "t" is -1')
})
