/**
 * A claim's commit does not wait for the disk. A server that crashes right after it has forgotten it: the job waits again, the run that had begun is
 * fenced off, and no lease is given twice, nor a lower one later.
 */
import pg from "pg"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { currentJob, Tusk, task } from "../../src/index.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { statementsFor } from "../../src/postgres/statements/statements.js"
import { waitFor } from "../support/wait.js"
import { ForgetfulServer, quietLogger as logger } from "./forgetful-server.js"

const { claim: CLAIM, claim_limited: CLAIM_LIMITED } = statementsFor(schemaNames("tusk"), true)
const WORKERS = ["11111111-1111-7111-8111-111111111111", "22222222-2222-7222-8222-222222222222"] as const
const JUMP = 2n ** 30n
const noop = task({ name: "forgotten.noop" }, async () => undefined)

let server: ForgetfulServer
beforeAll(async () => {
  server = await ForgetfulServer.start()
}, 60_000)
afterAll(() => server?.stop())

async function enqueue(count: number): Promise<string[]> {
  const tusk = new Tusk({ connectionString: server.url, logger, signals: false })
  const jobs = await noop.with({ via: tusk }).enqueueMany(Array.from({ length: count }, () => []))
  await tusk.close()
  return jobs.map((job) => job.id)
}

async function connect(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: server.url })
  client.on("error", () => undefined)
  await client.connect()
  return client
}

/** Claims; each job's id and lease. */
async function claim(client: pg.Client, worker: string, most = 10): Promise<Map<string, bigint>> {
  const { rows } = await client.query({ ...CLAIM, values: ["default", [5], [0], most, worker, [noop.taskName]] })
  return new Map(rows.map((row) => [row.id, BigInt(row.lease)]))
}

const ascending = (a: bigint, b: bigint): number => (a < b ? -1 : 1)

/** Claims of one job each, all at once, then a crash that forgets them. */
async function forgottenClaims(count: number): Promise<Map<string, bigint>> {
  await server.query("delete from tusk.jobs")
  const ids = await enqueue(count)
  // The first claim of an epoch is durable.
  await server.beginEpoch()
  const clients = await Promise.all(ids.map(connect))
  const claimed = new Map<string, bigint>()
  for (const client of clients) for (const [id, lease] of await claim(client, WORKERS[0], 1)) claimed.set(id, lease)
  expect([...claimed.keys()].sort()).toEqual(ids.sort())
  await server.restart()
  for (const client of clients) void client.end().catch(() => undefined)
  expect(await server.query("select distinct state, attempt, lease from tusk.jobs")).toEqual([{ state: "waiting", attempt: 0, lease: null }])
  return claimed
}

