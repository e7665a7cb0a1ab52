/** What a worker on the command line tells: its jobs' failures always, everything else when asked. A line each, on standard error. */
import type { JobEvent, JobEventName } from "../api/events.js"
import type { Logger } from "../api/logger.js"
import { wallClock } from "../lib/timers.js"
import type { Tusk } from "../tusk.js"
import { note } from "./output.js"

const FAILURES: readonly JobEventName[] = ["job:failed", "job:retrying", "job:expired", "job:stalled", "job:cancelled"]
const OTHERS: readonly JobEventName[] = ["job:started", "job:completed", "job:snoozed"]

export function logJobs(tusk: Tusk, verbose: boolean): void {
  for (const name of verbose ? [...FAILURES, ...OTHERS] : FAILURES) tusk.events.on(name, (event) => note(describe(event, verbose)))
}

function describe({ name, id, task, queue, attempt, error, at }: JobEvent, verbose: boolean): string {
  const head = `${time(at)} ${name.slice("job:".length)} ${task} ${id} (queue ${queue}${attempt === undefined ? "" : `, attempt ${attempt}`})`
  if (error === undefined) return head
  return `${head}: ${verbose && error.stack !== undefined ? error.stack : `${error.name}: ${error.message}`}`
}

export function noteLogger(verbose: boolean): Logger {
  const line =
    (level: string) =>
    (message: string, fields?: object): void => {
      const rest = Object.entries(fields ?? {}).map(
        ([name, value]) =>
          `${name}=${value instanceof Error ? (verbose ? value.stack : value.message) : typeof value === "string" ? value : JSON.stringify(value)}`,
      )
      note(`${time(new Date(wallClock()))} ${level} ${message}${rest.length === 0 ? "" : ` (${rest.join(", ")})`}`)
    }
  const silent = (): void => {}
  return { debug: verbose ? line("debug") : silent, info: line("info"), warn: line("warn"), error: line("error") }
}

function time(at: Date): string {
  return at.toTimeString().slice(0, 8)
}
