/**
 * Random histories of commands on real Postgres and on a small pure model, which must agree after each command. A failure prints the shortest history
 * that fast-check found; PGTUSK_SEED repeats it, PGTUSK_MODEL_RUNS=2000 looks for longer.
 */
import fc from "fast-check"
import { test } from "vitest"
import { pickSeed } from "../support/seed.js"
import { ground } from "../worker/ground.js"
import { COMMANDS } from "./commands.js"
import { Real } from "./database.js"
import { Model } from "./model.js"

const on = ground()
/** Without a number: as many as eight seconds allow. */
const RUNS = Number(process.env["PGTUSK_MODEL_RUNS"] ?? 0)
const SECONDS = 8
const LENGTH = 50

test("the stored jobs are what the model says, whatever the history", { timeout: 60_000 + RUNS * 2_000 }, async () => {
  const real = new Real(on.db, on.open())
  await fc.assert(
    fc.asyncProperty(fc.commands(COMMANDS, { maxCommands: LENGTH, size: "max" }), async (commands) => {
      await real.reset()
      await fc.asyncModelRun(() => ({ model: new Model(), real }), commands)
    }),
    { seed: pickSeed(), ...(RUNS > 0 ? { numRuns: RUNS } : { numRuns: 1_000, interruptAfterTimeLimit: SECONDS * 1_000 }) },
  )
})
