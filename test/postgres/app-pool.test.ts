/** A pool of the application's: what it says about connections holds for all of ours, and its failures stay where they are. */
import { connect as connectSocket, Socket } from "node:net"
import pg from "pg"
import { afterEach, describe, expect, test } from "vitest"
import { InvalidOptionError } from "../../src/api/errors.js"
import { Tusk, type TuskOptions, task } from "../../src/index.js"
import { Connector } from "../../src/postgres/run/connector.js"
import { bench } from "../jobs/setup.js"
import { spawnScript } from "../support/process.js"
import { waitFor } from "../support/wait.js"

const on = bench()
type PoolLike = NonNullable<TuskOptions["pool"]>
const whoAmI = task({ name: "who am I", queue: "pools" }, async (n: number) => n)
const inside = task({ name: "inside", queue: "pools", transactional: true }, async (n: number) => n)

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

/** A role of the test's own, which needs its password. */
async function role(password: string): Promise<string> {
  const name = `app_${Math.random().toString(36).slice(2)}`
  await on.db.query(`create role "${name}" login superuser password '${password}'`)
  ends.push(async () => {
    await waitFor(async () => (await on.db.query("select 1 from pg_stat_activity where usename = $1", [name])).length === 0)
    await on.db.query(`drop owned by "${name}"`)
    await on.db.query(`drop role "${name}"`)
  })
  return name
}

/** Does all that makes connections: migrate, enqueue, work, LISTEN, transactions. Returns the names of the sessions that there were. */
async function useAll(pool: PoolLike): Promise<string[]> {
  const tusk = new Tusk({ pool, signals: false })
  await tusk.migrate()
  const worker = await tusk.work({ queues: ["pools"] })
  const results = await Promise.all(
    [whoAmI.with({ via: tusk }), inside.with({ via: tusk })].map(async (one, i) => (await one.enqueue(i)).result({ timeout: 10 })),
  )
  expect(results).toEqual([0, 1])
  const seen = await waitFor(async () => {
    const rows = await on.db.query<{ name: string; query: string }>(
      "select application_name as name, query from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and application_name <> ''",
    )
    return rows.some((row) => row.query.startsWith("LISTEN")) && rows
  })
  await worker.drain()
  await tusk.close()
  return seen.map((row) => row.name)
}

const parts = (): { host: string; port: number; database: string } => {
  const { hostname, port, pathname } = new URL(on.db.url)
  return { host: hostname, port: Number(port), database: pathname.slice(1) }
}
const open = (options: pg.PoolConfig, Pool: typeof pg.Pool = pg.Pool): pg.Pool => {
  const pool = new Pool(options)
  ends.push(() => pool.end())
  return pool
}

