/**
 * Anyone who may connect may send on our channels. Nothing that stands in a message is believed: it makes a worker look, at most, and never look past
 * real work. The polls of these workers are a minute away, so what they run they were told of while the strangers shout.
 */
import { expect, onTestFinished, test } from "vitest"
import { currentJob, type Job, task } from "../../src/index.js"
import { connect } from "../jobs/setup.js"
import { seeded } from "../support/seed.js"
import { waitFor, within } from "../support/wait.js"
import { eventsOf, Gate, ground } from "../worker/ground.js"

const g = ground()
const FAR = Number.MAX_SAFE_INTEGER
const uuid = (): string => crypto.randomUUID()

/** Sends messages made by `make`, thousands a second, until the returned function is called; it returns how many were sent. */
async function shout(make: (n: number) => unknown, channel = "pgtusk:tusk"): Promise<() => Promise<number>> {
  const client = await connect(g.db.url)
  let over = false
  let sent = 0
  const shouting = (async () => {
    while (!over) {
      const messages = Array.from({ length: 500 }, () => {
        const made = make(sent++)
        return typeof made === "string" ? made : JSON.stringify(made)
      })
      await client.query("select count(pg_notify($1, m)) from unnest($2::text[]) m", [channel, messages])
      // So that this process, which is the worker's too, has a moment for others.
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  })()
  const stop = async (): Promise<number> => {
    over = true
    await shouting
    return sent
  }
  onTestFinished(async () => void (await stop()))
  return stop
}

/** Runs of each label, by a task of this queue. */
function counting(queue: string, options: object = {}) {
  const runs = new Map<string, number>()
  const run = task({ name: g.name("t"), queue, ...options }, async (label: string) => {
    runs.set(label, (runs.get(label) ?? 0) + 1)
    await new Promise((resolve) => setImmediate(resolve))
    return label
  })
  return { runs, run }
}

async function allRun(jobs: readonly Job<unknown>[]): Promise<void> {
  for (const job of jobs) {
    await job.result({ timeout: 40 })
    expect(await job.snapshot()).toMatchObject({ state: "completed", attempt: 1 })
  }
}

test("hints that point far beyond all work, of every lane there is, make no worker look past real work", { timeout: 90_000 }, async () => {
  const queue = g.name("q")
  const { run, runs } = counting(queue)
  const limited = counting(queue, { concurrency: { limit: 2 } })
  await g.work({ queues: { [queue]: 5 }, poll: 60 })
  g.open()
  await allRun([await run.enqueue("before")])
  const stop = await shout((n) => ["j", queue, (n % 65_538) - 32_768, FAR])
  const jobs: Job<unknown>[] = []
  for (let n = 0; n < 60; n++) {
    jobs.push(await run.with({ priority: [5, -32_768, 32_767, 0][n % 4]! }).enqueue(`plain ${n}`))
    if (n % 10 === 0) jobs.push(await limited.run.enqueue(`limited ${n}`), await run.with({ delay: "20ms" }).enqueue(`delayed ${n}`))
  }
  await allRun(jobs)
  expect(await stop()).toBeGreaterThan(1_000)
  expect([...runs.values(), ...limited.runs.values()].filter((n) => n !== 1)).toEqual([])
})

test("hints far beyond, mixed with nonsense of every kind, for this queue and a hundred thousand others", { timeout: 90_000 }, async () => {
  const queue = g.name("q")
  const { run, runs } = counting(queue)
  const random = seeded()
  const numbers = [FAR, FAR + 1, -FAR, 0, -1, 1e308, -1e308, 0.5, null, "1", [], {}, true]
  const names = [queue, "__proto__", "constructor", "", "x".repeat(3_000), null, 7, [queue], { name: queue }]
  const kinds = ["j", "d", "c", "e", "q", "s", "x", "__proto__", null, 0, ["j"]]
  const messages = [
    () => [random.pick(kinds), random.pick(names), random.pick(numbers), random.pick(numbers)],
    () => [random.pick(kinds), random.pick(numbers)],
    () => ["j", `other ${random.int(0, 100_000)}`, 5, random.pick(numbers)],
    () => ["d", random.pick(numbers)],
    () => ["q", random.pick(names)],
    () => [random.pick(["c", "e"]), Array.from({ length: 100 }, () => random.pick([uuid(), "not-an-id", null, 5, queue]))],
    () => '{"__proto__": ["j"], "length": 4}',
    () => `["j", ${JSON.stringify(queue)}, 5, 1e400]`,
    () => random.pick(["", "[", "null", "{}", "\u0001", "[".repeat(7_000), '"j"', "NaN"]),
  ]
  await g.work({ queues: { [queue]: 5 }, poll: 60 })
  g.open()
  const stop = await shout(() => random.pick(messages)())
  const jobs: Job<unknown>[] = []
  for (let n = 0; n < 50; n++) jobs.push(await run.enqueue(`plain ${n}`), await run.with({ delay: "20ms" }).enqueue(`delayed ${n}`))
  await allRun(jobs)
  expect(await stop()).toBeGreaterThan(1_000)
  expect([...runs.values()].filter((n) => n !== 1)).toEqual([])
  expect([...g.messages("warn"), ...g.messages("error")]).toEqual([])
})

test("cancel hints for jobs that nobody cancelled abort none, whether they run, wait in the worker, or are another's", {
  timeout: 90_000,
}, async () => {
  const queue = g.name("q")
  const { run, runs } = counting(queue)
  const gate = new Gate()
  const aborts: unknown[] = []
  const held = task({ name: g.name("held"), queue: `${queue} held` }, async (label: string) => {
    const { signal } = currentJob()
    signal.addEventListener("abort", () => aborts.push(signal.reason))
    await gate.pass(label, signal)
    return label
  })
  for (let n = 0; n < 2; n++) await g.work({ queues: { [queue]: 2, [`${queue} held`]: 2 }, poll: 60 })
  g.open()
  const running = [await held.enqueue("a"), await held.enqueue("b")]
  await waitFor(() => gate.waiting === 2, { what: "both to run" })
  const many = await run.enqueueMany(Array.from({ length: 200 }, (_, n) => [`${n}`]))
  const random = seeded()
  const ids = [...running, ...many].map((job) => job.id)
  const stop = await shout(() => ["c", [...running.map((job) => job.id), ...Array.from({ length: 100 }, () => random.pick(ids))]])
  await allRun(many)
  expect(await stop()).toBeGreaterThan(500)
  expect(aborts).toEqual([])
  gate.open()
  await allRun(running)
  expect([...runs.values()].filter((n) => n !== 1)).toEqual([])
})

test("events and ends that never were: listeners and waits live on, and a result is the database's", { timeout: 90_000 }, async () => {
  const queue = g.name("q")
  const gate = new Gate()
  const held = task({ name: g.name("held"), queue }, async (label: string) => {
    await gate.pass(label)
    return label
  })
  await g.work({ queues: [queue], poll: 60 })
  const tusk = g.open()
  const events = eventsOf(tusk)
  const job = await held.enqueue("real")
  const result = job.result({ timeout: 60 })
  await waitFor(() => gate.waiting === 1)
  const lies = [
    ["someone", { name: "job:completed", id: job.id, at: "never" }, null, 5, { name: 1 }, { name: "__proto__", id: "x" }],
    ["someone", { name: "job:failed", id: job.id, error: 5, at: {} }],
    '{"length": 2, "0": "someone"}',
    "[".repeat(7_000),
  ]
  const stops = [await shout((n) => lies[n % lies.length], "pgtusk.events:tusk"), await shout(() => ["e", [job.id]])]
  await waitFor(() => events.some((event) => event.name === "job:failed"), { what: "a lie to be heard" })
  expect(await Promise.race([result, job.state()])).toBe("active")
  gate.open()
  expect(await within(result, 30_000, "the result")).toBe("real")
  for (const stop of stops) await stop()
})
