import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { Tusk } from "../../src/tusk.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { cli, fixture, STACK, startCli } from "./run.js"

const LIMIT = 120_000

let db: TestDatabase
let tusk: Tusk
beforeAll(async () => {
  db = await createDatabase()
  tusk = new Tusk(db.url)
})
afterAll(async () => {
  await tusk.close()
  await db.close()
})

const enqueue = (...args: string[]) => cli(["enqueue", ...args], { DATABASE_URL: db.url })

describe("pgtusk enqueue", () => {
  test("stores the job with its arguments and options, and prints its id alone", { timeout: LIMIT }, async () => {
    const [plain, rich, dated] = await Promise.all([
      enqueue("reports.build"),
      enqueue(
        "reports.build",
        '["a@b.c", {"n": 1}, {"$date": "2026-01-01T00:00:00.000Z"}]',
        "--options",
        '{"queue": "reports", "priority": 2, "retries": 3}',
      ),
      enqueue("reports.build", "[]", "-o", '{"delay": "2099-01-01T00:00:00Z"}'),
    ])
    expect(plain.code).toBe(0)
    expect(await tusk.job(plain.stdout).snapshot()).toMatchObject({
      task: "reports.build",
      queue: "default",
      args: [],
      state: "waiting",
      maxAttempts: 1,
    })
    expect(plain.stderr).toBe(
      'Stored as a job of task "reports.build" in queue "default".\nNo worker has run a task of that name here so far; the job waits until one does.\n',
    )
    expect(await tusk.job(rich.stdout).snapshot()).toMatchObject({
      ...{ queue: "reports", priority: 2, maxAttempts: 4 },
      args: ["a@b.c", { n: 1 }, new Date("2026-01-01T00:00:00Z")],
    })
    expect(await tusk.job(dated.stdout).snapshot()).toMatchObject({ state: "delayed", runAt: new Date("2099-01-01T00:00:00Z") })
  })

  test("takes defaults from what workers publish, and asks about a name that is nearly one of theirs", { timeout: LIMIT }, async () => {
    const worker = startCli(["worker", fixture("mail")], { DATABASE_URL: db.url })
    const early = await enqueue("mail.send", '["first@b.c"]', "-o", '{"queue": "mail"}')
    await worker.line("sent to first@b.c", 60_000)
    const [good, misspelt] = await Promise.all([enqueue("mail.send", '[{"$date": "2026-01-01T00:00:00.000Z"}]'), enqueue("mail.sent")])
    expect([early.code, good.code, misspelt.code]).toEqual([0, 0, 0])
    expect(good.stderr).toBe('Stored as a job of task "mail.send" in queue "mail".\n')
    expect(misspelt.stderr).toContain('Did you mean "mail.send"?')
    await worker.line("sent to the date 2026-01-01T00:00:00.000Z", 60_000)
  })

  test("says when the job was there already", { timeout: LIMIT }, async () => {
    const first = await enqueue("nightly", "[]", "-o", '{"deduplicate": "tonight"}')
    const second = await enqueue("nightly", "[]", "-o", '{"deduplicate": "tonight"}')
    expect(second).toMatchObject({ code: 0, stdout: first.stdout, stderr: expect.stringContaining("Nothing stored") })
  })

  test("refuses what it cannot read, and stores nothing", { timeout: LIMIT }, async () => {
    const before = await db.query("select count(*) from tusk.jobs")
    const cases: [string[], RegExp][] = [
      [["x", "{"], /^error: The arguments: \{ is no JSON/],
      [["x", '{"n":1}'], /^error: The arguments are \{"n":1\}; write an array, one element an argument: '\[\{"n":1\}\]'/],
      [["x", "[]", "-o", "[1]"], /^error: --options is \[1\]; write an object/],
      [["x", "[]", "-o", "{delay: 1}"], /^error: --options: \{delay: 1\} is no JSON/],
      [["x", "[]", "-o", '{"dely": 1}'], /^error: Unknown option "dely".*did you mean "delay"/],
      [["x", "[]", "-o", '{"delay": "soon"}'], /^error: .*"soon", which is not a duration/],
      [["x", "[]", "-o", '{"delay": "2026-99-01"}'], /^error: .*delay/],
      [["x", "[]", "-o", '{"tx": {}}'], /^error: --options has tx, which only code can give/],
      [["", "[]"], /^error: A task needs a name/],
      [[], /^error: missing required argument 'task'/],
    ]
    const outcomes = await Promise.all(cases.map(([args]) => enqueue(...args)))
    for (const [i, [, message]] of cases.entries()) {
      expect(outcomes[i]).toMatchObject({ code: 1, stdout: "", stderr: expect.stringMatching(message) })
      expect(outcomes[i]!.stderr).not.toMatch(STACK)
    }
    expect(await db.query("select count(*) from tusk.jobs")).toEqual(before)
  })
})
