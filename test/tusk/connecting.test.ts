/** Where the database is: given, found in the environment, wrong, or not there. */
import { inspect } from "node:util"
import pg from "pg"
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest"
import type { TuskOptions } from "../../src/api/client.js"
import { ConnectionError, InvalidOptionError } from "../../src/api/errors.js"
import { configure, Tusk, task } from "../../src/index.js"
import { currentDefault, setDefaultClient } from "../../src/task/client.js"
import { bench, openTusk, rejection, timed } from "../jobs/setup.js"
import { startProxy } from "../support/proxy.js"
import { within } from "../support/wait.js"

const on = bench()
const work = task({ name: "work" }, async (n: number) => n)

afterEach(async () => {
  vi.unstubAllEnvs()
  await (currentDefault() as Tusk | undefined)?.close()
  setDefaultClient(undefined)
})

const thrown = (make: () => unknown): any => {
  try {
    make()
  } catch (error) {
    return error
  }
  throw new Error("It threw nothing")
}

describe("where the database is", () => {
  test("configure() makes the default client, without connecting; a text is a connection string", async () => {
    const tusk = configure(on.db.url)
    expect(currentDefault()).toBe(tusk)
    const job = await work.enqueue(1)
    expect((await on.tusk.job(job.id).snapshot()).args).toEqual([1])
    expect(await tusk.connectionString()).toBe(on.db.url)
  })

  test("without configure(), DATABASE_URL is read on first use", async () => {
    vi.stubEnv("DATABASE_URL", on.db.url)
    const job = await work.enqueue(2)
    expect((await on.tusk.job(job.id).snapshot()).args).toEqual([2])
  })

  test("without either, the error says what to write", async () => {
    vi.stubEnv("DATABASE_URL", undefined)
    for (const use of [() => work.enqueue(1), () => new Tusk({}).workers(), () => new Tusk({ connectionString: undefined as never }).migrate()]) {
      const error = await rejection(use())
      expect(error).toBeInstanceOf(InvalidOptionError)
      expect(error.message).toMatch(
        /does not know your database: call configure\(\{ connectionString: "postgres:\/\/…" \}\), set DATABASE_URL, or use/,
      )
    }
  })

  test("a wrong DATABASE_URL is called by its name", async () => {
    vi.stubEnv("DATABASE_URL", "mysql://localhost/x")
    expect((await rejection(work.enqueue(1))).message).toBe(
      'DATABASE_URL begins with "mysql://"; write "postgres://user:password@host:5432/database"',
    )
  })

  test("via wins over the default", async () => {
    configure("postgres://nobody@127.0.0.1:1/nowhere")
    expect((await work.with({ via: on.tusk }).enqueue(3)).created).toBe(true)
  })

  test("a pool of the user's is used, its settings serve worker and listener, and it is not closed", async () => {
    const pool = new pg.Pool({ connectionString: on.db.url, max: 2, application_name: "mine" })
    onTestFinished(() => pool.end())
    const tusk = new Tusk({ pool, signals: false })
    await tusk.work({ queues: ["default"] })
    expect(await (await work.with({ via: tusk }).enqueue(4)).result({ timeout: 10 })).toBe(4)
    expect((await on.db.query("select 1 from pg_stat_activity where application_name = 'mine'")).length).toBeGreaterThan(0)
    await tusk.close()
    expect((await pool.query("select 1 as one")).rows).toEqual([{ one: 1 }])
    expect((await rejection(tusk.connectionString())).code).toBe("CONNECTION")
  })

  test("a pool with one connection, which a transaction holds, does not block an enqueue in that transaction", async () => {
    const pool = new pg.Pool({ connectionString: on.db.url, max: 1 })
    onTestFinished(() => pool.end())
    const tusk = openTusk({ pool })
    const client = await pool.connect()
    await client.query("begin")
    const job = await within(work.with({ via: tusk, tx: client }).enqueue(5), 10_000, "the enqueue")
    await client.query("commit")
    client.release()
    expect(await job.state()).toBe("waiting")
  })
})

