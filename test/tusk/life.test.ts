/** The end of a client loses nothing, and nothing outlives it. */
import { describe, expect, test } from "vitest"
import { ConnectionError } from "../../src/api/errors.js"
import { Tusk, task } from "../../src/index.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { bench, connect, rejection } from "../jobs/setup.js"
import { spawnScript } from "../support/process.js"
import { deferred, waitFor, within } from "../support/wait.js"

const on = bench()
const work = task({ name: "work" }, async (n: number) => n)
const sessions = async (): Promise<number> =>
  (
    await on.db.query<{ n: number }>(
      "select count(*)::int as n from pg_stat_activity where datname = current_database() and application_name like 'pgtusk%'",
    )
  )[0]!.n

describe("close", () => {
  test("I1: what was enqueued before it and not awaited is stored", async () => {
    for (const used of [false, true]) {
      await on.db.query("delete from tusk.jobs; delete from tusk.keys")
      const tusk = new Tusk(on.db.url)
      if (used) await tusk.workers()
      const view = work.with({ via: tusk })
      const pending = [...Array.from({ length: 100 }, (_, i) => view.enqueue(i)), view.with({ id: "x" }).enqueue(100)]
      await tusk.close()
      await Promise.all(pending)
      expect(await on.db.query("select count(*)::int as n from tusk.jobs")).toEqual([{ n: 101 }])
    }
  })

  test("the wake-up of the last enqueue is sent", async () => {
    const client = await connect(on.db.url)
    const heard: string[] = []
    client.on("notification", ({ payload }) => heard.push(payload ?? ""))
    await client.query(`listen "${schemaNames("tusk").channel}"`)
    for (let round = 1; round <= 5; round++) {
      const tusk = new Tusk(on.db.url)
      await work.with({ via: tusk }).enqueue(round)
      await tusk.close()
      await waitFor(() => heard.length === round)
    }
  })

  test("gives back all connections, those of workers, waits and events included; a second call waits for the first", async () => {
    await waitFor(async () => (await sessions()) <= 1)
    const before = await sessions()
    const tusk = new Tusk({ connectionString: on.db.url, signals: false })
    await tusk.work({ queues: ["default"] })
    const off = tusk.events.on("*", () => {})
    await off.ready
    await (await work.with({ via: tusk }).enqueue(1)).result()
    const never = work.with({ via: tusk, delay: 3600 }).enqueue(2)
    const waiting = rejection((await never).result())
    expect(await sessions()).toBeGreaterThan(before)
    await Promise.all([tusk.close(), tusk.close()])
    expect((await waiting).code).toBe("WAIT_TIMEOUT")
    await waitFor(async () => (await sessions()) <= before)
  })

  test("a closed client refuses everything with one clear error", async () => {
    const tusk = new Tusk(on.db.url)
    const job = await work.with({ via: tusk }).enqueue(1)
    await tusk.close()
    for (const use of [
      () => work.with({ via: tusk }).enqueue(2),
      () => tusk.transaction(async () => 1),
      () => tusk.work({ queues: ["default"] }),
      () => tusk.migrate(),
      () => job.state(),
      () => job.result(),
      () => job.cancel(),
      () => tusk.queue("default").pause(),
    ]) {
      const error = await rejection(use())
      expect(error).toBeInstanceOf(ConnectionError)
      expect(error.message).toBe("This client of pgtusk is closed; make a new one")
    }
  })

  test("of a client that was never used, and of one that could not connect", async () => {
    await within(new Tusk(on.db.url).close(), 1_000)
    const tusk = new Tusk("postgres://nobody@127.0.0.1:1/x")
    await rejection(tusk.workers())
    await within(tusk.close(), 1_000)
  })

  test("waits for a transaction that is under way, which still commits", async () => {
    const tusk = new Tusk(on.db.url)
    const [entered, gate] = [deferred(), deferred()]
    const committed = tusk.transaction(async (tx) => {
      entered.resolve()
      await gate.promise
      await work.with({ via: on.tusk, tx }).enqueue(1)
    })
    await entered.promise
    const closed = tusk.close()
    gate.resolve()
    await committed
    await closed
    expect(await on.db.query("select args from tusk.jobs")).toEqual([{ args: [1] }])
  })

  test("await using closes it", async () => {
    let kept: Tusk
    {
      await using tusk = new Tusk(on.db.url)
      kept = tusk
      await work.with({ via: tusk }).enqueue(1)
    }
    expect(await rejection(kept.workers())).toBeInstanceOf(ConnectionError)
  })
})

describe("a process", () => {
  test("ends by itself after close(), and importing alone neither connects nor keeps it alive", async () => {
    for (const mode of ["import", "close", "transaction", "wait"]) {
      const script = spawnScript(new URL("./fixtures/producer.ts", import.meta.url), [mode], { DATABASE_URL: on.db.url })
      const { code } = await within(script.exit, 30_000, `${mode} to end`)
      expect([mode, code, script.stderr]).toEqual([mode, 0, ""])
      expect(script.lines.at(-1)).toBe("end")
    }
  }, 120_000)
})
