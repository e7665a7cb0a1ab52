/** Under which key a job counts, however it came to be. */
import { describe, expect, test } from "vitest"
import { InvalidOptionError } from "../../src/api/errors.js"
import { flow, task, taskRef } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { ground, reaches } from "../worker/ground.js"

const on = ground()

/** The keys of a job, live or finished. */
async function keysOf(id: string): Promise<[string | null, string | null]> {
  const { concurrency_key, rate_key } = await on.row(id)
  return [concurrency_key, rate_key]
}

const both = {
  concurrency: { limit: 5, key: (key: string) => key },
  rateLimit: { limit: 1_000, per: "1s", key: (key: string) => `rate of ${key}` },
} as const

describe("every way in keeps the keys", () => {
  test("alone, many at once, in a transaction, delayed, with a custom id, after a parent", async () => {
    const tusk = on.open()
    const queue = on.name("q")
    const keyed = task({ name: on.name("keyed"), queue, ...both }, (_key: string) => undefined)
    const alone = await keyed.enqueue("a")
    const many = await keyed.enqueueMany([["b"], ["c"]])
    const within = await tusk.transaction((tx) => keyed.with({ tx }).enqueue("d"))
    const delayed = await keyed.with({ delay: "1h" }).enqueue("e")
    const named = await keyed.with({ id: "named" }).enqueue("f")
    const child = await keyed.with({ dependsOn: [alone] }).enqueue("g")
    const jobs = [alone, ...many, within, delayed, named, child]
    expect(await Promise.all(jobs.map((job) => keysOf(job.id)))).toEqual([..."abcdefg"].map((key) => [key, `rate of ${key}`]))
    await delayed.promote()
    await tusk.work({ queues: { [queue]: 10 } })
    await Promise.all(jobs.map((job) => job.result({ timeout: 10 })))
  })

  test("a debounced job takes the keys of its last arguments", async () => {
    on.open()
    const queue = on.name("q")
    const keyed = task({ name: on.name("keyed"), queue, ...both }, (_key: string) => undefined)
    const debounced = keyed.with({ delay: "1h", deduplicate: { key: "k", replace: true } })
    const job = await debounced.enqueue("a")
    await debounced.enqueue("b")
    expect(await keysOf(job.id)).toEqual(["b", "rate of b"])
  })

  test("a retry by hand, a repeat, a schedule and a redrive", async () => {
    const tusk = on.open()
    const queue = on.name("q")
    const failing = task({ name: on.name("failing"), queue, ...both }, (_key: string) => {
      throw new Error("no")
    })
    const repeating = task({ name: on.name("repeating"), queue, ...both }, (_key: string) => undefined)
    const worker = await tusk.work({ queues: { [queue]: 10 } })
    const failed = await failing.enqueue("a")
    await reaches(failed, "failed")
    const first = await repeating.with({ repeatEvery: "1h" }).enqueue("b")
    await first.result({ timeout: 10 })
    await repeating.schedule(on.name("schedule"), { every: "1h" }, "c")
    await worker.stop()
    await failed.retry()
    expect(await keysOf(failed.id)).toEqual(["a", "rate of a"])
    const [next] = await on.db.query("select id from tusk.jobs where task = $1", [repeating.taskName])
    expect(await keysOf(next.id)).toEqual(["b", "rate of b"])
    await on.db.query("update tusk.schedules set next_run_at = now() where task = $1", [repeating.taskName])
    await on.work({ queues: [on.name("other")] })
    const [fired] = await waitFor(async () => {
      const rows = await on.db.query("select id from tusk.jobs where task = $1 and scheduled_for is not null", [repeating.taskName])
      return rows.length > 0 && rows
    })
    expect(await keysOf(fired.id)).toEqual(["c", "rate of c"])
  })

  test("a flow: a key of what is known; one of a result that is not there yet is refused, and may be given", async () => {
    on.open()
    const queue = on.name("q")
    const first = task({ name: on.name("first"), queue }, () => "tenant")
    const second = task({ name: on.name("second"), queue, ...both }, (key: string, _value: string) => key)
    const fine = await flow("fine", (f) => f.add(second.call("a", f.add(first.call()).result))).enqueue()
    expect(await keysOf(fine.id)).toEqual(["a", "rate of a"])
    const refused = flow("refused", (f) => f.add(second.call(f.add(first.call()).result, "value")))
    await expect(refused.enqueue()).rejects.toThrow(
      `concurrency.key() of task "${second.taskName}" needs an argument that a parent's result will fill, and the job is stored before that is known; give the key with the call: with({ concurrencyKey: … })`,
    )
    const given = await flow("given", (f) =>
      f.add(second.call(f.add(first.call()).result, "value").with({ concurrencyKey: "b", rateLimitKey: "c" })),
    ).enqueue()
    expect(await keysOf(given.id)).toEqual(["b", "c"])
  })

  test("producers without the code say the key, or share one", async () => {
    const tusk = on.open()
    const queue = on.name("q")
    const name = on.name("remote")
    task({ name, queue, ...both }, (_key: string) => undefined)
    const worker = await tusk.work({ queues: [queue] })
    await worker.stop()
    const remote = taskRef(name)
    expect(await keysOf((await remote.enqueue("a")).id)).toEqual(["", ""])
    expect(await keysOf((await remote.with({ concurrencyKey: "k", rateLimitKey: "r" }).enqueue("a")).id)).toEqual(["k", "r"])
    const [{ id }] = await on.db.query(`select tusk.enqueue($1, '["a"]', '{"concurrencyKey": "s", "rateLimitKey": "t"}') as id`, [name])
    expect(await keysOf(id)).toEqual(["s", "t"])
    await expect(on.db.query(`select tusk.enqueue($1, '["a"]', '{"concurrencyKey": 5}')`, [name])).rejects.toThrow(/concurrencyKey of a job of task/)
    await expect(on.db.query(`select tusk.enqueue($1, '["a"]', jsonb_build_object('rateLimitKey', repeat('ä', 600)))`, [name])).rejects.toThrow(
      /1000 bytes/,
    )
  })

  test("jobs that were stored before their task had a limit get the key of no key function", async () => {
    const tusk = on.open()
    const queue = on.name("q")
    const name = on.name("late")
    const early = await tusk.enqueue(name, [], { queue })
    expect(await keysOf(early.id)).toEqual([null, null])
    task({ name, queue, concurrency: { limit: 1 } }, () => undefined)
    await tusk.work({ queues: [queue] })
    await early.result({ timeout: 10 })
    expect(await keysOf(early.id)).toEqual(["", null])
  })
})

