/** I6: a schedule slot fires once, whoever fires it, whatever their clocks say, and whenever one of them dies. */
import { describe, expect, test } from "vitest"
import { task } from "../../src/index.js"
import { type Script, spawnScript } from "../support/process.js"
import { waitFor } from "../support/wait.js"
import { ground } from "../worker/ground.js"
import type { ProcessSettings } from "../worker/processes.js"

const on = ground()
const MINUTES = 60_000

/** Several processes that start at once take their time on a busy machine. */
const SLOW = { timeout: 60_000 }

async function workerProcess(settings: ProcessSettings): Promise<Script> {
  const child = spawnScript(new URL("../worker/fixtures/worker.ts", import.meta.url), [JSON.stringify(settings)], { URL: on.db.url })
  await child.line(/^ready /, 60_000)
  return child
}

const slotsOf = async (queue: string): Promise<number[]> => {
  const rows = await on.db.query(
    `select scheduled_for from (select queue, scheduled_for from tusk.jobs union all select queue, scheduled_for from tusk.finished_jobs) j
     where queue = $1 order by 1`,
    [queue],
  )
  return rows.map((row) => row.scheduled_for.getTime())
}

describe("three worker processes", () => {
  test("each slot has one job, with clocks ten minutes wrong and one of them killed in the middle", { timeout: 200_000 }, async () => {
    const tusk = on.open()
    const queue = on.name("slots")
    const quick = task({ name: "quick", queue }, (n: number) => n)
    const start = (clockMs?: number) => workerProcess({ queue, options: { lease: 2 }, ...(clockMs === undefined ? {} : { clockMs }) })
    const [fast, slow] = await Promise.all([start(10 * MINUTES), start(-10 * MINUTES), start()])
    // Late slots are made up for, so a busy machine leaves no gap.
    const { nextRunAt } = await quick.schedule(queue, { every: "100ms", missed: "all" }, 1)
    await waitFor(async () => (await slotsOf(queue)).length >= 10, SLOW)
    fast.kill("SIGKILL")
    await fast.exit
    await waitFor(async () => (await slotsOf(queue)).length >= 20, SLOW)
    slow.kill("SIGKILL")
    await slow.exit
    await start(30 * MINUTES)
    await waitFor(async () => (await slotsOf(queue)).length >= 30, SLOW)
    await tusk.schedules.pause(queue)

    const slots = await slotsOf(queue)
    expect(slots).toEqual(slots.map((_, i) => nextRunAt!.getTime() + i * 100))
    // The database's clock decides: none of them is ten minutes ahead, or waits for ten.
    const [{ now }] = await on.db.query("select now() as now")
    expect(Math.abs(now.getTime() - slots.at(-1)!)).toBeLessThan(1 * MINUTES)
    // Killed workers' jobs run again.
    await waitFor(async () => ((await on.counts(queue)).completed ?? 0) === slots.length, SLOW)
    expect(await on.counts(queue)).toEqual({ completed: slots.length })
  })

  test("nobody there for a while: made up for by what the schedule says, once", { timeout: 100_000 }, async () => {
    const tusk = on.open()
    const queue = on.name("missed")
    await tusk.schedules.upsert({ id: queue, task: "quick", args: [1], options: { queue }, when: { every: "1h", missed: "once" } })
    await on.db.query("update tusk.schedules set next_run_at = next_run_at - interval '5 hours' where id = $1", [queue])
    await Promise.all([0, 1, 2].map(() => workerProcess({ queue })))
    await waitFor(async () => (await on.counts(queue)).completed === 1, SLOW)
    await waitFor(async () => (await tusk.schedules.get(queue))!.nextRunAt!.getTime() > Date.now())
    expect(await slotsOf(queue)).toHaveLength(1)
  })
})
