/** The benchmark: what it is asked, what it makes of numbers, and one small run of it. */
import { spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import pg from "pg"
import { describe, expect, inject, test } from "vitest"
import { isWhole, parse, UsageError } from "../../bench/cli.js"
import { ratiosOf, rounded, table } from "../../bench/report.js"
import { placeOf, readStored, withTables } from "../../bench/results.js"
import { scenarios } from "../../bench/scenarios/all.js"
import { targetsOf } from "../../bench/targets.js"

const root = fileURLToPath(new URL("../..", import.meta.url))
const names = scenarios.map(({ name }) => name)

function bench(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--import", "tsx", "bench/main.ts", ...args], {
      cwd: root,
      env: { ...process.env, PGTUSK_BENCH_LIBRARY: new URL("../../src/index.ts", import.meta.url).href },
      stdio: ["ignore", "pipe", "pipe"],
    })
    let [stdout, stderr] = ["", ""]
    child.stdout.setEncoding("utf8").on("data", (text) => (stdout += text))
    child.stderr.setEncoding("utf8").on("data", (text) => (stderr += text))
    child.on("error", reject)
    child.on("close", (code) => resolve({ code, stdout, stderr }))
  })
}

describe("the command line", () => {
  test("takes all without options, and that is a whole run", () => {
    expect(parse([], names)).toEqual({ only: null, peers: null, jobs: null, repeat: 3, server: null, json: false, help: false })
    expect(isWhole(parse([], names))).toBe(true)
    expect(isWhole(parse(["--jobs", "10"], names))).toBe(false)
  })

  test("takes parts", () => {
    const args = ["--only", "drain, enqueue", "--peers", "graphile-worker,pgtusk", "--jobs", "50000", "--repeat", "2", "--json"]
    expect(parse(args, names)).toEqual({
      only: ["drain", "enqueue"],
      peers: ["graphile-worker"],
      jobs: 50_000,
      repeat: 2,
      server: null,
      json: true,
      help: false,
    })
    expect(parse(["--peers", "none"], names).peers).toEqual([])
    expect(parse(["--server", "postgres://me@there:5433/postgres"], names).server).toBe("postgres://me@there:5433/postgres")
  })

  test.each([
    [["--only", "drian"], 'no scenario "drian"; there are drain, '],
    [["--peers", "river"], 'no peer "river"; there are graphile-worker, '],
    [["--jobs", "many"], '--jobs is "many"; write a whole number'],
    [["--jobs", "0"], '--jobs is "0"; write a whole number'],
    [["--repeat", "1.5"], '--repeat is "1.5"; write a whole number'],
    [["--only", ","], "--only is empty"],
    [["--server", "there"], '--server is "there"; write "postgres://'],
    [["--server", "mysql://me:secret@there"], '--server is "mysql://***@there"; write "postgres://'],
    [["--fast"], "--fast"],
  ])("says what is wrong with %j", (args, message) => {
    expect(() => parse(args, names)).toThrow(UsageError)
    expect(() => parse(args, names)).toThrow(message)
  })

  test("ends with a message and the usage, and runs nothing", async () => {
    const { code, stdout, stderr } = await bench("--only", "drian")
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    expect(stderr).toMatch(/^bench: --only: there is no scenario "drian"; there are drain, .*\n\nnpm run bench/)
  })
})

