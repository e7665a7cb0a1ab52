/**
 * No statement or function reads more rows than it is about, or compares each row of a table with each of its list, whatever was known when its plan was made:
 * while the tables were empty (a session keeps the plan until the next statistics), or with statistics taken while all rows were dead, which say pages and no
 * row, so that one row is expected of tables however full.
 *
 * Work is counted, never time: the rows that pass each node of each plan, and those that it drops, statements inside functions included (auto_explain).
 */
import pg from "pg"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { schemaNames } from "../../src/postgres/statements/names.js"
import type { statementTexts } from "../../src/postgres/statements/sql.js"
import { statementsFor } from "../../src/postgres/statements/statements.js"
import { createDatabase, type TestDatabase } from "../support/database.js"

type Name = keyof typeof statementTexts
type Values = readonly unknown[]

/** Rows of others in each table, and those that a call is about. */
const OTHERS = 20_000
const BATCH = 100
/** What a call may do for each of its rows: the longest plans of settle and add_jobs have some twenty nodes, and there are several. */
const WORK = 80 * BATCH

const WORKER = "0189ad59-8f19-48ee-b2cf-542379d694fe"
const DEAD_WORKER = "0189ad59-8f19-48ee-b2cf-542379d694ff"
const statements = statementsFor(schemaNames("tusk"), true)

interface Call {
  readonly of: string
  readonly query: { readonly name?: string; readonly text: string }
  /** Makes what the call is about, in its transaction, and its values. */
  readonly values: (client: pg.Client) => Promise<Values>
}

/** Smaller while plans are only to be made. */
let batch = BATCH
const all = <T>(value: T): T[] => Array.from({ length: batch }, () => value)
const uuids = (): string[] => all(0).map(() => crypto.randomUUID())
const idsOf = async (client: pg.Client, sql: string): Promise<string[]> => {
  const { rows } = await client.query(sql)
  expect(rows).toHaveLength(batch)
  return rows.map((row) => row.id)
}
const live = (client: pg.Client, columns: string, values: string): Promise<string[]> =>
  idsOf(
    client,
    `insert into tusk.jobs (id, queue, task, args, ${columns}) select gen_random_uuid(), 'mine', 't', '[]', ${values} from generate_series(1, ${batch}) n returning id`,
  )
const ACTIVE = ["state, worker_id, lease, started_at, attempt", `'active', '${WORKER}', 7, now() - interval '1 minute', 1`] as const
const running = (client: pg.Client, columns = "", values = ""): Promise<string[]> => live(client, ACTIVE[0] + columns, ACTIVE[1] + values)
const finished = (client: pg.Client, more = "", values = ""): Promise<string[]> =>
  idsOf(
    client,
    `insert into tusk.finished_jobs (id, created_at, worker_id, attempt, max_attempts, crashes, drop_on, state, priority, queue, task, args${more})
     select gen_random_uuid(), now(), '${WORKER}', 1, 1, 0, now()::date + 1, 'failed', 5, 'mine', 't', '[]'${values} from generate_series(1, ${batch}) n returning id`,
  )
const keyed = async (client: pg.Client, ids: readonly string[]): Promise<void> => {
  await client.query(
    `insert into tusk.keys (job_id, queue, kind, key, release)
     select id, 'mine', k, id::text, r from unnest($1::uuid[]) id cross join (values ('id', 'removal'), ('key', 'finish')) v (k, r)`,
    [ids],
  )
}
/** A child of each, blocked by it. */
const withChildren = async (client: pg.Client, ids: readonly string[], policy = "block"): Promise<string[]> => {
  const children = await live(client, "state, pending_parents", "'blocked', 1")
  await client.query(
    `insert into tusk.job_dependencies (parent_id, child_id, on_failure, paths) select p, c, $3, '[["0"]]' from unnest($1::uuid[], $2::uuid[]) e (p, c)`,
    [ids, children, policy],
  )
  return children
}
const drafts = (more: (n: number) => object = () => ({})): string =>
  JSON.stringify(uuids().map((id, n) => ({ id, task: "t", queue: "mine", args: [], ...more(n) })))
const ADD_JOBS = { text: "select * from tusk.add_jobs($1::text::jsonb, 'c')" }

const call = (name: Name, values: Call["values"], how?: string): Call => ({
  of: how === undefined ? name : `${name}: ${how}`,
  query: statements[name],
  values,
})
const settle = (how: string, outcome: string, make: (client: pg.Client) => Promise<string[]>): Call =>
  call("settle", async (client) => [WORKER, await make(client), all(7), all(outcome), all(10), all("1"), all('{"message":"x"}'), all("{}")], how)

