import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest"
import { Tusk } from "../../src/tusk.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { waitFor } from "../support/wait.js"
import { cli, fixture, STACK, startCli, typescriptFixture } from "./run.js"

const LIMIT = 120_000
const SLOW = { timeout: 60_000 }

let db: TestDatabase
let tusk: Tusk
let folder: string
beforeAll(async () => {
  db = await createDatabase()
  tusk = new Tusk(db.url)
  folder = await mkdtemp(join(tmpdir(), "pgtusk-cli-"))
})
afterAll(async () => {
  await tusk.close()
  await db.close()
  await rm(folder, { recursive: true })
})

const start = (...args: string[]) => startCli(["worker", ...args], { DATABASE_URL: db.url })

describe("pgtusk worker", () => {
  test("runs the jobs of the modules' tasks in their queues, and tells of failures", { timeout: LIMIT }, async () => {
    const job = await tusk.enqueue("mail.send", ["early@b.c"], { queue: "mail" })
    const worker = start(fixture("mail"), "--queue", "mail=3", "--queue", "other")
    await worker.line("sent to early@b.c", 60_000)
    expect(await job.settled(SLOW)).toEqual({ ok: true, value: undefined })
    expect(worker.stderr).toMatch(
      /^Worker [-0-9a-f]{36} \(pid \d+\) on schema "tusk" of .*\n {2}mail: mail\.send, mail\.bounce\n {2}other: no task of these modules\n/,
    )
    expect(await tusk.workers()).toMatchObject([{ pid: worker.pid, queues: ["mail", "other"] }])
    const bad = await tusk.enqueue("mail.bounce", [], { queue: "mail" })
    expect(await bad.settled(SLOW)).toMatchObject({ ok: false })
    await waitFor(() => worker.stderr.includes(`failed mail.bounce ${bad.id} (queue mail, attempt 1): TypeError: no such mailbox`))
    expect(worker.stderr).not.toMatch(STACK)
    worker.kill("SIGTERM")
    expect(await worker.exit).toEqual({ code: 0, signal: null })
  })

  test("lets running jobs end when it is told to stop, and claims no more", { timeout: LIMIT }, async () => {
    const worker = start(fixture("mail"))
    const file = join(folder, "drain")
    const running = await tusk.enqueue("hold", [file], { queue: "slow" })
    await worker.line("holding", 60_000)
    worker.kill("SIGTERM")
    await waitFor(() => worker.stderr.includes("SIGTERM: no more jobs are claimed"), SLOW)
    const late = await tusk.enqueue("mail.send", ["late@b.c"], { queue: "mail" })
    await writeFile(file, "")
    expect(await worker.exit).toEqual({ code: 0, signal: null })
    expect(worker.stderr).toMatch(/Worker stopped\.\n$/)
    expect([await running.state(), await late.state()]).toEqual(["completed", "waiting"])
    expect(await tusk.workers()).toEqual([])
    await late.remove()
  })

  test("ends at once at the second signal", { timeout: LIMIT }, async () => {
    const worker = start(fixture("mail"))
    const job = await tusk.enqueue("hold", [join(folder, "never")], { queue: "slow" })
    await worker.line("holding", 60_000)
    worker.kill("SIGINT")
    await waitFor(() => worker.stderr.includes("SIGINT: no more jobs are claimed"), SLOW)
    worker.kill("SIGINT")
    expect(await worker.exit).toEqual({ code: 130, signal: null })
    expect(await job.state()).toBe("active")
    await job.remove()
  })

  test("--drain-timeout bounds the wait; what is aborted goes back", { timeout: LIMIT }, async () => {
    const worker = start(fixture("mail"), "--drain-timeout", "200ms")
    const job = await tusk.enqueue("hold", [join(folder, "never")], { queue: "slow" })
    await worker.line("holding", 60_000)
    worker.kill("SIGTERM")
    expect(await worker.exit).toEqual({ code: 0, signal: null })
    expect(await job.snapshot()).toMatchObject({ state: "waiting", attempt: 0 })
    await job.remove()
  })

  test("works in the database and schema that a module configures, and --schema overrules it", { timeout: LIMIT }, async () => {
    const app = await createDatabase({ migrated: false })
    onTestFinished(() => app.close())
    expect((await cli(["migrate", "--url", app.url, "--schema", "app_jobs"])).code).toBe(0)
    const worker = startCli(["worker", fixture("configured")], { APP_DATABASE: app.url })
    expect(await cli(["enqueue", "relay", "--url", app.url, "--schema", "app_jobs", "-o", '{"queue":"relay"}'])).toMatchObject({ code: 0 })
    await worker.line("relayed", 60_000)
    worker.kill("SIGTERM")
    expect(await worker.exit).toEqual({ code: 0, signal: null })
    const elsewhere = await cli(["worker", fixture("configured"), "--schema", "other_jobs"], { APP_DATABASE: app.url, DATABASE_URL: app.url })
    expect(elsewhere).toMatchObject({ code: 1, stderr: expect.stringContaining('no pgtusk schema "other_jobs"; run `npx pgtusk migrate`') })
  })

  test("says which task has no object to run on", { timeout: LIMIT }, async () => {
    const worker = start(fixture("methods"))
    await waitFor(() => worker.stderr.includes('Task "mail.unregistered" is a method and no object of its class is registered'), SLOW)
    worker.kill("SIGTERM")
    expect(await worker.exit).toEqual({ code: 0, signal: null })
  })

  test("runs TypeScript where Node.js does, and elsewhere says how", { timeout: LIMIT }, async () => {
    const worker = start(typescriptFixture("no-tasks"))
    expect((await worker.exit).code).toBe(1)
    const runs = Boolean(Reflect.get(process.features, "typescript"))
    expect(worker.stderr).toMatch(
      runs ? /no-tasks\.ts defines no task/ : /no-tasks\.ts is TypeScript, .*NODE_OPTIONS="--import tsx" npx pgtusk worker/,
    )
  })

  test("says in one sentence why it cannot start", { timeout: LIMIT }, async () => {
    const cases: [string[], RegExp][] = [
      [["./nowhere.js"], /^error: There is no file .*nowhere\.js; write the path of a module that defines tasks, seen from /],
      [["not-installed"], /^error: "not-installed" is neither a file \(.*\) nor a package that is installed here/],
      [[folder], /is a folder; name the file in it that defines the tasks/],
      [[fixture("no-tasks")], /^error: .*no-tasks\.js defines no task; call task\(/],
      [
        [fixture("throws")],
        /^error: .*throws\.js could not be loaded: RangeError: the mail server's address is missing\n {4}at .*throws\.js:\d+:\d+/,
      ],
      [[fixture("mail"), "--queue", "mail=many"], /"many" is no number of jobs at once; write mail=10/],
      [[fixture("mail"), "--queue", "mail", "-q", "mail=2"], /Queue "mail" is given twice/],
      [[fixture("mail"), "--concurrency", "0"], /^error: .*concurrency.* 0/],
      [[fixture("mail"), "--drain-timeout", "soon"], /^error: drainTimeout is "soon", which is not a duration/],
      [[fixture("mail"), "--url", "postgres://u:secret@127.0.0.1:1/x"], /^error: No Postgres answers at 127\.0\.0\.1:1\/x/],
    ]
    const outcomes = await Promise.all(cases.map(([args]) => cli(["worker", ...args], { DATABASE_URL: db.url })))
    for (const [i, [, message]] of cases.entries()) {
      expect(outcomes[i]).toMatchObject({ code: 1, stdout: "", stderr: expect.stringMatching(message) })
      expect(outcomes[i]!.stderr).not.toContain("secret")
    }
  })
})
