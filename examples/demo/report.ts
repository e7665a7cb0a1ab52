/** The table at the end. */
import type { Remains } from "./database.js"
import { type Screen, table } from "./screen.js"
import type { Counts } from "./types.js"
import type { Verdict } from "./verdict.js"

/** What was seen on the way. */
export interface Happened {
  retries: number
  killed:
    | { readonly ids: readonly string[]; readonly workerId: string; readonly at: Date; takenOver: { jobs: number; seconds: number } | undefined }
    | undefined
  longest: string | undefined
}

export interface Outcome {
  readonly verdict: Verdict
  readonly counts: ReadonlyMap<string, Counts>
  readonly remains: Remains
  readonly happened: Happened
  readonly waitedMs: number | undefined
  readonly seconds: number
}

export function report(screen: Screen, { verdict, counts, remains, happened, waitedMs, seconds }: Outcome): void {
  const total = (rows: Iterable<Counts>, of: "words" | "headings" | "links"): number => [...rows].reduce((sum, row) => sum + row[of], 0)
  const pair = (of: "words" | "headings" | "links"): string => `${total(remains.files, of)} by jobs, ${total(counts.values(), of)} by a plain loop`
  const ended = (state: string): number => remains.jobs.filter((job) => job.state === state).length
  const retried = remains.jobs.filter(({ task, attempt }) => task === "demo.tally" && attempt > 1).length
  const { killed } = happened
  const rows: [string, string][] = [
    ["jobs", `${verdict.jobs}: ${ended("completed")} completed, ${ended("expired")} expired, ${ended("failed")} failed`],
    ["files", `${remains.files.length} counted, ${remains.tallies.length} added to ${remains.packages.length} packages`],
    ["words", pair("words")],
    ["headings", pair("headings")],
    ["links", pair("links")],
    ["longest", happened.longest ?? "not known"],
    ["flaky step", `${retried} jobs failed once, were rolled back and ran again`],
    ["delayed job", waitedMs === undefined ? "did not run" : `ran ${(waitedMs / 1000).toFixed(2)} s after it was enqueued with a delay of 4 s`],
    ["job with TTL", ended("expired") === 1 ? "expired after 2 s without having started" : "did not expire"],
    [
      "killed worker",
      killed === undefined
        ? "none"
        : `held ${killed.ids.length} jobs; the other ran ${killed.takenOver?.jobs ?? 0} of them again within ${killed.takenOver?.seconds.toFixed(1) ?? "?"} s`,
    ],
    ["lost", String(verdict.lost.length)],
    ["twice", String(verdict.twice.length)],
    ["time", `${seconds.toFixed(1)} s`],
  ]
  for (const line of table(rows)) screen.line(line)
}
