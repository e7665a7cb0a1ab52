/** The tasks. Producer (main.ts) and workers (worker.ts) import the same file. */
import { createHash } from "node:crypto"
import { readFile } from "node:fs/promises"
import { setTimeout as sleep } from "node:timers/promises"
import { currentJob, task } from "../../src/index.js"
import { countMarkdown, packageOf } from "./markdown.js"

/** Reading is so fast that there would be nothing to see, and nothing to kill half-way. */
const PACE_MS = 30

/** Adding a file to its package fails once for one file in ten. */
export function isFlaky(path: string): boolean {
  return createHash("sha256").update(path).digest().readUInt32BE() % 10 === 0
}

/**
 * The second step: adds a file's counts to the sums of its package. Running it twice would show in the sums, so the job must commit with its
 * writes: `transactional`.
 */
export const tallyFile = task(
  { name: "demo.tally", queue: "demo", transactional: true, retries: 2, backoff: { fixed: "500ms" }, priority: 1 },
  async (path: string) => {
    const { tx, attempt } = currentJob()
    await tx.query("insert into demo.tallies (path) values ($1) on conflict (path) do update set runs = tallies.runs + 1", [path])
    await tx.query(
      `insert into demo.packages (name, files, words, headings, links)
       select package, 1, words, headings, links from demo.files where path = $1
       on conflict (name) do update set files = packages.files + 1, words = packages.words + excluded.words,
         headings = packages.headings + excluded.headings, links = packages.links + excluded.links`,
      [path],
    )
    // Both writes are done by now; the failure takes them back.
    if (attempt === 1 && isFlaky(path)) throw new Error("the flaky step fails once")
  },
)

/** The first step: reads a file, stores what is in it, and enqueues the second step. The row, the job and its own completion are one commit. */
export const countFile = task({ name: "demo.count", queue: "demo", transactional: true, retries: 2 }, async (path: string) => {
  const { tx, signal } = currentJob()
  const counts = countMarkdown(await readFile(path))
  await sleep(PACE_MS, undefined, { signal })
  const next = await tallyFile.with({ tx }).enqueue(path)
  await tx.query(
    `insert into demo.files (path, package, bytes, words, headings, links, sha256, next_job) values ($1, $2, $3, $4, $5, $6, $7, $8)
     on conflict (path) do update set next_job = excluded.next_job, runs = files.runs + 1`,
    [path, packageOf(path), counts.bytes, counts.words, counts.headings, counts.links, counts.sha256, next.id],
  )
})

/** Enqueued with a delay: notes how long it waited. */
export const remind = task({ name: "demo.remind", queue: "demo", transactional: true, priority: 0 }, () => note())

/** Enqueued with a TTL behind all others: it must never start. */
export const offer = task({ name: "demo.offer", queue: "demo", transactional: true }, () => note())

/** Goes over all packages and tells how far it is. */
export const summarise = task({ name: "demo.summarise", queue: "demo", transactional: true, progress: true }, async (reportProgress) => {
  const { tx, signal } = currentJob()
  const { rows } = await tx.query<{ name: string; words: number }>("select name, words from demo.packages order by name")
  let longest = { name: "", words: -1 }
  for (const [i, row] of rows.entries()) {
    if (row.words > longest.words) longest = row
    if (i % 10 === 0) await sleep(PACE_MS, undefined, { signal })
    reportProgress((i + 1) / rows.length)
  }
  await note()
  return longest
})

/** One row a job; `runs` counts the transactions that committed it. */
async function note(): Promise<void> {
  const { tx, id, task, createdAt } = currentJob()
  await tx.query(
    `insert into demo.notes (job_id, task, waited_ms) values ($1, $2, extract(epoch from clock_timestamp() - $3::timestamptz) * 1000)
     on conflict (job_id) do update set runs = notes.runs + 1`,
    [id, task, createdAt],
  )
}
