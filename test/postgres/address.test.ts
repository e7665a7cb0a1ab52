/** Where the database is: all forms that pg takes, several hosts, the environment; and no password in any message. */
import { mkdtempSync, rmSync } from "node:fs"
import { connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inspect } from "node:util"
import pg from "pg"
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest"
import { InvalidOptionError } from "../../src/api/errors.js"
import { Tusk } from "../../src/index.js"
import { addressFromEnvironment, parseAddress, targetOf } from "../../src/postgres/run/address.js"
import { bench } from "../jobs/setup.js"

const on = bench()
afterEach(() => void vi.unstubAllEnvs())

/** Where pg would go with what the address says. */
const places = (text: string | string[]): string[] =>
  parseAddress(text).hosts.map((config) => {
    const { host, port, database, user, password } = new pg.Client(config)
    return `${user}:${password}@${host}:${port}/${database}`
  })

describe("what pg accepts is accepted, and read as pg reads it", () => {
  test.each([
    ["postgres://user:secret@/db?host=/cloudsql/project:region:instance", "user:secret@/cloudsql/project:region:instance:5432/db"],
    ["postgresql:///db?host=/var/run/postgresql&user=me", "me:null@/var/run/postgresql:5432/db"],
    ["postgres:///db?host=/cloudsql/p:r:i&user=sa@project.iam&password=s%40crt", "sa@project.iam:s@crt@/cloudsql/p:r:i:5432/db"],
    ["postgres://u:p@%2Fvar%2Frun%2Fpostgresql/db", "u:p@/var/run/postgresql:5432/db"],
    ["socket:/var/run/postgresql?db=shop&user=u&password=p", "u:p@/var/run/postgresql:5432/shop"],
    ["socket://u:p@/var/run/postgresql?db=shop", "u:p@/var/run/postgresql:5432/shop"],
    ["postgres://u:p@[::1]:5433/db", "u:p@::1:5433/db"],
    ["postgres://u:p%40%2F%23%3F@h/db", "u:p@/#?@h:5432/db"],
    ["postgres://u:p@ss@h/db", "u:p@ss@h:5432/db"],
    ["postgis://u:p@h/db", "u:p@h:5432/db"],
    ["postgres://u:p@h/my%20db?sslmode=disable", "u:p@h:5432/my db"],
  ])("%s", (text, place) => {
    expect(places(text)).toEqual([place])
    const { host, port, database } = new pg.Client({ connectionString: text })
    expect(place.endsWith(`@${host}:${port}/${database}`)).toBe(true)
  })

  test("pg's short form of a socket", () => {
    expect(targetOf(parseAddress("/var/run/postgresql shop"))).toBe("/var/run/postgresql:5432/shop")
  })

  test("a database behind a socket, by each of its forms", async () => {
    const folder = mkdtempSync(join(tmpdir(), "pgtusk-socket-"))
    const to = new URL(on.db.url)
    const server = createServer((near) => {
      const far = connect(Number(to.port), to.hostname)
      near.on("error", () => far.destroy()).pipe(far)
      far.on("error", () => near.destroy()).pipe(near)
    })
    await new Promise<void>((resolve) => server.listen(join(folder, ".s.PGSQL.5432"), resolve))
    onTestFinished(() => {
      server.close()
      rmSync(folder, { recursive: true })
    })
    const { username, password, pathname } = to
    const open: Tusk[] = []
    for (const url of [
      `postgres://${username}:${password}@${pathname}?host=${folder}&sslmode=disable`,
      `postgresql://${pathname}?host=${encodeURIComponent(folder)}&user=${username}&password=${password}&sslmode=disable`,
      `socket://${username}:${password}@${folder}?db=${pathname.slice(1)}`,
    ]) {
      const tusk = new Tusk(url)
      open.push(tusk)
      expect(await tusk.workers()).toEqual([])
      expect((await tusk.migrate()).applied).toEqual([])
    }
    await Promise.all(open.map((tusk) => tusk.close()))
  })
})

