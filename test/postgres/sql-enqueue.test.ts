/** tusk.enqueue(task, args, options): the SQL function for triggers, psql and other languages. */
import { beforeAll, beforeEach, describe, expect, test } from "vitest"
import type { EnqueueOptions } from "../../src/api/options.js"
import { currentJob, task } from "../../src/index.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { bench, connect, rejection, startWorker } from "../jobs/setup.js"
import { waitFor } from "../support/wait.js"

const on = bench()
const enqueue = async (name: string | null, args?: unknown, options?: unknown): Promise<string> => {
  const given = [args, options].filter((value) => value !== undefined).map((value) => JSON.stringify(value))
  const [row] = await on.db.query(`select tusk.enqueue($1${given.map((_, i) => `, $${i + 2}`).join("")}) as id`, [name, ...given])
  return row.id
}
const stored = (id: string): Promise<any> =>
  on.db
    .query(
      `select queue, task, args, priority, max_attempts, state::text, headers, options, custom_id, keyed, parents,
         round(extract(epoch from run_at - created_at) * 1000)::float8 as delay, round(extract(epoch from expires_at - created_at) * 1000)::float8 as ttl
       from tusk.jobs where id = $1`,
      [id],
    )
    .then(([row]) => row)

describe("defaults", () => {
  test("without options, the stock ones; the id is a time-ordered uuid", async () => {
    const before = Date.now()
    const id = await enqueue("plain")
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(Math.abs(Number.parseInt(id.replace("-", "").slice(0, 12), 16) - before)).toBeLessThan(60_000)
    expect(await stored(id)).toEqual({
      ...{ queue: "default", task: "plain", args: [], priority: 5, max_attempts: 1, state: "waiting", headers: null, options: null },
      ...{ custom_id: null, keyed: false, parents: null, delay: null, ttl: null },
    })
  })

  test("what workers publish of the task, under the options given", async () => {
    task({ name: "published", queue: "mail", priority: 2, retries: 4, ttl: "1h", keep: { completed: "3d" }, maxCrashes: 2 }, async () => {})
    const worker = await on.tusk.work({ queues: ["nothing"] })
    await worker.stop()
    const options = { keep: { completed: 259_200_000 }, maxCrashes: 2 }
    expect(await stored(await enqueue("published", ["x"]))).toMatchObject({ queue: "mail", priority: 2, max_attempts: 5, ttl: 3_600_000, options })
    const own = { queue: "q", priority: 9, retries: 0, ttl: 60, keep: { completed: false }, timeout: 5 }
    expect(await stored(await enqueue("published", [], own))).toMatchObject({
      ...{ queue: "q", priority: 9, max_attempts: 1, ttl: 60_000 },
      options: { keep: { completed: false }, maxCrashes: 2, timeoutMs: 5_000 },
    })
    // A repeat starts afresh with the budget and the ttl of its task.
    expect((await stored(await enqueue("published", [], { repeatEvery: "1m" }))).options.repeat).toEqual({
      ...{ everyMs: 60_000, maxAttempts: 5, ttlMs: 3_600_000 },
    })
  })

  test("null is not given, as with a variable that is null", async () => {
    const options = Object.fromEntries(
      ["queue", "retries", "priority", "ttl", "delay", "id", "deduplicate", "headers", "dependsOn", "keep", "backoff", "wake"].map((k) => [k, null]),
    )
    expect(await stored(await enqueue("plain", [], options))).toMatchObject({ queue: "default", priority: 5, max_attempts: 1 })
  })
})

