/** The low level of flows: graphs by names. */
import { beforeEach, describe, expect, test } from "vitest"
import { FlowError, type FlowJob, InvalidOptionError, type Tusk } from "../../src/index.js"
import { ground, reaches } from "../worker/ground.js"
import { echo, fails, give } from "./tasks.js"

const on = ground()
const WAIT = { timeout: 15 }
const UNKNOWN = "01900000-0000-7000-8000-000000000000"

beforeEach(() => on.db.query("truncate tusk.jobs, tusk.finished_jobs, tusk.job_dependencies, tusk.keys"))
const stored = async (): Promise<number> => (await on.db.query("select count(*)::int as n from tusk.jobs"))[0].n
const node = (id: string, dependsOn: string[] = [], more: Partial<FlowJob> = {}): FlowJob => ({
  id,
  task: give.taskName,
  args: [id],
  dependsOn,
  ...more,
})

async function refused(tusk: Tusk, jobs: unknown, type: new (...args: any[]) => Error, message: RegExp): Promise<void> {
  const error = await tusk.addFlow(jobs as FlowJob[]).catch((e: unknown) => e)
  expect(error).toBeInstanceOf(type)
  expect((error as Error).message).toMatch(message)
  expect(await stored()).toBe(0)
}

describe("addFlow()", () => {
  test("returns the ids in the order given, whatever the order of the graph", async () => {
    const tusk = on.open()
    const ids = await tusk.addFlow([node("last", ["b", "a"]), node("a"), node("b", ["a"]), node("alone")])
    const snapshots = await Promise.all(ids.map((id) => tusk.job(id).snapshot()))
    expect(snapshots.map((s) => [s.args[0], s.state])).toEqual([
      ["last", "blocked"],
      ["a", "waiting"],
      ["b", "blocked"],
      ["alone", "waiting"],
    ])
    expect(snapshots[0]!.dependsOn).toEqual(expect.arrayContaining([ids[1], ids[2]]))
    await tusk.work()
    expect(await tusk.job(ids[0]!).result(WAIT)).toBe("last")
    const order = await on.db.query("select args ->> 0 as name from tusk.finished_jobs order by started_at")
    const at = (name: string): number => order.findIndex((row) => row.name === name)
    expect([at("a") < at("b"), at("b") < at("last")]).toEqual([true, true])
  })

  test("takes options, policies and parents that are stored", async () => {
    const tusk = on.open()
    await tusk.work({ queues: ["flows", "elsewhere"] })
    const before = await fails.enqueue()
    await reaches(before, "failed")
    const ids = await tusk.addFlow([
      node("runs", [before.id], { options: { onParentFailure: "run", queue: "elsewhere", priority: 1 } }),
      node("cancelled", [before.id], { options: { onParentFailure: "cancel" } }),
      node("blocked", ["runs", before.id]),
      node("named", ["runs"], { options: { dependsOn: [before], onParentFailure: "run" } }),
    ])
    expect(await tusk.job(ids[3]!).result(WAIT)).toBe("named")
    expect(await Promise.all(ids.map((id) => tusk.job(id).state()))).toEqual(["completed", "cancelled", "blocked", "completed"])
    expect(await tusk.job(ids[0]!).snapshot()).toMatchObject({ queue: "elsewhere", priority: 1 })
    expect((await tusk.job(ids[2]!).snapshot()).waitingFor).toEqual([before.id])
  })

  test("in a transaction", async () => {
    const tusk = on.open()
    await expect(
      tusk.transaction(async (tx) => {
        await tusk.addFlow([node("a"), node("b", ["a"])], { tx })
        throw new Error("no")
      }),
    ).rejects.toThrow("no")
    expect(await stored()).toBe(0)
    const ids = await tusk.transaction((tx) => tusk.addFlow([node("a"), node("b", ["a"])], { tx }))
    await tusk.work()
    expect(await tusk.job(ids[1]!).result(WAIT)).toBe("b")
  })

  test("by names of tasks that this process does not know", async () => {
    const tusk = on.open()
    await on.db.query("insert into tusk.tasks (name, queue, priority, retries) values ('flows.remote', 'far', 3, 2)")
    const [id] = await tusk.addFlow([{ id: "a", task: "flows.remote" }])
    expect(await tusk.job(id!).snapshot()).toMatchObject({ queue: "far", priority: 3, maxAttempts: 3, args: [] })
  })

  test("nodes with keys: the edges follow the owner", async () => {
    const tusk = on.open()
    const owner = await give.with({ deduplicate: "shared" }).enqueue("owner")
    const ids = await tusk.addFlow([node("a", [], { options: { deduplicate: "shared" } }), node("b", ["a"])])
    expect(ids[0]).toBe(owner.id)
    expect((await tusk.job(ids[1]!).snapshot()).waitingFor).toEqual([owner.id])
  })

  test("an empty flow stores nothing", async () => {
    expect(await on.open().addFlow([])).toEqual([])
  })

  test("10,000 jobs in one chain, stored at once", { timeout: 60_000 }, async () => {
    const tusk = on.open()
    const ids = await tusk.addFlow(Array.from({ length: 10_000 }, (_, i) => node(`n${i}`, i === 0 ? [] : [`n${i - 1}`])))
    expect(new Set(ids).size).toBe(10_000)
    expect(await tusk.queue("flows").counts()).toMatchObject({ waiting: 1, blocked: 9_999 })
    expect((await tusk.job(ids[9_999]!).snapshot()).dependsOn).toEqual([ids[9_998]])
  })
})

