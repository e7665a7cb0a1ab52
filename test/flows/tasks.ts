/** Tasks that the tests of flows share. */
import { currentJob, task } from "../../src/index.js"
import type { Gate } from "../worker/ground.js"

/** Returns its arguments. */
export const echo = task({ name: "flows.echo", queue: "flows" }, (...args: unknown[]) => args)
/** Returns its argument. */
export const give = task({ name: "flows.give", queue: "flows" }, <T>(value?: T) => value as T)
/** Returns nothing. */
export const nothing = task({ name: "flows.nothing", queue: "flows" }, async () => {})
/** Fails as often as it is told. */
export const fails = task({ name: "flows.fails", queue: "flows" }, (times = Number.POSITIVE_INFINITY, value: unknown = "in the end") => {
  if (currentJob().attempt <= times) throw new Error("it fails")
  return value
})

/** What runs, in order, and where it can be held. */
export interface Held {
  gate: Gate | undefined
}
export const held: Held = { gate: undefined }
export const hold = task({ name: "flows.hold", queue: "flows" }, async (label: string) => {
  await held.gate?.pass(label, currentJob().signal)
  return label
})
