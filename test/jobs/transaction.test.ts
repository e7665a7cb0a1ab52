import type pg from "pg"
import { beforeAll, beforeEach, describe, expect, test } from "vitest"
import { InvalidOptionError, UnknownJobError } from "../../src/api/errors.js"
import type { Transaction } from "../../src/api/worker.js"
import { currentJob, task } from "../../src/index.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { waitFor } from "../support/wait.js"
import { bench, connect, openTusk, rejection, startWorker } from "./setup.js"

const on = bench()
beforeAll(async () => {
  await on.db.query("create table orders (id int primary key, body text)")
})
beforeEach(() => on.db.query("truncate orders"))

const ran: unknown[] = []
const ship = task({ name: "ship", queue: "shipping" }, async (order: number) => {
  ran.push(order)
  return order * 2
})

const stored = async (): Promise<unknown[]> =>
  (await on.db.query<{ arg: unknown }>("select args -> 0 as arg from tusk.jobs order by seq")).map((row) => row.arg)

describe("tusk.transaction", () => {
  test("I4: what is enqueued and written in it commits together, and the callback's value comes back", async () => {
    const job = await on.tusk.transaction(async (tx) => {
      await tx.query("insert into orders values ($1, $2)", [1, "a"])
      return ship.with({ via: on.tusk, tx }).enqueue(1)
    })
    expect(await job.state()).toBe("waiting")
    expect(await on.db.query("select id, body from orders")).toEqual([{ id: 1, body: "a" }])
  })

  test("I4: it rolls back together when the callback rejects, with the callback's own error", async () => {
    const mine = new Error("changed my mind")
    const error = await rejection(
      on.tusk.transaction(async (tx) => {
        await tx.query("insert into orders values (1, 'a')")
        await ship.with({ via: on.tusk, tx }).enqueueMany([[1], [2]])
        throw mine
      }),
    )
    expect(error).toBe(mine)
    expect(await stored()).toEqual([])
    expect(await on.db.query("select 1 from orders")).toEqual([])
  })

  test("I4: a failed statement whose error the callback caught rolls back all of it, and transaction() says so", async () => {
    const error = await rejection(
      on.tusk.transaction(async (tx) => {
        await ship.with({ via: on.tusk, tx }).enqueue(1)
        await tx.query("insert into nowhere values (1)").catch(() => undefined)
        return "fine"
      }),
    )
    expect(error.code).toBe("TRANSACTION_ABORTED")
    expect(error.message).toMatch(/rolled back: one of its statements failed, its error was caught/)
    expect(await stored()).toEqual([])
  })

  test("a savepoint saves the rest from an error", async () => {
    await on.tusk.transaction(async (tx) => {
      await ship.with({ via: on.tusk, tx }).enqueue(1)
      await tx.query("savepoint here")
      await ship.with({ via: on.tusk, tx }).enqueue(2)
      await tx.query("insert into nowhere values (1)").catch(() => undefined)
      await tx.query("rollback to savepoint here")
      await ship.with({ via: on.tusk, tx }).enqueue(3)
    })
    expect(await stored()).toEqual([1, 3])
  })

  test("query() gives rows and their count, and errors with their SQLSTATE", async () => {
    const error = await rejection(
      on.tusk.transaction(async (tx) => {
        expect(await tx.query("insert into orders select n, 'x' from generate_series(1, 3) n")).toEqual({ rows: [], rowCount: 3 })
        expect(await tx.query<{ id: number }>("select id from orders where id > $1 order by id", [1])).toEqual({
          rows: [{ id: 2 }, { id: 3 }],
          rowCount: 2,
        })
        await tx.query("insert into orders values (1, 'twice')")
      }),
    )
    expect(error.code).toBe("23505")
  })

  test("is READ COMMITTED whatever the database's default", async () => {
    await on.db.query(`alter database "${on.db.name}" set default_transaction_isolation to 'serializable'`)
    const tusk = openTusk({ connectionString: on.db.url })
    const [row] = await tusk.transaction(async (tx) => (await tx.query("show transaction_isolation")).rows)
    await on.db.query(`alter database "${on.db.name}" reset default_transaction_isolation`)
    expect(row).toEqual({ transaction_isolation: "read committed" })
  })

  test.each(["committed", "rolled back"])("its use after it was %s is refused, and stores nothing", async (end) => {
    let kept!: Transaction
    await on.tusk
      .transaction(async (tx) => {
        kept = tx
        if (end === "rolled back") throw new Error("no")
      })
      .catch(() => undefined)
    for (const late of [() => kept.query("insert into orders values (1)"), () => ship.with({ via: on.tusk, tx: kept }).enqueue(1)]) {
      const error = await rejection(late())
      expect(error).toBeInstanceOf(InvalidOptionError)
      expect(error.message).toMatch(/transaction of tusk\.transaction\(\) has ended; use it only until its callback resolves/)
    }
    expect(await stored()).toEqual([])
  })

  test("a callback that is none is refused", async () => {
    const error = await rejection((on.tusk.transaction as (work: unknown) => Promise<unknown>)("work"))
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(/transaction\(\) .*"work".*async \(tx\) =>/)
  })

  test("twenty at once, more than the pool has connections, all commit", async () => {
    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        on.tusk.transaction(async (tx) => {
          await tx.query("insert into orders values ($1, 'x')", [i])
          await ship.with({ via: on.tusk, tx }).enqueue(i)
        }),
      ),
    )
    expect((await stored()).length).toBe(20)
  })
})