const CALLS: readonly Call[] = [
  call("claim", async (client) => {
    await live(client, "priority", "3")
    return ["mine", [3], [0], batch, WORKER, ["t"]]
  }),
  call("claim_limited", async (client) => {
    await live(client, "concurrency_key, limit_group", "'k' || n % 10, tusk.limit_group('t', 'k' || n % 10, null)")
    return ["mine", batch, WORKER, ["t"], null, null]
  }),
  settle("completed", "completed", running),
  settle("retry", "retry", running),
  settle("released", "released", running),
  settle("with keys", "completed", async (client) => {
    const ids = await running(client, ", keyed, custom_id", ", true, 'c' || n")
    await keyed(client, ids)
    return ids
  }),
  settle("a repeat", "completed", async (client) => {
    const ids = await running(client, ", keyed, options, custom_id", `, true, '{"repeat": {"everyMs": 1000}}', 'c' || n`)
    await keyed(client, ids)
    return ids
  }),
  settle("parents that complete", "completed", async (client) => {
    const ids = await running(client, ", has_children", ", true")
    await withChildren(client, ids)
    return ids
  }),
  settle("parents that fail", "failed", async (client) => {
    const ids = await running(client, ", has_children", ", true")
    await withChildren(client, ids, "fail")
    return ids
  }),
  call("heartbeat", async (client) => [WORKER, batch, await running(client), all(7), true]),
  call("cancelled_runs", async (client) => [await running(client), all(7), WORKER]),
  call("progress", async (client) => [WORKER, await running(client), all(7), all('{"fraction":0.5}')]),
  call("lost_claims", async (client) => {
    await running(client)
    return [WORKER, 1_000, [8]]
  }),
  call("settled_before", async (client) => [await finished(client), WORKER, all(1)]),
  call("snapshots", async (client) => [await finished(client)], "finished"),
  call("snapshots", async (client) => [await running(client)], "live"),
  call("watch", async (client) => [await running(client)]),
  call("promote", async (client) => {
    await live(client, "state, run_at", "'delayed', now() - interval '1 second'")
    return [batch]
  }),
  call("promote_jobs", async (client) => [await live(client, "state, run_at", "'delayed', now() + interval '1 day'")]),
  call("reschedule", async (client) => [await live(client, "state, run_at", "'delayed', now() + interval '1 day'"), 1_000, null]),
  call("expire", async (client) => {
    await live(client, "expires_at", "now() - interval '1 second'")
    return [batch]
  }),
  call("rescue", async (client) => {
    await client.query(
      `insert into tusk.workers (id, heartbeat_at, lease, pid, host, version, queues, tasks) values ($1, now() - interval '1 hour', '20 seconds', 1, 'here', '0', '{mine}', '{t}')`,
      [DEAD_WORKER],
    )
    const { rows } = await client.query("select count(*) from unnest($1::uuid[])", [await running(client)])
    expect(rows[0].count).toBe(String(batch))
    await client.query(`update tusk.jobs set worker_id = $1, crashes = case when priority = 5 then 4 else 0 end where queue = 'mine'`, [DEAD_WORKER])
    return [batch, false, WORKER]
  }),
  call("sweep", async () => [["mine", "q", "elsewhere"]]),
  call("next_due", async () => []),
  call("explain_key", async (client) => [(await finished(client, ", custom_id", ", 'c' || n"))[0]]),
  call("explain_limits", async (client) => [(await live(client, "concurrency_key, limit_group", "'k', tusk.limit_group('t', 'k', null)"))[0]]),
  call("prune", async (client) => {
    await keyed(client, uuids())
    await client.query("update tusk.keys set until = now() - interval '1 second' where queue = 'mine'")
    return [2 * batch]
  }),
  {
    of: "cancel_jobs",
    query: { text: "select * from tusk.cancel_jobs($1, null)" },
    values: async (client) => [[...(await running(client)).slice(0, batch / 2), ...(await live(client, "priority", "4")).slice(0, batch / 2)]],
  },
  {
    of: "retry_jobs",
    query: { text: "select * from tusk.retry_jobs($1)" },
    values: async (client) => [await finished(client, ", custom_id, dedup_key", ", 'c' || n, 'k' || n")],
  },
  {
    of: "retry_jobs: with edges",
    query: { text: "select * from tusk.retry_jobs($1)" },
    values: async (client) => {
      const parents = await running(client)
      const children = await finished(client)
      await client.query(
        `update tusk.finished_jobs f set options = jsonb_build_object('edges', jsonb_build_array(jsonb_build_object('id', e.p, 'onFailure', 'block', 'paths', '[["0"]]'::jsonb)))
         from unnest($1::uuid[], $2::uuid[]) e (p, c) where f.id = e.c`,
        [parents, children],
      )
      return [children]
    },
  },
  {
    of: "remove_jobs",
    query: { text: "select * from tusk.remove_jobs($1)" },
    values: async (client) => {
      const ids = await live(client, "has_children", "true")
      await keyed(client, ids)
      await withChildren(client, ids)
      return [[...ids.slice(0, batch / 2), ...(await finished(client)).slice(0, batch / 2)]]
    },
  },
  { of: "add_jobs", query: ADD_JOBS, values: async () => [drafts()] },
  { of: "add_jobs: with keys", query: ADD_JOBS, values: async () => [drafts((n) => ({ customId: `c${n}`, key: { key: `k${n}` } }))] },
  {
    of: "add_jobs: that replace",
    query: ADD_JOBS,
    values: async (client) => {
      const ids = await live(client, "state, run_at, keyed", "'delayed', now() + interval '1 day', true")
      await keyed(client, ids)
      return [drafts((n) => ({ key: { key: ids[n], replace: true }, delayMs: 1_000 }))]
    },
  },
  {
    of: "add_jobs: with parents",
    query: ADD_JOBS,
    values: async (client) => {
      const [open, over] = [await running(client), await finished(client)]
      return [drafts((n) => ({ parents: [{ id: n % 2 === 0 ? open[n] : over[n], onFailure: "run" }] }))]
    },
  },
  {
    of: "add_jobs: repeated",
    query: { text: "select * from tusk.add_jobs($1::text::jsonb, 'c', true)" },
    values: async (client) => {
      const [open, over] = [await running(client), await finished(client)]
      return [drafts((n) => (n % 4 === 0 ? { id: open[n] } : n % 4 === 1 ? { id: over[n] } : {}))]
    },
  },
  { of: "add_plain_jobs", query: { text: "select tusk.add_plain_jobs($1::text::jsonb, 'c')" }, values: async () => [drafts()] },
]

