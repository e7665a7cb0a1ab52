/** Any name will do for a schema, and two schemas in one database do not notice each other. */
import { describe, expect, onTestFinished, test } from "vitest"
import { InvalidOptionError } from "../../src/api/errors.js"
import { task } from "../../src/index.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { connect, openTusk, rejection, startWorker } from "../jobs/setup.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { waitFor } from "../support/wait.js"

const ran: unknown[] = []
const work = task({ name: "work" }, async (what: string) => {
  ran.push(what)
  return what
})

async function database(): Promise<TestDatabase> {
  const db = await createDatabase({ migrated: false })
  onTestFinished(() => db.close())
  return db
}

const NAMES = [
  "Upper_Case",
  "with space",
  'double "quotes"',
  "it's",
  "漢字_🐘",
  "100% {schema} \\ %I",
  "select",
  "a.b",
  "1st",
  "x".repeat(63),
  "é".repeat(31),
]

describe.each(NAMES)("schema %s", (schema) => {
  test("serves everything: migration, every way to enqueue, keys, parents, the SQL function, workers, waits, notifications", async () => {
    const db = await database()
    const tusk = openTusk({ connectionString: db.url, schema })
    const quoted = `"${schema.replaceAll('"', '""')}"`
    await tusk.migrate()
    const view = work.with({ via: tusk })
    const jobs = [
      await view.enqueue("plain"),
      await view.with({ id: "x", deduplicate: { key: "k", ttl: "1m" } }).enqueue("keyed"),
      await tusk.transaction((tx) => view.with({ tx }).enqueue("transaction")),
      await view.with({ delay: "50ms", ttl: "1h" }).enqueue("delayed"),
    ]
    jobs.push(await view.with({ dependsOn: jobs, keep: { completed: "30d" } }).enqueue("child"))
    const [row] = await db.query(`select ${quoted}.enqueue('work', '["sql"]', '{"queue": "default"}') as id`)
    const producer = openTusk({ connectionString: db.url, schema })
    await startWorker(tusk, { queues: ["default"], poll: "60s" })
    const results = await Promise.all([...jobs.map((job) => job.id), row.id].map((id) => producer.job(id).result({ timeout: 20 })))
    expect(results).toEqual(["plain", "keyed", "transaction", "delayed", "child", "sql"])
    // Told by notifications alone, both ways: the poll is a minute away.
    expect(await (await work.with({ via: producer }).enqueue("heard")).result({ timeout: 20 })).toBe("heard")
    expect((await tusk.queue("default").counts()).completed).toBe(7)
    const [partitions] = await db.query("select count(*)::int as n from pg_class where relname ~ '^finished_jobs_[0-9]{8}$'")
    expect(partitions.n).toBe(18)
    expect(await tusk.migrate()).toEqual({ applied: [] })
  })
})

describe("two schemas in one database", () => {
  test("see neither jobs, keys nor workers of each other, and do not wake each other", async () => {
    const db = await database()
    const [a, b] = ["one", "two"].map((schema) => openTusk({ connectionString: db.url, schema }))
    await a!.migrate()
    await b!.migrate()
    const ear = await connect(db.url)
    const heard: string[] = []
    ear.on("notification", ({ channel }) => heard.push(channel))
    for (const schema of ["one", "two"]) await ear.query(`listen "${schemaNames(schema).channel}"`)
    ran.length = 0
    await startWorker(a!, { queues: ["default"] })
    const mine = await work.with({ via: a!, id: "same" }).enqueue("mine")
    await mine.result({ timeout: 10 })
    await waitFor(() => heard.length > 0)
    expect(new Set(heard)).toEqual(new Set(["pgtusk:one"]))
    const theirs = await work.with({ via: b!, id: "same" }).enqueue("theirs")
    expect(theirs.created).toBe(true)
    // The worker of the other schema is awake: it works something else meanwhile.
    await (await work.with({ via: a! }).enqueue("again")).result({ timeout: 10 })
    expect([await theirs.state(), ran]).toEqual(["waiting", ["mine", "again"]])
    expect([(await a!.workers()).length, (await b!.workers()).length]).toEqual([1, 0])
    expect((await rejection(b!.job(mine.id).state())).code).toBe("UNKNOWN_JOB")
  })
})

describe("names that will not do", () => {
  test.each(["", "x".repeat(64), "é".repeat(32), "a$b", "a\0b", 5])("%j is refused", (schema) => {
    let error: any
    try {
      openTusk({ connectionString: "postgres://localhost/x", schema: schema as string })
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(/^schema is .*; write a name of 1 to 63 bytes without "\$", such as "tusk"$/)
  })
})
