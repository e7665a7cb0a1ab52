import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest"
import { task } from "../../src/index.js"
import { VERSION } from "../../src/lib/version.js"
import { Tusk } from "../../src/tusk.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { deferred } from "../support/wait.js"
import { cli } from "./run.js"

const LIMIT = 120_000

let db: TestDatabase
let tusk: Tusk
beforeAll(async () => {
  db = await createDatabase()
  tusk = new Tusk(db.url)
})
afterAll(async () => {
  await tusk.close()
  await db.close()
})

const gate = deferred()
const started = deferred()
const held = task({ name: "status.held", queue: "busy" }, async () => {
  started.resolve()
  await gate.promise
})
const broken = task({ name: "status.broken", queue: "busy" }, () => {
  throw new Error("broken")
})

describe("pgtusk status", () => {
  test("an empty schema has nothing to show", { timeout: LIMIT }, async () => {
    const empty = await createDatabase()
    onTestFinished(() => empty.close())
    expect(await cli(["status"], { DATABASE_URL: empty.url })).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^No jobs and no workers in schema "tusk" of /),
    })
  })

  test("counts live jobs by state and queue, dead letters, and live workers", { timeout: LIMIT }, async () => {
    const worker = await tusk.work({ queues: { busy: 2 }, signals: false })
    onTestFinished(async () => {
      gate.resolve()
      await worker.stop()
    })
    const via = { via: tusk }
    await (await broken.with(via).enqueue()).settled()
    const parent = await held.with(via).enqueue()
    await started.promise
    await tusk.enqueue("later", [], { queue: "idle", delay: "1h" })
    await tusk.enqueue("waits", [], { queue: "idle" })
    await tusk.enqueue("waits", [], { queue: "idle" })
    await tusk.enqueue("after", [], { queue: "idle", dependsOn: [parent] })
    await db.query("insert into tusk.queues (name, paused) values ('idle', true)")

    const { stdout, code } = await cli(["status", "--json"], { DATABASE_URL: db.url })
    expect(code).toBe(0)
    const found = JSON.parse(stdout)
    const none = { waiting: 0, delayed: 0, blocked: 0, active: 0, completed: 0, failed: 0, expired: 0, cancelled: 0 }
    const instant = expect.stringMatching(/^\d{4}-.*Z$/)
    expect(found).toEqual({
      schema: "tusk",
      queues: [
        { name: "busy", paused: false, counts: { ...none, active: 1, failed: 1 }, oldestWaiting: null, workers: 1 },
        { name: "idle", paused: true, counts: { ...none, waiting: 2, delayed: 1, blocked: 1 }, oldestWaiting: instant, workers: 0 },
      ],
      workers: [
        {
          ...{ id: worker.id, host: expect.any(String), pid: process.pid, version: VERSION, queues: ["busy"], running: expect.any(Number) },
          ...{ startedAt: instant, heartbeatAt: instant },
        },
      ],
    })
    const text = (await cli(["status"], { DATABASE_URL: db.url })).stdout.split("\n")
    expect(text[0]).toBe("QUEUE          WAITING  DELAYED  BLOCKED  ACTIVE  FAILED  EXPIRED  WORKERS  OLDEST WAITING")
    expect(text[1]).toBe("busy                 0        0        0       1       1        0        1  -")
    expect(text[2]).toMatch(/^idle \(paused\) {8}2 {8}1 {8}1 {7}0 {7}0 {8}0 {8}0 {2}\d+ (ms|s)$/)
    expect(text[5]).toMatch(new RegExp(`^${worker.id} +\\S+ +${process.pid} .* busy$`))
  })

  test("a missing schema is an error that says what to do", { timeout: LIMIT }, async () => {
    const outcome = await cli(["status", "--schema", "absent"], { DATABASE_URL: db.url })
    expect(outcome).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringMatching(/^error: The database has no pgtusk schema "absent"; run `npx pgtusk migrate`/),
    })
  })
})
