/** What a whole run leaves behind: bench/results/latest.json (or debian.json), charts, and the tables of docs/performance.md. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { cpus, totalmem } from "node:os"
import { fileURLToPath } from "node:url"
import { chart } from "./chart.js"
import { inMarkdown } from "./markdown.js"
import { type Ratios, ratiosOf, rounded } from "./report.js"
import type { Measured, Outcome } from "./run.js"

/** Beside the scenarios, by their names: `about` and `ratios`. */
export interface Results {
  readonly about: About
  readonly ratios: Ratios
  readonly measured: Measured
}

interface About {
  readonly date: string
  readonly machine: string
  /** Of the machine on which the job counts were chosen; less than 1: slower, or it had something else to do. */
  readonly speed: number
  readonly versions: Readonly<Record<string, string>>
  /** By contestant. */
  readonly settings: Readonly<Record<string, string>>
}

const root = new URL("../", import.meta.url)
/** Of npm's server, and of Debian's with its stock settings. */
const FILES = { latest: new URL("bench/results/latest.json", root), debian: new URL("bench/results/debian.json", root) }
const PAGE = new URL("docs/performance.md", root)
const CHARTS = { drain: "jobs a second", "enqueue-concurrent": "jobs a second", "pickup-idle": "milliseconds, median" }

export type Stored = keyof typeof FILES

/** Null: not measured yet. */
export function readStored(which: Stored): Results | null {
  if (!existsSync(FILES[which])) return null
  const { about, ratios, ...measured } = JSON.parse(readFileSync(FILES[which], "utf8"))
  return { about, ratios, measured }
}

/** Where the results of a whole run belong; null: of a server that is not ours to speak of. */
export function placeOf(server: string | null, postgresVersion: string): Stored | null {
  if (server === null) return "latest"
  return /\(Debian\b/.test(postgresVersion) ? "debian" : null
}

export function write(outcome: Outcome, which: Stored): string[] {
  const measured = rounded(outcome.measured)
  const results: Results = { about: aboutOf(outcome), ratios: ratiosOf(measured), measured }
  mkdirSync(new URL("bench/results/", root), { recursive: true })
  const written = [FILES[which], PAGE]
  writeFileSync(FILES[which], `${JSON.stringify({ about: results.about, ...measured, ratios: results.ratios }, null, 2)}\n`)
  for (const [scenario, unit] of which === "latest" ? Object.entries(CHARTS) : []) {
    const file = new URL(`bench/results/${scenario}.svg`, root)
    writeFileSync(file, chart(scenario, unit, measured[scenario] ?? {}))
    written.push(file)
  }
  const [latest, debian] = [readStored("latest"), readStored("debian")]
  if (latest !== null) writeFileSync(PAGE, withTables(readFileSync(PAGE, "utf8"), latest, debian))
  return written.map((url) => fileURLToPath(url).slice(fileURLToPath(root).length))
}

/** The page with the tables of these results between its marks, and of those on the other server, where there are any. */
export function withTables(page: string, results: Results, debian: Results | null): string {
  const [begin, end] = ["<!-- results: written by `npm run bench` from bench/results/latest.json -->", "<!-- end of results -->"]
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from === -1 || to < from) throw new Error(`docs/performance.md has not the marks ${begin} and ${end}`)
  return `${page.slice(0, from + begin.length)}\n\n${inMarkdown(results, debian)}\n\n${page.slice(to)}`
}

function aboutOf({ contestants, postgres, redis, speed }: Outcome): About {
  const peers = JSON.parse(readFileSync(new URL("bench/package.json", root), "utf8")).dependencies as Record<string, string>
  const own = JSON.parse(readFileSync(new URL("package.json", root), "utf8")) as { version: string }
  const [cpu] = cpus()
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: `${cpus().length} × ${cpu?.model.trim() ?? "unknown processor"}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform}-${process.arch}`,
    speed: Number(speed.toFixed(2)),
    versions: {
      pgtusk: own.version,
      "graphile-worker": peers["graphile-worker"]!,
      "pg-boss": peers["pg-boss"]!,
      BullMQ: peers["bullmq"]!,
      PostgreSQL: postgres,
      ...(redis === null ? {} : { Redis: redis }),
      "Node.js": process.versions.node,
    },
    settings: Object.fromEntries(contestants.map(({ name, settings }) => [name, settings])),
  }
}