describe("several servers", () => {
  test.each([
    ["postgres://u:p@h1:5432,h2:5433/db", ["u:p@h1:5432/db", "u:p@h2:5433/db"], "h1:5432,h2:5433/db"],
    [
      "postgres://u:p@h1,h2,h3/db?target_session_attrs=read-write",
      ["u:p@h1:5432/db", "u:p@h2:5432/db", "u:p@h3:5432/db"],
      "h1:5432,h2:5432,h3:5432/db",
    ],
    ["postgres://u:p@[::1]:5432,[fe80::2]:5433/db", ["u:p@::1:5432/db", "u:p@fe80::2:5433/db"], "::1:5432,fe80::2:5433/db"],
    ["postgres:///db?host=h1,h2&port=5432,5433&user=u&password=p", ["u:p@h1:5432/db", "u:p@h2:5433/db"], "h1:5432,h2:5433/db"],
    ["postgres:///db?host=h1,/run/pg&port=6000&user=u&password=p%2Bq", ["u:p+q@h1:6000/db", "u:p+q@/run/pg:6000/db"], "h1:6000,/run/pg:6000/db"],
    ["postgres://u:p,q@h1,h2/db?application_name=a%20b", ["u:p,q@h1:5432/db", "u:p,q@h2:5432/db"], "h1:5432,h2:5432/db"],
  ])("%s", (text, each, target) => {
    expect(places(text)).toEqual(each)
    expect(targetOf(parseAddress(text))).toBe(target)
    expect(parseAddress(text)).toMatchObject({ checked: true, readWrite: text.includes("read-write") })
  })

  test("a list, also of several each, and with parameters of their own", () => {
    const list = ["postgres://u:p@h1/db?sslmode=disable", "postgres://v:q@h2,h3/db2"]
    expect(places(list)).toEqual(["u:p@h1:5432/db", "v:q@h2:5432/db2", "v:q@h3:5432/db2"])
    expect(parseAddress(["postgres://h1/db"])).toMatchObject({ checked: false })
    expect(parseAddress(["postgres://h1/db", "postgres://h2/db"])).toMatchObject({ checked: true })
  })

  test.each([
    [[], /onnectionString is an empty list/],
    [["postgres://h/db", 5], /onnectionString\[1\] is 5; write a string/],
    [["postgres://h/db", "nonsense"], /onnectionString\[1\] is "nonsense", which is no URL/],
    ["postgres://u:secret@h1:5432,h2:port/db", /which is no URL/],
    ["postgres:///db?host=h1,h2,h3&port=1,2", /port has 2 ports for 3 hosts/],
    [
      "postgres://h1,h2/db?target_session_attrs=standby",
      /target_session_attrs is "standby": pgtusk writes, and a standby takes no writes; write "read-write" or "primary"/,
    ],
    ["postgres://h1,h2/db?target_session_attrs=read-only", /"read-only": pgtusk writes/],
    ["postgres://h1,h2/db?target_session_attrs=prefer-standby", /"prefer-standby": pgtusk writes/],
    ["postgres://h1,h2/db?target_session_attrs=master", /"master": that is no value of it; write "read-write" or "primary"/],
  ])("%j is refused", (given, message) => {
    for (const options of [{ connectionString: given }, { connectionString: "postgres://h/db", listenConnectionString: given }]) {
      expect(() => new Tusk(options as never)).toThrow(InvalidOptionError)
      expect(() => new Tusk(options as never)).toThrow(message)
    }
  })
})

