/**
 * I1 on a server that crashes: a job whose enqueue() has resolved is on the disk, although workers are woken before it is there, and so is one that was
 * found by the repeat of a call whose answer was lost.
 */
import { randomUUID } from "node:crypto"
import { afterAll, beforeAll, expect, test } from "vitest"
import { Tusk, task } from "../../src/index.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { statementsFor } from "../../src/postgres/statements/statements.js"
import { waitFor } from "../support/wait.js"
import { ForgetfulServer, quietLogger as logger } from "./forgetful-server.js"

const noop = task({ name: "accepted.noop" }, async () => undefined)

let server: ForgetfulServer
beforeAll(async () => {
  server = await ForgetfulServer.start()
}, 60_000)
afterAll(() => server?.stop())

/** The ids of the jobs that are there after a crash. */
async function afterCrash(): Promise<string[]> {
  await server.restart()
  return (await server.query("select id from tusk.jobs order by id")).map((row) => row.id)
}

test.each([{}, { ttl: "1h" as const }])(
  "I1: a job whose enqueue() has resolved outlives a crash (options %o)",
  { timeout: 60_000 },
  async (options) => {
    await server.query("delete from tusk.jobs")
    const stored: string[] = []
    for (let crash = 0; crash < 4; crash++) {
      const tusk = new Tusk({ connectionString: server.url, logger, signals: false })
      stored.push((await noop.with({ via: tusk, ...options }).enqueue()).id)
      expect(await afterCrash()).toEqual([...stored].sort())
      await tusk.close()
    }
  },
)

const { add_job: ADD_JOB, add_batch: ADD_BATCH } = statementsFor(schemaNames("tusk"), true)
const CALLS = [
  ["add_job", ADD_JOB, (id: string) => [id, "default", noop.taskName, 5, 1, "[]", null, null]],
  ["add_batch", ADD_BATCH, (id: string) => [[id], ["default"], [noop.taskName], [5], [1], ["[]"], ...Array(7).fill(null)]],
] as const

test.each(CALLS)("I1: %s has waited for the disk when it returns, and has told the workers", { timeout: 60_000 }, async (_, statement, valuesOf) => {
  await server.query("delete from tusk.jobs")
  const [client, listener] = [await server.connect(), await server.connect()]
  const told: string[] = []
  listener.on("notification", ({ payload }) => told.push(payload ?? ""))
  await listener.query("listen accepted")
  const ids = Array.from({ length: 5 }, () => randomUUID()).sort()
  for (const id of ids) {
    const { rows } = await client.query({ ...statement, values: [...valuesOf(id), "accepted", "me"] })
    expect(rows[0]).toMatchObject({ told: true })
    expect((await client.query("show synchronous_commit")).rows).toEqual([{ synchronous_commit: "on" }])
  }
  await waitFor(() => told.length === ids.length)
  expect(JSON.parse(told[0]!)).toEqual(["j", "default", 5, expect.any(Number), "@me"])
  expect(await afterCrash()).toEqual(ids)
  for (const one of [client, listener]) await one.end().catch(() => undefined)
})

test("I1: so does one that the repeat of a lost call has found", { timeout: 60_000 }, async () => {
  await server.query("delete from tusk.jobs")
  const client = await server.connect()
  const id = randomUUID()
  await client.query("set synchronous_commit = off")
  await client.query("insert into tusk.jobs (id, queue, task, args) values ($1, 'default', $2, '[]')", [id, noop.taskName])
  const unwritten = "select pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn() as unwritten"
  expect((await client.query(unwritten)).rows).toEqual([{ unwritten: true }])
  await client.query("set synchronous_commit = on")
  await client.query("select from tusk.add_jobs($1::text::jsonb, null, true)", [JSON.stringify([{ id, task: noop.taskName, args: [], local: true }])])
  expect(await afterCrash()).toEqual([id])
  await client.end().catch(() => undefined)
})
