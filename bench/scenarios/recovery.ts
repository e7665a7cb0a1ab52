/** A worker is killed in the middle of a job: how long until that job runs again elsewhere. */
import { RemoteWorker } from "../remote-worker.js"
import { clock, type Metrics, type Scenario, sleep, withStore } from "./scenario.js"

const LIMIT_MS = 60_000

export const recovery: Scenario = {
  name: "recovery",
  title: "recovery: from kill -9 to running again",
  metric: "seconds",
  shown: [],
  better: "lower",
  jobs: 1,
  mostJobs: 1,
  rounds: 1,
  // The others take from half a minute to hours: their documented figures stand in docs/performance.md.
  takes: ({ peer }) => peer === "pgtusk",
  async measure(contestant, context): Promise<Metrics> {
    return withStore(contestant, context, "plain", async (store) => {
      const remote = (): Promise<RemoteWorker> => RemoteWorker.prepare(contestant, context.servers, LIMIT_MS, "each")
      const first = await remote()
      const second = await remote()
      try {
        const started = (worker: RemoteWorker): Promise<number> =>
          new Promise((resolve) => {
            worker.onStarted = (_, at) => resolve(at)
          })
        const running = started(first)
        await first.start()
        await store.add(0)
        await running
        const again = started(second)
        await second.start()
        await sleep(500)
        first.kill()
        const killed = clock()
        const late = sleep(LIMIT_MS).then(() => {
          throw new Error(`${contestant.name}: the job of a killed worker did not run again within ${LIMIT_MS / 1_000} s`)
        })
        return { seconds: ((await Promise.race([again, late])) - killed) / 1_000 }
      } finally {
        first.kill()
        second.kill()
      }
    })
  },
}
