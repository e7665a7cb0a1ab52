/** Schedules as users meet them: made, changed, paused, looked at, fired. */
import { describe, expect, onTestFinished, test } from "vitest"
import { currentJob, PayloadError, ScheduleError, task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { Gate, ground } from "../worker/ground.js"

const on = ground()

/** A task of its own queue that notes its runs. */
function noting() {
  const name = on.name("noting")
  const runs: { args: unknown[]; scheduledFor: Date | null; headers: unknown }[] = []
  const noting = task({ name, queue: name }, async (...args: unknown[]) => {
    runs.push({ args, scheduledFor: currentJob().scheduledFor, headers: currentJob().headers })
    return args.length
  })
  return { name, runs, noting }
}

const now = async (): Promise<Date> => (await on.db.query("select now() as now"))[0].now
const row = async (id: string): Promise<any> => (await on.db.query("select * from tusk.schedules where id = $1", [id]))[0]
const jobsOf = (queue: string): Promise<any[]> =>
  on.db.query(
    `select scheduled_for, state::text from (select queue, scheduled_for, state from tusk.jobs union all select queue, scheduled_for, state from tusk.finished_jobs) j
     where queue = $1 order by 1`,
    [queue],
  )
/** As if nobody had fired it for so long. */
const late = (id: string, interval: string): Promise<unknown> =>
  on.db.query("update tusk.schedules set next_run_at = next_run_at - $2::interval where id = $1", [id, interval])

const FAR = { every: "1d" } as const

describe("schedule()", () => {
  test("stores it: the first run of an interval is one interval from now, by the database's clock", async () => {
    const tusk = on.open()
    const { name, noting: report } = noting()
    const before = await now()
    const schedule = await report.with({ priority: 2, headers: { tenant: "a" } }).schedule(name, { every: "1h" }, "x", 2n)
    const after = await now()
    expect(schedule).toEqual({
      id: name,
      task: name,
      queue: name,
      when: { every: "3600000ms", overlap: "all", missed: "once" },
      args: ["x", 2n],
      nextRunAt: expect.any(Date),
      lastRunAt: null,
      paused: false,
    })
    expect(schedule.nextRunAt!.getTime()).toBeGreaterThanOrEqual(before.getTime() + 3_600_000)
    expect(schedule.nextRunAt!.getTime()).toBeLessThanOrEqual(after.getTime() + 3_600_001)
    expect(await tusk.schedules.get(name)).toEqual(schedule)
    expect(await tusk.schedules.list()).toContainEqual(schedule)
    expect(await tusk.schedules.get("no-such")).toBeUndefined()
    expect((await row(name)).draft).toMatchObject({ priority: 2, headers: { tenant: "a" } })
  })

  test("with the same when it keeps its next run and takes the rest; with another it computes it anew", async () => {
    on.open()
    const { name, noting: report } = noting()
    const cron = { cron: "0 9 * * *", tz: "Europe/Berlin" } as const
    const first = await report.schedule(name, { every: "1h" }, "old")
    const again = await report.with({ queue: "elsewhere" }).schedule(name, { missed: "once", every: 3_600 }, "new")
    expect(again.nextRunAt).toEqual(first.nextRunAt)
    expect([again.args, again.queue]).toEqual([["new"], "elsewhere"])
    const other = await report.schedule(name, cron, "new")
    expect(other.nextRunAt).not.toEqual(first.nextRunAt)
    expect(other.nextRunAt!.getUTCMinutes()).toBe(0)
    expect(other.when).toEqual({ ...cron, overlap: "all", missed: "once" })
  })

  test("neither un-pauses it", async () => {
    const tusk = on.open()
    const { name, noting: report } = noting()
    await report.schedule(name, FAR)
    await tusk.schedules.pause(name)
    expect(await report.schedule(name, FAR)).toMatchObject({ paused: true, nextRunAt: null })
    expect(await report.schedule(name, { every: "2d" })).toMatchObject({ paused: true, nextRunAt: null })
    expect((await tusk.schedules.get(name))?.paused).toBe(true)
  })

  test("a wrong time is a ScheduleError and changes nothing", async () => {
    on.open()
    const { name, noting: report } = noting()
    await report.schedule(name, FAR, "kept")
    const before = await row(name)
    for (const when of [
      { cron: "61 * * * *" },
      { cron: "0 9 * * *", tz: "Mars/Olympus" },
      { every: "soon" },
      { every: 60, until: new Date(0), from: new Date() },
    ]) {
      await expect(report.schedule(name, when as never, "changed")).rejects.toBeInstanceOf(ScheduleError)
      await expect(report.schedule(on.name(), when as never)).rejects.toBeInstanceOf(ScheduleError)
    }
    expect(await row(name)).toEqual(before)
    expect(await on.db.query("select id from tusk.schedules where task = $1", [name])).toEqual([{ id: name }])
  })

  test("options that a job of a schedule cannot have, and arguments that cannot be stored, are refused", async () => {
    const tusk = on.open()
    const { name, noting: report } = noting()
    const id = "6e9ea7b0-9a0d-7000-8000-000000000000"
    for (const options of [{ id: "custom" }, { dependsOn: [id] }, { repeatEvery: 5 }, { onParentFailure: "run" as const }]) {
      await expect(report.with(options).schedule(name, FAR)).rejects.toThrow(new RegExp(`option ${Object.keys(options)[0]}.*leave it out`))
    }
    await tusk.transaction(async (tx) => {
      await expect(report.with({ tx }).schedule(name, FAR)).rejects.toThrow(/option tx/)
    })
    await expect(report.schedule(name, FAR, () => 1)).rejects.toBeInstanceOf(PayloadError)
    await expect(report.schedule("", FAR)).rejects.toThrow(/The id of a schedule/)
    expect(await row(name)).toBeUndefined()
  })

  test("upsert() takes the task by name; its queue is what workers publish of it", async () => {
    const tusk = on.open()
    const { name } = noting()
    const queue = on.name("published")
    await on.db.query("insert into tusk.tasks (name, queue, priority, retries) values ($1, $2, 5, 0)", [`${name}.remote`, queue])
    expect(await tusk.schedules.upsert({ id: name, task: `${name}.remote`, when: FAR, args: [1] })).toMatchObject({ queue, args: [1] })
    expect(await tusk.schedules.upsert({ id: `${name}.local`, task: name, when: FAR })).toMatchObject({ queue: name, args: [] })
    expect(await tusk.schedules.upsert({ id: `${name}.nobody`, task: "nobody.knows", when: FAR })).toMatchObject({ queue: "default" })
  })

  test("an onEnqueue middleware sees the job once, when the schedule is made", async () => {
    const tusk = on.open()
    const { name, runs, noting: report } = noting()
    let seen = 0
    tusk.onEnqueue(async (draft, next) => {
      seen++
      draft.options = { ...draft.options, headers: { tenant: "t1" } }
      await next()
    })
    await report.schedule(name, FAR)
    await tusk.schedules.trigger(name)
    await tusk.work({ queues: [name] })
    await waitFor(() => runs.length === 1)
    expect([seen, runs[0]!.headers]).toEqual([1, { tenant: "t1" }])
  })
})

describe("a due schedule", () => {
  test("makes a job for each slot of its grid; the handler sees which", async () => {
    const tusk = on.open()
    const { name, runs, noting: report } = noting()
    await tusk.work({ queues: [name] })
    const schedule = await report.schedule(name, { every: "300ms" }, "a")
    await waitFor(() => runs.length >= 4)
    await tusk.schedules.remove(name)
    const slots = (await jobsOf(name)).map((job) => job.scheduled_for.getTime())
    expect(slots).toEqual(slots.map((_, i) => schedule.nextRunAt!.getTime() + i * 300))
    expect(runs.map((run) => run.scheduledFor!.getTime()).sort()).toEqual(slots.slice(0, runs.length))
    expect(runs[0]!.args).toEqual(["a"])
  })

  test("a job that no schedule made has no slot", async () => {
    const tusk = on.open()
    const { name, runs, noting: report } = noting()
    await tusk.work({ queues: [name] })
    await (await report.enqueue()).result()
    expect(runs[0]!.scheduledFor).toBeNull()
  })

  test.each([
    ["skip", []],
    ["once", [30]],
    ["all", [0, 10, 20, 30]],
  ] as const)("missed for 35 minutes: %s", async (missed, expected) => {
    const tusk = on.open()
    const { name, noting: report } = noting()
    // The next slot is five minutes from now.
    const from = new Date((await now()).getTime() - 65 * 60_000)
    const { nextRunAt } = await report.schedule(name, { every: "10m", from, missed })
    await late(name, "40 minutes")
    await tusk.work({ queues: [name] })
    await waitFor(async () => (await row(name)).next_run_at > (await now()))
    const first = nextRunAt!.getTime() - 40 * 60_000
    expect((await jobsOf(name)).map((job) => (job.scheduled_for - first) / 60_000)).toEqual(expected)
    const after = await tusk.schedules.get(name)
    expect(after!.nextRunAt).toEqual(nextRunAt)
    expect(after!.lastRunAt?.getTime()).toEqual(expected.length === 0 ? undefined : first + 30 * 60_000)
  })

  test("overlap: skip waits for the last job, and goes on with a later slot", async () => {
    const tusk = on.open()
    const name = on.name("slow")
    const gate = new Gate()
    const slow = task({ name, queue: name }, () => gate.pass(currentJob().scheduledFor!.toISOString()))
    await tusk.work({ queues: [name] })
    await slow.schedule(name, { every: "100ms", overlap: "skip" })
    await waitFor(() => gate.arrived.length === 1)
    // On a busy machine the first slot may be missed, and the next one fire instead.
    const first = new Date(gate.arrived[0]!)
    // Slots go by without a job of theirs.
    await waitFor(async () => (await row(name)).next_run_at.getTime() >= first.getTime() + 500)
    expect(await jobsOf(name)).toHaveLength(1)
    expect((await tusk.schedules.get(name))!.lastRunAt).toEqual(first)
    gate.letOne()
    await waitFor(() => gate.arrived.length === 2)
    expect(new Date(gate.arrived[1]!).getTime()).toBeGreaterThanOrEqual(first.getTime() + 500)
    await tusk.schedules.remove(name)
    gate.open()
  })

  test("overlap: skip knows the job of a slot by its key's owner", async () => {
    const tusk = on.open()
    const name = on.name("keyed")
    const gate = new Gate()
    const keyed = task({ name, queue: name }, () => gate.pass("run"))
    await tusk.work({ queues: [name] })
    const by = await keyed.with({ deduplicate: name }).enqueue()
    await waitFor(() => gate.arrived.length === 1)
    await keyed.with({ deduplicate: name }).schedule(name, { every: "100ms", overlap: "skip" })
    await waitFor(async () => (await row(name)).last_run_at !== null)
    expect((await row(name)).last_job_id).toBe(by.id)
    const fired = (await row(name)).next_run_at
    await waitFor(async () => (await row(name)).next_run_at.getTime() >= fired.getTime() + 300)
    expect(Number((await row(name)).runs)).toBe(1)
    await tusk.schedules.remove(name)
    gate.open()
  })

  test("limit: so many jobs, then it is over; the same when again does not revive it, another does", async () => {
    const tusk = on.open()
    const { name, runs, noting: report } = noting()
    const when = { every: "100ms", limit: 3 } as const
    await tusk.work({ queues: [name] })
    await report.schedule(name, when)
    expect((await tusk.schedules.preview(name, 10)).length).toBeLessThanOrEqual(3)
    await waitFor(async () => (await tusk.schedules.get(name))!.nextRunAt === null)
    await waitFor(() => runs.length === 3)
    expect(await tusk.schedules.preview(name, 10)).toEqual([])
    expect((await report.schedule(name, when)).nextRunAt).toBeNull()
    expect((await report.schedule(name, { ...when, limit: 4 })).nextRunAt).not.toBeNull()
    await waitFor(() => runs.length === 7)
    expect(await jobsOf(name)).toHaveLength(7)
  })

  test("until: no slot after it", async () => {
    const tusk = on.open()
    const { name, noting: report } = noting()
    const until = new Date((await now()).getTime() + 2_500)
    await tusk.work({ queues: [name] })
    await report.schedule(name, { every: "200ms", until })
    await waitFor(async () => (await tusk.schedules.get(name))!.nextRunAt === null)
    const slots = (await jobsOf(name)).map((job) => job.scheduled_for)
    expect(slots.length).toBeGreaterThan(0)
    expect(slots.filter((slot) => slot > until)).toEqual([])
  })

  test("one whose job cannot be stored any more, or that cannot be read, holds up no other", async () => {
    const tusk = on.open()
    const { name, runs, noting: report } = noting()
    await report.schedule(`${name}.broken`, { every: "1h" })
    await report.schedule(`${name}.unread`, { every: "1h" })
    await report.schedule(name, { every: "1h" }, "good")
    await on.db.query(`update tusk.schedules set draft = jsonb_set(draft, '{priority}', '99999') where id = $1`, [`${name}.broken`])
    await on.db.query(
      `update tusk.schedules set spec = '{"cron": "0 9 * * *", "tz": "Mars/Olympus", "overlap": "all", "missed": "once"}' where id = $1`,
      [`${name}.unread`],
    )
    await on.db.query("update tusk.schedules set next_run_at = now() - interval '1 second' where task = $1", [name])
    const at = await now()
    await tusk.work({ queues: [name] })
    await waitFor(() => runs.length === 1)
    expect(runs[0]!.args).toEqual(["good"])
    // They go on with a later slot, and the log says which they are.
    await waitFor(async () => (await row(`${name}.broken`)).next_run_at > at && (await row(`${name}.unread`)).next_run_at > at)
    const said = on.log.filter((line) => /could not be fired/.test(line.message)).map((line) => line.fields["schedule"])
    expect(said.sort()).toEqual([`${name}.broken`, `${name}.unread`])
    expect(await jobsOf(name)).toHaveLength(1)
  })

  test("a passing fault loses no slot, and holds up no other", async () => {
    const tusk = on.open()
    const { name, runs, noting: report } = noting()
    const stuck = `${name}-stuck`
    await report.schedule(name, FAR, "good")
    await report.with({ queue: stuck }).schedule(stuck, FAR, "stuck")
    await on.db.query(
      `create function public.deadlock() returns trigger language plpgsql as $$ begin raise exception 'deadlock' using errcode = '40P01'; end $$`,
    )
    await on.db.query(
      `create trigger deadlock before insert on tusk.jobs for each row when (new.queue = '${stuck}') execute function public.deadlock()`,
    )
    const drop = (): Promise<unknown> => on.db.query("drop function if exists public.deadlock() cascade")
    onTestFinished(() => drop().then(() => undefined))
    await on.db.query("update tusk.schedules set next_run_at = now() - interval '1 second' where task = $1", [name])
    const slot = (await row(stuck)).next_run_at
    await tusk.work({ queues: [name, stuck] })
    await waitFor(() => runs.length === 1)
    expect((await row(stuck)).next_run_at).toEqual(slot)
    await drop()
    await waitFor(() => runs.length === 2)
    expect(runs[1]).toMatchObject({ args: ["stuck"], scheduledFor: slot })
  })
})

describe("pause() and resume()", () => {
  test("a paused one fires nothing; resumed it goes on with its first slot from then, and has missed none", async () => {
    const tusk = on.open()
    const { name, runs, noting: report } = noting()
    await tusk.work({ queues: [name] })
    await report.schedule(name, { every: "1h", missed: "all" })
    expect(await tusk.schedules.pause(name)).toBe(true)
    expect(await tusk.schedules.pause(name)).toBe(false)
    await late(name, "10 hours")
    // A second one that fires shows that the worker has been there.
    await report.schedule(`${name}.other`, { every: "100ms", limit: 1 }, "other")
    await waitFor(() => runs.length === 1)
    expect(runs[0]!.args).toEqual(["other"])
    expect(await tusk.schedules.get(name)).toMatchObject({ paused: true, nextRunAt: null, lastRunAt: null })
    expect(await tusk.schedules.resume(name)).toBe(true)
    expect(await tusk.schedules.resume(name)).toBe(false)
    const { nextRunAt } = (await tusk.schedules.get(name))!
    expect(nextRunAt!.getTime()).toBeGreaterThan((await now()).getTime())
    expect(await jobsOf(name)).toHaveLength(1)
  })

  test("resume() wakes the worker for a slot that is near", async () => {
    const tusk = on.open()
    const { name, runs, noting: report } = noting()
    await report.schedule(name, { every: "200ms" })
    await tusk.schedules.pause(name)
    await tusk.work({ queues: [name], poll: "1m" })
    await tusk.schedules.resume(name)
    await waitFor(() => runs.length >= 2)
    await tusk.schedules.remove(name)
  })

  test("of none is false", async () => {
    const tusk = on.open()
    expect([await tusk.schedules.pause("none"), await tusk.schedules.resume("none"), await tusk.schedules.remove("none")]).toEqual([
      false,
      false,
      false,
    ])
  })
})

describe("preview()", () => {
  test("says the next slots, of a paused one too", async () => {
    const tusk = on.open()
    const { name, noting: report } = noting()
    const { nextRunAt } = await report.schedule(name, { cron: "*/15 * * * *", tz: "America/New_York" })
    const slots = await tusk.schedules.preview(name, 3)
    expect(slots.map((slot) => slot.getTime())).toEqual([0, 1, 2].map((i) => nextRunAt!.getTime() + i * 900_000))
    await tusk.schedules.pause(name)
    await late(name, "3 days")
    expect(await tusk.schedules.preview(name, 3)).toEqual(slots)
    expect(await tusk.schedules.preview(name, 0)).toEqual([])
  })

  test("refuses what it does not know, and more than 1,000", async () => {
    const tusk = on.open()
    await expect(tusk.schedules.preview("none", 1)).rejects.toThrow(/There is no schedule "none"/)
    await expect(tusk.schedules.preview("none", 1_001)).rejects.toThrow(/count 1001; write 0 to 1000/)
    await expect(tusk.schedules.preview("none", -1)).rejects.toBeInstanceOf(ScheduleError)
  })
})

describe("trigger() and remove()", () => {
  test("trigger() makes a job now, of a paused one too, and leaves the slots alone", async () => {
    const tusk = on.open()
    const { name, runs, noting: report } = noting()
    const { nextRunAt } = await report.with({ headers: { a: "b" } }).schedule(name, FAR, "arg", new Date(0))
    await tusk.work({ queues: [name], poll: "1m" })
    const job = await tusk.schedules.trigger(name)
    expect(await job.result({ timeout: 5 })).toBe(2)
    expect([job.task, job.queue, job.created]).toEqual([name, name, true])
    expect(runs).toEqual([{ args: ["arg", new Date(0)], scheduledFor: null, headers: { a: "b" } }])
    expect(await tusk.schedules.get(name)).toMatchObject({ nextRunAt, lastRunAt: null })
    await tusk.schedules.pause(name)
    await (await tusk.schedules.trigger(name)).result({ timeout: 5 })
    await expect(tusk.schedules.trigger("none")).rejects.toBeInstanceOf(ScheduleError)
  })

  test("remove() ends it; jobs that it made stay", async () => {
    const tusk = on.open()
    const { name, noting: report } = noting()
    await report.schedule(name, FAR)
    const job = await tusk.schedules.trigger(name)
    expect(await tusk.schedules.remove(name)).toBe(true)
    expect(await tusk.schedules.remove(name)).toBe(false)
    expect(await tusk.schedules.get(name)).toBeUndefined()
    expect(await job.state()).toBe("waiting")
  })
})
