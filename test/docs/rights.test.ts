/** The rights that docs/guide/deployment.md grants are enough for what it says, and no more than it says. */
import { randomBytes } from "node:crypto"
import { afterAll, beforeAll, expect, test } from "vitest"
import { blocksOf } from "../../scripts/docs-examples.mjs"
import { ConnectionError } from "../../src/api/errors.js"
import { task } from "../../src/task/task.js"
import { Tusk } from "../../src/tusk.js"
import { createDatabase, type TestDatabase } from "../support/database.js"

const suffix = randomBytes(4).toString("hex")
const increment = task({ name: "rights.increment" }, async (n: number) => n + 1)

let db: TestDatabase
let app: Tusk
let producer: Tusk

function clientOf(role: string): Tusk {
  const url = new URL(db.url)
  url.username = `${role}_${suffix}`
  url.password = "secret"
  return new Tusk({ connectionString: url.href, signals: false })
}

beforeAll(async () => {
  db = await createDatabase()
  for (const role of ["app", "producer"]) {
    const name = `${role}_${suffix}`
    await db.query(`create role ${name} login password 'secret'`)
    const grants = blocksOf("docs/guide/deployment.md").find(({ language, code }) => language === "sql" && code.includes(`to ${role};`))
    for (const statement of grants!.code.split(";")) {
      if (statement.trim() !== "") await db.query(statement.replace(new RegExp(`to ${role}$`), `to ${name}`))
    }
  }
  app = clientOf("app")
  producer = clientOf("producer")
})
afterAll(async () => {
  await producer?.close()
  await app?.close()
  for (const role of ["app", "producer"]) await db.query(`drop owned by ${role}_${suffix}; drop role ${role}_${suffix}`)
  await db.close()
})

test("app: works, administers, schedules, listens", async () => {
  const worker = await app.work({ queues: ["default"] })
  const subscription = app.events.on("*", () => {})
  await subscription.ready
  const job = await increment.with({ via: app, id: "first", deduplicate: "key" }).enqueue(1)
  expect(await job.result({ timeout: 20 })).toBe(2)
  await increment.with({ via: app }).schedule("hourly", { every: "1h" }, 1)
  const queue = app.queue("default")
  await queue.pause()
  await queue.resume()
  await queue.configure({ keep: { completed: "2d" } })
  expect(await (await increment.with({ via: app, delay: 60 }).enqueue(1)).cancel()).toBe(true)
  expect(await queue.clean({ state: "completed" })).toEqual([job.id])
  subscription()
  await worker.drain()
})

test("producer: enqueues in every way, and reads its jobs", async () => {
  const first = await increment.with({ via: producer, deduplicate: "one", id: "one" }).enqueue(1)
  expect((await increment.with({ via: producer, deduplicate: "one" }).enqueue(1)).created).toBe(false)
  const child = await increment.with({ via: producer, dependsOn: [first] }).enqueue(1)
  expect(await child.state()).toBe("blocked")
  await producer.enqueue("rights.increment", [1])
  await producer.transaction(async (tx) => {
    await increment.with({ tx, via: producer }).enqueue(1)
    await tx.query("select tusk.enqueue('rights.increment', '[1]')")
  })
})

test("producer: may not pause a queue, and hears which right is missing, once", async () => {
  const error: unknown = await producer
    .queue("default")
    .pause()
    .catch((error: unknown) => error)
  expect(error).toBeInstanceOf(ConnectionError)
  expect((error as Error).message).toMatch(/^The user of [^:]*:\d+\/\w+ lacks a right: permission denied for table queues; grant it/)
})

test("a right that is missing for a key is told once", async () => {
  await db.query(`revoke all on tusk.keys from producer_${suffix}`)
  const error: unknown = await increment
    .with({ via: producer, id: "two" })
    .enqueue(1)
    .catch((error: unknown) => error)
  expect((error as Error).message).toMatch(/^The user of [^ ]+ lacks a right: permission denied for table keys; grant it/)
})
