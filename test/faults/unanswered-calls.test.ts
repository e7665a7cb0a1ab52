/**
 * Every call of a client that writes: it takes effect, and its answer is lost with the connection. Either the library repeats it by itself, and what it
 * returns is right; or the caller hears that the outcome is unknown, and doing the same again by hand changes nothing more. In both cases the state is
 * that of one call that was answered: that is made first, on the same ground.
 */
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest"
import { ConnectionError } from "../../src/errors.js"
import { Tusk } from "../../src/index.js"
import { rejection } from "../jobs/setup.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { type FaultProxy, startProxy } from "../support/proxy.js"
import { within } from "../support/wait.js"
import { CALLS, one, QUEUE, running } from "./unanswered/calls.js"
import { clear, worldOf } from "./unanswered/state.js"

const logger = { debug() {}, info() {}, warn() {}, error() {} }
let db: TestDatabase
let proxy: FaultProxy
let near: Tusk
beforeAll(async () => {
  db = await createDatabase()
  proxy = await startProxy(db.url)
  near = new Tusk({ connectionString: db.url, logger, signals: false })
})
afterAll(async () => {
  await proxy.close()
  await near.close()
  await db.close()
})

describe("a call of a client", () => {
  test.each(CALLS)("$name", async ({ loses, prepare, act, outcome, returns }) => {
    await clear(db)
    await act(near, await prepare?.(near, db), { db, url: db.url })
    const once = await worldOf(db)
    await clear(db)
    const given = await prepare?.(near, db)
    const untouched = await worldOf(db)
    expect(once).not.toEqual(untouched)
    const far = new Tusk({ connectionString: proxy.url, logger, signals: false })
    try {
      await far.workers()
      const lost = proxy.loseReplies(loses)
      const acting = act(far, given, { db, url: proxy.url }).then(
        (value) => ({ value }),
        (error: unknown) => ({ error: error as ConnectionError }),
      )
      await within(lost, 10_000, "an answer to be lost")
      const end = await acting
      if (outcome === "repeated") {
        expect(end).not.toHaveProperty("error")
        if (returns !== undefined) expect(end).toEqual({ value: returns })
      } else {
        expect(end).toMatchObject({ error: { code: "CONNECTION", unknown: outcome === "unknown" } })
        if (outcome === "undone") expect(await worldOf(db)).toEqual(untouched)
        await act(far, given, { db, url: proxy.url })
      }
      expect(await worldOf(db)).toEqual(once)
    } finally {
      await far.close()
    }
  })
})

test("an obliterate() that is refused leaves the queue as it was, also when the answer to its pause was lost", async () => {
  await clear(db)
  await running(near, db)
  const far = new Tusk({ connectionString: proxy.url, logger, signals: false })
  onTestFinished(() => far.close())
  await far.workers()
  const lost = proxy.loseReplies(".queues (name, paused)")
  expect((await rejection(far.queue(QUEUE).obliterate())).message).toMatch(/1 running jobs/)
  await lost
  expect((await near.queue(QUEUE).info()).paused).toBe(false)
})

describe("a migration", () => {
  test("whose commit is not answered is unknown, and again it changes nothing", async () => {
    const fresh = await createDatabase({ migrated: false })
    const way = await startProxy(fresh.url)
    const tusk = new Tusk({ connectionString: way.url, logger, signals: false })
    try {
      const lost = way.loseReplies("commit\0")
      const error = await rejection(tusk.migrate())
      await lost
      expect(error).toBeInstanceOf(ConnectionError)
      expect(error.unknown).toBe(true)
      expect(await tusk.migrate()).toEqual({ applied: [] })
      await one(tusk)
    } finally {
      await way.close()
      await tusk.close()
      await fresh.close()
    }
  })
})
