/** How the command line tells of an error: what happened and what to do, without the stack unless it is asked for. */
import { inspect } from "node:util"
import { TuskError } from "../api/errors.js"
import { note } from "./output.js"

/** Something is wrong with what the user typed, or with the file that was named. The message is all there is to say. */
export class UsageError extends Error {}

/** Prints the error. Its stack, its causes and its fields come with `verbose`. */
export function report(error: unknown, verbose: boolean): void {
  if (verbose) {
    note(`error: ${inspect(error)}`)
    return
  }
  note(`error: ${messageOf(error)}`)
  if (!(error instanceof TuskError) && !(error instanceof UsageError)) note("(--verbose shows where it comes from)")
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  // An error of several, as of a host with several addresses, has no message of its own.
  if (error.message === "" && error instanceof AggregateError) return error.errors.map(messageOf).join("; ")
  return error.message || error.name
}
