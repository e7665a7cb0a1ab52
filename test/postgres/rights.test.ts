/** What a database user may not do is said in one clear error. */
import { describe, expect, onTestFinished, test } from "vitest"
import { ConnectionError } from "../../src/api/errors.js"
import { task } from "../../src/index.js"
import { connect, openTusk, rejection, startWorker, timed } from "../jobs/setup.js"
import { createDatabase, serverUrl, type TestDatabase } from "../support/database.js"
import { withDatabase } from "../support/names.js"

const work = task({ name: "work" }, async (n: number) => n)

interface Guest {
  readonly db: TestDatabase
  readonly role: string
  readonly url: string
}

let made = 0
/** A database, and a role that may connect to it and nothing else. */
async function guest(migrated: boolean): Promise<Guest> {
  const db = await createDatabase({ migrated })
  const role = `${db.name}_guest${++made}`
  await db.query(`create role "${role}" login password 'secret'`)
  onTestFinished(async () => {
    await db.query(`drop owned by "${role}"`)
    await db.close()
    const admin = await connect(serverUrl())
    await admin.query(`drop role "${role}"`)
  })
  const url = new URL(db.url)
  url.username = role
  url.password = "secret"
  return { db, role, url: url.href }
}

describe("rights", () => {
  test("migrate without the right to create a schema", async () => {
    const { url } = await guest(false)
    const error = await rejection(openTusk({ connectionString: url }).migrate())
    expect(error).toBeInstanceOf(ConnectionError)
    expect(error.message).toMatch(/lacks a right: permission denied for database .*; grant it, or run the migrations as the schema's owner/)
  })

  test("migrate into a schema that was made for the role, which may make none", async () => {
    const { db, role, url } = await guest(false)
    await db.query(`create schema tusk authorization "${role}"`)
    const tusk = openTusk({ connectionString: url })
    expect((await tusk.migrate()).applied.length).toBeGreaterThan(0)
    await startWorker(tusk, { queues: ["default"] })
    expect(await (await work.with({ via: tusk }).enqueue(1)).result({ timeout: 10 })).toBe(1)
  })

  test("a schema that the role may not use", async () => {
    const { url } = await guest(true)
    const tusk = openTusk({ connectionString: url })
    const client = await connect(url)
    for (const use of [
      () => work.with({ via: tusk }).enqueue(1),
      () => work.with({ via: tusk, tx: client }).enqueue(1),
      () => tusk.work({ queues: ["default"] }),
      () => tusk.job("01890000-0000-7000-8000-000000000000").state(),
    ]) {
      const error = await rejection(use())
      expect(error).toBeInstanceOf(ConnectionError)
      expect(error.message).toMatch(/The user of \S+ lacks a right: permission denied for schema tusk; grant it/)
      expect(error.unknown).toBe(false)
    }
  })

  test("a role that may read and not write: each call of a folded batch hears of it, in no time", async () => {
    const { db, role, url } = await guest(true)
    await db.query(`grant usage on schema tusk to "${role}"`)
    await db.query(`grant select on all tables in schema tusk to "${role}"`)
    const tusk = openTusk({ connectionString: url })
    const view = work.with({ via: tusk })
    const took = await timed(async () => {
      for (const enqueue of [view, view.with({ id: "x" })]) {
        const errors = await Promise.all([1, 2, 3].map((n) => rejection(enqueue.enqueue(n))))
        for (const error of errors) {
          expect(error).toBeInstanceOf(ConnectionError)
          expect(error.message).toMatch(/lacks a right: permission denied for (table|sequence|function)/)
        }
      }
    })
    expect(took).toBeLessThan(5_000)
    const client = await connect(url)
    expect(await rejection(view.with({ tx: client }).enqueue(1))).toBeInstanceOf(ConnectionError)
    expect(await db.query("select 1 from tusk.jobs")).toEqual([])
  })

  test("a producer needs no more than to read, insert, and change keys and parents", async () => {
    const { db, role, url } = await guest(true)
    await db.query(`grant usage on schema tusk to "${role}"`)
    await db.query(`grant select, insert, update, delete on all tables in schema tusk to "${role}"`)
    await db.query(`grant usage on all sequences in schema tusk to "${role}"`)
    const tusk = openTusk({ connectionString: url })
    const view = work.with({ via: tusk })
    const parent = await view.with({ id: "x", deduplicate: "k" }).enqueue(1)
    await tusk.transaction((tx) => view.with({ tx, dependsOn: [parent] }).enqueue(2))
    expect(await db.query("select count(*)::int as n from tusk.jobs")).toEqual([{ n: 2 }])
    // And works, too.
    await startWorker(tusk, { queues: ["default"] })
    expect(await parent.result({ timeout: 10 })).toBe(1)
  })
})

describe("log-in", () => {
  test("a wrong password", async () => {
    const { url } = await guest(true)
    const wrong = new URL(url)
    wrong.password = "wrong"
    await refused(wrong.href, /refuses the log-in: password authentication failed for user .*; check user and password/)
  })

  test("a user that does not exist", async () => {
    const wrong = new URL(serverUrl())
    wrong.username = "nobody_at_all"
    await refused(wrong.href, /refuses the log-in: .*nobody_at_all.*; check user and password/)
  })

  test("a database that does not exist", async () => {
    const url = withDatabase(serverUrl(), "no_such_database")
    await refused(url, /has no such database: database "no_such_database" does not exist; create it, or correct the connection string/)
  })

  async function refused(url: string, message: RegExp): Promise<void> {
    const tusk = openTusk({ connectionString: url })
    const took = await timed(async () => {
      for (const use of [
        () => work.with({ via: tusk }).enqueue(1),
        () => tusk.work({ queues: ["default"] }),
        () => tusk.migrate(),
        () => tusk.transaction(async () => 1),
      ]) {
        const error = await rejection(use())
        expect(error).toBeInstanceOf(ConnectionError)
        expect(error.message).toMatch(message)
        // Where, but no secrets.
        expect(error.message).toContain(new URL(url).host)
        expect(error.message).not.toContain(decodeURIComponent(new URL(url).password))
      }
    })
    expect(took).toBeLessThan(10_000)
  }
})
