/** I4 through every supported client: the real enqueue in the real library's transaction. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { InvalidOptionError, UnknownJobError } from "../../src/api/errors.js"
import { task } from "../../src/index.js"
import type { OpenClient } from "../postgres/transaction-clients/contract.js"
import { supportedClients } from "../postgres/transaction-clients/index.js"
import { bench, rejection, startWorker } from "./setup.js"

const on = bench()
beforeAll(async () => {
  await on.db.query("create table notes (id serial primary key, body text not null)")
})
beforeEach(() => on.db.query("truncate notes"))

const ran: unknown[] = []
const mail = task({ name: "mail", queue: "mail" }, async (body: unknown) => {
  ran.push(body)
  return body
})

/** What mappers would rename, placeholders would eat, and JSON cannot say. */
const BODY = {
  user_id: 7,
  nested_list: [{ deep_key: new Date(5), "kebab-key": 2n ** 70n }],
  text: 'it\'s "quoted" ? ?? $1 :name ::jsonb \\ 漢字 🐘 /* */ --',
  missing: undefined,
  bytes: new Uint8Array([0, 255]),
}

const jobs = async (): Promise<number> => (await on.db.query<{ n: number }>("select count(*)::int as n from tusk.jobs"))[0]!.n
const notes = async (): Promise<unknown[]> => (await on.db.query("select body from notes order by id")).map((row) => row.body)

describe.each(supportedClients)("$name", ({ open }) => {
  let client: OpenClient
  beforeAll(async () => {
    client = await open(on.db.url)
  })
  afterAll(() => client.close())

  test("commit: the job exists with the client's own write, and not before it", async () => {
    let id = ""
    await client.transaction(async ({ tx, write }) => {
      await write("mine")
      const job = await mail.with({ via: on.tusk, tx, headers: { trace_id: "4f2a" }, priority: 3, retries: 2, ttl: "1h" }).enqueue(BODY)
      id = job.id
      expect([job.created, job.queue]).toEqual([true, "mail"])
      expect(await rejection(job.state())).toBeInstanceOf(UnknownJobError)
      expect([await jobs(), await notes()]).toEqual([0, []])
    })
    expect(await notes()).toEqual(["mine"])
    const snapshot = await on.tusk.job(id).snapshot()
    expect(snapshot).toMatchObject({ state: "waiting", priority: 3, maxAttempts: 3, headers: { trace_id: "4f2a" } })
    expect(snapshot.args).toStrictEqual([BODY])
  })

  test("rollback: neither the job nor the write exists, and its key is free", async () => {
    const lost = client.transaction(async ({ tx, write }) => {
      await write("mine")
      await mail.with({ via: on.tusk, tx, id: "one", deduplicate: "key" }).enqueue(BODY)
      throw new Error("changed my mind")
    })
    await expect(lost).rejects.toThrow("changed my mind")
    expect([await jobs(), await notes()]).toEqual([0, []])
    expect(await on.db.query("select 1 from tusk.keys")).toEqual([])
  })

  test("many jobs, keys, parents and duplicates in one transaction; handles in order", async () => {
    const parent = await mail.with({ via: on.tusk, delay: 60 }).enqueue("parent")
    const ids: string[] = []
    await client.transaction(async ({ tx }) => {
      const many = await mail.with({ via: on.tusk, tx }).enqueueMany(Array.from({ length: 300 }, (_, i) => [i]))
      const first = await mail.with({ via: on.tusk, tx, deduplicate: "k" }).enqueue("first")
      const second = await mail.with({ via: on.tusk, tx, deduplicate: "k" }).enqueue("second")
      expect([first.created, second.created, second.id]).toEqual([true, false, first.id])
      const child = await mail.with({ via: on.tusk, tx, dependsOn: [parent] }).enqueue("child")
      ids.push(...many.map((job) => job.id), first.id, child.id)
    })
    const rows = await on.db.query<{ id: string; state: string }>("select id, state::text from tusk.jobs where args <> '[\"parent\"]' order by seq")
    expect(rows.map((row) => row.id)).toEqual(ids)
    expect(rows.at(-1)?.state).toBe("blocked")
  })

  test("an error of ours keeps its kind, whatever the library wraps it in", async () => {
    const unknown = "01890000-0000-7000-8000-000000000000"
    let seen: any
    const failed = client.transaction(async ({ tx }) => {
      seen = await rejection(mail.with({ via: on.tusk, tx, dependsOn: [unknown] }).enqueue("x"))
      throw seen
    })
    await expect(failed).rejects.toThrow()
    expect(seen).toBeInstanceOf(UnknownJobError)
    expect(seen.message).toBe(`no job has the id ${unknown}, given in dependsOn (task "mail"); nothing was stored`)
    expect(await jobs()).toBe(0)
  })
})

describe.each(supportedClients.filter((client) => client.knowsEnd))("after its end: $name", ({ open }) => {
  test("a transaction is refused, and nothing is stored", async () => {
    const client = await open(on.db.url)
    let kept: unknown
    await client.transaction(async ({ tx }) => {
      kept = tx
    })
    const late = await rejection(mail.with({ via: on.tusk, tx: kept }).enqueue("late"))
    expect(late).toBeInstanceOf(InvalidOptionError)
    expect(late.message).toMatch(/^tx: the .*committed or rolled back/)
    expect(await jobs()).toBe(0)
    await client.close()
  })
})

test("a worker works what they committed, and nothing that was rolled back", async () => {
  ran.length = 0
  await startWorker(on.tusk, { queues: ["mail"] })
  const handles: string[] = []
  for (const { name, open } of supportedClients) {
    const client = await open(on.db.url)
    await client.transaction(async ({ tx }) => {
      handles.push((await mail.with({ via: on.tusk, tx }).enqueue(name)).id)
    })
    await client
      .transaction(async ({ tx }) => {
        await mail.with({ via: on.tusk, tx }).enqueue(`${name}, rolled back`)
        throw new Error("no")
      })
      .then(
        () => expect.unreachable(),
        () => undefined,
      )
    await client.close()
  }
  const results = await Promise.all(handles.map((id) => on.tusk.job(id).result({ timeout: 20 })))
  expect(results).toEqual(supportedClients.map((client) => client.name))
  expect(ran.toSorted()).toEqual(supportedClients.map((client) => client.name).toSorted())
})
