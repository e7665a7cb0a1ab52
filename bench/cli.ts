/** What the command line asks for. */
import { parseArgs } from "node:util"

export interface Asked {
  /** Scenarios; null: all. */
  readonly only: readonly string[] | null
  /** Peers beside pgtusk and the floor, which always take part; null: all. */
  readonly peers: readonly string[] | null
  readonly jobs: number | null
  readonly repeat: number
  /** A Postgres that is there: its URL, with a superuser's rights; null: one of our own. */
  readonly server: string | null
  readonly json: boolean
  readonly help: boolean
}

/** A wrong command line; its message says what to write instead. */
export class UsageError extends Error {
  override readonly name = "UsageError"
}

const PEERS: readonly string[] = ["graphile-worker", "pg-boss", "bullmq-postgres", "bullmq-redis"]
const ALWAYS: readonly string[] = ["pgtusk", "floor"]
const DEFAULT_REPEAT = 3

export function usage(scenarios: readonly string[]): string {
  return `npm run bench                     all scenarios, all peers; writes bench/results and the tables of docs/performance.md
npm run bench -- [options]        a part of it; writes nothing

  --only <scenarios>   with commas between them: ${scenarios.join(", ")}
  --peers <peers>      with commas between them: ${PEERS.join(", ")}; or none. pgtusk and the floor always take part
  --jobs <number>      jobs of each scenario, for those that are fast enough
  --repeat <number>    rounds, of which the median counts (default ${DEFAULT_REPEAT})
  --server <url>       on a Postgres that is there, instead of one of npm's that is started for the run. Each contestant gets a database of its own there, made
                       and dropped; a superuser makes the difference of a checkpoint. What needs pg_stat_statements, and is not loaded there, is left out.
                       With all scenarios and peers on one of Debian's it writes bench/results/debian.json and its part of docs/performance.md
  --json               one JSON object on standard output: { scenario: { peer: { metric: median } }, ratios: { scenario: { peer: number } } }`
}

/** @throws UsageError */
export function parse(args: readonly string[], scenarios: readonly string[]): Asked {
  const values = read(args)
  const only = names(values["only"], "--only", "scenario", scenarios)
  const peers = values["peers"] === "none" ? [] : names(values["peers"], "--peers", "peer", [...PEERS, ...ALWAYS])
  return {
    only,
    peers: peers === null ? null : peers.filter((name) => !ALWAYS.includes(name)),
    jobs: values["jobs"] === undefined ? null : wholeNumber(values["jobs"], "--jobs", 10_000_000),
    repeat: values["repeat"] === undefined ? DEFAULT_REPEAT : wholeNumber(values["repeat"], "--repeat", 100),
    server: values["server"] === undefined ? null : address(values["server"]),
    json: values["json"] === true,
    help: values["help"] === true,
  }
}

/** Whether all of it runs as documented, so that its results may replace the stored ones. */
export function isWhole(asked: Asked): boolean {
  return asked.only === null && asked.peers === null && asked.jobs === null
}

type Values = { only?: string; peers?: string; jobs?: string; repeat?: string; server?: string; json?: boolean; help?: boolean }

function read(args: readonly string[]): Values {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        only: { type: "string" },
        peers: { type: "string" },
        jobs: { type: "string" },
        repeat: { type: "string" },
        server: { type: "string" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    })
    return values
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

function names(text: string | undefined, option: string, what: string, known: readonly string[]): string[] | null {
  if (text === undefined) return null
  const given = text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "")
  if (given.length === 0) throw new UsageError(`${option} is empty; write one of ${known.join(", ")}`)
  for (const name of given)
    if (!known.includes(name)) throw new UsageError(`${option}: there is no ${what} ${JSON.stringify(name)}; there are ${known.join(", ")}`)
  return [...new Set(given)]
}

function wholeNumber(text: string, option: string, most: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < 1 || value > most)
    throw new UsageError(`${option} is ${JSON.stringify(text)}; write a whole number from 1 to ${most.toLocaleString("en")}`)
  return value
}

function address(text: string): string {
  if (!/^postgres(ql)?:\/\//.test(text) || !URL.canParse(text))
    throw new UsageError(`--server is ${JSON.stringify(text.replace(/\/\/.*@/, "//***@"))}; write "postgres://user:password@host:5432/postgres"`)
  return text
}