describe("refused, and nothing is stored", () => {
  test.each<[string, unknown, new (...args: any[]) => Error, RegExp]>([
    ["a circle of two", [node("a", ["b"]), node("b", ["a"])], FlowError, /jobs "a", "b" of the flow wait for each other in a circle/],
    ["a job that waits for itself", [node("a", ["a"])], FlowError, /"a" of the flow wait/],
    ["a circle behind good ones", [node("x"), node("a", ["x", "c"]), node("b", ["a"]), node("c", ["b"])], FlowError, /"a", "b", "c"/],
    [
      "a long circle",
      Array.from({ length: 5_000 }, (_, i) => node(`n${i}`, [`n${(i + 1) % 5_000}`])),
      FlowError,
      /"n0", .*"n9" and 4990 more of the flow wait/,
    ],
    ["a name twice", [node("a"), node("a")], FlowError, /name "a" stands twice/],
    ["a name that nobody has", [node("a", ["b"])], FlowError, /Job "a" depends on "b", which is neither a name in this flow nor a job's id/],
    ["a job that does not exist", [node("x"), node("a", [UNKNOWN])], FlowError, new RegExp(`cannot be stored: .*${UNKNOWN}`)],
    ["the same, by options", [node("a", [], { options: { dependsOn: [UNKNOWN] } })], FlowError, new RegExp(UNKNOWN)],
    [
      "a job whose parent comes to be the same job",
      [node("child", ["parent"], { options: { deduplicate: "k" } }), node("parent", [], { options: { deduplicate: "k" } })],
      FlowError,
      /depend on itself/,
    ],
    ["a transaction of one job", [node("a", [], { options: { tx: {} } })], FlowError, /has tx or via; give tx to addFlow/],
    ["more than 10,000", Array.from({ length: 10_001 }, (_, i) => node(`n${i}`)), FlowError, /has 10001 jobs; write at most 10000/],
    ["no list", { id: "a" }, InvalidOptionError, /write a list/],
    ["a job without a name", [{ task: give.taskName }], InvalidOptionError, /id of job 0 of the flow/],
    ["a job without a task", [{ id: "a" }], InvalidOptionError, /"name" of a task/],
    ["arguments that are no list", [node("a", [], { args: "x" as never })], InvalidOptionError, /args of job "a" of the flow is "x"; write a list/],
    ["parents that are no list", [node("a", "b" as never)], InvalidOptionError, /dependsOn of job "a"/],
    ["a misspelt field", [{ ...node("a"), dependOn: [] }], InvalidOptionError, /dependOn/],
    ["a wrong policy", [node("x"), node("a", ["x"], { options: { onParentFailure: "ignore" as never } })], InvalidOptionError, /onParentFailure/],
    ["one argument that cannot be stored", [node("x"), node("a", [], { args: [() => 1] })], Error, /function/],
  ])("%s", async (_, jobs, type, message) => {
    await refused(on.open(), jobs, type, message)
  })

  test("in a transaction the error leaves it to the caller", async () => {
    const tusk = on.open()
    await tusk.transaction(async (tx) => {
      await tx.query("savepoint before")
      await expect(tusk.addFlow([node("a", [UNKNOWN])], { tx })).rejects.toBeInstanceOf(FlowError)
      await tx.query("rollback to savepoint before")
      await echo.with({ tx }).enqueue("kept")
    })
    expect(await stored()).toBe(1)
  })
})
