/** Random inputs that can be had again: the seed is printed when a test fails, and `PGTUSK_SEED=…` sets it. */
import { onTestFailed } from "vitest"
import { type Random, randomFrom } from "./random.js"

export type { Random } from "./random.js"

/** The seed of this run: `PGTUSK_SEED`, or a fresh one. For libraries with their own generator: `fc.assert(…, { seed: pickSeed() })`. */
export function pickSeed(): number {
  const given = process.env["PGTUSK_SEED"]
  if (given === undefined || given === "") return Math.floor(Math.random() * 2 ** 31)
  const seed = Number(given)
  if (!Number.isSafeInteger(seed)) throw new Error(`PGTUSK_SEED is ${JSON.stringify(given)}; write a whole number`)
  return seed
}

/** Call it inside a test (or with the seed, anywhere): a generator that prints how to repeat the test when it fails. */
export function seeded(seed?: number): Random {
  const value = seed ?? pickSeed()
  if (seed === undefined) {
    onTestFailed(({ task }) => {
      process.stderr.write(`\n"${task.name}" failed with seed ${value}: repeat it with PGTUSK_SEED=${value}\n`)
    })
  }
  return randomFrom(value)
}
