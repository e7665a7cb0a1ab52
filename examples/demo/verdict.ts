/** The check at the end: what the jobs left in the tables, against a plain count of the same files. */
import type { Remains } from "./database.js"
import { packageOf } from "./markdown.js"
import type { Counts, End, PackageRow } from "./types.js"

export interface Expected {
  /** A plain, in-process count of every file. */
  readonly counts: ReadonlyMap<string, Counts>
  /** Jobs that the demo itself enqueued, and how each is to end. Those that jobs enqueued stand in demo.files. */
  readonly jobs: ReadonlyMap<string, End>
  /** Jobs that leave a row in demo.notes. */
  readonly notes: readonly string[]
}

export interface Verdict {
  /** Accepted jobs. */
  readonly jobs: number
  /** What was accepted and has not happened: a job without its end, a file without its row, … */
  readonly lost: readonly string[]
  /** What happened more than once. */
  readonly twice: readonly string[]
  /** What happened once, and wrongly. */
  readonly wrong: readonly string[]
}

export function judge(expected: Expected, remains: Remains): Verdict {
  const lost: string[] = []
  const twice: string[] = []
  const wrong: string[] = []

  // Every accepted job has exactly one end, the right one, and there are no others.
  const accepted = new Map<string, End>(expected.jobs)
  for (const { next_job } of remains.files) accepted.set(next_job, "completed")
  const seen = new Set<string>()
  for (const { id, task, state } of remains.jobs) {
    const end = accepted.get(id)
    if (seen.has(id)) twice.push(`${task} ${id} is stored twice`)
    else if (end === undefined) wrong.push(`${task} ${id} was enqueued by nobody who is known`)
    else if (state === "waiting" || state === "delayed" || state === "blocked" || state === "active") lost.push(`${task} ${id} is still ${state}`)
    else if (state !== end) wrong.push(`${task} ${id} is ${state}, not ${end}`)
    seen.add(id)
  }
  for (const id of accepted.keys()) if (!seen.has(id)) lost.push(`job ${id} is nowhere`)

  // Every file was counted and tallied in exactly one committed transaction each, and the counts are right.
  const files = new Map(remains.files.map((row) => [row.path, row]))
  const tallies = new Map(remains.tallies.map((row) => [row.path, row]))
  for (const [path, counts] of expected.counts) {
    const file = files.get(path)
    if (file === undefined) lost.push(`${path} was not counted`)
    else if (!sameCounts(file, counts)) wrong.push(`${path}: ${show(file)}, not ${show(counts)}`)
    if (!tallies.has(path)) lost.push(`${path} was not tallied`)
  }
  for (const { path, runs } of remains.files) {
    if (!expected.counts.has(path)) wrong.push(`${path} was counted and is not among the files`)
    if (runs !== 1) twice.push(`${path} was counted ${runs} times`)
  }
  for (const { path, runs } of remains.tallies) if (runs !== 1) twice.push(`${path} was tallied ${runs} times`)

  // The notes of jobs without a file.
  const notes = new Map(remains.notes.map((row) => [row.job_id, row.runs]))
  for (const id of expected.notes) if (!notes.has(id)) lost.push(`the note of job ${id} is missing`)
  for (const [id, runs] of notes) {
    if (!expected.notes.includes(id)) wrong.push(`job ${id} ran and should not have`)
    if (runs !== 1) twice.push(`job ${id} left its note ${runs} times`)
  }

  wrong.push(...differences(sums(expected.counts), new Map(remains.packages.map((row) => [row.name, row]))))
  return { jobs: accepted.size, lost, twice, wrong }
}

function sameCounts(a: Counts, b: Counts): boolean {
  return a.bytes === b.bytes && a.words === b.words && a.headings === b.headings && a.links === b.links && a.sha256 === b.sha256
}

/** The sums of each package, from the plain count. */
function sums(counts: ReadonlyMap<string, Counts>): Map<string, PackageRow> {
  const packages = new Map<string, PackageRow>()
  for (const [path, { words, headings, links }] of counts) {
    const name = packageOf(path)
    const sum = packages.get(name) ?? { name, files: 0, words: 0, headings: 0, links: 0 }
    packages.set(name, { name, files: sum.files + 1, words: sum.words + words, headings: sum.headings + headings, links: sum.links + links })
  }
  return packages
}

function differences(right: ReadonlyMap<string, PackageRow>, found: ReadonlyMap<string, PackageRow>): string[] {
  const faults: string[] = []
  for (const name of new Set([...right.keys(), ...found.keys()])) {
    const [a, b] = [right.get(name), found.get(name)]
    const same = a?.files === b?.files && a?.words === b?.words && a?.headings === b?.headings && a?.links === b?.links
    if (!same) faults.push(`package ${name}: ${show(b)}, not ${show(a)}`)
  }
  return faults
}

function show(value: object | undefined): string {
  return value === undefined ? "no row" : JSON.stringify(value)
}
