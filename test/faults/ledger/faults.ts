/** What goes wrong. Each fault does its harm, waits, and mends it; it returns false when there was nothing to harm just then. */
import { setTimeout as sleep } from "node:timers/promises"
import type pg from "pg"
import type { Tusk } from "../../../src/index.js"
import type { FaultProxy } from "../../support/proxy.js"
import type { Random } from "../../support/random.js"
import type { Child } from "./processes.js"
import { MAX_CONNECTIONS, type StormServer } from "./server.js"

export interface Stage {
  readonly server: StormServer
  /** The conductor's own way, which nobody disturbs. */
  readonly proxy: FaultProxy
  readonly tusk: Tusk
  readonly workers: readonly Child[]
  readonly producers: readonly Child[]
  readonly random: Random
  readonly leaseMs: number
}

export interface Fault {
  /** Whole-server faults take turns. */
  readonly scope: "process" | "server"
  readonly run: (stage: Stage) => Promise<boolean | void>
}

const anyChild = ({ random, workers, producers }: Stage): Child => random.pick([...workers, ...workers, ...producers])

/** A server setting for a while, for all sessions at once. */
async function setting({ server }: Stage, name: string, value: string, ms: number): Promise<void> {
  try {
    await server.query(`alter system set ${name} = '${value}'`)
    await server.query("select pg_reload_conf()")
    await sleep(ms)
  } finally {
    await certainly(async () => {
      await server.query(`alter system reset ${name}`)
      await server.query("select pg_reload_conf()")
    })
  }
}

/** A mending that must happen, whatever else is broken. */
export async function certainly(work: () => Promise<unknown>): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await work()
      return
    } catch (error) {
      if (attempt > 100) throw error
      await sleep(200)
    }
  }
}

async function withClients(stage: Stage, count: number, work: (clients: pg.Client[]) => Promise<void>): Promise<void> {
  const clients: pg.Client[] = []
  try {
    for (let i = 0; i < count; i++) clients.push(await stage.server.connect())
    await work(clients)
  } finally {
    for (const client of clients) void client.end().catch(() => undefined)
  }
}