describe("the report", () => {
  const measured = {
    drain: {
      floor: { jobsPerSecond: 50_000.4567, jobs: 100 },
      pgtusk: { jobsPerSecond: 45_000, jobs: 100 },
      "graphile-worker": { jobsPerSecond: 1_500, jobs: 10 },
    },
    "pickup-idle": { floor: { p50Ms: 2, p99Ms: 5 }, pgtusk: { p50Ms: 2.5, p99Ms: 20 } },
  }

  test("divides pgtusk's number by each other", () => {
    expect(ratiosOf(rounded(measured))).toEqual({ drain: { floor: 0.9, "graphile-worker": 30 }, "pickup-idle": { floor: 1.25 } })
  })

  test("says which targets are reached, and which could not be measured", () => {
    const found = Object.fromEntries(
      targetsOf(measured).map(({ scenario, text, value, reached }) => [`${scenario} ${text}`, value === undefined ? null : reached]),
    )
    expect(found).toMatchObject({
      "drain ≥ 0.8 × floor": true,
      "drain ≥ 20 × graphile-worker stock": true,
      "drain ≥ 3 × pg-boss tuned": null,
      "pickup-idle p50 ≤ 1.3 × floor": true,
      "pickup-idle p99 ≤ 3 × floor": false,
    })
  })

  test("is a table for a terminal", () => {
    expect(table(measured)).toMatch(/^drain: no-op jobs waiting, one process\n +jobsPerSecond +jobs .*\nfloor +50,000 +100/)
  })

  const fleets = {
    fleet: {
      pgtusk: {
        ...{ "claimsPerJob@1": 1, "p50Ms@1": 2, "p99Ms@1": 4, "idlePerWorker@5": 0.4, "idlePerWorker@50": 0.44 },
        ...{ "claimsPerJob@50": 1.5, "p50Ms@50": 2.1, "p99Ms@50": 10, "p99Ms@50 blocked": 51 },
        ...{ "flowClaimsPerJob@50": 1.3, "burstClaimsPerJob@50": 0.4, "flowLeast@50": 7, "burstLeast@50": 0 },
      },
    },
  }

  test("has a line for each size of a fleet, and for each worker that was out of action", () => {
    expect(
      table(fleets)
        .split("\n")
        .slice(2)
        .map((line) => line.split(/ {2,}/)[0]),
    ).toEqual(["pgtusk, 1 worker", "pgtusk, 5 workers", "pgtusk, 50 workers", "pgtusk, 50 workers, one blocked"])
  })

  test("takes the worst of a fleet's lines for its targets", () => {
    expect(targetsOf(fleets).map(({ value, reached }) => [value, reached])).toEqual([
      [1.5, true],
      [1.3, false],
      [0.44, true],
      [0.44 / 0.4, true],
      [undefined, false],
      [2.1 / 2, true],
      [51, false],
      [0, false],
    ])
  })

  test("is the same in docs/performance.md as in bench/results", () => {
    const page = readFileSync(`${root}/docs/performance.md`, "utf8")
    expect(withTables(page, readStored("latest")!, readStored("debian"))).toBe(page)
  })

  test("is stored from npm's server and from Debian's, and shows pgtusk on both", () => {
    expect(placeOf(null, "18.4")).toBe("latest")
    expect(placeOf("postgres://there", "15.20 (Debian 15.20-0+deb12u1)")).toBe("debian")
    expect(placeOf("postgres://there", "16.1")).toBe(null)
    const latest = readStored("latest")!
    const page = readFileSync(`${root}/docs/performance.md`, "utf8")
    const debian = { ...latest, measured, about: { ...latest.about, versions: { ...latest.about.versions, PostgreSQL: "15.20 (Debian)" } } }
    const both = withTables(page, latest, debian)
    expect(both).toMatch(/^### pgtusk on both servers$/m)
    expect(both).toMatch(/^\| drain: no-op jobs waiting, one process \| jobs\/s \| [\d,]+ \| [\d.]+ \| 45,000 \| 0.90 \|$/m)
    expect(both).toContain("Targets that are missed there: pickup-idle: p99 ≤ 3 × floor (4).")
    expect(withTables(both, latest, debian)).toBe(both)
  })
})

test("a small run prints one object, with every job accounted for", { timeout: 120_000 }, async () => {
  const { code, stdout, stderr } = await bench("--only", "enqueue,drain", "--peers", "none", "--jobs", "200", "--repeat", "1", "--json")
  expect(code, stderr).toBe(0)
  const { ratios, ...measured } = JSON.parse(stdout)
  expect(Object.keys(measured)).toEqual(["drain", "enqueue"])
  for (const scenario of ["drain", "enqueue"])
    expect(measured[scenario]).toMatchObject({
      floor: { jobs: 200, jobsPerSecond: expect.any(Number) },
      pgtusk: { jobs: 200, jobsPerSecond: expect.any(Number) },
    })
  expect(ratios).toEqual({ drain: { floor: expect.any(Number) }, enqueue: { floor: expect.any(Number) } })
})

test("on a server that is there: databases of its own, which are gone afterwards; what nobody counts there is left out", {
  timeout: 120_000,
}, async () => {
  const url = inject("serverUrl")
  const databases = async (): Promise<unknown[]> => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    const { rows } = await client.query("select datname from pg_database where datname like '%bench%'")
    await client.end()
    return rows
  }
  const { code, stdout, stderr } = await bench(
    ...["--server", url, "--only", "enqueue,fleet", "--peers", "none", "--jobs", "100", "--repeat", "1", "--json"],
  )
  expect(code, stderr).toBe(0)
  const { ratios: _, ...measured } = JSON.parse(stdout)
  expect(measured).toMatchObject({ enqueue: { pgtusk: { jobs: 100, jobsPerSecond: expect.any(Number) } } })
  expect(Object.keys(measured)).toEqual(["enqueue"])
  expect(stderr).toMatch(/fleet is left out: it needs .*max_connections = 700/)
  expect(await databases()).toEqual([])
})
