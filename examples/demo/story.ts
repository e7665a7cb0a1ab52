/** What happens in the demo, in order. */
import { readFile } from "node:fs/promises"
import { setTimeout as sleep } from "node:timers/promises"
import type { Pool } from "pg"
import type { Job, Tusk } from "../../src/index.js"
import { createTables, databaseClock, heldBy, readProgress, readRemains, takenOver } from "./database.js"
import { countMarkdown, findMarkdown } from "./markdown.js"
import { type Happened, report } from "./report.js"
import type { Screen } from "./screen.js"
import { countFile, offer, remind, summarise } from "./tasks.js"
import type { Counts, End } from "./types.js"
import { judge, type Verdict } from "./verdict.js"
import { startWorker, type WorkerProcess } from "./worker-process.js"

export interface Stage {
  readonly tusk: Tusk
  readonly pool: Pool
  readonly folder: string
  readonly screen: Screen
  /** Aborts the whole demo. */
  readonly signal: AbortSignal
}

/** Plays the demo and says how it ended. Worker processes are gone when it returns or throws. */
export async function play(stage: Stage): Promise<Verdict> {
  const { tusk, pool, screen, signal } = stage
  const began = performance.now()
  await createTables(pool)
  signal.throwIfAborted()
  screen.done(`Postgres ${(await pool.query("show server_version")).rows[0].server_version} runs, the tables are made`)

  const paths = await findMarkdown(stage.folder)
  if (paths.length === 0) throw new Error(`there is no Markdown under ${stage.folder}: run npm ci first`)
  const enqueued = await enqueueAll(tusk, paths)
  screen.done(
    `${paths.length + 2} jobs stored in one transaction: ${paths.length} files, one with a delay of 4 s, one with a TTL of 2 s behind the rest`,
  )

  const happened = watch(tusk)
  await happened.ready
  const workers: WorkerProcess[] = []
  try {
    const url = await tusk.connectionString()
    const start = (name: string) => startWorker(name, url, (line) => screen.line(`    ${line}`), signal)
    workers.push(...(await Promise.all([start("A"), start("B")])))
    for (const { name, pid } of workers) screen.done(`worker ${name} is process ${pid}, 4 jobs at once`)
    screen.line()
    await drain(stage, paths.length, workers[0]!, happened)

    const summary = await summarise.enqueue()
    enqueued.jobs.set(summary.id, "completed")
    enqueued.notes.push(summary.id)
    happened.longest = await followSummary(screen, summary, signal)
  } finally {
    happened.end()
    await Promise.all(workers.map((worker) => worker.stop()))
  }

  const counts = new Map<string, Counts>()
  for (const path of paths) counts.set(path, countMarkdown(await readFile(path)))
  const remains = await readRemains(pool)
  const verdict = judge({ counts, ...enqueued }, remains)
  const { rows } = await pool.query("select waited_ms from demo.notes where task = $1", [remind.taskName])
  screen.line()
  report(screen, { verdict, counts, remains, happened, waitedMs: rows[0]?.waited_ms, seconds: (performance.now() - began) / 1000 })
  return verdict
}

/** All jobs of the beginning, or none: one transaction. */
async function enqueueAll(tusk: Tusk, paths: readonly string[]): Promise<{ jobs: Map<string, End>; notes: string[] }> {
  return tusk.transaction(async (tx) => {
    const files = await countFile.with({ tx }).enqueueMany(paths.map((path): [string] => [path]))
    const reminder = await remind.with({ tx, delay: "4s" }).enqueue()
    // A high number is a low priority: it stands behind all files, and its time is up before its turn comes.
    const stale = await offer.with({ tx, ttl: "2s", priority: 100 }).enqueue()
    const jobs = new Map<string, End>([...files, reminder].map(({ id }) => [id, "completed"]))
    return { jobs: jobs.set(stale.id, "expired"), notes: [reminder.id] }
  })
}

/** Counts the retries in all processes, for the screen; the check does not rely on it. */
function watch(tusk: Tusk): Happened & { ready: Promise<void>; end(): void } {
  const happened = { retries: 0, killed: undefined, longest: undefined, ready: Promise.resolve(), end: (): void => {} }
  const subscription = tusk.events.on("job:retrying", () => {
    happened.retries++
  })
  return Object.assign(happened, { ready: subscription.ready, end: subscription })
}

/** Watches until no job is left. Half-way it kills the first worker, and then it sees to it that the other takes over what that one held. */
async function drain(stage: Stage, files: number, victim: WorkerProcess, happened: Happened): Promise<void> {
  const { pool, screen, signal } = stage
  // A job and its second step for each file, and the two others.
  const total = files * 2 + 2
  let reported = false
  for (;;) {
    const { finished, open } = await readProgress(pool)
    screen.bar(Math.min(finished / total, 1), `${finished} of ${total} jobs, ${happened.retries} retries`)
    if (happened.killed === undefined && finished >= total / 2) {
      happened.killed = await killHalfWay(stage, victim)
    } else if (happened.killed !== undefined && !reported) {
      const { ids, workerId, at } = happened.killed
      const { begun, open, seconds } = await takenOver(pool, ids, workerId, at)
      if (open === 0) {
        happened.killed.takenOver = { jobs: begun, seconds }
        screen.done(`worker B has taken over ${begun} jobs, ${seconds.toFixed(1)} s after the kill`)
        reported = true
      }
    }
    if (open === 0) break
    await sleep(100, undefined, { signal })
  }
  screen.endBar()
}

async function killHalfWay({ pool, screen }: Stage, victim: WorkerProcess): Promise<NonNullable<Happened["killed"]>> {
  await victim.kill()
  const at = await databaseClock(pool)
  const ids = await heldBy(pool, victim.workerId)
  screen.trouble(`worker A (process ${victim.pid}) was killed with SIGKILL in the middle of ${ids.length} jobs`)
  return { ids, workerId: victim.workerId, at, takenOver: undefined }
}

/** The progress that one job reports, from the other process. */
async function followSummary(screen: Screen, job: Job<{ name: string; words: number }>, signal: AbortSignal): Promise<string> {
  for await (const { name, progress } of job.events()) {
    signal.throwIfAborted()
    if (name === "job:progress" && progress !== undefined) screen.bar(progress, "the last job sums up and reports its progress")
  }
  screen.bar(1, "the last job sums up and reports its progress")
  screen.endBar()
  const { name, words } = await job.result({ timeout: "10s", signal })
  return `${name}, ${words} words`
}
