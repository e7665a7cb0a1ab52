import { once } from "node:events"
import { type AddressInfo, createServer } from "node:net"
import pg from "pg"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { ConnectionError, InvalidOptionError } from "../../src/api/errors.js"
import { parseAddress, targetOf } from "../../src/postgres/run/address.js"
import { Connector } from "../../src/postgres/run/connector.js"
import { Runner } from "../../src/postgres/run/pool.js"
import { StatementNames } from "../../src/postgres/run/statement-names.js"
import { bench, rejection, timed } from "../jobs/setup.js"
import { startPooler } from "../support/pooler.js"
import { type FaultProxy, startProxy } from "../support/proxy.js"
import { deferred, waitFor, within } from "../support/wait.js"

const on = bench()
const lines: string[] = []
const logger = {
  debug: (message: string) => void lines.push(message),
  info() {},
  warn() {},
  error() {},
}
let proxy: FaultProxy
let pool: pg.Pool
let runner: Runner
beforeEach(async () => {
  lines.length = 0
  proxy = await startProxy(on.db.url)
  pool = Connector.to(proxy.url).createPool(2, logger, "test")
  runner = new Runner(pool, "here")
})
afterEach(async () => {
  proxy.resume()
  await pool.end()
  await proxy.close()
})
const killAll = (): Promise<unknown> =>
  on.db.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgtusk test' and datname = current_database()")

describe("run", () => {
  test("gives rows; an error of the statement comes as it is, and the connection lives on", async () => {
    expect(await runner.run({ text: "select $1::int as n", values: [7] })).toEqual([{ n: 7 }])
    const error = await rejection(runner.run({ text: "select 1 / 0" }))
    expect(error).toBeInstanceOf(pg.DatabaseError)
    expect(error.code).toBe("22012")
    await runner.run({ text: "select 1" })
    expect([pool.totalCount, pool.idleCount]).toEqual([1, 1])
  })

  test("a server that does not answer in time: ConnectionError with an unknown outcome, and the connection is thrown away", async () => {
    await runner.run({ text: "select 1" })
    proxy.pause()
    const took = await timed(async () => {
      const error = await rejection(runner.run({ text: "select 1" }, 150))
      expect(error).toBeInstanceOf(ConnectionError)
      expect(error.message).toContain("did not answer within 150 ms")
      expect(error.unknown).toBe(true)
    })
    expect(took).toBeLessThan(5_000)
    expect(pool.totalCount).toBe(0)
    proxy.resume()
    expect(await runner.run({ text: "select 2 as n" })).toEqual([{ n: 2 }])
  })

  test("an answer that comes while the event loop is blocked counts, although its time is over when it is read", async () => {
    const direct = Connector.to(on.db.url).createPool(1, logger, "test")
    const there = new Runner(direct, "here")
    await there.run({ text: "select 1" })
    const answer = there.run({ text: "select 7 as n, pg_sleep(0.1)" }, 150)
    // Time for it to leave.
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
    const until = performance.now() + 500
    while (performance.now() < until);
    expect(await answer).toMatchObject([{ n: 7 }])
    await direct.end()
  })

  test("a connection that dies under a statement, or at rest, costs that statement at most", async () => {
    const error = rejection(runner.run({ text: "select pg_sleep(60)" }))
    await waitFor(
      async () =>
        (
          await on.db.query(
            "select 1 from pg_stat_activity where application_name = 'pgtusk test' and datname = current_database() and query like '%pg_sleep(60)' and state = 'active'",
          )
        ).length === 1,
    )
    await killAll()
    expect(await error).toMatchObject({ name: "ConnectionError", unknown: true })
    await runner.run({ text: "select 1" })
    await killAll()
    await waitFor(() => pool.totalCount === 0)
    expect(lines).toContain("an idle connection was lost")
    expect(await runner.run({ text: "select 3 as n" })).toEqual([{ n: 3 }])
  })

  test("a connection that is cut off in the packet that says it is ready: ConnectionError, and the process lives", async () => {
    const message = (type: string, body: Buffer): Buffer => {
      const head = Buffer.alloc(5)
      head.write(type)
      head.writeInt32BE(body.length + 4, 1)
      return Buffer.concat([head, body])
    }
    const fatal = "SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
    const greeting = Buffer.concat([message("R", Buffer.alloc(4)), message("Z", Buffer.from("I")), message("E", Buffer.from(fatal))])
    const server = createServer((socket) => socket.on("error", () => {}).once("data", () => socket.end(greeting))).listen(0, "127.0.0.1")
    await once(server, "listening")
    const { port } = server.address() as AddressInfo
    const cut = Connector.to(`postgres://x@127.0.0.1:${port}/y`).createPool(1, logger, "test")
    expect(await rejection(new Runner(cut, "there").run({ text: "select 1" }))).toMatchObject({ name: "ConnectionError" })
    await cut.end()
    server.close()
  })

  test("no connection to be had: ConnectionError, and nothing was sent", async () => {
    const target = new Runner(Connector.to("postgres://x@127.0.0.1:1/y").createPool(1, logger, "test"), "there:1/y")
    expect(await rejection(target.run({ text: "select 1" }))).toMatchObject({ name: "ConnectionError", unknown: false, message: /at there:1\/y/ })
    await target.pool.end()
  })

  test("a right that is missing is a ConnectionError too, and nothing was done", async () => {
    const error = await rejection(
      runner.run({ text: "do $$ begin raise exception 'permission denied for table jobs' using errcode = '42501'; end $$" }),
    )
    expect(error).toMatchObject({ name: "ConnectionError", unknown: false })
    expect(error.message).toMatch(/The user of here lacks a right: permission denied for table jobs/)
  })
})

