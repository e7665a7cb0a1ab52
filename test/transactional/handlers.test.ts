/** Transactional handlers: writes, follow-up jobs and completion commit together, or not at all. */
import { beforeEach, describe, expect, onTestFinished, test } from "vitest"
import { type CurrentJob, currentJob, NonRetryableError, snooze, type Transaction, task } from "../../src/index.js"
import { connect } from "../jobs/setup.js"
import { startProxy } from "../support/proxy.js"
import { waitFor } from "../support/wait.js"
import { eventsOf, Gate, ground, reaches } from "../worker/ground.js"

const on = ground()

beforeEach(async () => {
  await on.db.query("create table if not exists effects (label text)")
  await on.db.query("truncate effects, tusk.jobs, tusk.finished_jobs")
})
const effects = async (): Promise<string[]> => (await on.db.query("select label from effects order by 1")).map((row) => row.label)
const write = (label: string): Promise<unknown> => currentJob().tx.query("insert into effects (label) values ($1)", [label])
/** The name of Postgres' own statement for what this client sends: "Q", length, text. */
const COMMIT = "Q\u0000\u0000\u0000\u000bcommit\u0000"

const follow = task({ name: "transactional.follow", queue: "follow" }, (label: string) => label)
/** How many follow-up jobs are there. */
const followed = async (): Promise<number> => Object.values(await on.counts("follow")).reduce((sum, n) => sum + n, 0)

/** A transactional task of its own queue. */
function own(handler: (...args: any[]) => unknown, options: object = {}) {
  const name = on.name("book")
  return { name, book: task({ name, queue: name, transactional: true, ...options }, handler) }
}

const backends = (): Promise<any[]> =>
  on.db.query("select pid, state, query from pg_stat_activity where datname = current_database() and application_name = 'pgtusk transactions'")
/** Nothing of an aborted transaction goes on in the server. */
const noneOpen = (): Promise<unknown> =>
  waitFor(async () => (await backends()).every((row) => row.state === "idle"), { what: "no transaction to be open" })

