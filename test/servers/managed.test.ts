/** What differs on managed servers: the whole library once under each group of settings, and what the errors say of those that refuse it. */
import { readFileSync } from "node:fs"
import pg from "pg"
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest"
import { blocksOf } from "../../scripts/docs-examples.mjs"
import type { TuskOptions } from "../../src/api/client.js"
import { ConnectionError, TuskError } from "../../src/api/errors.js"
import { type Job, Tusk, task } from "../../src/index.js"
import { migrateUrl } from "../../src/postgres/schema/migrate.js"
import { rejection } from "../jobs/setup.js"
import { compactRound } from "../support/compact-round.js"
import { type DebianServer, languageOf, noDebianServer, startDebianServer } from "../support/debian-server.js"
import { waitFor } from "../support/wait.js"

/** Of the whole server, and so of every test. */
const SETTINGS = {
  shared_preload_libraries: "pg_stat_statements,auto_explain",
  "pg_stat_statements.track": "all",
  track_functions: "all",
  track_io_timing: "on",
  compute_query_id: "on",
  huge_pages: "try",
  max_connections: "40",
}
const HBA = [
  "hostssl tls all 127.0.0.1/32 scram-sha-256",
  "host md5 all 127.0.0.1/32 md5",
  "host scram,migrated,readonly all 127.0.0.1/32 scram-sha-256",
]
const LANGUAGE = "de_DE"

/** Of a database: all that the server's log can say of statements. */
const LOGGED = ["log_statement = 'all'", "log_duration = on", "log_lock_waits = on"].concat(
  ["log_min_duration = 0", "log_analyze = on", "log_nested_statements = on"].map((setting) => `auto_explain.${setting}`),
)

let server: DebianServer
/** A database that is migrated already. */
let migrated: string
let language: string | undefined

/** A database of a role that owns it and nothing else; `changes` are made by the superuser, with the role's and the database's name put in. */
async function owned(name: string, ...changes: string[]): Promise<string> {
  await server.admin("postgres", `create role ${name}_owner login password 'secret' nosuperuser nocreatedb nocreaterole noreplication nobypassrls`)
  await server.admin("postgres", `create database ${name} owner ${name}_owner`)
  await server.admin(name, ...changes.map((text) => text.replaceAll("$role", `${name}_owner`).replaceAll("$db", name)))
  return server.url(name, `${name}_owner`)
}

