/** A paused queue: nobody claims from it, wherever they are, until it is resumed. */
import { describe, expect, test } from "vitest"
import { currentJob, task } from "../../src/index.js"
import { connect } from "../jobs/setup.js"
import { type Script, spawnScript } from "../support/process.js"
import { waitFor } from "../support/wait.js"
import { Gate, ground } from "../worker/ground.js"
import type { ProcessSettings } from "../worker/processes.js"

const on = ground()
const SLOW = { timeout: 60_000 }

async function workerProcess(settings: ProcessSettings): Promise<Script> {
  const child = spawnScript(new URL("../worker/fixtures/worker.ts", import.meta.url), [JSON.stringify(settings)], { URL: on.db.url })
  await child.line(/^ready /, 60_000)
  return child
}

/** The workers have had every reason to look for work twice since. */
async function twoBeats(queue: string): Promise<void> {
  const beats = async (): Promise<Map<string, number>> =>
    new Map(
      (await on.db.query("select id, heartbeat_at from tusk.workers where $1 = any (queues)", [queue])).map((row) => [
        row.id,
        row.heartbeat_at.getTime(),
      ]),
    )
  for (let i = 0; i < 2; i++) {
    const before = await beats()
    expect(before.size).toBeGreaterThan(0)
    await waitFor(async () => [...(await beats())].every(([id, at]) => at > (before.get(id) ?? 0)), { ...SLOW, what: "every worker to beat" })
  }
}

describe("pause() and resume()", () => {
  test("all workers stop at once, in two processes; what runs goes on; resumed, they go on", { timeout: 150_000 }, async () => {
    const tusk = on.open()
    const name = on.name("paused")
    const options = { poll: "100ms", lease: 1 } as const
    const workers = await Promise.all([0, 1].map(() => workerProcess({ queue: name, options })))
    const held = await tusk.enqueue("hold", [], { queue: name })
    await waitFor(async () => (await held.state()) === "active", SLOW)
    await Promise.all(Array.from({ length: 50 }, (_, i) => tusk.enqueue("quick", [i], { queue: name })))
    await waitFor(async () => (await on.counts(name)).completed === 50, SLOW)

    await tusk.queue(name).pause()
    const more = await Promise.all(Array.from({ length: 50 }, (_, i) => tusk.enqueue("quick", [i], { queue: name })))
    await twoBeats(name)
    expect(await on.counts(name)).toEqual({ completed: 50, waiting: 50, active: 1 })
    expect(await tusk.queue(name).info()).toMatchObject({ paused: true, workers: 2 })
    // What runs goes on, and may end.
    for (const worker of workers) worker.send("open")
    await held.result({ timeout: 30 })
    await twoBeats(name)
    expect(await on.counts(name)).toEqual({ completed: 51, waiting: 50 })

    await tusk.queue(name).resume()
    await Promise.all(more.map((job) => job.result({ timeout: 30 })))
    expect((await tusk.queue(name).info()).paused).toBe(false)
  })

  test("resume bites at once, by a notification: another process need not poll", { timeout: 150_000 }, async () => {
    const tusk = on.open()
    const name = on.name("resumed")
    await workerProcess({ queue: name, options: { poll: "5m" } })
    const took: number[] = []
    for (let i = 0; i < 8; i++) {
      await tusk.queue(name).pause()
      const job = await tusk.enqueue("quick", [i], { queue: name })
      await tusk.queue(name).resume()
      await job.result({ timeout: 30 })
      const [{ ms }] = await on.db.query(
        `select extract(epoch from f.started_at - q.updated_at) * 1000 as ms from tusk.finished_jobs f, tusk.queues q where f.id = $1 and q.name = $2`,
        [job.id, name],
      )
      took.push(Number(ms))
    }
    // 100 ms on a machine of its own; the best of several on a busy one.
    expect(Math.min(...took)).toBeLessThan(300)
    expect(Math.max(...took)).toBeLessThan(20_000)
  })

  test("a pause holds over restarts, and for workers that start later", async () => {
    const name = on.name("kept")
    const runs: number[] = []
    const noted = task({ name, queue: name }, (n: number) => void runs.push(n))
    const first = on.open()
    await first.queue(name).pause()
    await first.close()
    const tusk = on.open()
    const job = await noted.enqueue(1)
    await tusk.work({ queues: [name], poll: "50ms", lease: 1 })
    await twoBeats(name)
    expect(runs).toEqual([])
    expect((await job.explain()).reasons[0]!.code).toBe("paused")
    await tusk.queue(name).resume()
    await job.result()
    expect(runs).toEqual([1])
  })

  test("a limited claim that began before a pause takes nothing that was stored after it", async () => {
    const tusk = on.open()
    const worker = "11111111-1111-4111-8111-111111111111"
    const [whole, keyed] = [on.name("whole"), on.name("keyed")]
    const plain = task({ name: whole, queue: whole }, () => {})
    const limited = task({ name: keyed, queue: keyed, concurrency: { limit: 5 } }, () => {})
    await tusk.queue(whole).configure({ concurrency: 5 })
    // Its limits are published by a worker.
    await (await tusk.work({ queues: [keyed] })).drain()
    for (const [queue, of] of [
      [whole, plain],
      [keyed, limited],
    ] as const) {
      const [claimer, holder] = [await connect(on.db.url), await connect(on.db.url)]
      const before = await of.enqueue()
      // The claim has read that the queue is not paused, and waits in the middle: whoever subscribes is looked for before jobs are picked.
      await holder.query("begin")
      await holder.query("lock table tusk.subscribers in access exclusive mode")
      const claim = claimer.query("select id from tusk.claim_limited($1, 10, $2, $3, null, null) where id is not null", [queue, worker, [queue]])
      await waitFor(
        async () => (await on.db.query("select from pg_locks where not granted and relation = 'tusk.subscribers'::regclass")).length === 1,
      )
      await tusk.queue(queue).pause()
      const [{ id: after }] = await on.db.query(
        `insert into tusk.jobs (id, queue, task, args, concurrency_key, limit_group)
         select gen_random_uuid(), queue, task, args, concurrency_key, limit_group from tusk.jobs where id = $1 returning id`,
        [before.id],
      )
      await holder.query("commit")
      const { rows } = await claim
      expect(rows.map(({ id }) => id)).not.toContain(after)
      // That it waited in the middle, and not in front of all: resumed, both are there to be claimed.
      await tusk.queue(queue).resume()
      const later = await claimer.query("select id from tusk.claim_limited($1, 10, $2, $3, null, null) where id is not null", [
        queue,
        worker,
        [queue],
      ])
      expect([...rows, ...later.rows].map(({ id }) => id).sort()).toEqual([before.id, after].sort())
    }
  })

  test("twice is once, and other queues of the same worker go on", async () => {
    const tusk = on.open()
    const [name, other] = [on.name("one"), on.name("other")]
    const echo = task({ name, queue: name }, (n: number) => n)
    await tusk.work({ queues: [name, other], poll: "1m" })
    await tusk.queue(name).pause()
    await tusk.queue(name).pause()
    const waits = await echo.enqueue(1)
    expect(await (await echo.with({ queue: other }).enqueue(2)).result()).toBe(2)
    expect(await waits.state()).toBe("waiting")
    await tusk.queue(name).resume()
    await tusk.queue(name).resume()
    expect(await waits.result()).toBe(1)
  })

  test("delayed jobs of a paused queue fall due, and wait", async () => {
    const tusk = on.open()
    const name = on.name("due")
    const echo = task({ name, queue: name }, (n: number) => n)
    await tusk.work({ queues: [name] })
    await tusk.queue(name).pause()
    const job = await echo.with({ delay: "50ms" }).enqueue(1)
    await waitFor(async () => (await job.state()) === "waiting")
    await tusk.queue(name).resume()
    expect(await job.result()).toBe(1)
  })
})