describe("until the commit", () => {
  test("the handle's readers throw UnknownJobError, its changes do nothing; afterwards they see the job", async () => {
    const client = await connect(on.db.url)
    await client.query("begin")
    const job = await ship.with({ via: on.tusk, tx: client }).enqueue(1)
    for (const read of [() => job.state(), () => job.snapshot(), () => job.result(), () => job.settled()]) {
      const error = await rejection(read())
      expect(error).toBeInstanceOf(UnknownJobError)
      expect(error.message).toMatch(new RegExp(`no job ${job.id}: .*has not committed or was rolled back`))
    }
    expect([await job.cancel(), await job.promote(), await job.remove(), await job.retry()]).toEqual([false, false, false, false])
    await client.query("commit")
    expect(await job.state()).toBe("waiting")
  })

  test("I4: no worker ever sees a job that is rolled back, nor one that is yet to commit", async () => {
    ran.length = 0
    await startWorker(on.tusk, { queues: ["shipping"], poll: "50ms" })
    const client = await connect(on.db.url)
    await client.query("begin")
    for (let i = 1; i <= 50; i++) await ship.with({ via: on.tusk, tx: client }).enqueue(i)
    // The worker is awake all the while: other jobs come and go.
    for (let i = 100; i < 110; i++) expect(await (await ship.with({ via: on.tusk }).enqueue(i)).result()).toBe(i * 2)
    expect(ran.filter((n) => (n as number) < 100)).toEqual([])
    await client.query("rollback")
    expect(await (await ship.with({ via: on.tusk }).enqueue(110)).result()).toBe(220)
    expect(ran.filter((n) => (n as number) < 100)).toEqual([])
  })

  test("a job that took its place early and commits late is not passed over", async () => {
    ran.length = 0
    await startWorker(on.tusk, { queues: ["shipping"], poll: "60s" })
    const client = await connect(on.db.url)
    await client.query("begin")
    const late = await ship.with({ via: on.tusk, tx: client }).enqueue(1)
    // Later places are taken and worked first, so the worker's cursor is beyond.
    await (await ship.with({ via: on.tusk }).enqueue(2)).result()
    await client.query("commit")
    expect(await late.result({ timeout: 10 })).toBe(2)
    expect(ran).toEqual([2, 1])
  })
})

