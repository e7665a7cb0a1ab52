/**
 * `npm run soak -- --minutes 5`: a steady mixed load, well below what the machine can do, with no faults. Memory, connections, tables and throughput
 * must be level: the last third is compared with the first. Exit code 1 if something is not.
 */
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { mkdir, rm, writeFile } from "node:fs/promises"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { build } from "esbuild"
import pg from "pg"
import { quietLogger } from "../../../src/api/logger.js"
import { startEmbedded } from "../../../src/embedded/embedded.js"
import { type JobState, Tusk } from "../../../src/index.js"
import { SCRIPT } from "../../support/bundle.js"
import { within } from "../../support/wait.js"
import type { Memory } from "./child.js"
import { type Sample, sampleDatabase } from "./sample.js"
import { judge, report } from "./verdict.js"

const { values: given } = parseArgs({
  options: { minutes: { type: "string", default: "5" }, workers: { type: "string", default: "2" }, rate: { type: "string", default: "8" } },
})
const number = (name: keyof typeof given): number => {
  const value = Number(given[name])
  if (Number.isFinite(value) && value > 0) return value
  throw new Error(`--${name} is ${JSON.stringify(given[name])}; write a number above 0`)
}
const minutes = number("minutes")
/** Code is compiled, pools fill, and the first cleaned rows are reused: none of it is a leak. */
const WARM_UP_MS = Math.min(60_000, minutes * 12_000)
const EVERY_MS = Math.max(3_000, minutes * 600)
/** Finished jobs are cleaned when they are this old, since days are not over in a soak. */
const GRACE = "10s"
const ENDS: readonly JobState[] = ["completed", "failed", "cancelled"]

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const OUT = `${fileURLToPath(new URL("../../..", import.meta.url))}node_modules/.cache/pgtusk-soak-${process.pid}`
const problems: string[] = []

await mkdir(OUT, { recursive: true })
await writeFile(`${OUT}/package.json`, JSON.stringify({ name: "pgtusk-soak", type: "module" }))
await build({ ...SCRIPT, entryPoints: [fileURLToPath(new URL("child.ts", import.meta.url))], outdir: OUT })
// Autovacuum comes by each minute on stock settings; a soak of minutes would see no more than its first visits.
const server = await startEmbedded({ logger: quietLogger, settings: { fsync: "off", autovacuum_naptime: "5s" } })
const tusk = new Tusk({ connectionString: server.connectionString, logger: quietLogger, signals: false })
const client = new pg.Client({ connectionString: server.connectionString, application_name: "soak" })
const children = new Map<string, ChildProcess>()
let going = true

async function start(role: "worker" | "producer", name: string): Promise<void> {
  const child = fork(`${OUT}/child.js`, [role], {
    execArgv: ["--expose-gc", "--enable-source-maps"],
    env: { ...process.env, DATABASE_URL: server.connectionString, RATE: String(number("rate")) },
    stdio: ["ignore", "inherit", "pipe", "ipc"],
  })
  children.set(name, child)
  // No faults here: nothing has a reason to warn.
  child.stderr!.setEncoding("utf8").on("data", (text: string) => problems.push(`${name}: ${text.trim().slice(0, 2_000)}`))
  child.once("exit", (code, signal) => {
    if (going || code !== 0) problems.push(`${name} ended (${signal ?? `exit code ${code}`})`)
  })
  await within(once(child, "message"), 30_000, `${name} to begin`)
}

async function memory(child: ChildProcess): Promise<Memory> {
  const answer = once(child, "message")
  child.send("memory")
  return (await within(answer, 30_000, "a process to say its memory"))[0] as Memory
}

async function clean(): Promise<void> {
  while (going) {
    for (const state of ENDS) await tusk.queue("soak").clean({ state, grace: GRACE })
    await sleep(1_000)
  }
}

/** Jobs that became claimable so far, retries once more each. Rows would not do: some jobs keep none. */
async function claimable(): Promise<number> {
  const { rows } = await client.query("select last_value::float as n from tusk.job_seq")
  return rows[0].n
}

async function soak(): Promise<Sample[]> {
  const samples: Sample[] = []
  await sleep(WARM_UP_MS)
  const end = performance.now() + minutes * 60_000 - WARM_UP_MS
  let [lastAt, lastTotal, lastLive] = [performance.now(), await claimable(), 0]
  while (performance.now() < end) {
    await sleep(EVERY_MS)
    const sample = await sampleDatabase(client, EVERY_MS / 1_000)
    const [at, total] = [performance.now(), await claimable()]
    // What became claimable, less what is not done yet.
    sample["jobs a second"] = ((total - lastTotal - (sample["live jobs"]! - lastLive)) / (at - lastAt)) * 1_000
    const first = lastLive === 0
    ;[lastAt, lastTotal, lastLive] = [at, total, sample["live jobs"]!]
    for (const [name, child] of children) {
      const { rss, heap } = await memory(child)
      sample[`rss ${name}, MB`] = rss / 2 ** 20
      sample[`heap ${name}, MB`] = heap / 2 ** 20
    }
    if (!first) samples.push(sample)
  }
  return samples
}

try {
  await client.connect()
  await tusk.migrate()
  for (let i = 1; i <= number("workers"); i++) await start("worker", `worker ${i}`)
  await tusk.enqueue("fast", [0], { queue: "soak", repeatEvery: "500ms" })
  await tusk.schedules.upsert({ id: "soak", task: "fast", args: [0], when: { every: "1s" }, options: { queue: "soak" } })
  await start("producer", "producer")
  const cleaning = clean()
  say(`${minutes} min, ${number("workers")} workers, a sample each ${EVERY_MS / 1_000} s after ${WARM_UP_MS / 1_000} s of warming up`)
  const samples = await soak()
  going = false
  await cleaning
  for (const name of ["producer", ...[...children.keys()].filter((key) => key !== "producer")]) {
    const child = children.get(name)!
    const exit = child.exitCode === null && child.signalCode === null ? once(child, "exit") : undefined
    if (child.connected) child.send("stop")
    if (exit !== undefined) await within(exit, 40_000, `${name} to stop`)
  }
  const lines = judge(samples)
  say(report(lines))
  const uneven = lines.filter((line) => !line.level)
  for (const problem of problems) say(`!!!! ${problem}`)
  say(`soak: ${samples.length} samples, ${lines.length} measures, ${uneven.length} not level, ${problems.length} warnings`)
  if (uneven.length + problems.length > 0) process.exitCode = 1
} finally {
  going = false
  for (const child of children.values()) child.kill("SIGKILL")
  await client.end().catch(() => undefined)
  await tusk.close().catch(() => undefined)
  await server.stop()
  await rm(OUT, { recursive: true, force: true })
}
