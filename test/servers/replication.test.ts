/**
 * Under logical replication: the schema is published, and a second database subscribes to it. Everything that changes or deletes jobs works as it does
 * without, and the copy is the same as the original.
 */
import pg from "pg"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { createAll } from "../../migrations/0002_functions.js"
import { functionsFor, migrationsFor } from "../../migrations/index.js"
import { type EmbeddedServer, startEmbedded } from "../../src/embedded/embedded.js"
import { Tusk, task } from "../../src/index.js"
import { Connector } from "../../src/postgres/run/connector.js"
import { migrateOn, migrateUrl } from "../../src/postgres/schema/migrate.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { waitFor } from "../support/wait.js"

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const QUEUE = "copied"
const TABLES = ["jobs", "finished_jobs", "job_dependencies", "keys", "queues", "tasks", "rates", "schedules", "meta", "migration"]
/** What has no replica identity of its own can be inserted into and nothing else, once it is published. */
const WITHOUT_IDENTITY = `select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'tusk' and c.relkind in ('r', 'p') and c.relpersistence = 'p' and not (c.relreplident = 'f'
    or exists (select from pg_index i where i.indrelid = c.oid and (i.indisreplident or (c.relreplident = 'd' and i.indisprimary))))`

let server: EmbeddedServer
let made = 0
const sound = task({ name: "copied.sound", queue: QUEUE, keep: { completed: "1d" } }, async (n: number) => n)
const broken = task({ name: "copied.broken", queue: QUEUE, keep: { failed: "20d" } }, async () => {
  throw new Error("broken")
})

beforeAll(async () => {
  server = await startEmbedded({ logger: quiet, settings: { wal_level: "logical", fsync: "off" } })
}, 60_000)
afterAll(() => server.stop())

/** A database of its own, and a client of it. */
async function database(): Promise<{ url: string; client: pg.Client; drop: () => Promise<void> }> {
  const name = `replication_${++made}`
  const url = new URL(server.connectionString)
  const admin = new pg.Client({ connectionString: url.href })
  await admin.connect()
  await admin.query(`create database ${name}`)
  url.pathname = `/${name}`
  const client = new pg.Client({ connectionString: url.href })
  await client.connect()
  const drop = async (): Promise<void> => {
    await client.end()
    await admin.query(`drop database ${name} with (force)`)
    await admin.end()
  }
  return { url: url.href, client, drop }
}

const rowsOf = async (client: pg.Client, table: string): Promise<string[]> =>
  (await client.query(`select to_jsonb(t)::text as row from tusk.${table} t order by 1`)).rows.map((row) => row.row)