describe("the wake-up", () => {
  const channel = schemaNames("tusk").channel

  async function ear(): Promise<{ client: pg.Client; heard: string[]; mark(): Promise<void> }> {
    const client = await connect(on.db.url)
    const heard: string[] = []
    client.on("notification", ({ payload }) => heard.push(payload ?? ""))
    await client.query(`listen "${channel}"`)
    let marks = 0
    return {
      client,
      heard,
      // Notifications come in the order of their commits: when this one is heard, all before it have been.
      async mark() {
        const word = `mark ${++marks}`
        await on.db.query("select pg_notify($1, $2)", [channel, word])
        await waitFor(() => heard.includes(word))
        heard.splice(heard.indexOf(word), 1)
      },
    }
  }

  test("leaves with the commit of the caller's transaction, not before, and not with a rollback", async () => {
    const { heard, mark } = await ear()
    const client = await connect(on.db.url)
    await client.query("begin")
    await ship.with({ via: on.tusk, tx: client, priority: 3 }).enqueue(1)
    await ship.with({ via: on.tusk, tx: client, delay: 60 }).enqueue(2)
    await mark()
    expect(heard).toEqual([])
    await client.query("commit")
    const [{ seq }] = (await on.db.query("select seq::int from tusk.jobs where state = 'waiting'")) as [{ seq: number }]
    await waitFor(() => heard.length === 2)
    expect(heard.map((text) => JSON.parse(text))).toEqual([
      ["j", "shipping", 3, seq],
      ["d", expect.toSatisfy((ms: number) => ms > 59_000 && ms <= 60_000)],
    ])
    heard.length = 0
    await client.query("begin")
    await ship.with({ via: on.tusk, tx: client }).enqueue(3)
    await client.query("rollback")
    await mark()
    expect(heard).toEqual([])
  })

  test("is one for each lane of a statement, however many jobs", async () => {
    const { heard, mark } = await ear()
    await on.tusk.transaction(async (tx) => {
      await ship.with({ via: on.tusk, tx }).enqueueMany(Array.from({ length: 100 }, (_, i) => [i]))
    })
    await mark()
    expect(heard).toHaveLength(1)
  })

  test('wake "poll" sends none, in a transaction or not; the job is found all the same', async () => {
    const { heard, mark } = await ear()
    const view = ship.with({ via: on.tusk, wake: "poll" })
    await on.tusk.transaction((tx) => view.with({ tx }).enqueue(1))
    await view.enqueue(2)
    await view.with({ delay: 60 }).enqueue(3)
    await view.with({ id: "with an id" }).enqueue(4)
    await mark()
    expect(heard).toEqual([])
    const worker = openTusk({ connectionString: on.db.url })
    await startWorker(worker, { queues: ["shipping"], poll: "50ms" })
    expect(await (await view.enqueue(21)).result({ timeout: 20 })).toBe(42)
  })

  test("is sent after the commit of a plain enqueue, and wakes a worker of another client", async () => {
    const { client, heard } = await ear()
    const worker = await startWorker(openTusk({ connectionString: on.db.url }), { queues: ["shipping"], poll: "60s" })
    await client.query(`listen "pgtusk:${worker.id}"`)
    await waitFor(async () => (await on.db.query("select from tusk.workers where listens")).length === 1, { what: "the worker to listen" })
    const job = await ship.with({ via: on.tusk }).enqueue(4)
    expect(await job.result({ timeout: 10 })).toBe(8)
    await waitFor(() => heard.some((text) => text.startsWith('["j", "shipping", 5, ')))
  })
})

describe("a handler's own transaction", () => {
  test("jobs that a handler enqueues with its tusk.transaction() are there when it returns", async () => {
    const follow = task({ name: "follow", queue: "shipping" }, async (n: number) => {
      await on.tusk.transaction(async (tx) => {
        await tx.query("insert into orders values ($1, $2)", [n, currentJob().id])
        await ship.with({ via: on.tusk, tx }).enqueue(n)
      })
    })
    await startWorker(on.tusk, { queues: ["shipping"] })
    const job = await follow.with({ via: on.tusk }).enqueue(7)
    await job.result()
    expect(await on.db.query("select id, body from orders")).toEqual([{ id: 7, body: job.id }])
    await waitFor(() => ran.includes(7))
  })
})