describe("the environment", () => {
  const none = (): void => {
    for (const name of ["DATABASE_URL", "PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSERVICE", "PGTARGETSESSIONATTRS"])
      vi.stubEnv(name, undefined)
  }

  test("PG variables say where the database is when nothing else does", async () => {
    none()
    expect(addressFromEnvironment()).toBeUndefined()
    const { hostname, port, pathname, username, password } = new URL(on.db.url)
    vi.stubEnv("PGHOST", `127.0.0.2,${hostname}`)
    vi.stubEnv("PGPORT", `1,${port}`)
    vi.stubEnv("PGUSER", username)
    vi.stubEnv("PGPASSWORD", password)
    vi.stubEnv("PGDATABASE", pathname.slice(1))
    const tusk = new Tusk()
    expect(await tusk.workers()).toEqual([])
    await expect(tusk.connectionString()).rejects.toThrow(/takes what the environment's PG variables say/)
    await tusk.close()
    vi.stubEnv("PGTARGETSESSIONATTRS", "standby")
    await expect(new Tusk().workers()).rejects.toThrow(/PGTARGETSESSIONATTRS is "standby"/)
  })

  test("what a URL leaves out comes from them", () => {
    none()
    vi.stubEnv("PGHOST", "h1,h2")
    vi.stubEnv("PGPORT", "6000")
    vi.stubEnv("PGPASSWORD", "p")
    expect(places("postgres://u@/db")).toEqual(["u:p@h1:6000/db", "u:p@h2:6000/db"])
  })

  test("a service is not looked up, as by pg, and that is said", async () => {
    none()
    vi.stubEnv("PGSERVICE", "shop")
    await expect(new Tusk().workers()).rejects.toThrow(/PGSERVICE is set, but node-postgres reads no service files/)
    expect(() => new Tusk("postgres:///?service=shop")).toThrow(/names a service, and node-postgres reads no service files/)
  })
})

describe("no message shows a password", () => {
  test.each([
    "postgres://postgres:hun#ter2@127.0.0.1:1/db",
    "postgres://postgres:98765#ter2@127.0.0.1:1/db",
    "postgres://postgres:hun/ter2@127.0.0.1:1/db",
    "postgres://postgres:98765/ter2@127.0.0.1:1/db",
    "postgres://postgres:hun?ter2@127.0.0.1:1/db",
    "postgres://postgres:98765?ter2@127.0.0.1:1/db",
    "postgres://postgres:98765?ter2=x@127.0.0.1:1/db",
    "postgres://postgres:hun@ter2@127.0.0.1:1/db",
    "postgres://postgres:hun%ter2@127.0.0.1:1/db",
    "postgres://postgres:hun%ffter2@127.0.0.1:1/db",
    "postgres://postgres:hun ter2@127.0.0.1:1/db",
    "postgres://postgres:hun\\ter2@127.0.0.1:1/db",
    "postgres://postgres:hunter2@127.0.0.1:1/db",
    "postgres://postgres:hunter2@127.0.0.1:99999/db",
    "postgres://postgres:hunter2@[::1/db",
    "postgres://postgres:hunter2",
    "postgres://postgres:hunter2@",
    "postgres://127.0.0.1:1/db?user=x&password=hunter2",
    "postgres://127.0.0.1:1/db?user=x&password=hun@ter2",
    "postgres://127.0.0.1:99999/db?user=x&password=hun@ter2",
    "postgres://127.0.0.1:99999/db?user=x&password=hun%40ter2",
    "postgres://127.0.0.1:1/db?PASSWORD=hunter2&sslrootcert=/no/such/file",
    "postgres://u:hunter2@127.0.0.1:1,127.0.0.1:2/db",
    "postgres://u:hunter2@127.0.0.1:1,127.0.0.1:2/db?target_session_attrs=standby",
    "postgres://u:hunter2@127.0.0.1:1,127.0.0.1:x/db",
    "postgres:u:hunter2@127.0.0.1/db",
    "postgres:/u:hunter2@127.0.0.1/db",
    "u:hunter2@127.0.0.1/db",
    "u:hunter2",
    "mysql://u:hunter2@127.0.0.1/db",
    "prisma+postgres://accelerate.example/?api_key=hunter2",
    "jdbc:postgresql://127.0.0.1/db?user=u&password=hunter2",
    "host=127.0.0.1 port=1 user=u password=hunter2",
    "host=127.0.0.1 password='hun ter2' user=u",
    "host=127.0.0.1 password = hunter2",
    "host=127.0.0.1 password=hun ter2",
    "host=127.0.0.1 password='hun\\' ter2' dbname=x",
    "host=127.0.0.1 password='hunter2",
    "host=127.0.0.1 sslpassword=hunter2 passfile=x",
    '"postgres://u:hunter2@127.0.0.1/db"',
  ])("%s", async (text) => {
    vi.stubEnv("DATABASE_URL", undefined)
    const said: string[] = []
    const say = (...what: unknown[]): void => void said.push(inspect(what, { depth: 20, showHidden: true }), JSON.stringify(what), String(what))
    const logger = { debug: say, info: say, warn: say, error: say }
    const errors: unknown[] = []
    for (const options of [{ connectionString: text }, { connectionString: [text, text] }, text, [text]]) {
      try {
        const tusk = new Tusk((typeof options === "object" && !Array.isArray(options) ? { ...options, logger } : options) as never)
        said.push(inspect(tusk, { depth: 20, showHidden: true }), JSON.stringify(tusk), String(tusk))
        await Promise.all(
          [tusk.workers(), tusk.migrate(), tusk.job("01890000-0000-7000-8000-000000000000").state()].map((use) =>
            use.catch((error: unknown) => errors.push(error)),
          ),
        )
        said.push(inspect(tusk, { depth: 20, showHidden: true }))
        await tusk.close()
      } catch (error) {
        errors.push(error)
      }
    }
    expect(errors.length).toBeGreaterThan(3)
    for (const error of errors)
      said.push(inspect(error, { depth: 20, showHidden: false }), JSON.stringify(error), String(error), (error as Error).stack ?? "")
    expect(said.join("\n")).not.toMatch(/hun.{0,3}ter|ter2|98765/)
  })

  test("neither does that of a value of another kind", () => {
    for (const given of [{ password: "hunter2" }, [{ password: "hunter2" }], new URL("postgres://u:hunter2@h/db"), () => "hunter2"]) {
      for (const options of [{ connectionString: given }, given]) {
        let error: unknown
        try {
          new Tusk(options as never)
        } catch (thrown) {
          error = thrown
        }
        expect(error).toBeInstanceOf(InvalidOptionError)
        expect(inspect(error, { depth: 20 })).not.toContain("hunter2")
      }
    }
  })
})