interface Session {
  readonly client: pg.Client
  /** The work of a call, and its dearest node. */
  run(call: Call): Promise<{ work: number; dearest: string }>
  end(): Promise<void>
}

let db: TestDatabase
/** Why plans cannot be seen here. */
let blind: string | undefined

async function session(): Promise<Session> {
  const client = new pg.Client({ connectionString: db.url })
  await client.connect()
  let seen: { text: string; work: number; node: string; most: number }[] = []
  client.on("notice", ({ message = "" }) => {
    const at = message.indexOf("{")
    if (!message.startsWith("duration: ") || at === -1) return
    const { "Query Text": text, Plan } = JSON.parse(message.slice(at))
    const nodes = [...worked(Plan)].sort((a, b) => b.work - a.work)
    seen.push({
      text: text.replaceAll(/\s+/g, " "),
      work: nodes.reduce((sum, { work }) => sum + work, 0),
      node: nodes[0]!.what,
      most: nodes[0]!.work,
    })
  })
  const explaining = async (on: boolean): Promise<void> => {
    if (blind === undefined) await client.query(`set auto_explain.log_min_duration = ${on ? 0 : -1}`)
  }
  try {
    await client.query(`load 'auto_explain'`)
    for (const setting of ["log_level = notice", "log_nested_statements = on", "log_format = json", "log_analyze = on", "log_timing = off"])
      await client.query(`set auto_explain.${setting}`)
  } catch (error) {
    blind = (error as Error).message
  }
  return {
    client,
    end: () => client.end(),
    run: async ({ query, values }) => {
      await client.query("begin")
      try {
        const given = await values(client)
        seen = []
        await explaining(true)
        await client.query({ ...query, values: [...given] })
        await explaining(false)
        const dear = seen.sort((a, b) => b.most - a.most)[0]
        return {
          work: seen.reduce((sum, { work }) => sum + work, 0),
          dearest: dear === undefined ? "" : `${dear.most} rows in ${dear.node} of ${dear.text.slice(0, 120)}`,
        }
      } finally {
        await client.query("rollback")
      }
    },
  }
}

function* worked(node: any): Generator<{ what: string; work: number }> {
  const dropped = ["Filter", "Join Filter", "Index Recheck"].reduce((sum, by) => sum + (node[`Rows Removed by ${by}`] ?? 0), 0)
  yield {
    what: [node["Node Type"], node["Index Name"] ?? node["Relation Name"] ?? []].flat().join(" "),
    work: (node["Actual Rows"] + dropped) * node["Actual Loops"],
  }
  for (const child of node.Plans ?? []) yield* worked(child)
}