/** One statement of a role. */
async function query(config: pg.ClientConfig, text: string): Promise<any[]> {
  const client = new pg.Client(config)
  client.on("error", () => undefined)
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

/** The round, by an owner, all the way down again; `config` is for the round's own statements. */
const round = (options: TuskOptions, config: pg.ClientConfig): Promise<string[]> =>
  compactRound(options, { sql: (text) => query(config, text), undo: config })

function open(connectionString: string): Tusk {
  const tusk = new Tusk({ connectionString, signals: false })
  onTestFinished(() => tusk.close())
  return tusk
}

const echo = task({ name: "managed.echo", queue: "managed" }, async (n: number) => n)

/** Switches row-level security on for each new table, for its owner too, whatever changes it later. */
const SECURED = [
  `create function public.secure() returns event_trigger language plpgsql security definer set search_path = pg_catalog as $$
   declare made record;
   begin
     for made in select * from pg_event_trigger_ddl_commands() where command_tag = 'CREATE TABLE' loop
       execute format('alter table %s enable row level security', made.object_identity);
       execute format('alter table %s force row level security', made.object_identity);
     end loop;
   end $$`,
  "create event trigger secure on ddl_command_end when tag in ('CREATE TABLE') execute function public.secure()",
]
/** Writes every change of the schema down, and refuses those outside of ours. */
const WATCHED = [
  "create table public.ddl (tag text, what text)",
  "alter table public.ddl no force row level security",
  `create function public.watch() returns event_trigger language plpgsql security definer set search_path = pg_catalog as $$
   declare made record;
   begin
     for made in select * from pg_event_trigger_ddl_commands() loop
       insert into public.ddl values (made.command_tag, made.object_identity);
       if made.schema_name not in ('tusk', 'pg_temp') then raise exception 'no changes in %', made.schema_name; end if;
     end loop;
   end $$`,
  "create event trigger watch on ddl_command_end execute function public.watch()",
]
/** Another's functions, operators and tables, before those of Postgres. */
const OVERSHADOWED = [
  "create schema hostile",
  "grant usage on schema hostile to public",
  "create function hostile.now() returns timestamptz language sql as $$ select timestamptz '1999-01-01' $$",
  `create function hostile.jsonb_build_object(variadic "any") returns jsonb language internal immutable as 'jsonb_build_array'`,
  "create function hostile.eq(a uuid, b uuid) returns boolean language sql as $$ select false $$",
  "create operator hostile.= (leftarg = uuid, rightarg = uuid, function = hostile.eq)",
  "create table hostile.jobs (id text)",
  "create table hostile.pg_class (relname text)",
  "alter role $role set search_path = hostile, pg_catalog",
]

const title = `on a managed server${noDebianServer === undefined ? "" : ` (${noDebianServer})`}`
describe.skipIf(noDebianServer !== undefined)(title, { timeout: 120_000 }, () => {
  beforeAll(async () => {
    language = await languageOf(LANGUAGE)
    if (language === undefined)
      process.stderr.write(`!!!! There is no ${LANGUAGE}.utf8 here (package locales): messages stay English in these tests !!!!\n`)
    server = await startDebianServer(SETTINGS, HBA)
    migrated = await owned("migrated")
    await migrateUrl(migrated)
  }, 60_000)
  afterAll(() => server?.stop())

  test("all goes while statements are logged, explained and counted, messages are in another language, and idle sessions are ended", async () => {
    const url = await owned(
      "scram",
      "create extension pg_stat_statements",
      ...LOGGED.map((setting) => `alter database $db set ${setting}`),
      ...(language === undefined ? [] : [`alter database $db set lc_messages = '${language}'`]),
      "alter role $role set idle_session_timeout = '2s'",
      "alter role $role set idle_in_transaction_session_timeout = '5s'",
      "alter role $role set statement_timeout = '30s'",
      "alter role $role set lock_timeout = '10s'",
    )
    if (language !== undefined) await expect(query({ connectionString: url }, "select 1/0")).rejects.toThrow("Division durch Null")
    expect(await round({ connectionString: url }, { connectionString: url })).toEqual([])
    // The settings were in force.
    expect(server.log()).toMatch(/Query Text: [\s\S]*claim/)
    const [counted] = await server.admin("scram", "select count(*)::int as n from pg_stat_statements where query ~ 'tusk' and query ~ 'claim'")
    expect(counted.n).toBeGreaterThan(0)
  })

  test("all goes where only TLS is accepted, for a role that owns its schema and may make none; refusals say what to do", async () => {
    const plain = await owned("tls", "create role tenant login password 'secret'", "create schema tusk authorization tenant")
    await server.admin("tls", "revoke create, temporary on database tls from public")
    const tenant = server.url("tls", "tenant")
    const ca = `sslrootcert=${encodeURIComponent(server.authority)}`
    const ssl = { ca: readFileSync(server.authority, "utf8") }
    expect(await round({ connectionString: `${tenant}?sslmode=verify-full&${ca}` }, { connectionString: tenant, ssl })).toEqual([])
    for (const [parameters, message] of [
      ["", /^Postgres at 127\.0\.0\.1:\d+\/tls refuses the log-in: .*pg_hba\.conf.*write sslmode=require where it asks for TLS/],
      ["?sslmode=verify-full", /does not trust the certificate of Postgres at 127\.0\.0\.1:\d+\/tls: .*; give the certificate of its authority/],
    ] as const) {
      const error = await rejection(open(`${plain}${parameters}`).migrate())
      expect(error).toBeInstanceOf(ConnectionError)
      expect(error.message).toMatch(message)
    }
    const pool = new pg.Pool({ connectionString: plain, ssl })
    onTestFinished(() => pool.end())
    for (const options of [
      { connectionString: `${plain}?sslmode=require&${ca}` },
      { connectionString: `${plain}?sslmode=no-verify` },
      { connectionString: `${plain}?sslmode=require&uselibpqcompat=true` },
      { pool },
    ] satisfies TuskOptions[]) {
      const tusk = new Tusk({ ...options, signals: false })
      onTestFinished(() => tusk.close())
      const listens = await rejection(tusk.workers())
      expect(listens.message).toMatch(/no pgtusk schema|lacks a right: .*schema tusk/)
    }
  })

  test("all goes with md5 passwords, serializable transactions, event triggers, row-level security forced on the owner, and overshadowed names", async () => {
    const url = await owned(
      "md5",
      "set password_encryption = 'md5'",
      "alter role $role password 'secret'",
      "alter database $db set default_transaction_isolation = 'serializable'",
      "alter database $db set default_transaction_deferrable = on",
      ...OVERSHADOWED,
      ...SECURED,
      ...WATCHED,
    )
    const config = { connectionString: url }
    expect(await compactRound(config, { sql: (text) => query(config, text) })).toEqual([])
    // They were in force: each table is under row-level security, and every change was seen.
    const tables = await server.admin(
      "md5",
      `select bool_and(relrowsecurity and relforcerowsecurity) as forced, count(*)::int as n from pg_class
       where relnamespace = 'tusk'::regnamespace and relkind in ('r', 'p')`,
    )
    expect(tables).toEqual([{ forced: true, n: expect.any(Number) }])
    expect((await server.admin("md5", "select count(*)::int as n from public.ddl"))[0].n).toBeGreaterThan(100)
  })

  test("rows that a policy hides from a role are an error at its first use, with the policy to write", async () => {
    const url = migrated
    await server.admin("migrated", "create role app login password 'secret'")
    await query(
      { connectionString: url },
      `do $$ declare name text; begin
         for name in select oid::regclass from pg_class where relnamespace = 'tusk'::regnamespace and relkind in ('r', 'p') loop
           execute format('alter table %s enable row level security, force row level security', name);
         end loop;
       end $$;
       grant usage on schema tusk to app; grant select, insert, update, delete on all tables in schema tusk to app;
       grant usage on all sequences in schema tusk to app`,
    )
    // It was forced on a schema that is in use: the owner's next migrate() mends it.
    const late = await rejection(open(url).workers())
    expect(late.message).toMatch(/from the role "migrated_owner", since no policy admits it; run `npx pgtusk migrate` as this role/)
    expect((await open(url).migrate()).applied).toEqual([])
    expect((await echo.with({ via: open(url) }).enqueue(0)).created).toBe(true)

    const app = server.url("migrated", "app")
    const policy = /write for each: (create policy "app" on "tusk"\.epoch to "app" using \(true\) with check \(true\))$/
    for (const use of [
      (tusk: Tusk) => tusk.work({ queues: ["managed"] }),
      (tusk: Tusk) => echo.with({ via: tusk }).enqueue(1),
      (tusk: Tusk) => tusk.queues(),
    ]) {
      const error = await rejection(use(open(app)))
      expect(error).toBeInstanceOf(ConnectionError)
      expect(error.message).toMatch(
        /^Row-level security hides the rows of epoch, finished_jobs, .*, workers in the schema "tusk" from the role "app"/,
      )
      expect(error.message).toMatch(policy)
    }
    const tables = await server.admin(
      "migrated",
      "select oid::regclass::text as name from pg_class where relnamespace = 'tusk'::regnamespace and relkind in ('r', 'p') and relforcerowsecurity",
    )
    const select = tables.map(({ name }) => `create policy reads on ${name} for select to app using (true)`)
    // Reading alone is not enough for a role that may change them.
    await query({ connectionString: url }, select.join(";"))
    expect((await rejection(open(app).work({ queues: ["managed"] }))).message).toMatch(/^Row-level security hides/)
    // As the guide says.
    const policies = blocksOf("docs/guide/deployment.md").find(({ language, code }) => language === "sql" && code.includes("create policy app"))
    await query({ connectionString: url }, policies!.code)
    const tusk = open(app)
    await tusk.work({ queues: ["managed"] })
    expect(await (await echo.with({ via: tusk }).enqueue(1)).result({ timeout: "60s" })).toBe(1)
  })

  test("changes that an event trigger refuses: a past day stays, with a warning; a worker that lacks the coming days does not begin", async () => {
    const url = migrated
    const past = "create table tusk.finished_jobs_20200102 partition of tusk.finished_jobs for values from ('2020-01-02') to ('2020-01-03')"
    const coming = `do $$ declare day text; begin
      select max(relname) into day from pg_class where relnamespace = 'tusk'::regnamespace and relname ~ '^finished_jobs_[0-9]+$';
      execute format('drop table tusk.%I', day); end $$`
    await query({ connectionString: url }, past)
    await query({ connectionString: url }, coming)
    const refuse = "create function public.refuse() returns event_trigger language plpgsql as $$ begin raise exception 'not now'; end $$"
    await server.admin("migrated", refuse, "create event trigger refuse on sql_drop execute function public.refuse()")
    const warnings: [string, object?][] = []
    const logger = { debug() {}, info() {}, error() {}, warn: (...warning: [string, object?]) => void warnings.push(warning) }
    const careful = new Tusk({ connectionString: url, signals: false, logger })
    onTestFinished(() => careful.close())
    await (await careful.work({ queues: ["managed"] })).drain()
    expect(warnings[0]).toEqual([expect.stringMatching(/^partitions of past days cannot be dropped/), { partitions: ["finished_jobs_20200102"] }])
    expect(server.log()).toMatch(/pgtusk: [\s\S]*finished_jobs_20200102 [\s\S]*: not now/)
    expect(
      await query({ connectionString: url }, "select count(*)::int as n from pg_inherits where inhparent = 'tusk.finished_jobs'::regclass"),
    ).toEqual([{ n: 20 }])

    await server.admin("migrated", "drop event trigger refuse")
    await query({ connectionString: url }, coming)
    await server.admin("migrated", "create event trigger refuse on ddl_command_end execute function public.refuse()")
    const error = await rejection(open(url).work({ queues: ["managed"] }))
    expect(error).toBeInstanceOf(TuskError)
    expect(error.message).toMatch(/^The worker cannot begin: .*partitions of finished_jobs for the coming days: not now; let the owner/)
    const refused = await rejection(migrateUrl(url, { schema: "second" }))
    await server.admin("migrated", "drop event trigger refuse")
    expect(refused).toBeInstanceOf(TuskError)
    expect(refused.message).toMatch(/^The migration on Postgres at 127\.0\.0\.1:\d+\/migrated failed, and nothing has changed: not now$/)
  })

  test("transactions that are read-only by default are refused with what it means", async () => {
    const url = await owned("readonly", "alter role $role set default_transaction_read_only = on")
    const error = await rejection(open(url).migrate())
    expect(error).toBeInstanceOf(ConnectionError)
    expect(error.message).toMatch(/takes no writes: .*a setting makes it read-only/)
  })

  test("no connection left: what has one works on, what has none is told so, and goes on once there is one", async () => {
    const url = migrated
    const tusk = open(url)
    await tusk.work({ queues: ["managed"] })
    expect(await (await echo.with({ via: tusk }).enqueue(1)).result({ timeout: "60s" })).toBe(1)
    // A client that is used already, and keeps no connection.
    let attempts = 0
    class Counting extends pg.Client {
      override connect(...args: unknown[]): any {
        attempts++
        return Reflect.apply(super.connect, this, args)
      }
    }
    const pool = new pg.Pool({ connectionString: url, idleTimeoutMillis: 1, Client: Counting } as pg.PoolConfig)
    onTestFinished(() => pool.end())
    const idle = new Tusk({ pool, signals: false })
    onTestFinished(() => idle.close())
    await echo.with({ via: idle }).enqueue(2)
    await waitFor(() => pool.totalCount === 0, { timeout: 60_000, what: "the pool to be empty" })
    const clients: pg.Client[] = []
    const fill = async (): Promise<unknown> => {
      for (;;) {
        const client = new pg.Client({ connectionString: url })
        client.on("error", () => undefined)
        try {
          await client.connect()
        } catch (error) {
          return error
        }
        clients.push(client)
      }
    }
    let last: Job<number>
    try {
      expect(await fill()).toMatchObject({ code: "53300" })
      expect(await (await echo.with({ via: tusk }).enqueue(3)).result({ timeout: "60s" })).toBe(3)
      const other = open(url)
      for (const use of [() => other.migrate(), () => other.workers(), () => echo.with({ via: other }).enqueue(4), () => other.work()]) {
        const error = await rejection(use())
        expect(error).toBeInstanceOf(ConnectionError)
        expect(error.message).toMatch(/^Postgres at 127\.0\.0\.1:\d+\/migrated has no connection left: .*; raise max_connections or use fewer$/)
        expect(error.unknown).toBe(false)
      }
      const before = attempts
      let stored = false
      const waiting = echo
        .with({ via: idle })
        .enqueue(5)
        .finally(() => {
          stored = true
        })
      await waitFor(() => attempts > before + 1, { timeout: 60_000, what: "the enqueue to ask for a connection again" })
      expect(stored).toBe(false)
      await clients.pop()!.end()
      last = await waiting
    } finally {
      await Promise.all(clients.map((client) => client.end()))
    }
    expect(await last.result({ timeout: "60s" })).toBe(5)
  })
})