describe("I2: after a crash that forgets claims", { timeout: 120_000 }, () => {
  test("leases go on far above all that were given, whoever claims first, also after the next crash", async () => {
    const forgotten = await forgottenClaims(3)
    const highest = [...forgotten.values()].sort(ascending).at(-1)!
    // All at once, so that they race for the new epoch.
    const clients = await Promise.all(Array.from({ length: 3 }, connect))
    const again = await Promise.all(clients.map((client) => claim(client, WORKERS[1], 1)))
    const leases = again.flatMap((claimed) => [...claimed.values()])
    expect(new Set(again.flatMap((claimed) => [...claimed.keys()]))).toEqual(new Set(forgotten.keys()))
    expect(new Set(leases).size).toBe(3)
    for (const lease of leases) expect(lease).toBeGreaterThan(highest + JUMP / 2n)
    expect(await server.query("select count(*)::integer as n from tusk.epoch")).toEqual([{ n: 1 }])
    for (const client of clients) await client.end()

    const before = leases.sort(ascending).at(-1)!
    const later = [...(await forgottenClaims(1)).values()][0]!
    // That was the same epoch: the crash came after it.
    expect(later).toBeGreaterThan(before)
    expect(later).toBeLessThan(before + JUMP)
    const client = await connect()
    expect([...(await claim(client, WORKERS[1], 1)).values()][0]!).toBeGreaterThan(later + JUMP / 2n)
    await client.end()
  })

  test("the first claim may be one under a limit", async () => {
    const highest = [...(await forgottenClaims(1)).values()][0]!
    await server.query("update tusk.jobs set limit_group = 7, concurrency_key = ''")
    const [row] = await server.query(CLAIM_LIMITED.text, ["default", 10, WORKERS[1], [noop.taskName], null, null])
    expect(BigInt(row.lease)).toBeGreaterThan(highest + JUMP / 2n)
  })

  test("a server that started at another time is a new epoch, should its unlogged tables outlive a crash", async () => {
    await server.query("delete from tusk.jobs")
    await enqueue(2)
    const client = await connect()
    const highest = [...(await claim(client, WORKERS[0], 1)).values()][0]!
    await client.query("update tusk.epoch set server_started_at = server_started_at - interval '1 second'")
    const next = [...(await claim(client, WORKERS[1], 1)).values()][0]!
    expect(next).toBeGreaterThan(highest + JUMP / 2n)
    expect(await server.query("select server_started_at = pg_postmaster_start_time() as now from tusk.epoch")).toEqual([{ now: true }])
    await client.end()
  })

  test("a session that trusts its disk too much still makes the epoch durable", async () => {
    const highest = [...(await forgottenClaims(1)).values()][0]!
    const client = await connect()
    await client.query("set synchronous_commit = off")
    const again = [...(await claim(client, WORKERS[1])).values()][0]!
    expect(again).toBeGreaterThan(highest + JUMP / 2n)
    await server.restart()
    await client.end().catch(() => undefined)
    // Durable with it, since it began the epoch.
    expect(await server.query("select state, lease from tusk.jobs")).toEqual([{ state: "active", lease: String(again) }])
  })

  test("a claim's commit does not wait for the disk", async () => {
    await server.query("delete from tusk.jobs")
    const [id] = await enqueue(1)
    const client = await connect()
    // The first claim after a crash begins the epoch, and is durable.
    await claim(client, WORKERS[0])
    await client.query("update tusk.jobs set state = 'waiting', worker_id = null, lease = null")
    expect([...(await claim(client, WORKERS[0])).keys()]).toEqual([id])
    const { rows } = await client.query("select pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn() as unwritten")
    expect(rows).toEqual([{ unwritten: true }])
    // For that transaction alone.
    expect((await client.query("show synchronous_commit")).rows).toEqual([{ synchronous_commit: "on" }])
    await client.end()
  })
})

test("I2: a run whose claim was forgotten is told so, what it returns is dropped, and the job's next run is the one that counts", {
  timeout: 120_000,
}, async () => {
  await server.query("delete from tusk.jobs")
  const runs: { fence: bigint; signal: AbortSignal; end: () => void }[] = []
  const held = task({ name: "forgotten.held" }, async () => {
    const { fence, signal } = currentJob()
    const own = runs.length
    await new Promise<void>((resolve) => runs.push({ fence, signal, end: resolve }))
    return own
  })
  // Nor does any other commit of this client wait for the disk: a beat would make the claim durable.
  const url = new URL(server.url)
  url.searchParams.set("options", "-c synchronous_commit=off")
  const tusk = new Tusk({ connectionString: url.href, logger, signals: false })
  const completed: string[] = []
  tusk.events.on("job:completed", ({ id }) => void completed.push(id))
  const worker = await tusk.work({ queues: ["default"], lease: 4 })
  try {
    worker.pause()
    const job = await held.with({ via: tusk }).enqueue()
    await server.beginEpoch()
    worker.resume()
    await waitFor(() => runs.length === 1)
    await server.restart()
    await waitFor(() => runs.length === 2, { timeout: 60_000 })
    const [first, second] = runs as [(typeof runs)[0], (typeof runs)[0]]
    expect(second.fence).toBeGreaterThan(first.fence)
    await waitFor(() => first.signal.aborted, { timeout: 30_000 })
    expect(second.signal.aborted).toBe(false)
    first.end()
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(await job.state()).toBe("active")
    second.end()
    expect(await job.result({ timeout: 60 })).toBe(1)
    expect(completed).toEqual([job.id])
    expect((await job.snapshot())?.attempt).toBe(1)
  } finally {
    for (const { end } of runs) end()
    await worker.stop()
    await tusk.close()
  }
})