describe("success", () => {
  test("commits the writes, the follow-up job and the completion together", async () => {
    const tusk = on.open()
    const events = eventsOf(tusk)
    const gate = new Gate()
    const { name, book } = own(async (label: string) => {
      await write(label)
      await follow.with({ tx: currentJob().tx }).enqueue(label)
      await gate.pass(label)
      return { booked: label }
    })
    await tusk.work({ queues: [name, "follow"], poll: "1m" })
    const job = await book.enqueue("a")
    await waitFor(() => gate.arrived.length === 1)
    expect([await effects(), await followed(), await job.state()]).toEqual([[], 0, "active"])
    gate.open()
    expect(await job.result()).toEqual({ booked: "a" })
    expect(await effects()).toEqual(["a"])
    // The follow-up is woken by the commit, not by a poll.
    await waitFor(async () => (await on.counts("follow")).completed === 1)
    expect(await job.snapshot()).toMatchObject({ state: "completed", attempt: 1, attempts: [{ attempt: 1, error: null }] })
    expect(events.filter((event) => event.id === job.id).map((event) => event.name)).toEqual(["job:added", "job:started", "job:completed"])
  })

  test("frees its children in the same transaction, those too that it made itself", async () => {
    const tusk = on.open()
    const { name, book } = own(async () => {
      await follow.with({ tx: currentJob().tx, dependsOn: [currentJob().id] }).enqueue("own child")
      return 1
    })
    const job = await book.enqueue()
    const child = await follow.with({ dependsOn: [job] }).enqueue("child")
    await tusk.work({ queues: [name, "follow"] })
    expect(await child.result()).toBe("child")
    await waitFor(async () => (await on.counts("follow")).completed === 2)
  })

  test("is READ COMMITTED, whatever the database's default", async () => {
    const tusk = on.open()
    await on.db.query(`alter database "${on.db.name}" set default_transaction_isolation = 'serializable'`)
    onTestFinished(async () => void (await on.db.query(`alter database "${on.db.name}" reset default_transaction_isolation`)))
    const { name, book } = own(async () => (await currentJob().tx.query("show transaction_isolation")).rows[0].transaction_isolation)
    await tusk.work({ queues: [name] })
    expect(await (await book.enqueue()).result()).toBe("read committed")
  })

  test("statements at once are sent one after the other, and those that nobody waited for belong to it", async () => {
    const tusk = on.open()
    const warned: string[] = []
    const listener = (warning: Error): void => void warned.push(warning.message)
    process.on("warning", listener)
    onTestFinished(() => void process.off("warning", listener))
    const { name, book } = own(async () => {
      await Promise.all(["a", "b", "c"].map(write))
      void write("d")
    })
    await tusk.work({ queues: [name] })
    await (await book.enqueue()).result()
    expect(await effects()).toEqual(["a", "b", "c", "d"])
    expect(warned.filter((message) => /client\.query/.test(message))).toEqual([])
  })

  test("progress is told while it runs, and its last stays", async () => {
    const tusk = on.open()
    const gate = new Gate()
    const { name, book } = own(async () => {
      currentJob().reportProgress(0.5, { at: "half" })
      await gate.pass("half")
      currentJob().reportProgress(0.9)
    })
    await tusk.work({ queues: [name] })
    const job = await book.enqueue()
    await waitFor(async () => (await job.snapshot()).progress?.fraction === 0.5)
    expect((await job.snapshot()).progress).toEqual({ fraction: 0.5, data: { at: "half" } })
    gate.open()
    await job.result()
    expect((await job.snapshot()).progress).toEqual({ fraction: 0.9 })
  })

  test("more jobs at once than connections: each gets its turn", async () => {
    const tusk = on.open()
    let most = 0
    const { name, book } = own(async (label: string) => {
      await write(label)
      most = Math.max(most, (await backends()).length)
    })
    const jobs = await book.enqueueMany(Array.from({ length: 60 }, (_, i) => [`n${i}`]))
    await tusk.work({ queues: { [name]: 60 }, concurrency: 60 })
    await Promise.all(jobs.map((job) => job.result({ timeout: 20 })))
    expect(new Set(await effects()).size).toBe(60)
    expect(most).toBeLessThanOrEqual(50)
  })
})