describe("connection strings that do not parse", () => {
  test.each([
    ["", /connectionString is "", which is no URL; write "postgres:\/\/user:password@host:5432\/database"/],
    ["localhost:5432/app", /is "localhost:5432\/app", which is no URL/],
    ["host=localhost password=secret dbname=app", /is "host=localhost password=\*\*\* dbname=app", which is no URL; write "postgres:\/\//],
    ["mysql://u:p@localhost/app", /begins with "mysql:\/\/"; write "postgres:\/\//],
    ["http://localhost", /begins with "http:\/\/"/],
    ["postgres://user:se/cret@host:5432/app", /is "postgres:\/\/\*\*\*@host:5432\/app", which is no URL/],
    ["postgres://user:se#cret@host/app", /which is no URL/],
    ["postgres://user:secret%ff@host/app", /"postgres:\/\/\*\*\*@host\/app" has a % that encodes nothing; .*encodeURIComponent/],
    ["postgres://user:secret@host:99999/app", /which is no URL/],
    ["postgres://user:secret@host/app?sslrootcert=/no/such/file", /cannot be used: ENOENT: .*\/no\/such\/file/],
    [5, /connectionString is 5; write a string/],
    [{}, /connectionString is \{\}; write a string/],
  ])("%j: refused at once, and its password stays secret", (connectionString, message) => {
    for (const make of [
      () => new Tusk({ connectionString: connectionString as string }),
      () => configure({ connectionString: connectionString as string }),
    ]) {
      const error = thrown(make)
      expect(error).toBeInstanceOf(InvalidOptionError)
      expect(error.message).toMatch(message)
      expect(inspect(error, { depth: 9, showHidden: true })).not.toMatch(/se.?cret/)
    }
    expect(currentDefault()).toBeUndefined()
  })

  test("listenConnectionString too", () => {
    const error = thrown(() => new Tusk({ connectionString: "postgres://localhost/x", listenConnectionString: "redis://x" }))
    expect(error.message).toMatch(/^listenConnectionString begins with "redis:\/\/"/)
  })

  test("a URL object is refused with what to write", () => {
    expect(thrown(() => new Tusk(new URL("postgres://localhost/x") as unknown as string)).message).toMatch(
      /configure\(\) got a URL object; write url\.href/,
    )
  })
})

describe("a server that is not there", () => {
  let port: number
  beforeEach(async () => {
    // A port that was free a moment ago.
    const proxy = await startProxy(on.db.url)
    port = proxy.port
    await proxy.close()
  })

  const uses = (tusk: Tusk): Record<string, () => Promise<unknown>> => ({
    enqueue: () => work.with({ via: tusk }).enqueue(1),
    "enqueue with a key": () => work.with({ via: tusk, id: "x" }).enqueue(1),
    enqueueMany: () => work.with({ via: tusk }).enqueueMany([[1], [2]]),
    work: () => tusk.work({ queues: ["default"] }),
    migrate: () => tusk.migrate(),
    transaction: () => tusk.transaction(async () => 1),
    state: () => tusk.job("01890000-0000-7000-8000-000000000000").state(),
    result: () => tusk.job("01890000-0000-7000-8000-000000000000").result(),
    workers: () => tusk.workers(),
    counts: () => tusk.queue("default").counts(),
  })

  test.each(["127.0.0.1", "localhost"])("refused at %s: every use fails at once, and names the place", async (host) => {
    const tusk = openTusk({ connectionString: `postgres://user:hush@${host}:${port}/app` })
    for (const [name, use] of Object.entries(uses(tusk))) {
      let error: any
      const took = await timed(async () => {
        error = await rejection(use())
      })
      expect(error, name).toBeInstanceOf(ConnectionError)
      expect(error.message, name).toBe(`No Postgres answers at ${host}:${port}/app (ECONNREFUSED); check host and port, and that the server runs`)
      expect(error.unknown, name).toBe(false)
      expect(took, name).toBeLessThan(3_000)
    }
  })

  test("a thousand enqueues at once all hear of it", async () => {
    const tusk = openTusk({ connectionString: `postgres://user@localhost:${port}/app` })
    const outcomes = await within(Promise.allSettled(Array.from({ length: 1_000 }, (_, i) => work.with({ via: tusk }).enqueue(i))), 10_000)
    expect(outcomes.every((outcome) => outcome.status === "rejected" && outcome.reason instanceof ConnectionError)).toBe(true)
  })

  test("a host that does not exist", async () => {
    const tusk = openTusk({ connectionString: "postgres://user:hush@no-such-host.invalid/app" })
    for (const use of [() => work.with({ via: tusk }).enqueue(1), () => tusk.migrate()]) {
      expect((await rejection(use())).message).toMatch(
        /cannot find the host of no-such-host\.invalid:5432\/app; check the name in the connection string/,
      )
    }
  })

  test("it comes up later: the same client then works", async () => {
    const proxy = await startProxy(on.db.url)
    proxy.refuse()
    const tusk = openTusk({ connectionString: proxy.url })
    expect(await rejection(work.with({ via: tusk }).enqueue(1))).toBeInstanceOf(ConnectionError)
    await proxy.accept()
    expect((await work.with({ via: tusk }).enqueue(1)).created).toBe(true)
    await tusk.close()
    await proxy.close()
  })

  test("something that is no Postgres answers", async () => {
    const { createServer } = await import("node:http")
    const server = createServer((_, response) => response.end("hello"))
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    onTestFinished(() => void server.close())
    const address = server.address() as { port: number }
    const tusk = openTusk({ connectionString: `postgres://u:p@127.0.0.1:${address.port}/app` })
    const error = await within(rejection(work.with({ via: tusk }).enqueue(1)), 15_000)
    expect(error).toBeInstanceOf(ConnectionError)
    expect(error.message).toContain(`127.0.0.1:${address.port}/app`)
  })

  test("one that accepts and says nothing is given up after ten seconds", async () => {
    const proxy = await startProxy(on.db.url)
    proxy.pause()
    const tusk = openTusk({ connectionString: proxy.url })
    const took = await timed(async () => {
      const errors = await Promise.all([rejection(work.with({ via: tusk }).enqueue(1)), rejection(tusk.migrate())])
      for (const error of errors) expect(error).toBeInstanceOf(ConnectionError)
    })
    expect(took).toBeLessThan(15_000)
    proxy.resume()
    await proxy.close()
  })
})

describe("options of configure()", () => {
  const url = "postgres://localhost/x"
  test.each<[unknown, RegExp]>([
    [{ conectionString: url }, /configure\(\) has an unknown key "conectionString"; did you mean connectionString\?/],
    [{ connectionString: url, migrat: true }, /unknown key "migrat"; did you mean migrate\?/],
    [{ connectionString: url, retries: 5 }, /unknown key "retries"; it may have connectionString, pool, /],
    [{ connectionString: url, migrate: "yes" }, /migrate is "yes", which is not a boolean; write true or false/],
    [{ connectionString: url, signals: 1 }, /signals is 1, which is not a boolean/],
    [{ connectionString: url, maxPayloadBytes: -1 }, /maxPayloadBytes is -1, which is out of range.*write an integer from 1/],
    [{ connectionString: url, maxPayloadBytes: "1MB" }, /maxPayloadBytes is "1MB"/],
    [{ connectionString: url, pool: {} }, /configure\(\) got connectionString and pool; write one of them/],
    [{ pool: {} }, /pool is no pool of pg; write new pg\.Pool\(\{ … \}\)/],
    [{ pool: { connectionString: url } }, /pool is no pool of pg/],
    [{ connectionString: url, embedded: true }, /got connectionString and embedded; write one of them/],
    [{ embedded: "yes" }, /embedded is "yes", which is not a boolean/],
    [{ embedded: { dir: "x" } }, /embedded has an unknown key "dir"; .*dataDir/],
    [{ connectionString: url, logger: { info() {} } }, /logger has no method debug; write an object with debug, info, warn and error/],
    [{ connectionString: url, logger: () => {} }, /logger has no method debug/],
    [[url], /configure\(\) is \[.*\], which is not an object/],
    [5, /configure\(\) is 5, which is not an object/],
    [null, /configure\(\) is null, which is not an object/],
  ])("%j", (options, message) => {
    const error = thrown(() => new Tusk(options as TuskOptions))
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toMatch(message)
  })
})
