/**
 * No plan of a statement that workers and producers send is compiled by JIT: the compiler takes a tenth of a second and more, each time that the plan
 * runs, and its statements take a millisecond.
 *
 * Postgres decides by the cost that it expects, when it makes the plan: above `jit_above_cost` (100,000) it compiles. That cost is shown by
 * auto_explain, for the statements inside functions too, and so a server without LLVM tells what one with LLVM would do.
 */
import pg from "pg"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { migrationsFor } from "../../migrations/index.js"
import { kyselyOver } from "../../src/postgres/run/kysely.js"
import { migrateUrl } from "../../src/postgres/schema/migrate.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { statementTexts } from "../../src/postgres/statements/sql.js"
import { createDatabase, type TestDatabase } from "../support/database.js"

type Name = keyof typeof statementTexts
type Values = readonly unknown[]

/** A tenth of what the figures of this page stand for, and so is the limit. */
const DEEP = 100_000
const JIT_ABOVE_COST = 10_000
const BATCH = 1_000
const WORKER = "0189ad59-8f19-48ee-b2cf-542379d694fe"

const all = <T>(value: T): T[] => Array.from({ length: BATCH }, () => value)
const ids = (): string[] => Array.from({ length: BATCH }, () => crypto.randomUUID())
const nulls = (n: number): null[] => Array.from({ length: n }, () => null)
const drafts = (more: object = {}): string => JSON.stringify(ids().map((id) => ({ id, task: "t", args: [], ...more })))

/** Those that read as much as there is: a plan that reads a million rows is one of those that the compiler is for. */
const READS_ALL: readonly Name[] = ["counts", "explain", "publish_tasks"]

const STATEMENTS: Readonly<Record<Name, () => Values>> = {
  abandon: () => [100],
  add_batch: () => [],
  add_job: () => [],
  cancelled_runs: () => [ids(), all(7), WORKER],
  claim: () => ["q", [0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 0, 0], 500, WORKER, ["t"]],
  claim_limited: () => ["q", 100, WORKER, ["t", "limited"], "0", "0"],
  counts: () => [null],
  expire: () => [500],
  explain: () => [ids()[0], "q", "t", 5],
  explain_key: () => [ids()[0]],
  explain_limits: () => [ids()[0]],
  heartbeat: () => [WORKER, BATCH, ids(), all(7), true],
  insert_job: () => [ids()[0], "q", "t", 5, 1, "[]", null, null],
  insert_jobs: () => [ids(), all("q"), all("t"), all(5), all(1), all("[]"), ...nulls(7)],
  lost_claims: () => [WORKER, 1_000, all(1)],
  next_due: () => [],
  notify: () => ["tusk:x", all("[]")],
  partitions: () => [],
  progress: () => [WORKER, ids(), all(7), all("{}")],
  promote: () => [500],
  promote_jobs: () => [ids()],
  prune: () => [1_000],
  publish_tasks: () => [["t"], ["q"], [5], [0], [null], [null], [null]],
  register_worker: () => [WORKER, 20_000, 1, "here", "0", ["q"], ["t"], true],
  reschedule: () => [ids(), 1_000, null],
  rescue: () => [500, true, crypto.randomUUID()],
  settle: () => [WORKER, ids(), all(7), all("completed"), null, all("1"), null, null],
  settled_before: () => [ids(), WORKER, all(1)],
  snapshots: () => [ids()],
  sweep: () => [["q", ...Array.from({ length: 200 }, (_, n) => `q${n}`)]],
  wake: () => ["tusk:x", '[["q", 5, 1, null, 0]]', 5, "@x", all("[]")],
  watch: () => [ids()],
}

/** Others that the library sends, and other ways through the functions above. */
const OTHERS: readonly (readonly [name: string, text: string, values: () => Values])[] = [
  ["settle of retries", statementTexts.settle, () => [WORKER, ids(), all(7), all("retry"), all(10), null, all("{}"), null]],
  ["insert_jobs of one lane", statementTexts.insert_jobs, () => [ids(), ["q"], ["t"], [5], [1], all("[]"), ...nulls(7)]],
  ["add_plain_jobs", "select {schema}.add_plain_jobs($1::text::jsonb, null)", () => [drafts()]],
  ["add_jobs with keys", "select * from {schema}.add_jobs($1::text::jsonb, null, true)", () => [drafts({ key: { key: "one" }, local: false })]],
  ["cancel_jobs", "select * from {schema}.cancel_jobs($1, null)", () => [ids()]],
  ["retry_jobs", "select * from {schema}.retry_jobs($1)", () => [ids()]],
  ["remove_jobs", "select * from {schema}.remove_jobs($1)", () => [ids()]],
]

let db: TestDatabase
let client: pg.Client
/** What was planned since the last look. */
let seen: Seen[] = []
/** Why plans cannot be seen here. */
let blind: string | undefined

