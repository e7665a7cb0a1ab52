import type { Duration } from "../api/duration.js"
import { currentDefault } from "../task/client.js"
import { configure, type Tusk } from "../tusk.js"
import { databaseUrl, describeDatabase } from "./database.js"
import { UsageError } from "./failure.js"
import { loadModules } from "./load-modules.js"
import { note } from "./output.js"
import { stopSignal } from "./signals.js"
import { logJobs, noteLogger } from "./worker-log.js"
import { type QueueChoice, servedQueues, tasksWithoutHandler } from "./worker-queues.js"

export interface WorkerCommandOptions {
  readonly queue?: QueueChoice
  readonly concurrency?: number
  readonly drainTimeout?: string
  readonly url?: string
  readonly schema?: string
  readonly verbose: boolean
}

/** `pgtusk worker`: runs until a signal; returns the exit code. */
export async function worker(modules: readonly string[], options: WorkerCommandOptions): Promise<number> {
  await loadModules(modules, options.verbose)
  const queues = servedQueues(options.queue)
  if (queues.length === 0) {
    throw new UsageError(
      `${modules.join(" and ")} ${modules.length === 1 ? "defines" : "define"} no task; call task({ name: "emails.send" }, async () => { … }) at the top level of a module, where importing runs it`,
    )
  }
  const tusk = client(options)
  logJobs(tusk, options.verbose)
  // Before the start, so that a signal that comes meanwhile is not lost.
  const signal = stopSignal()
  try {
    const running = await tusk.work({
      queues: options.queue ?? queues.map((queue) => queue.name),
      ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency }),
      ...(options.drainTimeout === undefined ? {} : { drainTimeout: duration(options.drainTimeout) }),
      signals: false,
    })
    note(`Worker ${running.id} (pid ${process.pid}) on ${await whereIs(tusk)} serves`)
    for (const { name, tasks } of queues) note(`  ${name}: ${tasks.length === 0 ? "no task of these modules" : tasks.join(", ")}`)
    for (const name of tasksWithoutHandler()) {
      note(`Task "${name}" is a method and no object of its class is registered: its jobs wait. Call tusk.register(new …()) in the module.`)
    }
    const stopped = await Promise.race([signal, running.stopped])
    if (stopped !== undefined) note(`${stopped}: no more jobs are claimed; what runs may finish. Again ends at once.`)
    await running.drain()
  } finally {
    await tusk.close()
  }
  note("Worker stopped.")
  return 0
}

/** What the command line says goes first; then a client that the modules made, then DATABASE_URL. It is the default, so that handlers enqueue there too. */
function client({ url, schema, verbose }: WorkerCommandOptions): Tusk {
  const configured = currentDefault()
  if (configured !== undefined && url === undefined && schema === undefined) return configured as Tusk
  const connectionString = databaseUrl(url)
  return configure({
    ...(connectionString === undefined ? {} : { connectionString }),
    ...(schema === undefined ? {} : { schema }),
    logger: noteLogger(verbose),
  })
}

async function whereIs(tusk: Tusk): Promise<string> {
  try {
    return describeDatabase(await tusk.connectionString(), tusk.schema)
  } catch {
    // A client on a pool of the application's knows no connection string.
    return `schema "${tusk.schema}"`
  }
}

/** A bare number is seconds, as everywhere; the worker checks the rest. */
function duration(text: string): Duration {
  return /^\d+(\.\d+)?$/.test(text) ? Number(text) : (text as Duration)
}