describe("failure", () => {
  test("a handler that throws leaves nothing, and its retry does it once", async () => {
    const tusk = on.open()
    const { name, book } = own(
      async (label: string) => {
        await write(label)
        await follow.with({ tx: currentJob().tx }).enqueue(label)
        if (currentJob().attempt < 3) throw new Error("not yet")
        return label
      },
      { retries: 2, backoff: 0 },
    )
    await tusk.work({ queues: [name] })
    const job = await book.enqueue("a")
    expect(await job.result()).toBe("a")
    expect([await effects(), await followed()]).toEqual([["a"], 1])
    expect((await job.snapshot()).attempts.map((attempt) => attempt.error?.message ?? null)).toEqual(["not yet", "not yet", null])
    const final = await book.with({ retries: 0 }).enqueue("b")
    await reaches(final, "failed")
    expect([await effects(), await followed()]).toEqual([["a"], 1])
  })

  test("a snooze rolls back and uses no attempt", async () => {
    const tusk = on.open()
    let runs = 0
    const { name, book } = own(async (label: string) => {
      await write(label)
      if (++runs === 1) snooze("20ms")
    })
    await tusk.work({ queues: [name] })
    const job = await book.enqueue("a")
    await job.result()
    expect([await effects(), runs, (await job.snapshot()).attempt]).toEqual([["a"], 2, 1])
  })

  test.each<[string, (label: string) => unknown, string]>([
    ["too large", () => "x".repeat(2_000), "PayloadTooLargeError"],
    ["no data", () => () => 1, "PayloadError"],
  ])("a result that is %s: rolled back, and failed for good", async (_, result, error) => {
    const tusk = on.open({ maxPayloadBytes: 1_000 })
    const { name, book } = own(
      async (label: string) => {
        await write(label)
        return result(label)
      },
      { retries: 3, backoff: 0 },
    )
    await tusk.work({ queues: [name] })
    const job = await book.enqueue("a")
    await reaches(job, "failed")
    expect(await job.snapshot()).toMatchObject({ attempt: 1, error: { name: error } })
    expect(await effects()).toEqual([])
    await noneOpen()
  })

  test("a statement that failed and was caught: it says why nothing can commit", async () => {
    const tusk = on.open()
    const { name, book } = own(async () => {
      await write("a")
      await currentJob()
        .tx.query("select 1 / 0")
        .catch(() => undefined)
      return "fine"
    })
    await tusk.work({ queues: [name] })
    const job = await book.enqueue()
    await reaches(job, "failed")
    expect((await job.snapshot()).error).toMatchObject({
      code: "TRANSACTION_ABORTED",
      message: expect.stringMatching(/one of its statements failed.*savepoint/),
    })
    expect(await effects()).toEqual([])
  })

  test("a savepoint of the handler's own saves it", async () => {
    const tusk = on.open()
    const { name, book } = own(async () => {
      const { tx } = currentJob()
      await write("a")
      await tx.query("savepoint s")
      await tx.query("select 1 / 0").catch(() => tx.query("rollback to savepoint s"))
    })
    await tusk.work({ queues: [name] })
    await (await book.enqueue()).result()
    expect(await effects()).toEqual(["a"])
  })

  test.each(["commit", "rollback"])("a handler that says %s itself fails for good: completion and effects have come apart", async (end) => {
    const tusk = on.open()
    const { name, book } = own(
      async (label: string) => {
        await write(label)
        await currentJob().tx.query(end)
      },
      { retries: 3, backoff: 0 },
    )
    await tusk.work({ queues: [name] })
    const job = await book.enqueue("a")
    await reaches(job, "failed")
    expect(await job.snapshot()).toMatchObject({
      attempt: 1,
      error: { message: expect.stringMatching(/ended its transaction itself.*Leave commit and rollback to pgtusk/) },
    })
    expect(await effects()).toEqual(end === "commit" ? ["a"] : [])
  })

  test("the connection is used again after a failure, unless a statement was on its way", async () => {
    const tusk = on.open()
    const pids: number[] = []
    const { name, book } = own(async (fails: boolean) => {
      pids.push((await currentJob().tx.query("select pg_backend_pid() as pid")).rows[0].pid)
      if (fails) throw new Error("no")
    })
    await tusk.work({ queues: { [name]: 1 } })
    await reaches(await book.enqueue(true), "failed")
    await (await book.enqueue(false)).result()
    expect(pids[1]).toBe(pids[0])
  })
})

