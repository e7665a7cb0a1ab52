/**
 * Every call of a client that writes: it takes effect, and its answer is lost with the connection. Either the library repeats it by itself, and what it
 * returns is right; or the caller hears that the outcome is unknown, and doing the same again by hand changes nothing more. In both cases the state is
 * that of one call that was answered: that is made first, on the same ground.
 */
import { describe, expect, onTestFinished, test } from "vitest"
import { ConnectionError } from "../../src/api/errors.js"
import { rejection } from "../jobs/setup.js"
import { createDatabase } from "../support/database.js"
import { startProxy } from "../support/proxy.js"
import { within } from "../support/wait.js"
import { CALLS, one, QUEUE, running } from "./unanswered/calls.js"
import { farClient, quietClient, unansweredGround } from "./unanswered/ground.js"
import { clear, worldOf } from "./unanswered/state.js"

const on = unansweredGround()

describe("a call of a client", () => {
  test.each(CALLS)("$name", async ({ loses, prepare, act, outcome, returns }) => {
    await clear(on.db)
    await act(on.near, await prepare?.(on.near, on.db), { db: on.db, url: on.db.url })
    const once = await worldOf(on.db)
    await clear(on.db)
    const given = await prepare?.(on.near, on.db)
    const untouched = await worldOf(on.db)
    expect(once).not.toEqual(untouched)
    const far = await farClient(on)
    try {
      const lost = on.proxy.loseReplies(loses)
      const acting = act(far, given, { db: on.db, url: on.proxy.url }).then(
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
        if (outcome === "undone") expect(await worldOf(on.db)).toEqual(untouched)
        await act(far, given, { db: on.db, url: on.proxy.url })
      }
      expect(await worldOf(on.db)).toEqual(once)
    } finally {
      await far.close()
    }
  })
})

test("an obliterate() that is refused leaves the queue as it was, also when the answer to its pause was lost", async () => {
  await clear(on.db)
  await running(on.near, on.db)
  const far = await farClient(on)
  onTestFinished(() => far.close())
  const lost = on.proxy.loseReplies(".queues (name, paused)")
  expect((await rejection(far.queue(QUEUE).obliterate())).message).toMatch(/1 running jobs/)
  await lost
  expect((await on.near.queue(QUEUE).info()).paused).toBe(false)
})

describe("a migration", () => {
  test("whose commit is not answered is unknown, and again it changes nothing", async () => {
    const fresh = await createDatabase({ migrated: false })
    const way = await startProxy(fresh.url)
    const tusk = quietClient(way.url)
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
