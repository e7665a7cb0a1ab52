/** Keys take turns: one with a hundred thousand jobs does not starve one with ten. */
import { expect, test } from "vitest"
import { task } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { ground } from "../worker/ground.js"

const on = ground()

/** Jobs of a key, in SQL, since there are many. */
async function fill(queue: string, name: string, key: string, jobs: number): Promise<void> {
  await on.db.query(
    `insert into tusk.jobs (id, queue, task, args, concurrency_key, limit_group)
     select gen_random_uuid(), $1, $2, jsonb_build_array($3::text), $3::text, tusk.limit_group($2, $3::text, null) from generate_series(1, $4::int)`,
    [queue, name, key, jobs],
  )
}

test("the n-th job of a key starts after at most (n + workers x share) x (keys - 1) others", { timeout: 60_000 }, async () => {
  const queue = on.name("q")
  const order: string[] = []
  const keys = ["small", "other", "third"]
  const [slots, workers] = [10, 2]
  const done = task(
    { name: on.name("done"), queue, concurrency: { limit: 1_000_000, key: (key: string) => key } },
    (key: string) => void order.push(key),
  )
  await fill(queue, done.taskName, "big", 100_000)
  for (const key of keys) await fill(queue, done.taskName, key, 10)
  for (let i = 0; i < workers; i++) await on.work({ queues: { [queue]: slots } })
  await waitFor(() => keys.every((key) => order.filter((one) => one === key).length === 10), { timeout: 30_000 })
  const share = Math.ceil(slots / (keys.length + 1))
  for (const key of keys) {
    const at = order.flatMap((one, i) => (one === key ? [i] : []))
    at.forEach((position, i) => {
      // Others before it: its position less those of its own key. A batch starts within one turn, so two workers' batches may be mixed.
      expect(position - i).toBeLessThanOrEqual((i + 1 + workers * share) * keys.length)
    })
  }
})

test("jobs with limits and jobs without share the slots of a queue, however long a claim takes", { timeout: 60_000 }, async () => {
  const queue = on.name("q")
  const order: string[] = []
  const running = { limited: 0, plain: 0 }
  // The most of a kind at once while the other had jobs left.
  const most = { limited: 0, plain: 0 }
  const take = async (what: "limited" | "plain"): Promise<void> => {
    order.push(what)
    running[what]++
    if (order.length <= 100) most[what] = Math.max(most[what], running[what])
    await new Promise((resolve) => setTimeout(resolve, 20))
    running[what]--
  }
  const limited = task({ name: on.name("limited"), queue, concurrency: { limit: 100 } }, () => take("limited"))
  const plain = task({ name: on.name("plain"), queue }, () => take("plain"))
  await fill(queue, limited.taskName, "", 100)
  await on.db.query("insert into tusk.jobs (id, queue, task, args) select gen_random_uuid(), $1, $2, '[]' from generate_series(1, 100)", [
    queue,
    plain.taskName,
  ])
  await on.work({ queues: { [queue]: 4 } })
  await waitFor(() => order.length === 200, { timeout: 40_000 })
  expect(most).toEqual({ limited: 2, plain: 2 })
  expect(order.slice(0, 100).filter((one) => one === "limited").length).toBeGreaterThan(20)
})

test("within a key priority decides, between keys the turn", async () => {
  const tusk = on.open()
  const queue = on.name("q")
  const order: string[] = []
  const noted = task({ name: on.name("noted"), queue, concurrency: { limit: 1, key: (key: string) => key } }, async (key: string, n: number) => {
    order.push(`${key}${n}`)
  })
  await noted.with({ priority: 9 }).enqueue("a", 3)
  await noted.enqueue("a", 2)
  await noted.with({ priority: 1 }).enqueue("a", 1)
  await noted.with({ priority: 9 }).enqueue("b", 1)
  await tusk.work({ queues: { [queue]: 1 } })
  await waitFor(() => order.length === 4)
  expect(order.filter((one) => one.startsWith("a"))).toEqual(["a1", "a2", "a3"])
  expect(order.indexOf("b1")).toBeLessThan(2)
})