describe("the same options as in TypeScript, with the same outcome", () => {
  const parent = "01890000-0000-7000-8000-000000000001"
  beforeEach(async () => {
    await on.db.query("insert into tusk.jobs (id, queue, task, args) values ($1, 'parents', 'p', '[]')", [parent])
  })

  test.each<object>([
    {},
    { queue: "漢字 q", retries: 3, priority: -32_768, ttl: "1.5h", timeout: 0.25, headers: { "trace-id": "it's", empty: "" } },
    { priority: 32_767, retries: 32_767, delay: "10m" },
    { delay: 0 },
    { delay: 0.0001 },
    { delay: ".5s", ttl: "2E1S" },
    { delay: "1W", repeatEvery: "1d", ttl: 5 },
    { backoff: 2 },
    { backoff: { base: 1.5, first: "2s", max: 60, jitter: 0 } },
    { backoff: { fixed: "1m", jitter: 1 } },
    { backoff: { steps: [1, "1m"] } },
    { keep: { completed: false, failed: "30d" } },
    { id: "order-42" },
    { deduplicate: "k" },
    { deduplicate: { key: "k", ttl: "1m", replace: true, extend: true }, delay: 60 },
    { id: "both", deduplicate: { key: "x".repeat(1_000) } },
    { dependsOn: [parent] },
    { dependsOn: [parent.toUpperCase(), { job: parent, onFailure: "block" }], delay: 5 },
    { dependsOn: [{ job: parent, onFailure: "run" }], onParentFailure: "fail" },
    { wake: "poll" },
    { wake: "now" },
  ])("%j", async (options) => {
    const bySql = await stored(await enqueue("t", ["a", { b: 1 }], options))
    const edges = await on.db.query("select parent_id, on_failure from tusk.job_dependencies")
    const keys = await on.db.query("select queue, kind, key, release from tusk.keys order by kind")
    await on.db.query("delete from tusk.keys")
    await on.db.query("delete from tusk.job_dependencies")
    await on.db.query("delete from tusk.jobs where task = 't'")
    const byTs = await stored((await on.tusk.enqueue("t", ["a", { b: 1 }], options as EnqueueOptions)).id)
    expect(bySql).toEqual(byTs)
    expect(edges).toEqual(await on.db.query("select parent_id, on_failure from tusk.job_dependencies"))
    expect(keys).toEqual(await on.db.query("select queue, kind, key, release from tusk.keys order by kind"))
  })

  test.each<[unknown, RegExp, "PT404"?]>([
    [{ prio: 3 }, /"prio" is unknown in the options of a job of task "t"; known are queue, retries, backoff/],
    [{ tx: {} }, /"tx" is unknown/],
    [{ retries: -1 }, /retries of a job of task "t" is -1; write a whole number from 0 to 32767 \(extra runs after the first\)/],
    [{ retries: 1.5 }, /retries .* is 1\.5/],
    [{ retries: "3" }, /retries .* is "3"/],
    [{ priority: 32_768 }, /priority .* is 32768; write a whole number from -32768 to 32767 \(lower runs first\)/],
    [{ priority: 1e300 }, /priority .* is 1000/],
    [{ ttl: 0 }, /ttl of a job of task "t" is 0, which is no duration above 0; write seconds as a number/],
    [{ ttl: -5 }, /ttl .* is -5, which is no duration/],
    [{ delay: "soon" }, /delay .* is "soon", which is no duration; write seconds as a number \(60\) or a string with a unit/],
    [{ delay: "5 minutes" }, /delay .* is "5 minutes"/],
    [{ delay: true }, /delay .* is true/],
    [{ delay: "101000d" }, /at most 100 years/],
    [{ delay: "1e999s" }, /is "1e999s", which is no duration/],
    [{ timeout: {} }, /timeout .* is \{\}/],
    [{ repeatEvery: 0 }, /repeatEvery .* is 0/],
    [{ queue: "" }, /queue .* is ""; write a string of 1 to 255 characters/],
    [{ queue: 5 }, /queue .* is 5; write a string/],
    [{ queue: "x".repeat(256) }, /queue .* write a string of 1 to 255/],
    [{ id: "" }, /id .* is ""; write a string/],
    [{ id: "123" }, /id .* is "123"; write one that is not made of digits only/],
    [{ id: "a:b" }, /id .* is "a:b".*holds no ":"/],
    [{ id: 7 }, /id .* is 7; write a string/],
    [{ deduplicate: "" }, /key of deduplicate .* is ""/],
    [{ deduplicate: 7 }, /deduplicate .* is 7; write a JSON object with key, ttl, replace, extend/],
    [{ deduplicate: {} }, /key of deduplicate .* is null; write a string/],
    [{ deduplicate: { key: "k", ttl: 0 } }, /ttl of deduplicate .* is 0/],
    [{ deduplicate: { key: "k", extend: true } }, /extend of deduplicate .* needs a time to extend; add a ttl/],
    [{ deduplicate: { key: "k", replace: "yes" } }, /write true or false for replace and extend/],
    [{ deduplicate: { key: "k", replase: true } }, /"replase" is unknown in deduplicate/],
    [{ deduplicate: { key: "é".repeat(600) } }, /has 1200 bytes; write at most 1000/],
    [{ headers: [] }, /headers .* are \[\]; write strings by name/],
    [{ headers: { a: 1 } }, /headers .* are \{"a": 1\}/],
    [{ keep: 5 }, /keep .* is 5; write a JSON object with completed, failed/],
    [{ keep: { complete: 5 } }, /"complete" is unknown in keep/],
    [{ keep: { completed: true } }, /completed of keep .* is true/],
    [{ backoff: -1 }, /backoff .* is -1; write a base \(2\)/],
    [{ backoff: "1s" }, /backoff .* is "1s"/],
    [{ backoff: { base: "2" } }, /backoff .* is \{"base": "2"\}/],
    [{ backoff: { fixed: "soon" } }, /fixed of backoff .* is "soon"/],
    [{ backoff: { steps: [] } }, /backoff .* is \{"steps": \[\]\}/],
    [{ backoff: { steps: [1, "x"] } }, /steps\[1\] of backoff .* is "x"/],
    [{ backoff: { base: 2, jitter: 2 } }, /backoff/],
    [{ backoff: { base: 2, fixed: 1 } }, /"base" is unknown in backoff/],
    [{ wake: "later" }, /wake .* is "later"; write "now" or "poll"/],
    [{ onParentFailure: "ignore" }, /onParentFailure .* is "ignore"; write one of block, fail, cancel, run/],
    [{ dependsOn: "x" }, /dependsOn .* is "x"; write a JSON array of jobs' ids/],
    [{ dependsOn: [{ job: "01890000-0000-7000-8000-000000000001", onFailure: "no" }] }, /onFailure in dependsOn .* is "no"/],
    [{ dependsOn: [{ jub: 1 }] }, /"jub" is unknown in an element of dependsOn/],
    [{ dependsOn: ["order-42"] }, /a parent in dependsOn .* is "order-42", which is no job's id/, "PT404"],
    [{ dependsOn: ["01890000-0000-7000-8000-00000000dead"] }, /no job has the id 01890000-0000-7000-8000-00000000dead, given in dependsOn/, "PT404"],
  ])("%j is refused by both", async (options, message, code) => {
    const error = await rejection(enqueue("t", [], options))
    expect(error.message).toMatch(/^pgtusk: /)
    expect(error.message).toMatch(message)
    expect(error.code).toBe(code ?? "PT400")
    const own = await rejection((async () => on.tusk.enqueue("t", [], options as EnqueueOptions))())
    expect(own.code).toMatch(/INVALID_OPTION|UNKNOWN_JOB/)
    expect(await on.db.query("select 1 from tusk.jobs where task = 't'")).toEqual([])
  })

  test.each([
    [null, "[]", "{}", /the name of a task is ""; write a string/],
    ["", "[]", "{}", /the name of a task is ""/],
    ["t", "{}", "{}", /the arguments of a job of task "t" are \{\}; write a JSON array, one element an argument/],
    ["t", null, "{}", /the arguments .* are null/],
    ["t", "[]", "[]", /the options of a job of task "t" is \[\]; write a JSON object/],
  ])("task %j, args %j, options %j", async (name, args, options, message) => {
    const error = await rejection(on.db.query("select tusk.enqueue($1, $2, $3)", [name, args, options]))
    expect(error.message).toMatch(message)
    expect(error.code).toBe("PT400")
  })

  test("delay as an instant; one that is none is refused", async () => {
    const id = await enqueue("t", [], { delay: "2037-05-06T07:08:09Z" })
    expect((await on.tusk.job(id).snapshot()).runAt).toEqual(new Date("2037-05-06T07:08:09Z"))
    expect((await stored(await enqueue("t", [], { delay: "2001-01-01" }))).state).toBe("waiting")
    expect((await rejection(enqueue("t", [], { delay: "2037-13-45" }))).message).toMatch(/delay .* is "2037-13-45", which is no instant; write it as/)
  })
})

describe("keys", () => {
  test("a taken id or key gives the owner's id", async () => {
    const first = await enqueue("t", [1], { id: "one" })
    expect(await enqueue("t", [2], { id: "one" })).toBe(first)
    const view = { deduplicate: { key: "k", replace: true }, delay: 60 }
    const owner = await enqueue("t", [1], view)
    expect(await enqueue("t", [2], view)).toBe(owner)
    expect((await stored(owner)).args).toEqual([2])
    expect((await on.tusk.enqueue("t", [3], { id: "one" })).id).toBe(first)
  })
})

describe("from a trigger", () => {
  const channel = schemaNames("tusk").channel
  beforeAll(async () => {
    await on.db.query("create table orders (id int primary key, customer text)")
    await on.db.query(`create function notify_shipping() returns trigger language plpgsql as $$
      begin
        perform tusk.enqueue('ship', jsonb_build_array(new.id, jsonb_build_object('$date', '2026-01-02T03:04:05Z')),
          jsonb_build_object('queue', 'shipping', 'headers', jsonb_build_object('customer', new.customer), 'deduplicate', 'order ' || new.id));
        return new;
      end $$`)
    await on.db.query("create trigger ship after insert or update on orders for each row execute function notify_shipping()")
  })
  beforeEach(() => on.db.query("truncate orders"))

  test("I4: the job exists iff the row's transaction commits, and its wake-up leaves with the commit", async () => {
    const got: unknown[] = []
    task({ name: "ship", queue: "shipping" }, async (id: number, at: Date) => {
      got.push([id, at, currentJob().headers])
    })
    const worker = await startWorker(on.tusk, { queues: ["shipping"], poll: "60s" })
    const ear = await connect(on.db.url)
    const heard: string[] = []
    ear.on("notification", ({ payload }) => JSON.parse(payload ?? "")[1] === "shipping" && heard.push(payload ?? ""))
    for (const name of [channel, `pgtusk:${worker.id}`]) await ear.query(`listen "${name}"`)
    const client = await connect(on.db.url)
    await client.query("begin")
    await client.query("insert into orders values (1, 'a'), (2, 'b')")
    await client.query("rollback")
    await client.query("begin")
    await client.query("insert into orders values (3, 'c')")
    await client.query("update orders set customer = 'd'")
    expect(await on.db.query("select 1 from tusk.jobs")).toEqual([])
    expect(heard).toEqual([])
    await client.query("commit")
    await waitFor(() => got.length === 1)
    expect(got).toEqual([[3, new Date("2026-01-02T03:04:05Z"), { customer: "c" }]])
    await waitFor(() => heard.length > 0)
  })

  test("an error in it fails the statement, as any other in a trigger", async () => {
    await on.db.query("create table bad (n int)")
    await on.db.query(
      "create function bad_enqueue() returns trigger language plpgsql as $$ begin perform tusk.enqueue('x', '[]', '{\"delay\": \"soon\"}'); return new; end $$",
    )
    await on.db.query("create trigger bad before insert on bad for each row execute function bad_enqueue()")
    const error = await rejection(on.db.query("insert into bad values (1)"))
    expect(error).toMatchObject({ code: "PT400", message: expect.stringContaining('delay of a job of task "x" is "soon"') })
    expect(await on.db.query("select 1 from bad")).toEqual([])
  })

  test("it needs no search_path, and works where one is set to nothing", async () => {
    const client = await connect(on.db.url)
    await client.query("set search_path = ''")
    const { rows } = await client.query("select tusk.enqueue('t', '[]', '{\"delay\": 5, \"deduplicate\": \"k\"}') as id")
    expect((await stored(rows[0].id)).state).toBe("delayed")
  })
})
