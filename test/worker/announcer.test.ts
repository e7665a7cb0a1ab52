/** In which order a worker tells of its jobs, when the database's answers come late. */
import { expect, test } from "vitest"
import { EventHub } from "../../src/events/emitter.js"
import { EventFeed } from "../../src/events/event-feed.js"
import type { Database } from "../../src/postgres/database.js"
import type { Run } from "../../src/worker/run/run.js"
import { Announcer } from "../../src/worker/settle/announcer.js"
import type { Settlement } from "../../src/worker/settle/settler.js"

const logger = { debug() {}, info() {}, warn() {}, error() {} }

/** Nobody listens elsewhere, so the database is not asked. */
function told(): { announcer: Announcer; events: string[] } {
  const hub = new EventHub(logger)
  const events: string[] = []
  hub.on("*", (event) => void events.push(`${event.name} ${event.id} ${event.attempt}`))
  const feed = new EventFeed({ hub, database: {} as Database, logger, listen: async () => undefined })
  return { announcer: new Announcer(feed), events }
}

const run = (id: string, attempt: number): Run => ({ id, attempt, task: "t", queue: "q" }) as Run
const ended = (run: Run, kind: "retry" | "completed"): Settlement =>
  ({ run, outcome: kind === "retry" ? { kind, delayMs: 0, error: { name: "E", message: "" } } : { kind, result: null } }) as Settlement

test("a job that starts again before the answer to its last outcome: what its new run does is told after that; other jobs do not wait", () => {
  const { announcer, events } = told()
  const [first, second, other] = [run("a", 1), run("a", 2), run("b", 1)]
  announcer.started(first)
  announcer.decided(first)
  announcer.started(second)
  announcer.progressed(second, 0.5, undefined)
  announcer.started(other)
  expect(events).toEqual(["job:started a 1", "job:started b 1"])
  announcer.settled(ended(first, "retry"), "recorded")
  announcer.progressed(second, 0.7, undefined)
  announcer.decided(second)
  announcer.settled(ended(second, "completed"), "recorded")
  expect(events.slice(2)).toEqual(["job:retrying a 1", "job:started a 2", "job:progress a 2", "job:progress a 2", "job:completed a 2"])
})

test("so it is when the new run's outcome is on its way too, and a third run starts", () => {
  const { announcer, events } = told()
  const runs = [run("a", 1), run("a", 2), run("a", 3)] as const
  for (const one of runs) {
    announcer.started(one)
    announcer.decided(one)
  }
  announcer.settled(ended(runs[0], "retry"), "recorded")
  announcer.settled(ended(runs[1], "retry"), "recorded")
  announcer.settled(ended(runs[2], "completed"), "recorded")
  expect(events.map((text) => text.replace("job:", ""))).toEqual([
    "started a 1",
    "retrying a 1",
    "started a 2",
    "retrying a 2",
    "started a 3",
    "completed a 3",
  ])
})