test("a limit that another deployment publishes holds for jobs that wait already", async () => {
  const tusk = on.open()
  const queue = on.name("q")
  const limited = task({ name: on.name("limited"), queue, concurrency: { limit: 0 } }, () => "ran")
  await tusk.work({ queues: [queue], poll: "100ms" })
  const job = await limited.enqueue()
  await waitFor(async () => (await job.explain()).reasons[0]?.code === "concurrency")
  expect((await job.explain()).reasons[0]!.message).toBe(`The limit of its task "${limited.taskName}" is 0: none starts until it is raised`)
  await on.db.query(`update tusk.tasks set limits = '{"concurrency": {"limit": 1}}' where name = $1`, [limited.taskName])
  expect(await job.result({ timeout: 10 })).toBe("ran")
})

test("keys hold any characters, and harm nothing", async () => {
  const tusk = on.open()
  const queue = on.name("q")
  const strange = ["'; drop table tusk.jobs; --", '"', "\\", "$1", "%L%s", "\n\t", "🐘", "a'b,NULL", "NULL", " ", "{schema}", "ä".repeat(490)]
  const seen: string[] = []
  const keyed = task({ name: on.name('it\'s, a "task" %'), queue, ...both }, (key: string) => void seen.push(key))
  await tusk.work({ queues: { [queue]: 10 } })
  const jobs = await keyed.enqueueMany(strange.map((key) => [key]))
  await Promise.all(jobs.map((job) => job.result({ timeout: 10 })))
  expect(seen.sort()).toEqual([...strange].sort())
}, 20_000)

test.each([
  [5, "which is not a string; write a string, as in String(tenantId)"],
  ["", "which is empty"],
  ["a\0b", "holds"],
  ["ä".repeat(501), "1002 bytes"],
  [undefined, "which is not a string"],
  [Promise.resolve("a"), "which is not a string"],
])("the key %o is refused", async (key, why) => {
  on.open()
  const keyed = task({ name: on.name("keyed"), concurrency: { limit: 1, key: () => key as string } }, () => undefined)
  const error = await keyed.enqueue().catch((e: unknown) => e)
  expect(error).toBeInstanceOf(InvalidOptionError)
  expect((error as Error).message).toContain(`The result of concurrency.key() of task "${keyed.taskName}"`)
  expect((error as Error).message).toContain(why)
})

test("a key function that throws says whose it is", async () => {
  on.open()
  const keyed = task({ name: "keyless", rateLimit: { limit: 1, per: 1, key: (order: any) => order.tenant.id } }, (_order: any) => undefined)
  await expect(keyed.enqueue({})).rejects.toThrow(/^rateLimit\.key\(\) of task "keyless" threw: Cannot read/)
})