describe.each([
  ["for all tables", ""],
  ["for tables in schema tusk", "with (publish_via_partition_root = true)"],
])("a publication %s %s", (which, options) => {
  test("takes every operation, and the copy is the same as the original", async () => {
    const original = await database()
    const copy = await database()
    const tusk = new Tusk({ connectionString: original.url, signals: false, logger: quiet })
    try {
      // Installed as 0.1.0 left it, and migrated under the publication.
      const early = (names: Parameters<typeof migrationsFor>[0]) => {
        const { "0001_tables": tables, "0002_functions": functions } = migrationsFor(names)
        return { "0001_tables": tables!, "0002_functions": { ...functions!, up: createAll(functionsFor(names)) } }
      }
      await migrateOn(Connector.to(original.url), schemaNames("tusk"), { version: 1, migrationsFor: early })
      // As the function of that time made them.
      await original.client.query(`do $$ declare part regclass; begin
        for part in select inhrelid from pg_inherits where inhparent = 'tusk.finished_jobs'::regclass loop
          execute format('alter table %s replica identity default', part);
        end loop; end $$`)
      expect((await original.client.query(WITHOUT_IDENTITY)).rows.length).toBeGreaterThan(10)
      await original.client.query(
        `insert into tusk.finished_jobs (id, created_at, attempt, max_attempts, crashes, drop_on, state, priority, queue, task, args)
         select gen_random_uuid(), now(), 1, 1, 0, current_date + 1, 'failed', 5, '${QUEUE}', 'copied.sound', '[7]' from generate_series(1, 3)`,
      )
      await original.client.query(`create publication p ${which} ${options}`)
      await original.client.query("select pg_create_logical_replication_slot('held', 'pgoutput')")
      expect((await migrateUrl(original.url)).applied).toEqual(["0003_servers"])

      await migrateUrl(copy.url)
      // What the migration wrote comes with the copy.
      for (const table of ["meta", "migration", "migration_lock"]) await copy.client.query(`delete from tusk.${table}`)
      await original.client.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [`slot_${made}`])
      await copy.client.query(
        `create subscription s connection '${original.url}' publication p with (create_slot = false, slot_name = 'slot_${made}')`,
      )

      const queue = tusk.queue(QUEUE)
      const worker = await tusk.work({ queues: { [QUEUE]: 5 }, lease: 2 })
      const via = { via: tusk }
      const failing = await Promise.all(Array.from({ length: 6 }, () => broken.with(via).enqueue()))
      await sound.with({ ...via, id: "one", deduplicate: "k" }).enqueue(1)
      const parent = await broken.with({ ...via, delay: "1h" }).enqueue()
      const child = await sound.with({ ...via, dependsOn: [{ job: parent, onFailure: "fail" }] }).enqueue(2)
      await Promise.all(failing.map((job) => job.settled()))
      await worker.drain()
      // A child that ends while it is blocked has its finished row changed.
      await parent.cancel()
      expect(await child.state()).toBe("failed")
      expect(await child.retry()).toBe(true)
      expect(await failing[0]!.retry()).toBe(true)
      expect(await failing[1]!.remove()).toBe(true)
      expect(await queue.redrive({ task: "copied.sound" })).toBeGreaterThanOrEqual(3)
      expect((await queue.clean({ state: "failed", limit: 2 })).length).toBe(2)
      await original.client.query("update tusk.finished_jobs set keep_until = now() where state = 'failed'")
      const second = await tusk.work({ queues: { [QUEUE]: 5 }, lease: 2 })
      await waitFor(async () => (await original.client.query("select from tusk.finished_jobs_long where keep_until < now()")).rowCount === 0, {
        what: "what has outlived its time to be pruned",
      })
      await second.drain()
      await tusk.schedules.list()

      const same = async (): Promise<void> => {
        await waitFor(
          async () => {
            for (const table of TABLES) expect(await rowsOf(copy.client, table), table).toEqual(await rowsOf(original.client, table))
            return true
          },
          { what: "the copy to be as the original", timeout: 20_000 },
        )
      }
      expect((await rowsOf(original.client, "finished_jobs")).length).toBeGreaterThan(0)
      await same()
      await queue.obliterate({ force: true })
      expect(await rowsOf(original.client, "finished_jobs")).toEqual([])
      await same()
      expect((await original.client.query(WITHOUT_IDENTITY)).rows).toEqual([])
    } finally {
      await tusk.close()
      await copy.client.query("alter subscription s disable")
      await copy.client.query("alter subscription s set (slot_name = none)")
      await copy.client.query("drop subscription s")
      await original.client.query("select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active")
      await original.client.query("drop publication p")
      await copy.drop()
      await original.drop()
    }
  }, 60_000)
})

test("every table and partition has a replica identity: freshly made, migrated from 0.1.0, and of days to come", async () => {
  const { url, client, drop } = await database()
  try {
    await migrateUrl(url)
    expect((await client.query(WITHOUT_IDENTITY)).rows).toEqual([])
    await client.query("select tusk.partitions()")
    // A day that is missing is made again.
    const { rows } = await client.query("select inhrelid::regclass::text as part from pg_inherits where inhparent = 'tusk.finished_jobs'::regclass")
    await client.query(`drop table ${rows.find(({ part }) => /_\d{8}$/.test(part))!.part}`)
    await client.query("select tusk.partitions()")
    expect((await client.query("select count(*)::integer as n from pg_inherits where inhparent = 'tusk.finished_jobs'::regclass")).rows).toEqual([
      { n: rows.length },
    ])
    expect((await client.query(WITHOUT_IDENTITY)).rows).toEqual([])
  } finally {
    await drop()
  }
})