describe("named statements", () => {
  const named = { name: "pgtusk_test_named", text: "select $1::int + 1 as n", values: [1] }
  const answer = [{ n: 2 }]

  test("a session that has the name already, as behind a pooler: said once, repeated without, and remembered by all on that way", async () => {
    const pooler = await startPooler(on.db.url)
    const infos: string[] = []
    const names = new StatementNames({ ...logger, info: (message) => void infos.push(message) })
    const pools = [1, 2].map(() => Connector.to(pooler.url).createPool(2, logger, "test"))
    const runners = pools.map((each) => new Runner(each, "here", names))
    for (const each of [...runners, ...runners]) expect(await each.run(named)).toEqual(answer)
    expect(infos).toEqual([expect.stringMatching(/\(42P05\), as behind a pooler in transaction mode.*preparedStatements: false/)])
    await Promise.all(pools.map((each) => each.end()))
    await pooler.close()
  })

  test("a session that has lost the name", async () => {
    const one = Connector.to(on.db.url).createPool(1, logger, "test")
    const target = new Runner(one, "here")
    expect(await target.run(named)).toEqual(answer)
    await target.run({ text: "deallocate all" })
    expect(await target.run(named)).toEqual(answer)
    expect(await target.run(named)).toEqual(answer)
    await one.end()
  })

  test("another error leaves the names alone", async () => {
    expect((await rejection(runner.run({ ...named, text: "select 1 / ($1::int - 1)" }))).code).toBe("22012")
    await runner.run({ ...named, name: "pgtusk_test_other" })
    expect(await runner.run({ text: "select name from pg_prepared_statements" })).toContainEqual({ name: "pgtusk_test_other" })
  })
})

describe("isolation", () => {
  test("single statements are READ COMMITTED where the database's default is another, and the session keeps its own", async () => {
    await on.db.query("create table if not exists levels (level text, n int check (n > 0))")
    await on.db.query(`alter database "${on.db.name}" set default_transaction_isolation = 'serializable'`)
    const strict = Connector.to(on.db.url).createPool(1, logger, "test")
    try {
      const target = new Runner(strict, "here")
      const text = "insert into levels values (current_setting('transaction_isolation'), $1) returning level"
      for (let i = 0; i < 2; i++) expect(await target.run({ name: "pgtusk_test_level", text, values: [1] })).toEqual([{ level: "read committed" }])
      expect((await rejection(target.run({ text, values: [0] }))).code).toBe("23514")
      expect(await on.db.query("select level from levels")).toEqual([{ level: "read committed" }, { level: "read committed" }])
      expect((await strict.query("select current_setting('transaction_isolation') as level")).rows).toEqual([{ level: "serializable" }])
      expect([strict.totalCount, strict.idleCount]).toEqual([1, 1])
    } finally {
      await strict.end()
      await on.db.query(`alter database "${on.db.name}" reset default_transaction_isolation`)
    }
  })
})

