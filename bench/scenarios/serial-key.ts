/** Jobs of one key, of which one may run at a time. */
import { Executions } from "./executions.js"
import { clock, type Metrics, oneOfEach, rest, type Scenario, sleep, withStore } from "./scenario.js"

const HANDLER_MS = 50

export const serialKey: Scenario = {
  name: "serial-key",
  title: `serial key: 12 jobs of ${HANDLER_MS} ms, one at a time`,
  metric: "seconds",
  shown: ["jobs"],
  better: "lower",
  jobs: 12,
  mostJobs: 12,
  rounds: 1,
  // One of each: graphile-worker takes 20 s, at any settings.
  takes: oneOfEach,
  async measure(contestant, context): Promise<Metrics> {
    return withStore(contestant, context, "serial", async (store, database) => {
      await rest(database)
      const executions = new Executions(context.jobs)
      let running = 0
      let together = 0
      const worker = await store.work(async (n) => {
        together = Math.max(together, ++running)
        await sleep(HANDLER_MS)
        running--
        executions.add(n)
      })
      // Idle, as it is most of the time.
      await sleep(500)
      const began = clock()
      await store.addMany(Array.from({ length: context.jobs }, (_, n) => n))
      await executions.all(contestant)
      const seconds = (executions.lastAt - began) / 1_000
      await worker.stop()
      await executions.verify(contestant, store)
      if (together > 1) throw new Error(`${contestant.name}: ${together} jobs of one key ran at once`)
      return { seconds, jobs: context.jobs }
    })
  },
}
