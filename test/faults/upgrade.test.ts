/** The schema is migrated while producers and workers, in processes of their own, go on. */
import { readFile } from "node:fs/promises"
import type pg from "pg"
import { beforeAll, beforeEach, describe, expect, test } from "vitest"
import { createAll } from "../../migrations/0002_functions.js"
import { functionsFor } from "../../migrations/index.js"
import { ConnectionError } from "../../src/api/errors.js"
import { Connector } from "../../src/postgres/run/connector.js"
import { kyselyOver } from "../../src/postgres/run/kysely.js"
import { migrateOn, type Release } from "../../src/postgres/schema/migrate.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { dumpSchema } from "../golden/dump.js"
import { connect, rejection } from "../jobs/setup.js"
import { type Script, spawnScript } from "../support/process.js"
import { deferred, waitFor } from "../support/wait.js"
import { ground } from "../worker/ground.js"
import { nextPackage, nextRelease } from "./next-package.js"

const on = ground()
const names = schemaNames("tusk")
const SCRIPT = new URL("./fixtures/upgraded.ts", import.meta.url)
/** As long as a statement may stand behind a migration that waits for its lock, and what a busy machine adds. */
const STALL_MS = 2_000 + 3_000

let next: string
beforeAll(async () => {
  next = await nextPackage(SCRIPT)
})

/** Each test migrates a database of its own. */
let url: string
let client: pg.Client
beforeEach(async () => {
  const name = on.name("upgrade_").replace(/\W/g, "_")
  await on.db.query(`create database "${name}"`)
  const address = new URL(on.db.url)
  address.pathname = `/${name}`
  url = address.href
  await migrateOn(Connector.to(url), names)
  client = await connect(url)
  await client.query(
    "create table public.runs (job uuid, attempt integer, kind text, worker text, at timestamptz not null default clock_timestamp())",
  )
})

const migrate = (release: Release, patienceMs?: number): Promise<unknown> => migrateOn(Connector.to(url), names, release, patienceMs)
const rows = async <Row extends object = any>(text: string, values?: unknown[]): Promise<Row[]> => (await client.query(text, values)).rows
const countRuns = async (where = "true"): Promise<number> => (await rows(`select count(*)::integer as n from public.runs where ${where}`))[0].n
const readWorker = (text: string): string => text.slice("ready ".length)

function start(role: "worker" | "producer", name: string, script: string | URL = SCRIPT, env: NodeJS.ProcessEnv = {}): Script {
  return spawnScript(script, [role, name, "upgrade"], { URL: url, ...env })
}

/** Two workers and a producer, at work. */
async function load(): Promise<{ producer: Script; workers: Script[] }> {
  const workers = [start("worker", "old 1"), start("worker", "old 2")]
  await Promise.all(workers.map((worker) => worker.line("ready", 30_000)))
  const producer = start("producer", "producer")
  await producer.line("ready", 30_000)
  await goOn()
  return { producer, workers }
}

/** Some more jobs run. */
async function goOn(where = "true", jobs = 20): Promise<void> {
  const before = await countRuns(where)
  await waitFor(async () => (await countRuns(where)) >= before + jobs, { timeout: 20_000, what: `${jobs} more runs (${where})` })
}

/** Stops the producer; every job that was accepted ends, has run once, and nobody stood still for long. */
async function balance(producer: Script, workers: readonly Script[], stallMs: number = STALL_MS): Promise<void> {
  producer.send("stop")
  const { ids, longest } = JSON.parse((await producer.line(/^accepted/, 30_000)).slice("accepted ".length)) as { ids: string[]; longest: number }
  await waitFor(async () => (await rows("select from tusk.jobs")).length === 0, { timeout: 30_000, what: "all jobs to end" })
  expect(await rows("select state, count(*)::integer as n from tusk.finished_jobs group by 1")).toEqual([{ state: "completed", n: ids.length }])
  expect(await rows("select job, count(*) from public.runs group by 1 having count(*) > 1")).toEqual([])
  expect((await rows("select job from public.runs where job = any ($1)", [ids])).length).toBe(ids.length)
  expect(longest).toBeLessThan(stallMs)
  const [{ gap }] = await rows(
    "select coalesce(max(gap), 0)::float as gap from (select extract(epoch from at - lag(at) over (order by at)) * 1000 as gap from public.runs) g",
  )
  expect(gap).toBeLessThan(stallMs)
  for (const worker of workers) {
    expect(worker.lines.filter((line) => line.startsWith("log error"))).toEqual([])
    worker.send("stop")
    expect(await worker.exit).toEqual({ code: 0, signal: null })
  }
}

