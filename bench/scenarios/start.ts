/** What it takes to have it: to import it, to have the first job run, and its weight. */
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { packageOf, weigh } from "../packages.js"
import { median } from "../statistics.js"
import { clock, type Metrics, type Scenario } from "./scenario.js"

const IMPORTS = 7
const here = fileURLToPath(new URL("..", import.meta.url))
const MIB = 2 ** 20

/** Milliseconds, in a new process each time. */
async function importTime(entry: string): Promise<number> {
  const times: number[] = []
  for (let n = 0; n < IMPORTS; n++) {
    const script = `const t = performance.now(); await import(${JSON.stringify(entry)}); console.log(performance.now() - t); process.exit(0)`
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], { cwd: here })
    times.push(Number(stdout))
  }
  return median(times)
}

export const start: Scenario = {
  name: "start",
  title: "what it takes to have it",
  metric: "firstJobMs",
  shown: ["importMs", "bundleMb", "installedMb", "dependencies", "jobs"],
  better: "lower",
  jobs: 1,
  mostJobs: 1,
  takes: ({ peer, name }) => packageOf(peer) !== undefined && !name.endsWith("-tuned") && !name.endsWith("-aof"),
  async measure(contestant, context): Promise<Metrics> {
    const own = packageOf(contestant.peer)!
    // Its schema is there already, as after the first deployment.
    await contestant.open(context.servers, "plain").then((store) => store.clear().then(() => store.close()))
    const began = clock()
    const store = await contestant.open(context.servers, "plain")
    let ran: (at: number) => void = () => undefined
    const first = new Promise<number>((resolve) => (ran = resolve))
    const worker = await store.work(() => ran(clock()))
    await store.add(0)
    const firstJobMs = (await first) - began
    await worker.stop()
    await store.clear()
    await store.close()
    const { installedBytes, dependencies, bundleBytes } = await weigh(own)
    return {
      firstJobMs,
      importMs: await importTime(own.entry),
      bundleMb: bundleBytes / MIB,
      installedMb: installedBytes / MIB,
      dependencies,
      jobs: 1,
    }
  },
}
