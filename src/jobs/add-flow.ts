/** The low level of flows: a graph by names, for tools. */
import { FlowError } from "../errors.js"
import type { EnqueueRequest, RequestEdge } from "../task/client.js"
import { checkKeys, checkText } from "../task/option-checks.js"
import type { TaskSpec } from "../task/spec.js"
import type { FlowJob } from "./types.js"
import { isUuid, uuidv7 } from "./uuid.js"

/**
 * The requests of a flow, in the order given. `specOf` finds a task by name.
 * @throws FlowError for a name that stands twice, an unknown parent, or a cycle
 */
export function flowRequests(jobs: readonly FlowJob[], specOf: (task: string) => TaskSpec): EnqueueRequest[] {
  const index = new Map<string, number>()
  jobs.forEach((job, i) => {
    checkKeys(job as unknown, ["id", "task", "args", "dependsOn", "options"], `Job ${i} of the flow`)
    checkText(job.id, `id of job ${i} of the flow`)
    if (index.has(job.id)) throw new FlowError(`The name "${job.id}" stands twice in the flow; nothing was stored`)
    index.set(job.id, i)
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
      else throw new FlowError(`Job "${job.id}" depends on "${parent}", which is neither a name in this flow nor a job's id; nothing was stored`)
    }
    const options = stored.length === 0 ? (job.options ?? {}) : { ...job.options, dependsOn: [...(job.options?.dependsOn ?? []), ...stored] }
    return { task: specOf(job.task), args: job.args ?? [], options, edges, flow }
  })
}

/** Takes away jobs without open parents until none is left (Kahn, 1962); what remains stands in a cycle, or behind one. */
function refuseCycles(jobs: readonly FlowJob[], index: ReadonlyMap<string, number>): void {
  const open = jobs.map((job) => new Set((job.dependsOn ?? []).filter((parent) => index.has(parent))))
  const ready = jobs.filter((_, i) => open[i]!.size === 0).map((job) => job.id)
  let done = 0
  for (let id = ready.pop(); id !== undefined; id = ready.pop()) {
    done++
    open.forEach((parents, i) => {
      if (parents.delete(id) && parents.size === 0) ready.push(jobs[i]!.id)
    })
  }
  if (done === jobs.length) return
  const names = jobs.filter((_, i) => open[i]!.size > 0).map((job) => `"${job.id}"`)
  throw new FlowError(`The jobs ${names.join(", ")} of the flow wait for each other in a circle; nothing was stored`)
}
