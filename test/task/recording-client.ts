/** A client that stores nothing and remembers what it is asked for: what tasks say to their port. */
import type { Job } from "../../src/api/job.js"
import type { When } from "../../src/api/options.js"
import type { Schedule } from "../../src/api/schedule.js"
import { CLIENT, type EnqueueRequest, type HasClient } from "../../src/task/client.js"
import type { Tusk } from "../../src/tusk.js"

export interface RecordingClient extends HasClient {
  /** Each `submit`, with its requests. */
  readonly submitted: EnqueueRequest[][]
  readonly scheduled: { id: string; when: When; request: EnqueueRequest }[]
  /** This, as the option `via` takes it. */
  readonly via: Tusk
}

export function recordingClient(): RecordingClient {
  const submitted: EnqueueRequest[][] = []
  const scheduled: RecordingClient["scheduled"] = []
  let ids = 0
  const client = {
    submitted,
    scheduled,
    [CLIENT]: {
      async submit(requests: readonly EnqueueRequest[]): Promise<Job<any>[]> {
        submitted.push([...requests])
        return requests.map((request) => ({ id: String(++ids), task: request.task.name, created: true }) as Job)
      },
      async schedule(id: string, when: When, request: EnqueueRequest): Promise<Schedule> {
        scheduled.push({ id, when, request })
        return { id, task: request.task.name, when } as Schedule
      },
    },
  }
  return Object.assign(client, { via: client as unknown as Tusk })
}
