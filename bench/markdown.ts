/** The tables of docs/performance.md. */
import { linesOf, shown } from "./report.js"
import type { Results } from "./results.js"
import { scenarios } from "./scenarios/all.js"
import { targetsOf } from "./targets.js"

const HEADINGS: Readonly<Record<string, string>> = {
  jobsPerSecond: "jobs/s",
  jobs: "jobs a round",
  walBytesPerJob: "WAL bytes a job",
  cpuMicrosecondsPerJob: "Node CPU a job, µs",
  oneProcess: "with one process, jobs/s",
  speedup: "two by one",
  lockWaits: "lock waits seen",
  extendWaits: "waits to extend a table",
  withoutWake: 'with `wake: "poll"`, jobs/s',
  p50Ms: "p50, ms",
  p95Ms: "p95, ms",
  p99Ms: "p99, ms",
  latenessP50Ms: "late p50, ms",
  latenessP95Ms: "late p95, ms",
  latenessP99Ms: "late p99, ms",
  idleStatementsPerSecond: "statements/s while nothing is due",
  seconds: "seconds",
  lastToFirstTenth: "last tenth by first",
  lastToBestTenth: "last tenth by best",
  firstTenthPerSecond: "first tenth, jobs/s",
  lastTenthPerSecond: "last tenth, jobs/s",
  claimBuffersFirst: "buffers a claimed job, first tenth",
  claimBuffersLast: "buffers a claimed job, last tenth",
  worstToSmallest: "worst by smallest",
  waiting1kMs: "1 k waiting, ms",
  waiting100kMs: "100 k waiting",
  waiting1MMs: "1 M waiting",
  delayed100kMs: "100 k delayed",
  blocked100kMs: "100 k blocked",
  queues1kMs: "1,000 queues",
  priorities1kMs: "1,000 priorities",
  finished1MMs: "1 M finished",
  keys10Ms: "10 keys of a limit",
  keys1kMs: "1,000 keys",
  manyKeysToFew: "many keys by few",
  commitsPerJob: "commits a job",
  tableWritesPerJob: "rows written a job",
  indexWritesPerJob: "index entries a job",
  bytesPerWaitingJob: "bytes a waiting job",
  bytesPerFinishedJob: "bytes a finished job",
  workerMb: "memory of a worker with all of them waiting, MiB",
  firstJobMs: "client to first job, ms",
  importMs: "import, ms",
  bundleMb: "bundled, MiB",
  installedMb: "installed, MiB",
  dependencies: "packages it brings",
  idlePerWorker: "idle: transactions/s and worker",
  connectionsPerWorker: "idle: connections a worker",
  claimsPerJob: "one at a time: claims a job",
  statementsPerJob: "statements a job",
  transactionsPerJob: "transactions a job",
  notificationsPerJob: "notifications a job",
  maxMs: "slowest, ms",
  flowClaimsPerJob: "half of the slots busy: claims a job",
  flowLeast: "jobs of a worker, least",
  flowMost: "most",
  burstClaimsPerJob: "burst: claims a job",
  burstLeast: "least jobs",
  burstMost: "most jobs",
}

export function inMarkdown(results: Results, debian: Results | null): string {
  return [versions(results), targets(results), ...(debian === null ? [] : [beside(results, debian)]), ...tables(results), settings(results)].join(
    "\n\n",
  )
}

/** pgtusk's numbers on both servers. */
function beside(results: Results, debian: Results): string {
  const part = ({ measured }: Results, scenario: string, metric: string): string[] => {
    const { pgtusk, floor } = measured[scenario] ?? {}
    const [ours, least] = [pgtusk?.[metric], floor?.[metric]]
    return [shown(ours), shown(ours === undefined || least === undefined ? undefined : ours / least)]
  }
  const rows = scenarios
    .filter(({ name, lines }) => lines === undefined && debian.measured[name]?.["pgtusk"] !== undefined)
    .map(({ name, title, metric }) => {
      const cells = [title, HEADINGS[metric] ?? metric, ...part(results, name, metric), ...part(debian, name, metric)]
      return `| ${cells.join(" | ")} |`
    })
  const missed = targetsOf(debian.measured).filter(({ value, reached }) => value !== undefined && !reached)
  const text = missed.length === 0 ? "none" : missed.map(({ scenario, text, value }) => `${scenario}: ${text} (${shown(value)})`).join("; ")
  return [
    "### pgtusk on both servers",
    `${versions(debian)} That is Debian's package with its stock settings, \`jit = on\` among them. Targets that are missed there: ${text}.`,
    ["| scenario | | npm's server | by floor | Debian's | by floor |", "|---|---|--:|--:|--:|--:|", ...rows].join("\n"),
  ].join("\n\n")
}

function versions({ about }: Results): string {
  const parts = Object.entries(about.versions).map(([name, version]) => `${name} ${version}`)
  const slow =
    about.speed >= 1
      ? ""
      : ` The machine was busy with other things during this run, and gave about ${about.speed} of its usual speed: read the ratios, and not too closely.`
  return `Run of ${about.date} on ${about.machine}: ${parts.join(", ")}.${slow}`
}

function targets({ measured }: Results): string {
  const titles = new Map(scenarios.map(({ name, title }) => [name, title]))
  const rows = targetsOf(measured).map(
    ({ scenario, text, value, reached }) =>
      `| ${titles.get(scenario)} | ${text} | ${shown(value)} | ${value === undefined ? "not measured" : reached ? "yes" : "**no**"} |`,
  )
  return ["### Targets", "", "| scenario | target | measured | reached |", "|---|---|---|---|", ...rows].join("\n")
}

function tables({ measured }: Results): string[] {
  return scenarios.flatMap((scenario) => {
    const rows = measured[scenario.name]
    if (rows === undefined) return []
    const { columns, lines } = linesOf(scenario, rows)
    const cells = lines.map(
      ({ name, label, metrics }) =>
        `| ${name === "pgtusk" ? "**pgtusk**" : name}${label} | ${columns.map((column) => shown(metrics[column])).join(" | ")} |`,
    )
    const rounds = Math.max(...Object.values(rows).map((metrics) => metrics["rounds"] ?? 1))
    const heading = `| ${rounds === 1 ? "one round" : `median of ${rounds} rounds`} | ${columns.map((column) => HEADINGS[column] ?? column).join(" | ")} |`
    return [
      `### ${scenario.title[0]!.toUpperCase()}${scenario.title.slice(1)}`,
      [heading, `|---|${columns.map(() => "--:|").join("")}`, ...cells].join("\n"),
    ]
  })
}

function settings({ about }: Results): string {
  return ["### Settings", "", "| | |", "|---|---|", ...Object.entries(about.settings).map(([name, text]) => `| ${name} | ${text} |`)].join("\n")
}
