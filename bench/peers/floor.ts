/**
 * The floor: what one Postgres and one Node process can do with pgtusk's design and nothing else: its data model, one claim, one settle. There are
 * no retries, no events, no limits, no checks of any kind. A number to divide pgtusk's own number by.
 */
import { randomUUID } from "node:crypto"
import pg from "pg"
import { Database } from "./database.js"
import { CLAIM, finishStatement, INSERT, SCHEMA } from "./floor-sql.js"
import type { Contestant, Servers, Store, Use, Worker } from "./peer.js"

const CLAIMED_AT_ONCE = 500
const FINISHED_AT_ONCE = 2_000

let made = 0
/** Of version 7: in the order of their making. */
function uuid(): string {
  const ms = Date.now().toString(16).padStart(12, "0")
  const c = (made++).toString(16).padStart(9, "0")
  return `${ms.slice(0, 8)}-${ms.slice(8)}-7${c.slice(0, 3)}-8${c.slice(3, 6)}-${c.slice(6)}${process.pid.toString(16).padStart(9, "0").slice(-9)}`
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  return client
}

function insert(client: { query(config: pg.QueryConfig): Promise<unknown> }, numbers: readonly number[]): Promise<unknown> {
  const all = <T>(value: T): T[] => Array(numbers.length).fill(value)
  const values = [numbers.map(uuid), all("q"), all("t"), all(5), all(1), numbers.map((n) => `[${n}]`)]
  return client.query({ name: "insert", text: INSERT, values })
}

interface Claimed {
  readonly id: string
  readonly seq: string
  readonly lease: string
  readonly args: [number]
}

/** Claims on one connection, finishes on another, and sleeps until it is notified. */
class FloorWorker implements Worker {
  readonly #id = randomUUID()
  readonly #finish: string
  readonly #connections: pg.Client[]
  readonly #loops: Promise<unknown>
  readonly #run: (n: number) => unknown
  #cursor = 0
  #running = 0
  #finished: Claimed[] = []
  #stopped = false
  #wake: () => void = () => undefined
  #hinted = false

  private constructor(connections: [claim: pg.Client, finish: pg.Client, listen: pg.Client], use: Use, run: (n: number) => unknown) {
    this.#connections = connections
    this.#finish = finishStatement(use !== "unkept")
    this.#run = run
    connections[2].on("notification", () => {
      this.#hinted = true
      this.#wake()
    })
    this.#loops = Promise.all([this.#claimAll(connections[0]), this.#finishAll(connections[1])])
  }

  static async start(url: string, use: Use, run: (n: number) => unknown): Promise<FloorWorker> {
    const connections: [pg.Client, pg.Client, pg.Client] = [await connect(url), await connect(url), await connect(url)]
    await connections[2].query("listen wake")
    return new FloorWorker(connections, use, run)
  }

  async #claimAll(client: pg.Client): Promise<void> {
    while (!this.#stopped) {
      this.#hinted = false
      const { rows } = await client.query<Claimed>({ name: "claim", text: CLAIM, values: ["q", CLAIMED_AT_ONCE, this.#id, this.#cursor] })
      for (const job of rows) {
        this.#cursor = Math.max(this.#cursor, Number(job.seq))
        this.#running++
        void Promise.resolve(this.#run(job.args[0])).then(() => {
          this.#running--
          this.#finished.push(job)
          this.#wakeFinisher()
        })
      }
      if (rows.length > 0) await new Promise(setImmediate)
      else if (!this.#hinted && !this.#stopped) await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }

  #wakeFinisher: () => void = () => undefined

  async #finishAll(client: pg.Client): Promise<void> {
    while (!this.#stopped || this.#running > 0 || this.#finished.length > 0) {
      if (this.#finished.length === 0) {
        await new Promise<void>((resolve) => (this.#wakeFinisher = resolve))
        // What ends in one turn leaves together.
        await new Promise(setImmediate)
        continue
      }
      const batch = this.#finished.splice(0, FINISHED_AT_ONCE)
      const values = [batch.map((job) => job.id), batch.map((job) => job.lease), batch.map(() => "null")]
      const { rowCount } = await client.query({ name: "finish", text: this.#finish, values })
      if (rowCount !== batch.length) throw new Error(`floor: ${rowCount} of ${batch.length} outcomes were recorded`)
    }
  }

  async recorded(): Promise<void> {
    this.#stopped = true
    this.#wake()
    this.#wakeFinisher()
    await this.#loops
  }

  async stop(): Promise<void> {
    await this.recorded()
    await Promise.all(this.#connections.map((client) => client.end()))
  }
}

async function open({ postgres }: Servers, use: Use): Promise<Store> {
  const database = await Database.open(postgres)
  if ((await database.number("select count(*) from pg_class where relname = 'finished_jobs'")) === 0)
    for (const statement of SCHEMA) await database.run(statement)
  const [producer, notifier] = [await connect(postgres), await connect(postgres)]
  // What comes while a statement is on its way leaves with the next.
  const folded: { n: number; stored: (done: Promise<unknown>) => void }[] = []
  let sending = false
  const send = async (): Promise<void> => {
    sending = true
    while (folded.length > 0) {
      const batch = folded.splice(0, 1_000)
      const done = insert(
        producer,
        batch.map(({ n }) => n),
      )
      for (const { stored } of batch) stored(done)
      await done.catch(() => undefined)
      notify()
    }
    sending = false
  }
  // As in pgtusk: after the commit, not waited for, and its own commit does not wait for the disk.
  let notifying = false
  let again = false
  const notify = (): void => {
    again = true
    if (notifying) return
    notifying = true
    void (async () => {
      while (again) {
        again = false
        await notifier.query("select set_config('synchronous_commit', 'off', true), pg_notify('wake', '')")
      }
      notifying = false
    })()
  }
  return {
    clear: async () => {
      await database.run("truncate jobs, finished_jobs")
    },
    add: (n) =>
      new Promise((resolve) => {
        folded.push({ n, stored: resolve })
        if (!sending) void send()
      }),
    addMany: async (numbers) => {
      await insert(producer, numbers)
      notify()
    },
    work: (run) => FloorWorker.start(postgres, use, run),
    unfinished: () => database.number("select count(*) from jobs"),
    finished: () => database.number("select count(*) from finished_jobs"),
    async addInTransaction(client, n, quietly) {
      await insert(client as unknown as pg.Client, [n])
      if (!quietly) await client.query("select pg_notify('wake', '')")
    },
    async close() {
      while (notifying) await new Promise(setImmediate)
      await Promise.all([producer.end(), notifier.end(), database.close()])
    },
  }
}

export const contestants: readonly Contestant[] = [
  {
    name: "floor",
    peer: "floor",
    settings: "the SQL of pgtusk's design alone: claims of 500, outcomes in batches of up to 2,000; no limit of jobs at once",
    drains: Number.POSITIVE_INFINITY,
    concurrency: Number.POSITIVE_INFINITY,
    uses: ["plain", "unkept"],
    open,
  },
]
