/**
 * The server's disk is full, while producers enqueue and workers work. Enqueues fail with a clear error and store nothing by halves, workers keep their
 * outcomes and go on trying. Then there is space again, and everything completes, each effect once.
 */
import { execFile } from "node:child_process"
import { chown, mkdir, mkdtemp, rm, stat, statfs, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import pg from "pg"
import { describe, expect, onTestFinished, test } from "vitest"
import { ConnectionError } from "../../src/api/errors.js"
import { type EmbeddedServer, startEmbedded } from "../../src/embedded/embedded.js"
import { currentJob, Tusk, task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"

const run = promisify(execFile)
const logger = { debug() {}, info() {}, warn() {}, error() {} }

/** Why no file system can be mounted here; undefined: it can. */
const refusal = await (async () => {
  const folder = await mkdtemp(join(tmpdir(), "pgtusk-mount-"))
  try {
    await run("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder])
    await run("umount", [folder])
    return undefined
  } catch (error) {
    return String((error as Error).message).trim()
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})()
if (refusal !== undefined) process.stderr.write(`!!!! A full disk cannot be made here, so its tests are skipped: ${refusal} !!!!\n`)

/** A small disk in memory, and the file that fills it. */
class Disk {
  readonly path: string
  private constructor(path: string) {
    this.path = path
  }

  static async mount(megabytes: number): Promise<Disk> {
    const path = await mkdtemp(join(tmpdir(), "pgtusk-disk-"))
    await run("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m,mode=755`, "tmpfs", path])
    onTestFinished(async () => {
      await run("umount", [path])
      await rm(path, { recursive: true, force: true })
    })
    return new Disk(path)
  }

  async left(): Promise<number> {
    const { bavail, bsize } = await statfs(this.path)
    return bavail * bsize
  }

  /** Until nothing is left, whatever is given back meanwhile. */
  async fill(): Promise<void> {
    for (let n = 0; (await this.left()) > 0; n++)
      await writeFile(join(this.path, `filler-${n}`), Buffer.alloc(await this.left())).catch(() => undefined)
  }

  async free(): Promise<void> {
    await run("sh", ["-c", 'rm -f "$1"/filler-*', "sh", this.path])
  }
}

interface Load {
  /** Names of jobs whose enqueue has resolved. */
  readonly accepted: Set<string>
  /** Errors of enqueues. */
  readonly refused: any[]
  /** Calls that said that they do not know. */
  readonly unknown: Set<string>
  stop(): Promise<void>
}

const SIZE = 60_000
let loads = 0

/** Two workers, and producers of batches that are stored all or none; handlers write their effect in the transaction of their completion. */
async function startLoad(url: string, admin: () => Promise<pg.Client>): Promise<Load> {
  const queue = `q${++loads}`
  const booked = task(
    // What a handler's own statement meets is the handler's error: it is tried again.
    { name: `${queue}.booked`, queue, transactional: true, retries: 10_000, backoff: { fixed: "100ms" }, keep: { completed: "1d" } },
    async (name: string) => {
      await currentJob().tx.query("insert into effects (name) values ($1)", [name])
    },
  )
  const plain = task({ name: `${queue}.plain`, queue }, (name: string) => name)
  const tusk = new Tusk({ connectionString: url, logger, signals: false })
  await tusk.migrate()
  const client = await admin()
  await client.query("create table effects (name text)")
  await client.end()
  for (let n = 0; n < 2; n++) await tusk.work({ queues: { [queue]: 4 }, lease: 10, poll: "300ms", drainTimeout: "5s" })
  const load = { accepted: new Set<string>(), refused: [] as any[], unknown: new Set<string>() }
  let over = false
  onTestFinished(async () => {
    over = true
    await tusk.close()
  })
  const padding = "x".repeat(SIZE)
  const producing = (async () => {
    for (let n = 0; !over; n++) {
      const names = [1, 2, 3].map((k) => `batch ${n} ${k}`)
      const big = names.map((name) => (n % 2 === 0 ? booked.call(name) : plain.call(`${name} ${padding}`)))
      try {
        await tusk.enqueueMany(big)
        for (const name of names) load.accepted.add(name)
      } catch (error) {
        load.refused.push(error)
        if ((error as ConnectionError).unknown) for (const name of names) load.unknown.add(name)
      }
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  })()
  return {
    ...load,
    stop: async () => {
      over = true
      await producing
      // What was accepted before is to be completed, whatever else is stored.
      await waitFor(
        async () => {
          const counts = await tusk
            .queue(queue)
            .counts()
            .catch(() => undefined)
          return counts !== undefined && counts.waiting + counts.active + counts.delayed === 0
        },
        { what: "every job to end", timeout: 60_000 },
      )
      await tusk.close()
    },
  }
}

/** Every accepted job has completed, each booked one has one effect, and no call is stored by halves. */
async function checkBooks(client: pg.Client, { accepted, unknown }: Load): Promise<void> {
  const { rows } = await client.query("select split_part(args ->> 0, ' x', 1) as name, state::text, task from tusk.finished_jobs")
  expect((await client.query("select 1 from tusk.jobs")).rows).toEqual([])
  expect(rows.filter((row) => row.state !== "completed")).toEqual([])
  const names = rows.map((row) => row.name)
  expect(new Set(names).size).toBe(names.length)
  const stored = new Set(names)
  expect([...accepted].filter((name) => !stored.has(name))).toEqual([])
  expect(names.filter((name) => !accepted.has(name) && !unknown.has(name))).toEqual([])
  const halves = new Map<string, number>()
  for (const name of names) halves.set(name.slice(0, -2), (halves.get(name.slice(0, -2)) ?? 0) + 1)
  expect([...halves].filter(([, n]) => n !== 3)).toEqual([])
  const effects = (await client.query("select name from effects order by 1")).rows.map((row) => row.name)
  expect(effects).toEqual(
    rows
      .filter((row) => row.task.endsWith("booked"))
      .map((row) => row.name)
      .sort(),
  )
}

async function connected(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url })
  client.on("error", () => {})
  await client.connect()
  return client
}

describe.skipIf(refusal !== undefined)("a disk that is full", () => {
  test("of the tables: enqueues say so, and everything goes on when there is space", { timeout: 150_000 }, async () => {
    const disk = await Disk.mount(40)
    const server = await startEmbedded({ logger, settings: { fsync: "off" } })
    onTestFinished(() => server.stop())
    const { uid, gid } = await stat(join(server.dataDir, "cluster"))
    const space = join(disk.path, "space")
    await mkdir(space)
    await chown(space, uid, gid)
    const first = await connected(server.connectionString)
    await first.query(`create tablespace small location '${space}'`)
    await first.query("create database small tablespace small")
    await first.end()
    const url = Object.assign(new URL(server.connectionString), { pathname: "/small" }).href
    const load = await startLoad(url, () => connected(url))
    await waitFor(() => load.accepted.size > 50, { what: "the load to run" })
    await disk.fill()
    await waitFor(() => load.refused.length > 0, { what: "an enqueue to fail", timeout: 40_000 })
    for (const error of load.refused) {
      expect(error).toBeInstanceOf(ConnectionError)
      expect(error.unknown).toBe(false)
      expect(error.message).toMatch(/no space left on its disk/)
    }
    const before = load.accepted.size
    await disk.free()
    await waitFor(() => load.accepted.size > before + 20, { what: "enqueues to be accepted again", timeout: 40_000 })
    await load.stop()
    const client = await connected(url)
    await checkBooks(client, load)
    await client.end()
  })

  test("of everything, so that the server dies of it: what was accepted completes after its restart", { timeout: 200_000 }, async () => {
    const disk = await Disk.mount(160)
    const dataDir = join(disk.path, "db")
    const settings = { fsync: "off", max_wal_size: "48MB", min_wal_size: "32MB" }
    let server: EmbeddedServer = await startEmbedded({ dataDir, logger, settings })
    onTestFinished(() => server.stop())
    const { port, connectionString: url } = server
    const load = await startLoad(url, () => connected(url))
    await waitFor(() => load.accepted.size > 50, { what: "the load to run" })
    const writer = await connected(url)
    let died = false
    while (!died) {
      await disk.fill()
      // Uses up the write-ahead log that is there, and no space of tables.
      await writer.query("select pg_logical_emit_message(true, 'x', repeat('x', 4000000)), pg_switch_wal()").catch((error: Error) => {
        died = /terminat|crash|ECONNRESET|not queryable|closed/i.test(error.message)
      })
    }
    await waitFor(() => load.refused.length > 0, { what: "an enqueue to fail", timeout: 40_000 })
    for (const error of load.refused) expect(error).toBeInstanceOf(ConnectionError)
    await disk.free()
    const before = load.accepted.size
    const alive = await connected(url)
      .then((client) => client.end().then(() => true))
      .catch(() => false)
    if (!alive) {
      await server.stop()
      server = await startEmbedded({ dataDir, port, logger, settings })
    }
    await waitFor(() => load.accepted.size > before + 20, { what: "enqueues to be accepted again", timeout: 60_000 })
    await load.stop()
    const client = await connected(url)
    await checkBooks(client, load)
    await client.end()
  })
})
