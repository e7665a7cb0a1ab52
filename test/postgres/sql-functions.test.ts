import { randomUUID } from "node:crypto"
import { describe, expect, test } from "vitest"
import { task } from "../../src/index.js"
import { bench, rejection, startWorker } from "../jobs/setup.js"

const on = bench()

describe("add_jobs", () => {
  const draft = (more: object = {}): Record<string, unknown> & { id: string } => ({ id: randomUUID(), task: "t", local: true, args: [], ...more })
  const add = (drafts: readonly object[], repeated = false): Promise<any[]> =>
    on.db.query("select * from tusk.add_jobs($1, null, $2)", [JSON.stringify(drafts), repeated])

  test("nothing for no drafts", async () => {
    expect(await add([])).toEqual([])
  })

  test("parents of the same batch, in any order", async () => {
    const [c, b, a] = [draft(), draft(), draft()]
    Object.assign(b, { parents: [{ id: a.id }] })
    Object.assign(c, { parents: [{ id: a.id }, { id: b.id, onFailure: "run" }] })
    const rows = await add([c, b, a])
    expect(rows.map((row) => [row.ord, row.id, row.created, row.state])).toEqual([
      [1, c.id, true, "blocked"],
      [2, b.id, true, "blocked"],
      [3, a.id, true, "waiting"],
    ])
    expect(await on.db.query("select parent_id, child_id, on_failure from tusk.job_dependencies order by child_id = $1, on_failure", [c.id])).toEqual(
      [
        { parent_id: a.id, child_id: b.id, on_failure: "block" },
        { parent_id: a.id, child_id: c.id, on_failure: "block" },
        { parent_id: b.id, child_id: c.id, on_failure: "run" },
      ],
    )
    const flags = await on.db.query("select id, has_children, pending_parents from tusk.jobs order by id = $1, id = $2", [c.id, b.id])
    expect(flags).toEqual([
      { id: a.id, has_children: true, pending_parents: 0 },
      { id: b.id, has_children: true, pending_parents: 1 },
      { id: c.id, has_children: false, pending_parents: 2 },
    ])
  })

  test("a parent of the batch that is a duplicate stands for its owner, be it stored before or in the same batch", async () => {
    const owner = draft({ key: { key: "k" } })
    await add([owner])
    const twice = draft({ key: { key: "k" } })
    const first = draft({ key: { key: "fresh" } })
    const second = draft({ key: { key: "fresh" } })
    const child = draft({ parents: [{ id: twice.id }, { id: second.id }, { id: first.id }] })
    const rows = await add([twice, first, second, child])
    expect(rows.slice(0, 4).map((row) => [row.id, row.created])).toEqual([
      [owner.id, false],
      [first.id, true],
      [first.id, false],
      [child.id, true],
    ])
    const edges = await on.db.query("select parent_id from tusk.job_dependencies where child_id = $1", [child.id])
    expect(edges.map((edge) => edge.parent_id).toSorted()).toEqual([owner.id, first.id].toSorted())
    expect(await on.db.query("select pending_parents from tusk.jobs where id = $1", [child.id])).toEqual([{ pending_parents: 2 }])
    expect(await on.db.query("select has_children from tusk.jobs where id = any ($1)", [[owner.id, first.id]])).toEqual([
      { has_children: true },
      { has_children: true },
    ])
  })

  test("a job whose parent turns out to be a duplicate of itself is an error, not a job that waits for ever", async () => {
    const parent = draft({ key: { key: "k" } })
    const child = draft({ key: { key: "k" }, parents: [{ id: parent.id }] })
    const error = await rejection(add([child, parent]))
    expect(error).toMatchObject({ code: "PT400", message: "pgtusk: a job would depend on itself, since its parent is a duplicate of it" })
    expect(await on.db.query("select 1 from tusk.jobs")).toEqual([])
  })

  test("repeated: what an earlier call stored, live or ended, with keys and edges, is left alone and reported as created", async () => {
    const work = task({ name: "work" }, async () => "done")
    const ended = draft({ task: "work", customId: "one", key: { key: "k" } })
    const child = draft({ parents: [{ id: ended.id }], queue: "elsewhere" })
    const delayed = draft({ delayMs: 60_000, key: { key: "d", replace: true }, args: [1] })
    const drafts = [ended, child, delayed]
    await add(drafts)
    await startWorker(on.tusk, { queues: ["default"] })
    expect(work.taskName).toBe("work")
    await on.tusk.job(ended.id).result({ timeout: 10 })
    const before = await on.db.query("select id, state::text, seq, pending_parents from tusk.jobs order by id")
    const rows = await add(drafts, true)
    expect(rows.map((row) => [row.id, row.created])).toEqual(drafts.map(({ id }) => [id, true]))
    expect(await on.db.query("select id, state::text, seq, pending_parents from tusk.jobs order by id")).toEqual(before)
    expect(await on.db.query("select id from tusk.finished_jobs")).toEqual([{ id: ended.id }])
    expect(await on.db.query("select 1 from tusk.job_dependencies")).toEqual([])
    // With a draft that the earlier call did not get to.
    const fresh = draft({ key: { key: "k" } })
    expect((await add([...drafts, fresh], true)).at(-1)).toMatchObject({ id: fresh.id, created: true, state: "waiting" })
  })
})

describe("duration_ms", () => {
  test.each([
    ["0", 0],
    ["60", 60_000],
    ["0.00001", 1],
    ["1.5", 1_500],
    ['"250ms"', 250],
    ['".5s"', 500],
    ['"1.5m"', 90_000],
    ['"2H"', 7_200_000],
    ['"1d"', 86_400_000],
    ['"1w"', 604_800_000],
    ['"1e3ms"', 1_000],
    ["3155760000", 3_155_760_000_000],
  ])("%s is %d ms", async (value, ms) => {
    expect(await on.db.query("select tusk.duration_ms($1, 'x') as ms", [value])).toEqual([{ ms }])
  })

  test.each(["-1", '"-1s"', "3155760001", "1e400", '"1e400s"', '"5"', '"5 m"', '"m"', "true", "[]", '""'])("%s is none", async (value) => {
    expect(await rejection(on.db.query("select tusk.duration_ms($1, 'the x')", [value]))).toMatchObject({
      code: "PT400",
      message: expect.stringMatching(/^pgtusk: the x is .*, which is no duration; write seconds as a number \(60\) or a string with a unit/),
    })
  })
})

test("uuid_v7 is of version 7 and variant 2, and carries the database's time", async () => {
  const rows = await on.db.query<{ id: string; ms: number }>(
    "select tusk.uuid_v7() as id, (extract(epoch from clock_timestamp()) * 1000)::float8 as ms from generate_series(1, 1000)",
  )
  expect(new Set(rows.map((row) => row.id)).size).toBe(1_000)
  for (const { id, ms } of rows) {
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(Math.abs(Number.parseInt(id.replace("-", "").slice(0, 12), 16) - ms)).toBeLessThan(1_000)
  }
})