describe("under load", () => {
  test("the functions are made anew, again and again: every job runs once, and the schema is as it was", async () => {
    const { producer, workers } = await load()
    const before = await dumpSchema(client)
    for (let i = 0; i < 5; i++) {
      await client.query("begin")
      const db = kyselyOver({ query: async (text, params) => (await client.query(text, params as unknown[])) as any })
      await createAll(functionsFor(names))(db)
      await client.query("commit")
      await goOn()
    }
    expect(await dumpSchema(client)).toBe(before)
    await balance(producer, workers)
  }, 90_000)

  test("a column, an index and replaced functions: old workers go on, those that start do too, and new ones beside them", async () => {
    const { producer, workers } = await load()
    const early = start("worker", "too early", next)
    expect((await early.exit).code).not.toBe(0)
    expect(early.stderr).toMatch(/SchemaVersionError: The schema "tusk" has version 2, and this pgtusk needs 3; run `npx pgtusk migrate`/)

    expect(await migrate(nextRelease())).toEqual({ applied: ["9999_trial"] })
    await goOn("worker like 'old%'")
    const newer = [start("worker", "new", next), start("worker", "old 3")]
    await Promise.all(newer.map((worker) => worker.line("ready", 30_000)))
    for (const worker of ["old 1", "old 2", "old 3", "new"]) await goOn(`worker = '${worker}'`, 3)
    await balance(producer, [...workers, ...newer])
  }, 90_000)

  test("a migration that fails at its end leaves the old schema whole, and work goes on", async () => {
    const { producer, workers } = await load()
    const atEnd = async (): Promise<void> => {
      throw new Error("the trial migration fails at its end")
    }
    const error = await rejection(migrate(nextRelease({ atEnd })))
    expect(error.message).toMatch(/nothing has changed: the trial migration fails at its end$/)
    expect((error.cause as Error).message).toBe("the trial migration fails at its end")
    expect(await dumpSchema(client)).toBe(await readFile(new URL("../golden/schema.sql", import.meta.url), "utf8"))
    await goOn()
    await balance(producer, workers)
  }, 90_000)

  test("a migrator that falls silent with all its locks, as one whose host vanished, is ended by the server after 10 s, and work goes on", async () => {
    const { producer, workers } = await load()
    const locked = deferred()
    const end = deferred()
    const refused = rejection(
      migrate(
        nextRelease({
          atEnd: () => {
            locked.resolve()
            return end.promise
          },
        }),
      ),
    )
    await locked.promise
    await goOn()
    end.resolve()
    expect(await refused).toBeInstanceOf(ConnectionError)
    expect(await dumpSchema(client)).toBe(await readFile(new URL("../golden/schema.sql", import.meta.url), "utf8"))
    await balance(producer, workers, 10_000 + STALL_MS)
  }, 90_000)

  test("an application's open transaction on jobs holds up the migration, and the workers no longer than a lock wait", async () => {
    const { producer, workers } = await load()
    const holder = await connect(url)
    await holder.query("begin")
    await holder.query("set local application_name = 'the report'")
    await holder.query("select count(*) from tusk.jobs")
    const waiting = async (): Promise<number> =>
      (await rows("select from pg_stat_activity where application_name = 'pgtusk migrate' and wait_event_type = 'Lock'")).length

    // Told to try but once: the error says who it is.
    const refused = await rejection(migrate(nextRelease(), 0))
    expect(refused).toBeInstanceOf(ConnectionError)
    expect(refused.message).toMatch(
      /^The schema "tusk" could not be migrated: the session \d+ \("the report"\), idle in transaction, whose transaction began \d+ s ago and has used .*jobs.*; end that transaction/,
    )

    const migrated = migrate(nextRelease())
    await waitFor(waiting, { what: "the migration to wait" })
    await waitFor(async () => (await waiting()) === 0, { what: "it to give way" })
    await goOn()
    await holder.query("commit")
    expect(await migrated).toEqual({ applied: ["9999_trial"] })
    await goOn()
    await balance(producer, workers)
  }, 90_000)
})

test("a worker whose schema is closed to it says so once, drains and stops; the next package takes over, and nothing is lost", async () => {
  const old = start("worker", "old", SCRIPT, { LEASE: "2" })
  const id = readWorker(await old.line("ready", 30_000))
  const producer = start("producer", "producer")
  await producer.line("ready", 30_000)
  await goOn()
  await migrate(nextRelease({ minVersion: 3 }))
  expect(await old.exit).toEqual({ code: 0, signal: null })
  expect(old.lines.filter((line) => line.startsWith("log error"))).toEqual([
    expect.stringMatching(
      /^log error The schema "tusk" has version 3, and this pgtusk knows 2: .* upgrade the package here\. The worker drains and stops/,
    ),
  ])
  expect(await rows("select from tusk.workers where id = $1", [id])).toEqual([])
  const late = start("worker", "late")
  expect((await late.exit).code).not.toBe(0)
  expect(late.stderr).toContain('SchemaVersionError: The schema "tusk" has version 3, and this pgtusk knows 2')

  const now = start("worker", "new", next)
  await now.line("ready", 30_000)
  producer.send("stop")
  const { ids } = JSON.parse((await producer.line(/^accepted/, 30_000)).slice("accepted ".length)) as { ids: string[] }
  await waitFor(async () => (await rows("select from tusk.jobs")).length === 0, { timeout: 30_000, what: "all jobs to end" })
  expect((await rows("select distinct job from public.runs")).length).toBe(ids.length)
  expect(await rows("select job from public.runs group by 1 having count(*) > 1")).toEqual([])
}, 90_000)
