/**
 * The deterministic simulator: real workers on virtual time and a scripted database.
 *
 * A seed decides a history: how many workers, what is enqueued, cancelled and removed, how long each message takes, which statement loses its answer
 * (after it took effect, or before, or long after), which connection goes silent, when everything is away, which event loop is blocked for longer
 * than the lease, which worker is killed, paused or stopped, which notifications get lost or come twice. Then the faults stop, and everything has to
 * end. The files: `time` (events, processes), `database` (statements on maps), `network` (connections and their faults), `workers` (a process),
 * `handlers` (what jobs do, and what must hold when one starts), `hints` (the rule of cursors), `history` (who does what when, and the end).
 *
 *     npm run simulate -- --seeds 5000                   more histories than the usual, on all processors
 *     PGTUSK_SEEDS=500 npx vitest run test/simulator     the same in here
 *     PGTUSK_SEED=123 npx vitest run test/simulator      this one, with its whole trace
 */
import { expect, test } from "vitest"
import { pickSeed } from "../support/seed.js"
import { runHistory } from "./history.js"

const SEEDS = Number(process.env["PGTUSK_SEEDS"] ?? 0)
const USUAL = 150
const SECONDS = 10
const GIVEN = (process.env["PGTUSK_SEED"] ?? "") !== ""

test("whatever happens to its statements, its event loop and its neighbours, a worker keeps its rules", { timeout: 3_600_000 }, async () => {
  // The same ones each time, so that a suite does not fail by chance; others by the environment.
  const first = GIVEN || SEEDS > 0 ? pickSeed() : 1
  const began = performance.now()
  const most = GIVEN ? 1 : SEEDS > 0 ? SEEDS : USUAL
  let seeds = 0
  let events = 0
  while (seeds < most && (SEEDS > 0 || performance.now() - began < SECONDS * 1_000)) {
    const told = await runHistory((first + seeds) >>> 0, GIVEN)
    seeds++
    events += told.events
    if (told.violation === undefined) continue
    const { trace, violation } = await runHistory(told.seed, true)
    const shown = GIVEN ? trace : trace.slice(-80)
    expect.fail(
      `seed ${told.seed}: ${told.violation}\n(the same again: ${violation === told.violation})\n${shown.join("\n")}\nPGTUSK_SEED=${told.seed} repeats it, with its whole trace`,
    )
  }
  const seconds = (performance.now() - began) / 1_000
  if (SEEDS > 0) process.stderr.write(`${seeds} histories from seed ${first}, ${events} events, ${Math.round((seeds / seconds) * 60)} a minute\n`)
  expect(seeds).toBeGreaterThan(0)
})
