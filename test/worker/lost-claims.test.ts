/** What a worker finds of its own that it does not know of. */
import { randomUUID } from "node:crypto"
import pg from "pg"
import { afterAll, beforeAll, expect, test } from "vitest"
import { EventHub } from "../../src/events/emitter.js"
import { EventFeed } from "../../src/events/event-feed.js"
import { task } from "../../src/index.js"
import type { Database } from "../../src/postgres/database.js"
import { Notifier, WakeHub } from "../../src/postgres/notify/wake.js"
import { Runner } from "../../src/postgres/run/pool.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { statementsFor } from "../../src/postgres/statements/statements.js"
import { LostClaims } from "../../src/worker/settle/lost-claims.js"
import { ground } from "./ground.js"

const g = ground()
const names = schemaNames("tusk")
const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const statements = statementsFor(names, true)
let pool: pg.Pool
let runner: Runner
beforeAll(() => {
  pool = new pg.Pool({ connectionString: g.db.url })
  runner = new Runner(pool, "here")
})
afterAll(() => pool.end())

/** A worker's search; each look at what it holds takes the next of these answers, and the last one for good. */
function searchOf(workerId: string, held: (readonly string[])[]): LostClaims {
  const hub = new WakeHub()
  const events = new EventFeed({
    hub: new EventHub(quiet),
    database: { names, logger: quiet, hub, self: "me" } as unknown as Database,
    logger: quiet,
    listen: async () => undefined,
  })
  const notifier = new Notifier({ hub, runner, statements, names, self: "me", logger: quiet })
  const next = (): readonly string[] => (held.length > 1 ? held.shift()! : held[0]!)
  return new LostClaims({ runner, statements, notifier, events, workerId, leaseMs: 20_000, held: next, logger: quiet })
}

async function claimed(): Promise<{ worker: string; jobs: { id: string; lease: string }[] }> {
  g.open()
  const queue = g.name("q")
  const run = task({ name: g.name("t"), queue }, async (_n: number) => undefined)
  await run.enqueueMany([[1], [2]])
  const worker = randomUUID()
  const jobs = await runner.run<{ id: string; lease: string }>({ ...statements.claim, values: [queue, [5], [0], 2, worker, [run.name]] })
  expect(jobs).toHaveLength(2)
  return { worker, jobs }
}

test("what nobody holds goes back to its place, uncounted", async () => {
  const { worker, jobs } = await claimed()
  const before = await g.row(jobs[0]!.id)
  await searchOf(worker, [[]]).last()
  for (const { id } of jobs) expect(await g.row(id)).toMatchObject({ state: "waiting", attempt: 0, lease: null, worker_id: null })
  expect((await g.row(jobs[0]!.id))["seq"]).toBe(before["seq"])
})

test("a claim that is answered while the look is on its way is held: its jobs stay", async () => {
  const { worker, jobs } = await claimed()
  const [first, second] = jobs
  await searchOf(worker, [[], [first!.lease]]).last()
  // The leases of one claim are one.
  expect(first!.lease).toBe(second!.lease)
  for (const { id } of jobs) expect(await g.row(id)).toMatchObject({ state: "active", attempt: 1, worker_id: worker })
})
