/**
 * `npm run faults -- --seed 1 --minutes 1 --faults kill,restart`: a mixed load on several worker and producer processes, faults of all kinds meanwhile,
 * and then the books must balance. The last line counts; exit code 1 if anything was lost, done twice, or left behind.
 */
import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { parseArgs } from "node:util"
import { quietLogger } from "../../../src/api/logger.js"
import { Tusk } from "../../../src/index.js"
import { startProxy } from "../../support/proxy.js"
import { randomFrom } from "../../support/random.js"
import { within } from "../../support/wait.js"
import { CHECKS } from "./checks.js"
import { conduct } from "./conductor.js"
import { certainly, FAULTS, type Stage } from "./faults.js"
import { REPEAT_MS, SLOT_MS } from "./load.js"
import { Child, compile, removeCompiled } from "./processes.js"
import { LEDGER } from "./schema.js"
import { StormServer } from "./server.js"
import { describeSessions, judge, report, settle } from "./verdict.js"

const { values: given } = parseArgs({
  options: {
    seed: { type: "string" },
    minutes: { type: "string", default: "1" },
    faults: { type: "string" },
    workers: { type: "string", default: "3" },
    producers: { type: "string", default: "2" },
    /** Operations a second and producer. */
    rate: { type: "string", default: "40" },
    /** Of the workers, in seconds. How long things are blocked, stopped or away is measured by it. */
    lease: { type: "string", default: "3" },
    /** Seconds after the storm in which all must have ended; else 21 and three leases. */
    settle: { type: "string" },
    /** Faults at once. */
    hands: { type: "string", default: "2" },
    /** A folder for what the processes say. */
    logs: { type: "string" },
    quiet: { type: "boolean", default: false },
  },
})

function number(name: "seed" | "minutes" | "workers" | "producers" | "rate" | "lease" | "settle" | "hands", fallback: number): number {
  const value = Number(given[name] ?? fallback)
  if (Number.isFinite(value) && value >= 0) return value
  throw new Error(`--${name} is ${JSON.stringify(given[name])}; write a number`)
}

const leaseMs = number("lease", 3) * 1_000
const seed = number("seed", Math.floor(Math.random() * 2 ** 31))
const names = given.faults === undefined ? Object.keys(FAULTS) : given.faults.split(",").filter((name) => name !== "")
const unknown = names.filter((name) => !(name in FAULTS))
if (unknown.length > 0) throw new Error(`--faults knows no ${unknown.join(", ")}; write some of ${Object.keys(FAULTS).join(", ")}`)

const began = performance.now()
const say = (line: string): void => void process.stdout.write(`${line}\n`)
const random = randomFrom(seed)
say(
  `seed ${seed}: repeat with npm run faults -- --seed ${seed} --minutes ${given.minutes}${given.faults === undefined ? "" : ` --faults "${given.faults}"`}`,
)

const complaints: string[] = []
const complain = (what: string): void => {
  complaints.push(what)
  say(`!!!! ${what}`)
}

const [server] = await Promise.all([StormServer.start(), compile()])
const ownProxy = await startProxy(server.url)
const ownUrl = new URL(ownProxy.url)
ownUrl.searchParams.set("application_name", "pgtusk conductor")
const tusk = new Tusk({ connectionString: ownUrl.href, logger: quietLogger, signals: false })
const children: Child[] = []
try {
  await tusk.migrate()
  for (const statement of LEDGER) await server.query(statement)
  const start = async (kind: "worker" | "producer", i: number): Promise<Child> => {
    const child = await Child.start({
      kind,
      name: `${kind} ${i}`,
      server,
      random,
      complain,
      env: { LEASE_MS: String(leaseMs), RATE: String(number("rate", 40)), WITH_POOL: i === 0 ? "1" : "0" },
    })
    children.push(child)
    return child
  }
  const workers: Child[] = []
  const producers: Child[] = []
  for (let i = 0; i < number("workers", 3); i++) workers.push(await start("worker", i))
  for (let i = 0; i < number("producers", 2); i++) producers.push(await start("producer", i))
  // Their tasks' options are known from then on.
  await within(Promise.all(children.map((child) => child.ready)), 60_000, "the processes to begin")

  for (const token of ["a", "b", "c"]) {
    await tusk.enqueue("chain", [token], { repeatEvery: `${REPEAT_MS}ms`, retries: 30_000, queue: "main" })
    await server.query("insert into ledger.chains values ($1)", [token])
    await tusk.schedules.upsert({
      id: token,
      task: "slot",
      args: [token],
      when: { every: `${SLOT_MS}ms`, missed: "all" },
      options: { retries: 30_000, queue: "main" },
    })
  }

  const stage: Stage = { server, proxy: ownProxy, tusk, workers, producers, random, leaseMs }
  const storm = performance.now()
  const injected = await conduct(stage, names, storm + number("minutes", 1) * 60_000, number("hands", 2), given.quiet ? () => undefined : say)
  say(`the storm is over after ${((performance.now() - storm) / 1_000).toFixed(1)} s`)

  // Processes as they are now go on; the next ones would have the right clock.
  for (const child of children) child.clockOffsetMs = 0
  for (const producer of producers) {
    const how = await producer.end({ do: "finish" }, 20_000)
    if (how !== undefined) complain(`${producer.name} did not finish: ${how}`)
  }
  const settledAfter = await settle(server, tusk, number("settle", 21 + (3 * leaseMs) / 1_000) * 1_000)
  if (settledAfter === undefined) await describeSessions(server, say)
  for (const worker of workers) {
    const how = await worker.end("SIGTERM", 45_000)
    if (how !== undefined) complain(`${worker.name} did not drain: ${how}`)
  }
  await sleep(100)
  const verdict = await judge(server, CHECKS)
  await report({ server, injected, verdict, complaints, settledAfter, seconds: (performance.now() - began) / 1_000, say })
  const count = (kind: string): number => verdict.filter((v) => v.check.kind === kind).reduce((sum, v) => sum + v.found.length, 0)
  const stuck = count("stuck") + complaints.length + (settledAfter === undefined ? 1 : 0)
  const blind = verdict.filter((v) => !v.canFail)
  for (const { check } of blind) say(`!!!! the check "${check.name}" did not see its sabotage`)
  say(`faults: ${injected.total} injected, ${count("lost")} lost, ${count("double")} double effects, ${stuck} stuck`)
  if (count("lost") + count("double") + stuck + blind.length > 0) process.exitCode = 1
} finally {
  if (given.logs !== undefined) {
    await mkdir(given.logs, { recursive: true })
    for (const child of children) await writeFile(join(given.logs, `${child.name}.log`), child.output)
  }
  await Promise.all(children.map((child) => child.close()))
  await certainly(() => tusk.close())
  await ownProxy.close()
  await server.stop()
  await removeCompiled()
}