describe("a run that is not to count", () => {
  /** Writes, then waits for the gate or its signal; what it was told stands in `reasons`. */
  function held(options: object = {}) {
    const gate = new Gate()
    const reasons: string[] = []
    const made = own(async (label: string, heeds = true) => {
      const { signal } = currentJob()
      await write(label)
      await follow.with({ tx: currentJob().tx }).enqueue(label)
      signal.addEventListener("abort", () => reasons.push(signal.reason.name))
      await gate.pass(label, heeds ? signal : undefined)
      return label
    }, options)
    return { ...made, gate, reasons }
  }
  const nothing = async (): Promise<void> => {
    await noneOpen()
    expect([await effects(), await followed()]).toEqual([[], 0])
  }

  test("cancelled while it runs", async () => {
    const tusk = on.open()
    const { name, book, gate, reasons } = held()
    await tusk.work({ queues: [name] })
    const job = await book.enqueue("a")
    await waitFor(() => gate.arrived.length === 1)
    await job.cancel("not needed")
    await reaches(job, "cancelled")
    await nothing()
    expect([reasons, (await job.snapshot()).error?.message]).toEqual([["JobCancelledError"], "not needed"])
  })

  test("cancelled, and the worker hears of it only with the completion", async () => {
    const tusk = on.open()
    const { name, book, gate } = held()
    await tusk.work({ queues: [name] })
    const job = await book.enqueue("a")
    await waitFor(() => gate.arrived.length === 1)
    await on.db.query(`update tusk.jobs set cancel_requested = true, error = '{"name": "JobCancelledError", "message": "by hand"}' where id = $1`, [
      job.id,
    ])
    gate.open()
    await reaches(job, "cancelled")
    await nothing()
    expect((await job.snapshot()).result).toBeUndefined()
  })

  test.each([true, false])("its time is over (heeds its signal: %s)", async (heeds) => {
    const tusk = on.open()
    const { name, book, gate, reasons } = held({ timeout: "300ms" })
    await tusk.work({ queues: [name] })
    const job = await book.enqueue("a", heeds)
    await reaches(job, "failed")
    await nothing()
    gate.open()
    expect(reasons).toEqual(["JobTimeoutError"])
    expect((await job.snapshot()).error?.name).toBe("JobTimeoutError")
  })

  test("its time is over in the middle of a statement: the server drops it, and its locks", async () => {
    const tusk = on.open()
    const { name, book } = own(
      async (label: string) => {
        await write(label)
        await currentJob().tx.query("select pg_sleep(600)")
      },
      { timeout: "300ms" },
    )
    await tusk.work({ queues: [name] })
    const job = await book.enqueue("a")
    await reaches(job, "failed")
    await waitFor(async () => (await backends()).every((row) => !row.query.includes("pg_sleep")), { what: "the statement to be cut off" })
    await nothing()
  })

  test("removed while it runs", async () => {
    const tusk = on.open()
    const { name, book, gate, reasons } = held()
    await tusk.work({ queues: [name] })
    const job = await book.enqueue("a")
    await waitFor(() => gate.arrived.length === 1)
    expect(await job.remove()).toBe(true)
    await waitFor(() => reasons.length === 1)
    await nothing()
    expect(reasons).toEqual(["LeaseLostError"])
    expect(await on.counts(name)).toEqual({})
  })

  test("another worker's by now: the completion is fenced off", async () => {
    const tusk = on.open()
    const { name, book, gate } = held()
    await tusk.work({ queues: [name] })
    const job = await book.enqueue("a")
    await waitFor(() => gate.arrived.length === 1)
    await on.db.query("update tusk.jobs set lease = nextval('tusk.lease_seq') where id = $1", [job.id])
    gate.open()
    await noneOpen()
    await nothing()
    expect(await job.state()).toBe("active")
  })

  test("the worker stops: rolled back, and no attempt used", async () => {
    const tusk = on.open()
    const { name, book, gate, reasons } = held()
    const worker = await tusk.work({ queues: [name] })
    const job = await book.enqueue("a")
    await waitFor(() => gate.arrived.length === 1)
    await worker.stop()
    expect(await job.snapshot()).toMatchObject({ state: "waiting", attempt: 0 })
    await nothing()
    expect(reasons).toEqual(["WorkerShutdownError"])
    gate.open()
    await tusk.work({ queues: [name] })
    expect(await job.result()).toBe("a")
    expect([await effects(), await followed()]).toEqual([["a"], 1])
  })

  test("a worker that drains waits for it", async () => {
    const tusk = on.open()
    const { name, book, gate } = held()
    const worker = await tusk.work({ queues: [name], drainTimeout: 20 })
    const job = await book.enqueue("a")
    await waitFor(() => gate.arrived.length === 1)
    const drained = worker.drain()
    gate.open()
    await drained
    expect([await job.state(), await effects()]).toEqual(["completed", ["a"]])
  })
})

