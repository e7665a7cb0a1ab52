/** Limits are exact over processes, and nothing leaks when one dies. */
import { beforeEach, expect, test } from "vitest"
import { waitFor } from "../support/wait.js"
import { ground } from "../worker/ground.js"
import { keepBook, limitedProcess } from "./processes.js"

const on = ground()
const SLOW = { timeout: 60_000 }

beforeEach(async () => {
  await on.db.query("drop table if exists runs")
  await on.db.query("drop function if exists begin_run")
  await keepBook(on.db)
})

test("I11: four workers in two processes never run more than the limit of a key, and use it", { timeout: 90_000 }, async () => {
  const tusk = on.open()
  const [queue, name] = [on.name("q"), on.name("t")]
  const settings = { queue, task: name, workers: 2, slots: 10, ms: 10, concurrency: 3 }
  await Promise.all([limitedProcess(on.db.url, settings), limitedProcess(on.db.url, settings)])
  const keys = ["a", "b", "c", "d", "e"]
  await Promise.all(keys.flatMap((key) => Array.from({ length: 60 }, () => tusk.enqueue(name, [key], { queue, concurrencyKey: key }))))
  await waitFor(async () => (await on.counts(queue)).completed === 300, SLOW)
  const rows = await on.db.query("select key, max(beside) + 1 as most, count(*)::int as runs from runs group by key order by key")
  // It is reached, too: the limit is no lock around everything.
  expect(rows).toEqual(keys.map((key) => ({ key, most: 3, runs: 60 })))
  const [{ pids }] = await on.db.query("select count(distinct pid)::int as pids from runs")
  expect(pids).toBe(2)
})

test("I11: the places of a worker that is killed come back, and are never exceeded", { timeout: 90_000 }, async () => {
  const tusk = on.open()
  const [queue, name] = [on.name("q"), on.name("t")]
  const settings = { queue, task: name, workers: 1, slots: 10, ms: 60_000, concurrency: 3 }
  const doomed = await limitedProcess(on.db.url, settings)
  await Promise.all(Array.from({ length: 6 }, () => tusk.enqueue(name, ["a"], { queue, concurrencyKey: "a" })))
  await waitFor(async () => (await on.db.query("select from runs where ended is null")).length === 3, SLOW)
  await limitedProcess(on.db.url, { ...settings, ms: 20 })
  expect((await on.counts(queue)).active).toBe(3)
  doomed.kill("SIGKILL")
  await doomed.exit
  // The dead run no more.
  await on.db.query("update runs set ended = clock_timestamp() where pid = $1", [doomed.pid])
  await waitFor(async () => (await on.counts(queue)).completed === 6, SLOW)
  const [{ most }] = await on.db.query("select max(beside) + 1 as most from runs")
  expect(most).toBe(3)
})

test("a limit of a queue is exact over processes and tasks", { timeout: 90_000 }, async () => {
  const tusk = on.open()
  const [queue, plain, keyed] = [on.name("q"), on.name("plain"), on.name("keyed")]
  await tusk.queue(queue).configure({ concurrency: 4 })
  const settings = { queue, workers: 2, slots: 10, ms: 10 }
  await Promise.all([
    limitedProcess(on.db.url, { ...settings, task: plain }),
    limitedProcess(on.db.url, { ...settings, task: keyed, concurrency: 3 }),
  ])
  await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      i % 2 === 0 ? tusk.enqueue(plain, ["p"], { queue }) : tusk.enqueue(keyed, ["k"], { queue, concurrencyKey: "k" }),
    ),
  )
  await waitFor(async () => (await on.counts(queue)).completed === 100, SLOW)
  const [{ most }] = await on.db.query(
    "select max(n)::int as most from (select (select count(*) from runs o where o.began <= r.began and o.ended > r.began) as n from runs r) x",
  )
  expect(most).toBeLessThanOrEqual(4)
  expect(most).toBeGreaterThan(1)
})
