/** The answer to what a worker, a waiter or a listener writes is lost: all goes on, and the state is that of a deed that was answered. */
import { describe, expect, test } from "vitest"
import type { Tusk } from "../../src/index.js"
import { rejection } from "../jobs/setup.js"
import { waitFor, within } from "../support/wait.js"
import { CALLS, QUEUE } from "./unanswered/calls.js"
import { DEEDS, type Deed } from "./unanswered/deeds.js"
import { farClient, unansweredGround } from "./unanswered/ground.js"
import { clear, worldOf } from "./unanswered/state.js"
import { WORKER_STATEMENTS } from "./unanswered/statements.js"
import { writesOf } from "./unanswered/writes.js"

const OPTIONS = { queues: [QUEUE], lease: 3, poll: "200ms", drainTimeout: "10ms" } as const
const on = unansweredGround()

async function done({ prepare, until }: Deed, tusk: Tusk, lost: () => Promise<void>): Promise<unknown> {
  await clear(on.db)
  await prepare?.(on.near, on.db)
  const losing = lost()
  const worker = await tusk.work(OPTIONS)
  const [returned] = await Promise.all([until(tusk, on.near, on.db, losing), within(losing, 20_000, "an answer to be lost")])
  await worker.stop()
  return { returned, state: await worldOf(on.db) }
}

describe("a deed of a worker", () => {
  test.each(DEEDS)("$name", { timeout: 60_000 }, async (deed) => {
    const once = await done(deed, on.near, async () => undefined)
    const tusk = await farClient(on)
    try {
      expect(await done(deed, tusk, () => on.proxy.loseReplies(deed.loses))).toEqual(once)
    } finally {
      await tusk.close()
    }
  })
})

const START = ["publish_tasks", "register_worker", "partitions"]

describe("the start of a worker", () => {
  test.each(START)("at %s: work() says that the outcome is unknown and leaves no worker behind, and again it starts", async (statement) => {
    await clear(on.db)
    const tusk = await farClient(on)
    try {
      const lost = on.proxy.loseReplies(`pgtusk_${statement}_`)
      expect(await rejection(tusk.work(OPTIONS))).toMatchObject({ code: "CONNECTION", unknown: true })
      await lost
      expect(await tusk.workers()).toEqual([])
      const worker = await tusk.work(OPTIONS)
      expect((await tusk.workers()).map(({ id }) => id)).toEqual([worker.id])
      expect(await on.db.query("select 1 from tusk.tasks where name = 'plain'")).toHaveLength(1)
    } finally {
      await tusk.close()
    }
  })
})

const END = ["registration.ts delete from workers"]

test("the end of a worker whose deregistration is not answered leaves none behind", async () => {
  const tusk = await farClient(on)
  const worker = await tusk.work(OPTIONS)
  const lost = on.proxy.loseReplies(".workers where id = $1")
  await worker.drain()
  await lost
  expect(await on.db.query("select 1 from tusk.workers")).toEqual([])
  await tusk.close()
})

const LISTENERS = ["event-feed.ts insert into subscribers", "event-feed.ts delete from subscribers"]

test("a subscription whose beginning and whose end are not answered: it is there once, hears, and is gone", async () => {
  const tusk = await farClient(on)
  const began = on.proxy.loseReplies(".subscribers (id, expires_at)")
  const seen: string[] = []
  const subscription = tusk.events.on("job:completed", ({ id }) => void seen.push(id))
  expect(await rejection(subscription.ready)).toMatchObject({ code: "CONNECTION", unknown: true })
  await began
  await tusk.events.on("job:failed", () => undefined).ready.catch(() => undefined)
  expect(await on.db.query("select 1 from tusk.subscribers")).toHaveLength(1)
  const ended = on.proxy.loseReplies(".subscribers where id = $1")
  await tusk.close()
  await ended
  await waitFor(async () => (await on.db.query("select 1 from tusk.subscribers")).length === 0)
})

test("no statement that writes is missing here", async () => {
  const rows = await on.db.query<{ name: string }>(
    "select proname as name from pg_proc where pronamespace = 'tusk'::regnamespace and provolatile = 'v'",
  )
  const underLoad = Object.values(WORKER_STATEMENTS).flatMap((part) => part.match(/^pgtusk_(\w+)_$/)?.slice(1) ?? [])
  const shown = [
    ...CALLS.flatMap((call) => call.shows),
    ...DEEDS.flatMap((deed) => deed.shows),
    ...[...underLoad, ...START, "claim_limited"].map((name) => `sql ${name}`),
    ...["fire.ts add_jobs", "fire.ts update schedules"],
    // The form for a transaction of a caller, whose commit decides.
    "enqueuer.ts add_jobs",
    // Only reads: a function in it looks at the clock.
    "sql explain_limits",
    ...END,
    ...LISTENERS,
  ]
  const writes = writesOf(new Set(rows.map((row) => row.name)))
  expect(writes.length).toBeGreaterThan(30)
  for (const write of new Set(writes))
    expect(shown.filter((name) => name === write).length, write).toBe(writes.filter((name) => name === write).length)
})
