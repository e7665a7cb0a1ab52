import type { QueueInfo } from "../api/queue.js"
import type { WorkerInfo } from "../api/worker.js"
import { wallClock } from "../lib/timers.js"
import { type DatabaseOptions, describeDatabase, withTusk } from "./database.js"
import { age, print, table } from "./output.js"

/** `pgtusk status` */
export async function status(options: DatabaseOptions & { readonly json?: boolean }): Promise<void> {
  await withTusk(options, async (tusk, url) => {
    const [queues, workers] = await Promise.all([tusk.queues(), tusk.workers()])
    if (options.json) print(JSON.stringify({ schema: options.schema, queues, workers }, null, 2))
    else print(describe(queues, workers, describeDatabase(url, options.schema)))
  })
}

function describe(queues: readonly QueueInfo[], workers: readonly WorkerInfo[], where: string): string {
  if (queues.length === 0 && workers.length === 0) return `No jobs and no workers in ${where}.`
  const parts: string[] = []
  if (queues.length > 0) {
    const headings = ["QUEUE", "WAITING", "DELAYED", "BLOCKED", "ACTIVE", "FAILED", "EXPIRED", "WORKERS", "OLDEST WAITING"]
    const rows = queues.map(({ name, paused, counts, workers, oldestWaiting }) => [
      paused ? `${name} (paused)` : name,
      ...[counts.waiting, counts.delayed, counts.blocked, counts.active, counts.failed, counts.expired, workers],
      oldestWaiting === null ? "-" : since(oldestWaiting),
    ])
    parts.push(table(headings, rows))
  }
  if (workers.length === 0) parts.push("No worker runs: start one with `npx pgtusk worker <modules>`.")
  else {
    const headings = ["WORKER", "HOST", "PID", "RUNNING", "UP", "LAST BEAT", "VERSION", "QUEUES"]
    const rows = workers.map((w) => [
      ...[w.id, w.host, w.pid, w.running],
      ...[since(w.startedAt), `${since(w.heartbeatAt)} ago`, w.version, w.queues.join(", ")],
    ])
    parts.push(table(headings, rows))
  }
  return parts.join("\n\n")
}

/** For the eye only, so the clock of this machine will do. */
function since(instant: Date): string {
  return age(wallClock() - instant.getTime())
}
