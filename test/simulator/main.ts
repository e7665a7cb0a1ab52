/**
 * `npm run simulate -- --seeds 5000`: many histories of the simulator, on all processors. Ends with the number a minute; exit code 1 when a rule was
 * broken, with the history's last lines and how to have it again.
 */
import { fork } from "node:child_process"
import { once } from "node:events"
import { rm } from "node:fs/promises"
import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { compileInto } from "../support/bundle.js"
import type { Told } from "./history.js"
import type { Slice } from "./slice.js"

const { values: given } = parseArgs({
  options: {
    seeds: { type: "string", default: "5000" },
    /** The first; those after it follow. */
    seed: { type: "string" },
    processes: { type: "string", default: String(availableParallelism()) },
  },
})

function number(name: "seeds" | "seed" | "processes", fallback: number): number {
  const value = Number(given[name] ?? fallback)
  if (Number.isSafeInteger(value) && value >= 0) return value
  throw new Error(`--${name} is ${JSON.stringify(given[name])}; write a whole number`)
}

const ROOT = fileURLToPath(new URL("../..", import.meta.url))
const OUT = `${ROOT}node_modules/.cache/pgtusk-simulator-${process.pid}`
const seeds = number("seeds", 5_000)
const first = number("seed", Math.floor(Math.random() * 2 ** 31))
const processes = Math.max(1, Math.min(number("processes", 1), seeds))

try {
  await compileInto(OUT, [`${ROOT}test/simulator/slice.ts`], { alias: { pgtusk: `${ROOT}src/index.ts` } })
  const began = performance.now()
  let events = 0
  let done = 0
  const violations: Told[] = []
  const ends = await Promise.all(
    Array.from({ length: processes }, async (_, i) => {
      const slice: Slice = { first: first + i, step: processes, end: first + seeds }
      const child = fork(`${OUT}/slice.js`, [JSON.stringify(slice)], { execArgv: ["--enable-source-maps"] })
      child.on("message", (told: Told) => {
        events += told.events
        done++
        if (told.violation !== undefined) violations.push(told)
      })
      const [code, signal] = await once(child, "exit")
      return signal ?? code
    }),
  )
  const minutes = (performance.now() - began) / 60_000
  for (const { seed, violation, trace } of violations) {
    process.stdout.write(
      `!!!! seed ${seed}: ${violation}\n${trace.slice(-80).join("\n")}\nPGTUSK_SEED=${seed} npx vitest run test/simulator   repeats it, with its whole trace\n`,
    )
  }
  process.stdout.write(
    `simulator: ${done} of ${seeds} histories from seed ${first}, ${events} events, ${Math.round(done / minutes)} a minute, ${violations.length} violations\n`,
  )
  if (violations.length > 0 || done !== seeds || ends.some((end) => end !== 0)) process.exitCode = 1
} finally {
  await rm(OUT, { recursive: true, force: true })
}
