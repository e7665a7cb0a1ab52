/** A queue of notifications that is full: somebody listens in a transaction that does not end. Notifications are hints, so nothing but their speed may go. */
import type pg from "pg"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { quietLogger } from "../../src/api/logger.js"
import { type EmbeddedServer, startEmbedded } from "../../src/embedded/embedded.js"
import { currentJob, task } from "../../src/index.js"
import { connect } from "../jobs/setup.js"
import { waitFor } from "../support/wait.js"
import { ground } from "../worker/ground.js"

const on = ground()
// The queue is 8 GB long and cannot be made shorter before version 17.
const able = ["", "18"].includes(process.env["PGTUSK_TEST_MAJOR"] ?? "") && !process.env["PGTUSK_TEST"] && !process.env["TEST_DATABASE_URL"]

describe.skipIf(!able)("a full queue of notifications", () => {
  let server: EmbeddedServer
  let laggard: pg.Client

  beforeAll(async () => {
    server = await startEmbedded({ logger: quietLogger, settings: { max_notify_queue_pages: "64", fsync: "off" } })
    await open().migrate()
  })
  afterAll(() => server?.stop())

  const open = () => on.open({ connectionString: server.connectionString })

  async function fill(): Promise<void> {
    laggard = await connect(server.connectionString)
    for (const text of ["listen elsewhere", "begin", "select 1"]) await laggard.query(text)
    const talker = await connect(server.connectionString)
    await expect(
      (async () => {
        for (;;) await talker.query("select pg_notify('elsewhere', repeat('x', 7900) || random())")
      })(),
    ).rejects.toThrow(/too many notifications/)
  }

  test("refuses no transaction that enqueues, and once it has room again workers are woken", async () => {
    const queue = on.name("q")
    const child = task({ name: on.name("child"), queue }, () => "child")
    const parent = task({ name: on.name("parent"), queue, transactional: true }, async () => {
      return (await child.with({ tx: currentJob().tx }).enqueue()).id
    })
    const tusk = open()
    await open().work({ queues: [queue], poll: "200ms" })
    await fill()
    const job = await tusk.transaction((tx) => parent.with({ tx, via: tusk }).enqueue())
    const id = await job.result({ timeout: 15 })
    expect(await tusk.job(id).result({ timeout: 15 })).toBe("child")
    expect((await job.snapshot()).attempt).toBe(1)
    await laggard.query("commit")

    const far = on.name("far")
    const hello = task({ name: on.name("hello"), queue: far }, () => "hello")
    await open().work({ queues: [far], poll: "1h" })
    const other = open()
    // The first messages may still find it full; that they ask makes room.
    await waitFor(
      async () => {
        const state = await (await hello.with({ via: other }).enqueue()).result({ timeout: "500ms" }).catch(() => undefined)
        return state === "hello"
      },
      { timeout: 20_000, what: "a notification to arrive" },
    )
  })
})