describe("explain()", () => {
  /** A task of its own queue whose runs wait at the gate. */
  function own() {
    const name = on.name("why")
    const gate = new Gate()
    return { name, gate, held: task({ name, queue: name }, (label: string) => gate.pass(label, currentJob().signal)) }
  }
  const codes = async (job: { explain(): Promise<{ reasons: readonly { code: string }[] }> }): Promise<string[]> =>
    (await job.explain()).reasons.map((reason) => reason.code)

  test("no-worker: nobody serves the queue", async () => {
    on.open()
    const { name, held } = own()
    const job = await held.enqueue("a")
    expect(await job.explain()).toEqual({ state: "waiting", reasons: [{ code: "no-worker", message: `No live worker serves its queue "${name}"` }] })
  })

  test("a worker that died serves no queue", async () => {
    const tusk = on.open()
    const { name, held } = own()
    await on.db.query(
      `insert into tusk.workers (id, heartbeat_at, lease, pid, host, version, queues, tasks)
       values (gen_random_uuid(), now() - interval '1 minute', interval '20 s', 1, 'gone', '0', $1, $2)`,
      [[name], [name]],
    )
    expect(await codes(await held.enqueue("a"))).toEqual(["no-worker"])
    expect((await tusk.queue(name).info()).workers).toBe(0)
  })

  test("unknown-task: who serves it does not know the task", async () => {
    const tusk = on.open()
    const { name } = own()
    await tusk.work({ queues: [name] })
    const job = await tusk.enqueue("nobody.knows", [], { queue: name })
    expect(await job.explain()).toMatchObject({
      state: "waiting",
      reasons: [{ code: "unknown-task", message: expect.stringMatching(/does not know its task "nobody\.knows"; import the module/) }],
    })
    await tusk.work({ queues: [name] })
    expect((await job.explain()).reasons[0]!.message).toMatch(/none of the 2 live workers of its queue/)
  })

  test("paused, with what to do", async () => {
    const tusk = on.open()
    const { name, held } = own()
    await tusk.work({ queues: [name] })
    await tusk.queue(name).pause()
    const { reasons } = await (await held.enqueue("a")).explain()
    expect(reasons).toEqual([{ code: "paused", message: `Its queue "${name}" is paused; tusk.queue("${name}").resume() lets it go on` }])
  })

  test("delayed until, and the retry that it is for", async () => {
    const tusk = on.open()
    const { name, held } = own()
    await tusk.work({ queues: [name] })
    const job = await held.with({ delay: "1h" }).enqueue("a")
    const { runAt } = await job.snapshot()
    expect(await job.explain()).toEqual({
      state: "delayed",
      reasons: [{ code: "delayed", message: `It is due at ${runAt!.toISOString()}`, until: runAt }],
    })
    const failing = task({ name: `${name}.fails`, queue: name, retries: 1, backoff: { fixed: "1h" } }, () => {
      throw new Error("no")
    })
    const retried = await failing.enqueue()
    await waitFor(async () => (await retried.state()) === "delayed")
    expect((await retried.explain()).reasons[0]!.message).toMatch(/due for its next attempt at/)
  })

  test("blocked, with the parents that it waits for", async () => {
    const tusk = on.open()
    const { name, held } = own()
    await tusk.work({ queues: [name] })
    const parents = await held.with({ delay: "1h" }).enqueueMany([["a"], ["b"]])
    const one = await held.with({ dependsOn: [parents[0]!] }).enqueue("one")
    expect((await one.explain()).reasons).toEqual([{ code: "blocked", message: `It waits for its parent: ${parents[0]!.id}` }])
    const both = await held.with({ dependsOn: parents }).enqueue("both")
    const { message } = (await both.explain()).reasons[0]!
    expect(message).toMatch(/^It waits for 2 parents: /)
    for (const parent of parents) expect(message).toContain(parent.id)
  })

  test("busy, with how many are before it", async () => {
    const tusk = on.open()
    const { name, held, gate } = own()
    await tusk.work({ queues: { [name]: 1 } })
    const running = await held.enqueue("runs")
    await waitFor(() => gate.arrived.length === 1)
    const next = await held.enqueue("next")
    await held.enqueue("after")
    const urgent = await held.with({ priority: 1 }).enqueue("urgent")
    expect((await next.explain()).reasons).toEqual([
      { code: "busy", message: `It waits for its turn: 1 job is before it in queue "${name}", and the slots of its worker are taken` },
    ])
    expect((await urgent.explain()).reasons[0]!.message).toMatch(/0 jobs are before it/)
    expect(await running.explain()).toMatchObject({
      state: "active",
      reasons: [{ code: "active", message: expect.stringMatching(/on worker .*, in attempt 1 of 1/) }],
    })
    gate.open()
  })

  test("finished, and how", async () => {
    const tusk = on.open()
    const { name, held, gate } = own()
    gate.open()
    await tusk.work({ queues: [name] })
    const done = await held.enqueue("a")
    await done.result()
    expect(await done.explain()).toMatchObject({
      state: "completed",
      reasons: [{ code: "finished", message: expect.stringMatching(/^It has ended, completed, at /) }],
    })
    const cancelled = await held.with({ delay: "1h" }).enqueue("b")
    await cancelled.cancel("no need")
    expect((await cancelled.explain()).reasons[0]!.message).toMatch(/cancelled, at .*: no need$/)
  })

  test("every reason that holds, the decisive one first", async () => {
    const tusk = on.open()
    const { name, held } = own()
    await tusk.queue(name).pause()
    const delayed = await held.with({ delay: "1h" }).enqueue("a")
    expect(await codes(delayed)).toEqual(["delayed", "paused", "no-worker"])
    const blocked = await held.with({ dependsOn: [delayed], delay: "2h" }).enqueue("b")
    expect(await codes(blocked)).toEqual(["blocked", "paused", "no-worker"])
    expect(await codes(await held.enqueue("c"))).toEqual(["paused", "no-worker"])
    await tusk.work({ queues: [name] })
    expect(await codes(await tusk.enqueue("nobody.knows", [], { queue: name }))).toEqual(["paused", "unknown-task"])
  })

  test("an unknown job", async () => {
    const tusk = on.open()
    await expect(tusk.job("01900000-0000-7000-8000-000000000000").explain()).rejects.toMatchObject({ code: "UNKNOWN_JOB" })
  })
})