interface Seen {
  readonly text: string
  readonly cost: number
  readonly jit: boolean
  readonly off: boolean
}

beforeAll(async () => {
  db = await createDatabase()
  client = new pg.Client({ connectionString: db.url })
  await client.connect()
  client.on("notice", ({ message = "" }) => {
    const at = message.indexOf("{")
    if (!message.startsWith("duration: ") || at === -1) return
    const { "Query Text": text, Plan, Settings, JIT } = JSON.parse(message.slice(at))
    seen.push({ text: text.replaceAll(/\s+/g, " "), cost: Plan["Total Cost"], jit: JIT !== undefined, off: Settings?.jit === "off" })
  })
  try {
    await client.query(`load 'auto_explain'`)
    const settings = ["log_min_duration = 0", "log_level = notice", "log_nested_statements = on", "log_format = json", "log_settings = on"]
    for (const setting of [...settings, "log_analyze = on", "log_timing = off"]) await client.query(`set auto_explain.${setting}`)
  } catch (error) {
    blind = (error as Error).message
  }
  await client.query(`set jit = on`)
  await client.query(`set jit_above_cost = ${JIT_ABOVE_COST}`)
  const { rows } = await client.query("select pg_jit_available() as available")
  if (blind !== undefined) process.stdout.write(`!!!! No plans are seen on this server (${blind}): nothing is said of JIT !!!!\n`)
  else if (!rows[0].available) process.stdout.write("!!!! This server has no LLVM: what it would compile is told from costs alone !!!!\n")
})
afterAll(async () => {
  await client.end()
  await db.close()
})

async function fill(): Promise<void> {
  for (const table of await db.query("select oid::regclass::text as name from pg_class where relnamespace = 'tusk'::regnamespace and relkind = 'r'"))
    await client.query(`alter table ${table.name} set (autovacuum_enabled = false)`)
  await client.query(
    `insert into tusk.workers (id, lease, pid, host, version, queues, tasks) values ($1, '20 seconds', 1, 'here', '0', '{q}', '{t}')`,
    [WORKER],
  )
  await client.query(
    `insert into tusk.tasks (name, queue, priority, retries, limits) values ('t', 'q', 5, 0, null), ('limited', 'q', 5, 0, '{"concurrency": {"limit": 20}}')`,
  )
  await client.query(
    `insert into tusk.jobs (id, queue, task, args, state, run_at, expires_at, priority)
     select gen_random_uuid(), 'q', 't', '[]', (case when n % 10 = 0 then 'delayed' else 'waiting' end)::tusk.job_state, now() + n * interval '1 second',
       case when n % 5 = 0 then now() + interval '1 day' end, n % 5 from generate_series(1, ${DEEP}) n`,
  )
  await client.query(
    `insert into tusk.jobs (id, queue, task, args, concurrency_key, limit_group)
     select gen_random_uuid(), 'q', 'limited', '[]', 'k' || n % 100, tusk.limit_group('limited', 'k' || n % 100, null) from generate_series(1, ${DEEP / 10}) n`,
  )
  await client.query(
    `insert into tusk.jobs (id, queue, task, args, state, worker_id, lease, started_at)
     select gen_random_uuid(), 'q', 't', '[]', 'active', $1, 7, now() - interval '1 minute' from generate_series(1, 1000)`,
    [WORKER],
  )
  await client.query(
    `insert into tusk.finished_jobs (id, created_at, attempt, max_attempts, crashes, drop_on, state, priority, queue, task, args)
     select gen_random_uuid(), now(), 1, 1, 0, now()::date + 1 + n % 15, 'completed', 5, 'q', 't', '[]' from generate_series(1, ${DEEP}) n`,
  )
  await client.query(
    `insert into tusk.keys (job_id, until, queue, kind, key, release)
     select gen_random_uuid(), now() + n * interval '1 second', 'q', 'id', n::text, 'removal' from generate_series(1, ${DEEP / 5}) n`,
  )
  await client.query(
    `insert into tusk.job_dependencies (parent_id, child_id, on_failure) select gen_random_uuid(), gen_random_uuid(), 'block' from generate_series(1, ${DEEP / 5})`,
  )
}

function literal(value: unknown): string {
  if (value === null) return "null"
  const element = (v: unknown): string => (v === null ? "null" : `"${String(v).replace(/(["\\])/g, "\\$1")}"`)
  return client.escapeLiteral(Array.isArray(value) ? `{${value.map(element).join(",")}}` : String(value))
}

