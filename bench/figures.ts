/**
 * The figures that the project speaks of, on an embedded Postgres with default durability and stock settings.
 *
 *   npm run figures                                    all of them
 *   npm run figures -- --floor path/to/floor.mjs       the drain also as a share of a floor script, run before and after it
 *   npm run figures -- --only drain --jobs 100000 --repeat 3
 *
 * drain     jobs a second: no-op jobs waiting, one worker, history kept (from the worker's start to the last outcome recorded)
 * enqueue   jobs a second: 1,000 enqueue() in flight
 * pickup    milliseconds from enqueue() to the handler's start, one at a time, idle worker
 * rescue    seconds from kill -9 to the job running again on another worker
 *
 * Medians; read them as ratios, machines differ. Bounded in count and time; talks to loopback only.
 */
import { execFile, spawn } from "node:child_process"
import { copyFileSync, mkdirSync } from "node:fs"
import { join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs, promisify } from "node:util"
import pg from "pg"
import { configure, type Tusk, task } from "../src/index.js"
import { startEmbedded } from "../src/postgres/embedded.js"

const { values: options } = parseArgs({
  options: {
    jobs: { type: "string", default: "100000" },
    repeat: { type: "string", default: "3" },
    only: { type: "string" },
    floor: { type: "string" },
    child: { type: "string" },
  },
})
const JOBS = Number(options.jobs)
const REPEAT = Number(options.repeat)
const silent = { debug() {}, info() {}, warn() {}, error() {} }

let onNoop: () => void = () => undefined
const noop = task({ name: "figures.noop" }, async (_n: number) => onNoop())
let onStart: () => void = () => undefined
const mark = task({ name: "figures.mark" }, async () => onStart())
const hold = task({ name: "figures.hold", queue: "hold" }, async () => {
  process.send?.("running")
  await new Promise((done) => setTimeout(done, 60_000))
})

if (options.child !== undefined) {
  const tusk = configure({ connectionString: options.child, logger: silent })
  await tusk.work({ queues: ["hold"] })
} else await measure()

async function measure(): Promise<void> {
  const server = await startEmbedded({ logger: silent })
  const tusk = configure({ connectionString: server.connectionString, logger: silent })
  await tusk.migrate()
  const wanted = (name: string): boolean => options.only === undefined || options.only === name
  try {
    if (wanted("drain")) await drain(tusk, server.connectionString)
    if (wanted("enqueue")) await enqueue(tusk)
    if (wanted("pickup")) await pickup(tusk)
    if (wanted("rescue")) await rescue(tusk, server.connectionString)
  } finally {
    await tusk.close()
    await server.stop()
  }
}

async function drain(tusk: Tusk, url: string): Promise<void> {
  const ours: number[] = []
  const floors: number[] = []
  if (options.floor !== undefined) floors.push(await floorDrain(url))
  for (let round = 0; round < REPEAT; round++) {
    await clear(tusk)
    for (let i = 0; i < JOBS; i += 5_000) await noop.enqueueMany(Array.from({ length: Math.min(5_000, JOBS - i) }, (_, k): [number] => [i + k]))
    await tusk.transaction((tx) => tx.query("analyze tusk.jobs"))
    let left = JOBS
    const finished = new Promise<void>((done) => {
      onNoop = () => {
        if (--left === 0) done()
      }
    })
    const began = performance.now()
    const worker = await tusk.work({ signals: false })
    await finished
    await worker.drain()
    ours.push(JOBS / ((performance.now() - began) / 1_000))
    const { rows } = await tusk.transaction((tx) => tx.query("select count(*)::int as n from tusk.finished_jobs where state = 'completed'"))
    if (rows[0].n !== JOBS) throw new Error(`${rows[0].n} of ${JOBS} jobs were recorded`)
    if (options.floor !== undefined) floors.push(await floorDrain(url))
  }
  const share = floors.length === 0 ? "" : `, ${(median(ours) / median(floors)).toFixed(2)} of the floor's ${Math.round(median(floors))}`
  console.log(`drain: ${Math.round(median(ours))} jobs/s (${JOBS} no-op jobs, each recorded once)${share}`)
}

async function floorDrain(url: string): Promise<number> {
  // Beside our node_modules, since it imports pg.
  const folder = fileURLToPath(new URL("../.pgtusk/", import.meta.url))
  mkdirSync(folder, { recursive: true })
  const script = join(folder, "floor.mjs")
  copyFileSync(resolve(options.floor as string), script)
  const { stdout } = await promisify(execFile)(process.execPath, [script, url, "--jobs", String(JOBS), "--only", "drain"], { timeout: 300_000 })
  return JSON.parse(stdout.trim().split("\n").at(-1)!).drainPerSecond
}

async function enqueue(tusk: Tusk): Promise<void> {
  const rates: number[] = []
  for (let round = 0; round < REPEAT; round++) {
    await clear(tusk)
    let left = 50_000
    const began = performance.now()
    await Promise.all(
      Array.from({ length: 1_000 }, async () => {
        while (left-- > 0) await noop.enqueue(left)
      }),
    )
    rates.push(50_000 / ((performance.now() - began) / 1_000))
  }
  console.log(`enqueue: ${Math.round(median(rates))} jobs/s with 1,000 enqueue() in flight`)
}

async function pickup(tusk: Tusk): Promise<void> {
  await clear(tusk)
  const worker = await tusk.work({ queues: ["default"], signals: false })
  const times: number[] = []
  for (let i = 0; i < 520; i++) {
    const started = new Promise<number>((done) => {
      onStart = () => done(performance.now())
    })
    const began = performance.now()
    await mark.enqueue()
    times.push((await started) - began)
    await new Promise((done) => setTimeout(done, 3))
  }
  await worker.drain()
  const sorted = times.slice(20).sort((a, b) => a - b)
  const at = (share: number): string => sorted[Math.floor(sorted.length * share)]!.toFixed(1)
  console.log(`pickup: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, p99 ${at(0.99)} ms from enqueue() to the handler's start, idle worker, same process`)
}

async function rescue(tusk: Tusk, url: string): Promise<void> {
  await clear(tusk)
  const start = (): ReturnType<typeof spawn> =>
    spawn(process.execPath, ["--import", "tsx", fileURLToPath(import.meta.url), "--child", url], { stdio: ["ignore", "inherit", "inherit", "ipc"] })
  const first = start()
  await hold.enqueue()
  await new Promise((done) => first.once("message", done))
  const second = start()
  const again = new Promise((done) => second.once("message", done))
  const client = new pg.Client(url)
  await client.connect()
  while (Number((await client.query("select count(*) from tusk.workers")).rows[0].count) < 2) await new Promise((done) => setTimeout(done, 50))
  await client.end()
  first.kill("SIGKILL")
  const began = performance.now()
  await again
  console.log(`rescue: ${((performance.now() - began) / 1_000).toFixed(1)} s from kill -9 to running again, stock settings`)
  second.kill("SIGKILL")
}

async function clear(tusk: Tusk): Promise<void> {
  await tusk.transaction((tx) => tx.query("truncate tusk.jobs, tusk.finished_jobs"))
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!
}