export const FAULTS: Readonly<Record<string, Fault>> = {
  kill: { scope: "process", run: async ({ random, workers }) => random.pick(workers).signal("SIGKILL") },
  "kill producer": { scope: "process", run: async ({ random, producers }) => random.pick(producers).signal("SIGKILL") },
  "die in transaction": { scope: "process", run: async ({ random, producers }) => random.pick(producers).send({ do: "die in a transaction" }) },
  drain: { scope: "process", run: async ({ random, workers }) => random.pick(workers).signal("SIGTERM") },
  stop: { scope: "process", run: async ({ random, workers }) => random.pick(workers).send({ do: "stop" }) },
  freeze: {
    scope: "process",
    run: async (stage) => {
      const child = anyChild(stage)
      if (!child.signal("SIGSTOP")) return false
      await sleep(stage.random.pick([0.3, 1.2, 1.8]) * stage.leaseMs)
      child.signal("SIGCONT")
      return true
    },
  },
  block: {
    scope: "process",
    run: async ({ random, workers, leaseMs }) => {
      const ms = random.pick([0.6, 1.5]) * leaseMs
      const done = random.pick(workers).send({ do: "block", ms })
      await sleep(ms)
      return done
    },
  },
  skew: {
    scope: "process",
    run: async (stage) => {
      const child = anyChild(stage)
      child.clockOffsetMs = stage.random.pick([-600_000, 600_000])
      return child.signal("SIGKILL")
    },
  },
  poison: {
    scope: "process",
    run: async ({ tusk }) => {
      await tusk.enqueue("poison", [`poison ${Math.random()}`], { queue: "main" })
    },
  },

  blackhole: {
    scope: "process",
    run: async (stage) => {
      const { proxy } = anyChild(stage)
      proxy.pause()
      await sleep(stage.random.pick([0.3, 0.8, 2]) * stage.leaseMs)
      // Half-open sockets die in the end, or come back.
      if (stage.random.chance()) proxy.drop()
      proxy.resume()
    },
  },
  refuse: {
    scope: "process",
    run: async (stage) => {
      const { proxy } = anyChild(stage)
      proxy.refuse()
      proxy.drop()
      await sleep(stage.random.int(200, 1_500))
      await proxy.accept()
    },
  },
  drop: { scope: "process", run: async (stage) => anyChild(stage).proxy.drop(stage.random.pick(["reset", "end"])) > 0 },
  "slow network": {
    scope: "process",
    run: async (stage) => {
      const { proxy } = anyChild(stage)
      proxy.delay({ toServer: stage.random.int(0, 100), toClient: stage.random.int(0, 100) })
      await sleep(stage.random.int(500, 2_000))
      proxy.delay({})
    },
  },
  "lost answer": {
    scope: "process",
    run: async (stage) => {
      const { proxy } = anyChild(stage)
      const pattern = stage.random.pick([
        "pgtusk_claim",
        "pgtusk_settle",
        "pgtusk_insert",
        "add_jobs",
        "commit",
        "pgtusk_heartbeat",
        "claim_limited",
        "pgtusk_rescue",
      ])
      const lost = proxy.loseReplies(pattern, { keepOpen: stage.random.chance(0.3) })
      return Promise.race([lost.then(() => true), sleep(1_500, false)])
    },
  },
  "no notifications": {
    scope: "process",
    run: async (stage) => {
      const proxies = [...stage.workers, ...stage.producers].map((child) => child.proxy)
      for (const proxy of proxies) proxy.notifications = "none"
      await sleep(stage.random.int(1_000, 3_000))
      for (const proxy of proxies) proxy.notifications = "all"
    },
  },
  "exhaust pool": {
    scope: "process",
    run: async ({ random, producers }) => {
      const ms = random.int(500, 4_000)
      const done = random.pick(producers).send({ do: "exhaust", ms })
      await sleep(ms)
      return done
    },
  },

  terminate: {
    scope: "server",
    run: async ({ server, random }) => {
      for (let i = random.int(1, 8); i > 0; i--) {
        await server.query(
          "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and application_name <> 'conductor' order by random() limit $1",
          [random.int(1, 4)],
        )
        await sleep(random.int(10, 200))
      }
    },
  },
  "kill backend": {
    // One that dies so takes all sessions with it.
    scope: "server",
    run: async ({ server }) => {
      const [row] = await server.query<{ pid: number }>(
        "select pid from pg_stat_activity where application_name like 'pgtusk%' order by random() limit 1",
      )
      return row !== undefined && process.kill(row.pid, "SIGKILL")
    },
  },
  restart: {
    scope: "server",
    run: async ({ server, random }) => {
      await server.crash()
      await sleep(random.int(0, 1_000))
      await server.start()
    },
  },
  absence: {
    scope: "server",
    run: async ({ server, proxy: own, random, workers, producers, leaseMs }) => {
      await server.crash()
      await sleep(random.int(1, 3) * leaseMs)
      await server.start(true)
      for (const proxy of [own, ...[...workers, ...producers].map((child) => child.proxy)]) proxy.retarget(server.url)
    },
  },
  "connections taken": {
    scope: "server",
    run: async (stage) => {
      const clients: pg.Client[] = []
      try {
        for (let i = 0; i < MAX_CONNECTIONS; i++) clients.push(await stage.server.connect())
      } catch {
        // That was the last one. The next that anybody loses will not come back.
        await stage.server
          .query("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'pgtusk%' order by random() limit 5")
          .catch(() => undefined)
        await sleep(stage.random.int(300, 1_500))
      } finally {
        for (const client of clients) void client.end().catch(() => undefined)
      }
    },
  },
  "statement timeout": {
    scope: "server",
    run: (stage) => setting(stage, "statement_timeout", stage.random.pick(["3ms", "15ms"]), stage.random.int(500, 2_000)),
  },
  "lock timeout": { scope: "server", run: (stage) => setting(stage, "lock_timeout", "1ms", stage.random.int(1_000, 2_500)) },
  serializable: {
    scope: "server",
    run: (stage) =>
      setting(stage, "default_transaction_isolation", stage.random.pick(["serializable", "repeatable read"]), stage.random.int(500, 2_000)),
  },
  deadlocks: {
    // Locks rows against the order that the library keeps.
    scope: "server",
    run: async (stage) => {
      await withClients(stage, 1, async ([client]) => {
        for (let i = 0; i < 10; i++) {
          try {
            await client!.query("begin")
            const { rows } = await client!.query<{ id: string }>("select id from tusk.jobs order by random() limit 6")
            for (const { id } of rows.sort((a, b) => (a.id < b.id ? 1 : -1))) {
              await client!.query("select from tusk.jobs where id = $1 for update", [id])
              await sleep(10)
            }
          } catch (error) {
            if (!/deadlock/.test((error as Error).message)) throw error
          } finally {
            await client!.query("rollback")
          }
        }
      })
    },
  },
  "notify queue full": {
    scope: "server",
    run: async (stage) => {
      await withClients(stage, 2, async ([listener, talker]) => {
        // A listener in a transaction keeps the queue's tail where it is.
        await listener!.query("listen elsewhere")
        await listener!.query("begin")
        await listener!.query("select 1")
        try {
          for (let i = 0; i < 2_000; i++) await talker!.query("select pg_notify('elsewhere', repeat('x', 7900) || $1::text)", [i])
        } catch (error) {
          if (!/too many notifications/.test((error as Error).message)) throw error
        }
        await sleep(stage.random.int(300, 1_500))
      })
    },
  },
  "pause queue": {
    scope: "process",
    run: async ({ tusk, random }) => {
      const queue = tusk.queue(random.pick(["main", "slow", "limited", "tx"]))
      await queue.pause()
      await sleep(random.int(100, 1_500))
      await certainly(() => queue.resume())
    },
  },
}