describe("the network", () => {
  test("the answer to the commit is lost: it counts, and nothing runs twice", async () => {
    const proxy = await startProxy(on.db.url)
    onTestFinished(() => proxy.close())
    const tusk = on.open({ connectionString: proxy.url })
    let runs = 0
    const gate = new Gate()
    const { name, book } = own(async (label: string) => {
      runs++
      await write(label)
      await gate.pass(label)
      return label
    })
    await tusk.work({ queues: [name] })
    const job = await book.enqueue("a")
    await waitFor(() => gate.arrived.length === 1)
    const lost = proxy.loseReplies(COMMIT)
    gate.open()
    await lost
    expect(await job.result({ timeout: 20 })).toBe("a")
    // A second job goes through the whole way: the first has had its time to run again, if it would.
    expect(await (await book.enqueue("b")).result({ timeout: 20 })).toBe("b")
    expect([runs, await effects(), (await job.snapshot()).attempt]).toEqual([2, ["a", "b"], 1])
  })

  test("the connection is cut while the completion is recorded: it runs again, and uses no attempt", async () => {
    const tusk = on.open()
    const holder = await connect(on.db.url)
    let runs = 0
    const { name, book } = own(async (label: string) => {
      runs++
      await write(label)
      return label
    })
    // The completion waits for this row, and is cut off there.
    const job = await book.enqueue("a")
    await holder.query("begin")
    const child = await follow.with({ dependsOn: [job], delay: "1h" }).enqueue("child")
    await holder.query("select 1 from tusk.jobs where id = $1 for update", [child.id])
    await tusk.work({ queues: [name] })
    const [waiting] = await waitFor(async () => {
      const rows = await on.db.query(
        "select pid from pg_stat_activity where datname = current_database() and application_name = 'pgtusk transactions' and wait_event_type = 'Lock'",
      )
      return rows.length === 1 ? rows : undefined
    })
    await on.db.query("select pg_terminate_backend($1)", [waiting.pid])
    await holder.query("rollback")
    expect(await job.result({ timeout: 20 })).toBe("a")
    expect([runs, await effects(), (await job.snapshot()).attempt]).toEqual([2, ["a"], 1])
    expect((await child.snapshot()).state).toBe("delayed")
  })

  test("the time until there is a connection does not count", async () => {
    const proxy = await startProxy(on.db.url)
    onTestFinished(() => proxy.close())
    const tusk = on.open({ connectionString: proxy.url })
    const { name, book } = own(() => "quick", { timeout: "400ms" })
    await tusk.work({ queues: [name] })
    // To connect takes several round trips.
    proxy.delay({ toServer: 250 })
    const began = performance.now()
    const job = await book.enqueue()
    expect(await job.result({ timeout: 20 })).toBe("quick")
    expect(performance.now() - began).toBeGreaterThan(1_000)
    expect((await job.snapshot()).attempt).toBe(1)
  })

  test("no connection for the transaction: the handler is not called, and no attempt is used", async () => {
    const proxy = await startProxy(on.db.url)
    onTestFinished(() => proxy.close())
    const tusk = on.open({ connectionString: proxy.url })
    let runs = 0
    const { name, book } = own(async (label: string) => {
      runs++
      await write(label)
    })
    const plain = task({ name: `${name}.plain`, queue: name }, () => 1)
    await tusk.work({ queues: [name] })
    // The worker's other connections are there.
    await Promise.all((await plain.enqueueMany(Array.from({ length: 20 }, () => []))).map((job) => job.result()))
    proxy.refuse()
    const job = await book.enqueue("a")
    await waitFor(() => on.messages("warn").some((message) => /no connection for a job's transaction/.test(message)))
    await reaches(job, "delayed")
    expect([runs, (await job.snapshot()).attempt]).toEqual([0, 0])
    await proxy.accept()
    await job.result({ timeout: 20 })
    expect([runs, await effects(), (await job.snapshot()).attempt]).toEqual([1, ["a"], 1])
  })

  test("the connection is lost in the middle of the handler: rolled back, and the attempt counts", async () => {
    const tusk = on.open()
    const { name, book } = own(
      async (label: string) => {
        await write(label)
        const { tx, attempt } = currentJob()
        if (attempt === 1) await tx.query("select pg_terminate_backend(pg_backend_pid())")
        return label
      },
      { retries: 1, backoff: 0 },
    )
    await tusk.work({ queues: [name] })
    const job = await book.enqueue("a")
    expect(await job.result({ timeout: 20 })).toBe("a")
    expect([await effects(), (await job.snapshot()).attempt]).toEqual([["a"], 2])
  })

  test("a transaction that idles for longer than the server allows fails as such", async () => {
    const tusk = on.open()
    const gate = new Gate()
    const { name, book } = own(async () => {
      await currentJob().tx.query("set local idle_in_transaction_session_timeout = '50ms'")
      await gate.pass("idle")
    })
    await tusk.work({ queues: [name] })
    const job = await book.enqueue()
    await waitFor(() => gate.arrived.length === 1)
    await waitFor(async () => (await backends()).length === 0, { what: "the server to cut it off" })
    gate.open()
    await reaches(job, "failed")
    expect((await job.snapshot()).error).toMatchObject({ code: "25P03", message: expect.stringMatching(/idle-in-transaction timeout/) })
  })

  test.each([
    ["idles for longer than the server allows", "25P03", /idle-in-transaction timeout.*idle_in_transaction_session_timeout/],
    ["is ended by an administrator", "57P01", /terminating connection due to administrator command/],
  ])("a statement in a transaction that %s says so, with the server's reason as its cause", async (_, code, reason) => {
    const tusk = on.open()
    const gate = new Gate()
    const { name, book } = own(async () => {
      const { tx } = currentJob()
      if (code === "25P03") await tx.query("set local idle_in_transaction_session_timeout = '50ms'")
      else await tx.query("select 1")
      await gate.pass("idle")
      await tx.query("select 1")
    })
    await tusk.work({ queues: [name] })
    const job = await book.enqueue()
    await waitFor(() => gate.arrived.length === 1)
    if (code === "57P01") for (const { pid } of await backends()) await on.db.query("select pg_terminate_backend($1)", [pid])
    await waitFor(async () => (await backends()).length === 0, { what: "the server to cut it off" })
    gate.open()
    await reaches(job, "failed")
    const { error } = await job.snapshot()
    expect(error).toMatchObject({ name: "ConnectionError", code: "CONNECTION", cause: { code } })
    expect(error?.message).toMatch(new RegExp(`^The transaction of job ${job.id} has lost its connection and is rolled back`))
    expect(error?.message).toMatch(reason)
  })
})

describe("tx", () => {
  test("is of no use after the end of its run", async () => {
    const tusk = on.open()
    let leaked: Transaction | undefined
    let job: CurrentJob | undefined
    const { name, book } = own((fails: boolean) => {
      job = currentJob()
      leaked = job.tx
      if (fails) throw new NonRetryableError("no")
    })
    await tusk.work({ queues: [name] })
    await (await book.enqueue(false)).result()
    await expect(leaked!.query("insert into effects values ('late')")).rejects.toMatchObject({
      code: "TRANSACTION_ENDED",
      message: expect.stringContaining(job!.id),
    })
    await expect(follow.with({ tx: leaked }).enqueue("late")).rejects.toMatchObject({ code: "TRANSACTION_ENDED" })
    await reaches(await book.enqueue(true), "failed")
    await expect(leaked!.query("select 1")).rejects.toMatchObject({ code: "TRANSACTION_ENDED" })
    expect([await effects(), await followed()]).toEqual([[], 0])
  })

  test("is not there in a task that is not transactional", async () => {
    const tusk = on.open()
    const name = on.name("plain")
    const plain = task({ name, queue: name }, () => currentJob().tx)
    await tusk.work({ queues: [name] })
    const job = await plain.enqueue()
    await reaches(job, "failed")
    expect((await job.snapshot()).error).toMatchObject({
      code: "NO_TRANSACTION",
      message: expect.stringMatching(/needs the task option transactional: true/),
    })
  })
})
