/**
 * What the hot statements cost, in pages: as much on a large, old and busy database as on a small and fresh one. Pages are counted, never time.
 *
 * Each statement runs as the driver prepares it, planned for its values (custom) and for any (generic, as after its fifth execution), in five
 * states: small; deep (a hundred thousand waiting, as many finished); deep with statistics that were taken while the table was empty, or while all
 * of its rows were dead; and, where it must not matter, with fifty thousand dead rows that an old snapshot keeps from being cleaned.
 */
import pg from "pg"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { statementTexts } from "../../src/postgres/statements/sql.js"
import { createDatabase, type TestDatabase } from "../support/database.js"

type Name = keyof typeof statementTexts
type Values = readonly unknown[]
type Mode = "custom" | "generic"

const BATCH = 50
const DEEP = 100_000
const DEAD = 50_000
const QUEUE = "q"
const WORKER = "0189ad59-8f19-48ee-b2cf-542379d694fe"
const KNOWN = ["t", "u"]
const text = (name: Name): string => statementTexts[name].replaceAll("{schema}", '"tusk"')

interface Hot {
  readonly name: Name
  /** What it needs to find, made in the transaction in which it is then explained, and its values. */
  readonly values: (on: On) => Promise<Values>
  /** Old snapshots cost it, and its caller has a budget for that. */
  readonly walksTheDead?: true
  /** Where the statement goes several ways. */
  readonly of?: string
}

/** What the values are made from. */
interface On {
  readonly client: pg.Client
  readonly cursor: number
}

async function claimed({ client, cursor }: On): Promise<{ ids: string[]; leases: string[] }> {
  const { rows } = await client.query(text("claim"), [QUEUE, [5], [cursor], BATCH, WORKER, KNOWN])
  expect(rows).toHaveLength(BATCH)
  return { ids: rows.map((row) => row.id), leases: rows.map((row) => row.lease) }
}

const all = <T>(value: T): T[] => Array.from({ length: BATCH }, () => value)
const ids = (): string[] => Array.from({ length: BATCH }, () => crypto.randomUUID())
const nulls = (n: number): null[] => Array.from({ length: n }, () => null)

const HOT: readonly Hot[] = [
  { name: "insert_job", values: async () => [ids()[0], QUEUE, "t", 5, 1, "[]", null, null] },
  { name: "insert_jobs", of: "one lane", values: async () => [ids(), [QUEUE], ["t"], [5], [1], all("[]"), ...nulls(7)] },
  { name: "insert_jobs", of: "any lanes", values: async () => [ids(), all(QUEUE), all("t"), all(5), all(1), all("[]"), ...nulls(7)] },
  { name: "claim", values: async ({ cursor }) => [QUEUE, [5], [cursor], BATCH, WORKER, KNOWN] },
  {
    name: "settle",
    values: async (on) => {
      const { ids, leases } = await claimed(on)
      return [WORKER, ids, leases, all("completed"), null, all("1"), null, null]
    },
  },
  {
    name: "heartbeat",
    values: async (on) => {
      const { ids, leases } = await claimed(on)
      return [WORKER, BATCH, ids, leases, true]
    },
  },
  {
    name: "cancelled_runs",
    values: async (on) => {
      const { ids, leases } = await claimed(on)
      return [ids, leases, WORKER]
    },
  },
  {
    name: "progress",
    values: async (on) => {
      const { ids, leases } = await claimed(on)
      return [WORKER, ids, leases, all('{"fraction":0.5}')]
    },
  },
  { name: "snapshots", values: async (on) => [(await claimed(on)).ids] },
  { name: "sweep", values: async () => [[QUEUE, "elsewhere"]], walksTheDead: true },
  { name: "next_due", values: async () => [], walksTheDead: true },
  {
    name: "promote",
    values: async ({ client }) => {
      await client.query(
        `insert into tusk.jobs (id, queue, task, args, state, run_at)
         select gen_random_uuid(), $1, 't', '[]', 'delayed', now() - interval '1 second' from generate_series(1, ${BATCH})`,
        [QUEUE],
      )
      return [BATCH]
    },
    walksTheDead: true,
  },
  {
    name: "expire",
    values: async ({ client }) => {
      await client.query(
        `insert into tusk.jobs (id, queue, task, args, expires_at) select gen_random_uuid(), $1, 't', '[]', now() - interval '1 second' from generate_series(1, ${BATCH})`,
        [QUEUE],
      )
      return [BATCH]
    },
    walksTheDead: true,
  },
  { name: "rescue", values: async () => [500, false, WORKER] },
]

let db: TestDatabase
let client: pg.Client

beforeAll(async () => {
  db = await createDatabase()
  client = new pg.Client({ connectionString: db.url })
  await client.connect()
  // Statistics are taken, and dead rows cleaned, when this test says so.
  await client.query("alter table tusk.jobs set (autovacuum_enabled = false)")
  await client.query(
    "insert into tusk.workers (id, lease, pid, host, version, queues, tasks) values ($1, '20 seconds', 1, 'here', '0', '{q}', '{t}')",
    [WORKER],
  )
})
afterAll(async () => {
  await client.end()
  await db.close()
})

function literal(value: unknown): string {
  if (value === null) return "null"
  const plain = Array.isArray(value)
    ? `{${value.map((v) => (v === null ? "null" : `"${String(v).replace(/(["\\])/g, "\\$1")}"`)).join(",")}}`
    : String(value)
  return client.escapeLiteral(plain)
}

interface Cost {
  readonly pages: number
  /** Tables of jobs that it read from one end to the other. */
  readonly scanned: readonly string[]
}

