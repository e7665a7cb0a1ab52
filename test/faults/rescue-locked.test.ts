import { expect, test } from "vitest"
import { currentJob, task } from "../../src/index.js"
import { connect } from "../jobs/setup.js"
import { waitFor } from "../support/wait.js"
import { ground } from "../worker/ground.js"

const on = ground()

test("a job whose row a vanished host still locks does not hold up the rescue of the others, and follows when it is free", async () => {
  const queue = on.name("q")
  const runs: string[] = []
  const note = task({ name: on.name("note"), queue }, (label: string) => void runs.push(`${label} ${currentJob().attempt}`))
  on.open()
  const jobs = await note.enqueueMany([["a"], ["b"], ["c"]])
  // As a worker whose host vanished in the middle of the first one's completion leaves them.
  const gone = "00000000-0000-4000-8000-000000000001"
  await on.db.query(
    "insert into tusk.workers (id, lease, heartbeat_at, pid, host, version, queues, tasks) values ($1, '1 s', now() - interval '1 minute', 1, '', '', '{}', '{}')",
    [gone],
  )
  await on.db.query("update tusk.jobs set state = 'active', attempt = 1, lease = 1, worker_id = $1, started_at = now() where id = any ($2)", [
    gone,
    jobs.map((job) => job.id),
  ])
  const holder = await connect(on.db.url)
  await holder.query("begin")
  await holder.query("select from tusk.jobs where id = $1 for update", [jobs[0]!.id])

  await on.work({ queues: [queue], lease: 1, poll: "100ms" })
  await waitFor(() => runs.length === 2, { what: "the others to run" })
  expect([...runs].sort()).toEqual(["b 2", "c 2"])
  await holder.query("rollback")
  await waitFor(() => runs.length === 3, { what: "the last one to run" })
  expect(runs[2]).toBe("a 2")
  await waitFor(async () => (await on.db.query("select from tusk.workers where id = $1", [gone])).length === 0)
})