/** Rows of others, of all kinds. */
async function fill(): Promise<void> {
  const insert = (columns: string, values: string, n: number): Promise<unknown> =>
    db.query(
      `insert into tusk.jobs (id, queue, task, args, ${columns}) select gen_random_uuid(), 'q', 't', '[]', ${values} from generate_series(1, ${n}) n`,
    )
  const part = OTHERS / 5
  await insert("expires_at", "now() + interval '1 day'", part)
  await insert("concurrency_key, limit_group", "'k' || n, tusk.limit_group('t', 'k' || n, null)", part)
  await insert("state, run_at", "'delayed', now() + interval '1 day'", part)
  await insert("state, pending_parents", "'blocked', 1", part)
  await insert("state, worker_id, lease, started_at", "'active', gen_random_uuid(), 5, now()", part)
  await db.query(
    `insert into tusk.finished_jobs (id, created_at, attempt, max_attempts, crashes, drop_on, state, priority, queue, task, args)
     select gen_random_uuid(), now(), 1, 1, 0, now()::date + 1, 'failed', 5, 'q', 't', '[]' from generate_series(1, ${OTHERS})`,
  )
  await db.query(
    `insert into tusk.keys (job_id, queue, kind, key, release, until)
     select gen_random_uuid(), 'q', case when n % 2 = 0 then 'id' else 'key' end, n::text, case when n % 2 = 0 then 'removal' else 'finish' end, now() + interval '1 day' from generate_series(1, ${OTHERS}) n`,
  )
  await db.query(
    `insert into tusk.job_dependencies (parent_id, child_id, on_failure) select gen_random_uuid(), gen_random_uuid(), 'block' from generate_series(1, ${OTHERS})`,
  )
}

const TABLES = "tusk.jobs, tusk.finished_jobs, tusk.keys, tusk.job_dependencies"
const empty = async (): Promise<void> => {
  for (const table of TABLES.split(", ")) await db.query(`delete from ${table}`)
}

beforeAll(async () => {
  db = await createDatabase()
  await db.query(
    "insert into tusk.workers (id, lease, pid, host, version, queues, tasks, listens) values ($1, '20 seconds', 1, 'here', '0', '{mine}', '{t}', true)",
    [WORKER],
  )
  // Statistics are taken when this test says so.
  for (const { name } of await db.query(
    "select oid::regclass::text as name from pg_class where relnamespace = 'tusk'::regnamespace and relkind = 'r'",
  ))
    await db.query(`alter table ${name} set (autovacuum_enabled = false)`)
  await db.query(`insert into tusk.tasks (name, queue, priority, retries, limits) values ('t', 'mine', 5, 0, '{"concurrency": {"limit": 20}}')`)
})
afterAll(async () => {
  await db.close()
})

async function tooMuch(session: Session): Promise<string[]> {
  const found: string[] = []
  for (const one of CALLS) {
    const { work, dearest } = await session.run(one)
    if (work === 0) found.push(`${one.of}: no plan was seen`)
    if (work > WORK) found.push(`${one.of}: ${work} rows, ${dearest}`)
  }
  return found
}

describe("a call does as much work as it is about", () => {
  const sessions: Session[] = []
  const open = async (): Promise<Session> => {
    sessions.push(await session())
    return sessions.at(-1)!
  }
  afterAll(async () => {
    for (const one of sessions) await one.end()
  })

  test("with plans that were made while the tables were empty, and kept", async (context) => {
    await db.query(`vacuum (analyze) ${TABLES}`)
    const kept = await open()
    if (blind !== undefined) context.skip(blind)
    // As from the sixth time on.
    await kept.client.query("set plan_cache_mode = force_generic_plan")
    batch = 2
    for (const one of CALLS) await kept.run(one)
    batch = BATCH
    await fill()
    expect(await tooMuch(kept)).toEqual([])
  }, 60_000)

  test("with statistics from a moment when all rows were dead: pages, and no row", async (context) => {
    await empty()
    await db.query(`vacuum (truncate off, analyze) ${TABLES}`)
    await fill()
    for (const mode of ["auto", "force_generic_plan"]) {
      const fresh = await open()
      if (blind !== undefined) context.skip(blind)
      const { rows } = await fresh.client.query("select reltuples, relpages > 100 as pages from pg_class where oid = 'tusk.jobs'::regclass")
      expect(rows).toEqual([{ reltuples: 0, pages: true }])
      await fresh.client.query(`set plan_cache_mode = ${mode}`)
      expect(await tooMuch(fresh)).toEqual([])
    }
  }, 60_000)
})