/** `byIndex`: with the plan that a large table asks for. */
async function cost({ name, values }: Hot, mode: Mode, byIndex = false): Promise<Cost> {
  const { rows: lowest } = await client.query("select min(seq) as seq from tusk.jobs where state = 'waiting' and queue = $1", [QUEUE])
  await client.query("begin")
  try {
    const given = await values({ client, cursor: Number(lowest[0].seq) - 1 })
    await client.query(`set local plan_cache_mode = force_${mode}_plan`)
    if (byIndex) for (const way of ["seqscan", "hashjoin", "mergejoin"]) await client.query(`set local enable_${way} = off`)
    await client.query(`prepare hot as ${text(name)}`)
    const execute = given.length === 0 ? "execute hot" : `execute hot (${given.map(literal).join(", ")})`
    const { rows } = await client.query(`explain (analyze, buffers, format json) ${execute}`)
    const plan = rows[0]["QUERY PLAN"][0].Plan
    return { pages: plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], scanned: [...scans(plan)] }
  } finally {
    await client.query("rollback")
    await client.query("deallocate all")
  }
}

function* scans(node: any): Generator<string> {
  // An empty partition has nothing that an index could help with.
  const pages = (node["Shared Hit Blocks"] + node["Shared Read Blocks"]) / node["Actual Loops"]
  if (node["Node Type"] === "Seq Scan" && pages > 10 && /^(finished_)?jobs/.test(node["Relation Name"])) yield node["Relation Name"]
  for (const child of node.Plans ?? []) yield* scans(child)
}

async function costs(of: readonly Hot[], byIndex = false): Promise<Map<string, Cost>> {
  const found = new Map<string, Cost>()
  for (const hot of of) {
    for (const mode of ["custom", "generic"] as const) {
      // One may read the catalog for its plans, or split pages of an index.
      const seen = [await cost(hot, mode, byIndex), await cost(hot, mode, byIndex), await cost(hot, mode, byIndex)]
      const least = seen.reduce((a, b) => (b.pages < a.pages ? b : a))
      found.set(`${[hot.name, hot.of ?? []].flat().join(" of ")}, ${mode}`, least)
    }
  }
  return found
}

async function fill(n: number): Promise<void> {
  await client.query("insert into tusk.jobs (id, queue, task, args) select gen_random_uuid(), $1, 't', '[]' from generate_series(1, $2::int)", [
    QUEUE,
    n,
  ])
}

async function finish(n: number): Promise<void> {
  await client.query(
    `insert into tusk.finished_jobs (id, created_at, attempt, max_attempts, crashes, drop_on, state, priority, queue, task, args)
     select gen_random_uuid(), now(), 1, 1, 0, now()::date + 1, 'completed', 5, $1, 't', '[]' from generate_series(1, $2::int)`,
    [QUEUE, n],
  )
}

/** Of two statements that do the same on the same rows, one may find its index a level deeper, and its pages split. */
function allowed(small: Cost): number {
  return small.pages * 1.5 + 60
}

function dearer(small: ReadonlyMap<string, Cost>, now: ReadonlyMap<string, Cost>): string[] {
  return [...now].flatMap(([name, { pages, scanned }]) => [
    ...(pages > allowed(small.get(name)!) ? [`${name}: ${pages} pages, ${small.get(name)!.pages} on a small database`] : []),
    ...scanned.map((table) => `${name}: reads all of ${table}`),
  ])
}

describe("the hot statements cost as much as on a small database", () => {
  let small: ReadonlyMap<string, Cost>
  beforeAll(async () => {
    await client.query("analyze tusk.jobs, tusk.finished_jobs")
    await fill(1_000)
    await finish(1_000)
    small = await costs(HOT, true)
  })

  test("on a deep one, with statistics from when it was empty", async () => {
    await fill(DEEP)
    await finish(DEEP)
    expect(dearer(small, await costs(HOT))).toEqual([])
  }, 60_000)

  test("with statistics from just now", async () => {
    await client.query("analyze tusk.jobs, tusk.finished_jobs")
    expect(dearer(small, await costs(HOT))).toEqual([])
  }, 60_000)

  test("above rows that are dead and kept by an old snapshot; those that walk them can be told", async () => {
    const old = new pg.Client({ connectionString: db.url })
    await old.connect()
    try {
      await old.query("begin isolation level repeatable read")
      await old.query("select 1 from tusk.jobs limit 1")
      await client.query(
        `delete from tusk.jobs where ctid = any (array(select ctid from tusk.jobs where queue = $1 and state = 'waiting' order by seq limit ${DEAD}))`,
        [QUEUE],
      )
      expect(dearer(small, await costs(HOT.filter((hot) => hot.walksTheDead === undefined)))).toEqual([])
      const sweep = await cost(HOT.find((hot) => hot.name === "sweep")!, "custom")
      expect(sweep.pages).toBeGreaterThan(allowed(small.get("sweep, custom")!) * 2)
    } finally {
      await old.end()
    }
  }, 60_000)

  test("with statistics from a moment when all its rows were dead: as many pages as now, and no row", async () => {
    await client.query("delete from tusk.jobs")
    await client.query("delete from tusk.finished_jobs")
    await client.query("vacuum (truncate off, analyze) tusk.jobs, tusk.finished_jobs")
    await fill(DEEP)
    await finish(DEEP)
    const { rows } = await client.query("select reltuples, relpages > 1000 as pages from pg_class where oid = 'tusk.jobs'::regclass")
    expect(rows).toEqual([{ reltuples: 0, pages: true }])
    expect(dearer(small, await costs(HOT))).toEqual([])
  }, 60_000)
})