/** The plans of a statement, and of those inside of it, that Postgres has compiled, or would have. */
async function compiled(name: string, text: string, values: Values, limit = JIT_ABOVE_COST): Promise<string[]> {
  const found: string[] = []
  for (const mode of ["custom", "generic"]) {
    await client.query("begin")
    try {
      await client.query(`set local plan_cache_mode = force_${mode}_plan`)
      await client.query(`prepare hot as ${text.replaceAll("{schema}", "tusk")}`)
      seen = []
      await client.query(values.length === 0 ? "execute hot" : `execute hot (${values.map(literal).join(", ")})`)
    } finally {
      await client.query("rollback")
      await client.query("deallocate all")
    }
    // Its own at least.
    expect(seen.length).toBeGreaterThan(0)
    for (const { text, cost, jit, off } of seen)
      if (jit || (cost > limit && !off)) found.push(`${name}, ${mode}: ${jit ? "compiled" : "would be"} at a cost of ${cost}: ${text.slice(0, 160)}`)
  }
  return found
}

async function allCompiled(): Promise<string[]> {
  const found: string[] = []
  for (const [name, values] of Object.entries(STATEMENTS) as [Name, () => Values][]) {
    // Procedures that commit: they carry no plan but that of an insert, and of a function.
    if (name === "add_job" || name === "add_batch" || READS_ALL.includes(name)) continue
    found.push(...(await compiled(name, statementTexts[name], values())))
  }
  for (const [name, text, values] of OTHERS) found.push(...(await compiled(name, text, values())))
  return found
}

describe("no plan of a hot statement is compiled", () => {
  beforeAll(async () => {
    await client.query("vacuum analyze")
    await fill()
  }, 120_000)

  test("on a deep database with statistics from when it was empty", async (context) => {
    if (blind !== undefined) context.skip(blind)
    expect(await allCompiled()).toEqual([])
  }, 120_000)

  test("with statistics from just now", async (context) => {
    if (blind !== undefined) context.skip(blind)
    await client.query("analyze")
    expect(await allCompiled()).toEqual([])
  }, 120_000)

  test("which this test would see: the claim of a schema of 0.1.0 is", async (context) => {
    if (blind !== undefined) context.skip(blind)
    const [{ f }] = await db.query("select 'tusk.claim'::regproc::regprocedure::text as f")
    // Up to Postgres 17 a plan that was switched off and had to be used has a cost of 10¹⁰; from 18 on it has its own.
    const [{ major }] = await db.query("select current_setting('server_version_num')::integer / 10000 as major")
    const limit = major < 18 ? JIT_ABOVE_COST : 0.5
    await client.query(`set jit_above_cost = ${limit}`)
    await client.query(`alter function ${f} reset jit`)
    const found = await compiled("claim", statementTexts.claim, STATEMENTS.claim(), limit)
    await client.query(`alter function ${f} set jit = off`)
    await client.query(`set jit_above_cost = ${JIT_ABOVE_COST}`)
    expect(found.join("\n")).toMatch(/^claim, custom: (compiled|would be) at a cost of .*not exists \(select from "tusk".epoch/m)
  })
})

describe("functions say so themselves", () => {
  /** Functions (procedures that commit can have no settings) with a statement over tables that grow with the jobs, or with settings for their plans. */
  const OPEN = `
    select p.proname as name from pg_proc p join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'tusk'::regnamespace and p.prokind = 'f' and not coalesce(p.proconfig, '{}') @> '{jit=off}'
      and (exists (select from unnest(p.proconfig) c where c ~ '^(enable_|plan_cache_mode)')
        or p.prosrc ~* '(from|join|into|update)\\s+"?tusk"?\\.(jobs|finished_jobs|job_dependencies|keys)\\M')
    order by 1`

  test("each that plans statements over jobs carries jit = off", async () => {
    expect(await db.query(OPEN)).toEqual([])
    const [{ n }] = await db.query(
      "select count(*)::integer as n from pg_proc where pronamespace = 'tusk'::regnamespace and proconfig @> '{jit=off}'",
    )
    expect(n).toBeGreaterThanOrEqual(14)
  })

  test("an installed schema of 0.1.0, whose functions do not, gets it by its migration", async () => {
    const old = await createDatabase()
    try {
      for (const { f } of await old.query<{ f: string }>(
        "select oid::regprocedure::text as f from pg_proc where pronamespace = 'tusk'::regnamespace and proconfig @> '{jit=off}'",
      ))
        await old.query(`alter function ${f} reset jit`)
      const down = kyselyOver({ query: async (text, params) => ({ rows: await old.query(text, params), rowCount: null }) as any })
      await migrationsFor(schemaNames("tusk"))["0003_servers"]!.down!(down)
      await old.query("delete from tusk.migration where name >= '0003'")
      expect((await old.query(OPEN)).length).toBeGreaterThanOrEqual(14)
      await migrateUrl(old.url)
      expect(await old.query(OPEN)).toEqual([])
    } finally {
      await old.close()
    }
  })
})
