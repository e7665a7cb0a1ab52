/** The low level of flows: a graph by names, for tools. */
import { FlowError, InvalidOptionError, UnknownJobError } from "../api/errors.js"
import type { FlowJob } from "../api/flow.js"
import type { EnqueueOptions } from "../api/options.js"
import { describeValue } from "../lib/invalid-option.js"
import { checkText, isList, readOptions } from "../lib/option-checks.js"
import { isUuid, uuidv7 } from "../lib/uuid.js"
import { sqlStateOf } from "../postgres/run/sqlstate.js"
import type { EnqueueRequest, RequestEdge } from "../task/client.js"
import { mergeOptions } from "../task/options.js"
import type { TaskSpec } from "../task/spec.js"

/** A flow of more would hold its locks for too long. */
export const MAX_NODES = 10_000

/** Stores a flow: what is unknown to a job of its own, or waits for itself, is a fault of the flow. */
export async function stored<T>(store: Promise<T>, what: string): Promise<T> {
  try {
    return await store
  } catch (error) {
    const code = sqlStateOf(error)
    if (error instanceof UnknownJobError || code === "PT400") throw new FlowError(`${what}: ${(error as Error).message}`, { cause: error })
    throw error
  }
}

/**
 * The requests of a flow, in the order given. `specOf` finds a task by name.
 * @throws FlowError for a name that stands twice, an unknown parent, a cycle, or more than 10,000 jobs
 */
export function flowRequests(given: readonly FlowJob[], specOf: (task: string) => TaskSpec): EnqueueRequest[] {
  if (!isList(given)) throw new InvalidOptionError(`addFlow() got ${describeValue(given)}; write a list: [{ id: "a", task: "reports.build" }]`)
  if (given.length > MAX_NODES) throw new FlowError(`The flow has ${given.length} jobs; write at most ${MAX_NODES}, or several flows`)
  const index = new Map<string, number>()
  const jobs = given.map((one, i): FlowJob => {
    const job = readOptions(one, ["id", "task", "args", "dependsOn", "options"], `Job ${i} of the flow`)
    checkText(job.id, `id of job ${i} of the flow`)
    const of = `of job "${job.id}" of the flow`
    checkText(job.task, `option "name" of a task (task ${of})`)
    for (const field of ["args", "dependsOn"] as const) {
      if (job[field] !== undefined && !isList(job[field]))
        throw new InvalidOptionError(`${field} ${of} is ${describeValue(job[field])}; write a list`)
    }
    for (const parent of job.dependsOn ?? []) checkText(parent, `dependsOn ${of}`)
    const options: EnqueueOptions | undefined = job.options === undefined ? undefined : mergeOptions({}, job.options, job.task)
    if (options?.tx !== undefined || options?.via !== undefined)
      throw new FlowError(`Job "${job.id}" of the flow has tx or via; give tx to addFlow() itself, and call it on the client that is meant`)
    if (index.has(job.id)) throw new FlowError(`The name "${job.id}" stands twice in the flow; nothing was stored`)
    index.set(job.id, i)
    return { ...(job as FlowJob), ...(options === undefined ? {} : { options }) }
  })
  refuseCycles(jobs, index)
  const flow = { id: uuidv7(), name: "" }
  return jobs.map((job) => {
    const edges: RequestEdge[] = []
    const stored: string[] = []
    for (const parent of new Set(job.dependsOn ?? [])) {
      const at = index.get(parent)
      if (at !== undefined) edges.push({ index: at, onFailure: job.options?.onParentFailure ?? "block", paths: [] })
      else if (isUuid(parent)) stored.push(parent)
      else
        throw new FlowError(
          `Job "${job.id}" depends on "${parent}", which is neither a name in this flow nor a job's id; write one of them (nothing was stored)`,
        )
    }
    const options = stored.length === 0 ? (job.options ?? {}) : { ...job.options, dependsOn: [...(job.options?.dependsOn ?? []), ...stored] }
    return { task: specOf(job.task), args: job.args ?? [], options, edges, flow }
  })
}

/** Takes away jobs without open parents until none is left (Kahn, 1962); what remains stands in a cycle, or behind one. */
function refuseCycles(jobs: readonly FlowJob[], index: ReadonlyMap<string, number>): void {
  const open = jobs.map(() => 0)
  const children = jobs.map((): number[] => [])
  jobs.forEach((job, i) => {
    for (const parent of new Set(job.dependsOn ?? [])) {
      const at = index.get(parent)
      if (at === undefined) continue
      open[i]!++
      children[at]!.push(i)
    }
  })
  const ready = jobs.map((_, i) => i).filter((i) => open[i] === 0)
  for (let i = ready.pop(); i !== undefined; i = ready.pop()) {
    for (const child of children[i]!) if (--open[child]! === 0) ready.push(child)
  }
  const rest = jobs.filter((_, i) => open[i]! > 0).map((job) => JSON.stringify(job.id))
  if (rest.length === 0) return
  const names = rest.length <= 10 ? rest.join(", ") : `${rest.slice(0, 10).join(", ")} and ${rest.length - 10} more`
  throw new FlowError(`The jobs ${names} of the flow wait for each other in a circle; nothing was stored`)
}