describe("what the pool says about connections holds for migrate, workers, transactions and LISTEN", () => {
  test("its password, which it keeps out of sight", async () => {
    await useAll(open({ ...parts(), user: await role("s3cret"), password: "s3cret" }))
  })

  test("its password as an async function, asked for each connection", async () => {
    let asked = 0
    const user = await role("token")
    await useAll(
      open({
        ...parts(),
        user,
        password: async () => {
          asked++
          return "token"
        },
      }),
    )
    expect(asked).toBeGreaterThan(3)
  })

  test("its application_name", async () => {
    const names = await useAll(open({ connectionString: on.db.url, application_name: "shop" }))
    expect(new Set(names)).toEqual(new Set(["shop"]))
  })

  test("its options", async () => {
    const seen: string[] = []
    const pool = open({ connectionString: on.db.url, options: "-c statement_timeout=54321" })
    const other = Connector.like(pool).createPool(1, console, "test")
    ends.push(() => other.end())
    const client = await Connector.like(pool).connect("migrate")
    for (const one of [other, client]) seen.push((await one.query("show statement_timeout")).rows[0].statement_timeout)
    await client.end()
    expect(seen).toEqual(["54321ms", "54321ms"])
    await useAll(pool)
  })

  test("its stream, through which all goes", async () => {
    let streams = 0
    const { host, port } = parts()
    const pool = open({
      connectionString: on.db.url.replace(`${host}:${port}`, "no-such-host.invalid:1"),
      stream: () => {
        streams++
        const socket = new Socket()
        const dial = socket.connect.bind(socket)
        socket.connect = (() => dial(port, host)) as never
        return socket
      },
    })
    await useAll(pool)
    expect(streams).toBeGreaterThan(4)
  })

  test("its key of TLS, which it keeps out of sight", () => {
    const pool = open({ host: "h", ssl: { key: "the key", ca: "the ca" } })
    const { config } = Connector.like(pool).next()
    expect((config.ssl as { key: string }).key).toBe("the key")
    expect((Reflect.get(new pg.Client(config), "connection") as unknown as { ssl: { key: string } }).ssl.key).toBe("the key")
  })

  test("its class of clients, and what is done to each new connection", async () => {
    const made: string[] = []
    class Signed extends pg.Client {
      constructor(config?: pg.ClientConfig) {
        super({ ...config, password: "signed" } as pg.ClientConfig)
        made.push(config?.fallback_application_name ?? "")
      }
    }
    const greeted: pg.Client[] = []
    await useAll(
      open({
        ...parts(),
        user: await role("signed"),
        password: "wrong",
        Client: Signed,
        onConnect: (client: pg.Client) => void greeted.push(client),
      } as unknown as pg.PoolConfig),
    )
    expect(new Set(made)).toEqual(new Set(["", "pgtusk migrate", "pgtusk worker", "pgtusk transactions", "pgtusk listen"]))
    expect(greeted.length).toBeGreaterThan(3)
  })

  test("a subclass of the pool, and its own way to make clients", async () => {
    class Mine extends pg.Pool {}
    await useAll(open({ connectionString: on.db.url }, Mine))
  })
})

describe("failures of the pool", () => {
  test("the loss of its connections does not end a process that does not listen to it", async () => {
    const script = spawnScript(new URL("./fixtures/quiet-pool.ts", import.meta.url), [], { DATABASE_URL: on.db.url })
    await script.line("alive", 60_000)
    expect(await script.exit).toEqual({ code: 0, signal: null })
    expect(script.stderr).toBe("")
  })

  test("the application still learns of them, and many clients on one pool add one listener", async () => {
    const pool = open({ connectionString: on.db.url, application_name: "heard" })
    const heard: Error[] = []
    pool.on("error", (error) => heard.push(error))
    const tusks = Array.from({ length: 30 }, () => new Tusk({ pool }))
    expect(pool.listenerCount("error")).toBe(2)
    await tusks[0]!.workers()
    await on.db.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'heard'")
    await waitFor(() => heard.length === 1)
    expect(heard[0]).toMatchObject({ code: "57P01" })
    expect(await tusks[1]!.workers()).toEqual([])
    await Promise.all(tusks.map((tusk) => tusk.close()))
  })
})

describe("what is no pool is refused when it is given", () => {
  const method = (): void => undefined
  test.each<[unknown, RegExp]>([
    [{ connect: method }, /pool is no pool of pg; write new pg\.Pool\(.*It has no method query\(\)/],
    [{ connect: method, query: method, end: method }, /It has no method on\(\)/],
    [{ connect: method, query: method, end: method, on: method }, /It has no options, by which workers and LISTEN could connect/],
    [{ connect: method, query: method, end: method, on: method, options: "postgres://u:secret@h/db" }, /It has no options/],
    ["postgres://u:secret@h/db", /pool is no pool of pg/],
    [new pg.Client({ host: "h" }), /pool is no pool of pg.*It has no options/],
    [null, /pool is no pool of pg/],
    [connectSocket, /pool is no pool of pg/],
    [
      new pg.Pool({ connectionString: "postgres://u:sec#ret@h/db" }),
      /^The connectionString of the pool is "postgres:\/\/\*\*\*@h\/db", which is no URL/,
    ],
    [
      new pg.Pool({ connectionString: "postgres://u:secret@h1,h2/db" }),
      /has several hosts, of which pg reads one only; write configure\(\{ connectionString \}\)/,
    ],
  ])("%#", (pool, message) => {
    let error: unknown
    try {
      new Tusk({ pool: pool as PoolLike })
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect((error as Error).message).toMatch(message)
    expect((error as Error).message).not.toMatch(/sec.?ret/)
  })
})