describe("transaction", () => {
  beforeEach(() => on.db.query("create table if not exists kept (n int); truncate kept"))
  const kept = async (): Promise<number[]> => (await on.db.query<{ n: number }>("select n from kept order by n")).map((row) => row.n)

  test("commits, and its connection goes back", async () => {
    const value = await runner.transaction(async (client) => {
      await client.query("insert into kept values ($1)", [1])
      return (await client.query("show transaction_isolation")).rows
    })
    expect(value).toEqual([{ transaction_isolation: "read committed" }])
    expect([await kept(), pool.idleCount]).toEqual([[1], 1])
  })

  test.each([
    ["any value", "changed my mind"],
    ["an error of another connection", Object.assign(new Error("connect ECONNREFUSED 10.0.0.1:443"), { code: "ECONNREFUSED" })],
    ["an error whose words sound like ours", new Error("socket hang up: connection terminated")],
    ["an error of the server that the application raised", Object.assign(new Error("no"), { code: "57P01" })],
  ])("rolls back with what the callback throws, untouched: %s", async (_, thrown) => {
    const error = await rejection(
      runner.transaction(async (client) => {
        await client.query("insert into kept values (1)")
        throw thrown
      }),
    )
    expect(error).toBe(thrown)
    expect([await kept(), pool.idleCount, pool.totalCount]).toEqual([[], 1, 1])
  })

  test("of ours must be answered in time; one of the application's may take longer", async () => {
    const impatient = new Runner(pool, "here", undefined, 150)
    expect(await impatient.transaction(async (client) => (await client.query("select pg_sleep(0.3)")).rowCount)).toBe(1)
    const error = await rejection(
      impatient.shortTransaction(async (client) => {
        proxy.pause()
        await client.query("select 1")
      }),
    )
    expect(error).toBeInstanceOf(ConnectionError)
    expect(error.message).toContain("did not answer within 150 ms")
  })

  test("a connection lost before the commit: nothing has happened, and it says so", async () => {
    const error = await rejection(
      runner.transaction(async (client) => {
        await client.query("insert into kept values (1)")
        proxy.drop()
        await client.query("insert into kept values (2)")
      }),
    )
    expect(error).toMatchObject({ name: "ConnectionError", unknown: false })
    expect(await kept()).toEqual([])
    expect(pool.totalCount).toBe(0)
  })

  test("a connection lost before the commit, which the callback did not notice", async () => {
    const gone = deferred()
    const error = rejection(
      runner.transaction(async (client) => {
        await client.query("insert into kept values (1)")
        proxy.drop()
        await gone.promise
      }),
    )
    await waitFor(
      async () =>
        (await on.db.query("select 1 from pg_stat_activity where application_name = 'pgtusk test' and datname = current_database()")).length === 0,
    )
    gone.resolve()
    expect(await error).toBeInstanceOf(ConnectionError)
    expect(await kept()).toEqual([])
  })

  test("the answer to the commit is lost: the outcome is unknown, and here it is committed", async () => {
    const lost = proxy.loseReplies("commit\0")
    const error = await rejection(
      runner.transaction(async (client) => {
        await client.query("insert into kept values (1)")
      }),
    )
    await within(lost, 1_000)
    expect(error).toMatchObject({ name: "ConnectionError", unknown: true })
    expect(error.message).toMatch(/Whether the transaction was committed is unknown/)
    await waitFor(async () => (await kept()).length === 1)
  })
})

describe("targetOf", () => {
  test.each([
    ["postgres://user:secret@db.example:6543/app", "db.example:6543/app"],
    ["postgresql://user:secret@db.example/app?sslmode=disable", "db.example:5432/app"],
    ["postgres://[::1]:5433/app", "::1:5433/app"],
  ])("%s is %s", (url, target) => {
    expect(targetOf(parseAddress(url))).toBe(target)
  })
})

describe("application_name", () => {
  const withName = (url: string): string => {
    const named = new URL(url)
    named.searchParams.set("application_name", "shop")
    return named.href
  }
  test.each([
    ["ours, when nobody gave one", () => ({ connectionString: on.db.url }), "pgtusk test"],
    ["the connection string's", () => ({ connectionString: withName(on.db.url) }), "shop"],
    ["that of a pool's settings", () => ({ connectionString: on.db.url, application_name: "shop" }), "shop"],
  ])("is %s", async (_, config, name) => {
    const connector = Connector.with(config())
    const own = connector.createPool(1, logger, "test")
    expect((await own.query("select current_setting('application_name') as name")).rows).toEqual([{ name }])
    expect(connector.applicationName("test")).toBe(name)
    await own.end()
  })
})

test("parseAddress is strict, and says what to write", () => {
  expect(() => parseAddress("redis://x", "MY_URL")).toThrow(InvalidOptionError)
  expect(() => parseAddress("redis://x", "MY_URL")).toThrow('MY_URL begins with "redis://"; write "postgres://user:password@host:5432/database"')
  expect(parseAddress("postgres:///app?host=/var/run/postgresql").hosts).toEqual([{ connectionString: "postgres:///app?host=/var/run/postgresql" }])
})
