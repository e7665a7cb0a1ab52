import { expect, test } from "vitest"
import { currentJob, type Job, NonRetryableError, snooze, task } from "../../src/index.js"
import { seeded } from "../support/seed.js"
import { waitFor } from "../support/wait.js"
import { ground } from "../worker/ground.js"

const g = ground()

/** Every move that exists. An end is a row that leaves jobs and enters finished_jobs in one statement; a retry by hand is the way back. */
const ALLOWED = new Set([
  // A child may be born when its parents have decided about it already.
  ...["→ waiting", "→ delayed", "→ blocked", "→ failed", "→ cancelled"],
  ...["waiting → active", "waiting → delayed", "waiting → expired", "waiting → cancelled"],
  ...["delayed → waiting", "delayed → expired", "delayed → cancelled"],
  ...["blocked → waiting", "blocked → delayed", "blocked → expired", "blocked → cancelled", "blocked → failed"],
  ...["active → completed", "active → failed", "active → cancelled", "active → waiting", "active → delayed"],
  ...["failed → waiting", "expired → waiting", "cancelled → waiting"],
  // It ended while it was blocked, and its parents are still there.
  ...["failed → blocked", "expired → blocked", "cancelled → blocked"],
  ...["waiting → gone", "delayed → gone", "blocked → gone", "active → gone"],
  ...["completed → gone", "failed → gone", "expired → gone", "cancelled → gone"],
])

/** The database itself keeps the book, so that no way round the code goes unseen. */
async function keepBook(): Promise<void> {
  await g.db.query("create table public.book (n bigserial, tx bigint default txid_current(), id uuid, what text, state text)")
  await g.db.query(`create function keep_book() returns trigger language plpgsql as $$
    begin
      if tg_op = 'UPDATE' then
        if old.state = new.state then return null; end if;
      end if;
      if tg_op <> 'INSERT' then insert into public.book (id, what, state) values (old.id, 'out', old.state); end if;
      if tg_op <> 'DELETE' then insert into public.book (id, what, state) values (new.id, 'in', new.state); end if;
      return null;
    end $$`)
  await g.db.query("create trigger book after insert or update or delete on tusk.jobs for each row execute function keep_book()")
  await g.db.query("create trigger book after insert or delete on tusk.finished_jobs for each row execute function keep_book()")
}

/** The moves, and how often each was seen: from what a job was before a transaction to what it was after it, which is what others see. */
async function readBook(): Promise<Map<string, number>> {
  const book = await g.db.query<{ tx: string; id: string; what: string; state: string }>("select tx, id, what, state from public.book order by tx, n")
  const touched = new Map<string, { outs: string[]; ins: string[] }>()
  for (const { tx, id, what, state } of book) {
    const seen = touched.get(`${tx} ${id}`) ?? { outs: [], ins: [] }
    touched.set(`${tx} ${id}`, seen)
    seen[what === "out" ? "outs" : "ins"].push(state)
  }
  const moves = new Map<string, number>()
  for (const { outs, ins } of touched.values()) {
    const from = ins.length > outs.length ? "" : outs[0]!
    const to = outs.length > ins.length ? "gone" : ins.at(-1)!
    const move = `${from} → ${to}`.trim()
    if (from !== to) moves.set(move, (moves.get(move) ?? 0) + 1)
  }
  return moves
}

test("I3: only allowed state moves happen, whatever workers and administrators do at once", async () => {
  await keepBook()
  const random = seeded()
  const queue = g.name("q")
  const fate = task({ name: g.name("t"), queue, retries: 1, backoff: { steps: [0, "20ms"] }, timeout: "300ms" }, async (kind: string) => {
    const { attempt, signal } = currentJob()
    if (kind === "snooze" && random.chance()) snooze("5ms")
    if (kind === "fail") throw new Error("x")
    if (kind === "never") throw new NonRetryableError("x")
    if (kind === "flaky" && attempt === 1) throw new Error("x")
    if (kind === "hang") await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))
    return kind
  })
  g.open()
  const work = () => g.work({ queues: { [queue]: 5 }, lease: 1, poll: "100ms" })
  const [first] = await Promise.all([work(), work()])
  const jobs: Job<unknown>[] = []
  for (let step = 0; step < 250; step++) {
    const parents = jobs.length > 0 && random.chance(0.2) ? [random.pick(jobs)] : []
    const options = {
      ...(random.chance(0.2) ? { delay: random.int(1, 50) / 1_000 } : {}),
      ...(random.chance(0.1) ? { ttl: random.int(1, 60) / 1_000 } : {}),
      ...(parents.length > 0 ? { dependsOn: parents, onParentFailure: random.pick(["block", "fail", "cancel", "run"] as const) } : {}),
    }
    const kind = random.pick(["ok", "ok", "snooze", "fail", "never", "flaky", "hang"])
    // A parent may have been removed in between: then nothing is stored.
    const job = await fate
      .with(options)
      .enqueue(kind)
      .catch((error: { code: string }) => {
        if (error.code !== "UNKNOWN_JOB") throw error
      })
    if (job !== undefined) jobs.push(job)
    const target = jobs.length === 0 ? undefined : random.pick(jobs)
    const action = random.pick(["none", "none", "cancel", "retry", "promote", "reschedule", "remove"] as const)
    if (target !== undefined && action !== "none") await (action === "reschedule" ? target.reschedule("10ms") : target[action]())
    if (step === 120) {
      await first!.stop()
      await work()
    }
  }
  const left = () => g.db.query("select * from tusk.jobs where queue = $1 and state <> 'blocked' order by seq", [queue])
  await waitFor(async () => (await left()).length === 0, { timeout: 20_000, what: "all that can run to have ended" }).catch(async (error) => {
    throw new Error(`These are left: ${JSON.stringify(await left(), null, 1)}`, { cause: error })
  })
  const moves = await readBook()
  expect([...moves.keys()].filter((move) => !ALLOWED.has(move))).toEqual([])
  // The test has seen something: most of the moves there are.
  expect(moves.size).toBeGreaterThan(12)
}, 60_000)
