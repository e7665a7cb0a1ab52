/** One simulated process: a real QueueWorker, with its own hints, on the network of the simulation. */
import type pg from "pg"
import type { JobEvent } from "../../src/api/events.js"
import { EventHub } from "../../src/events/emitter.js"
import { EventFeed } from "../../src/events/event-feed.js"
import type { Database } from "../../src/postgres/database.js"
import type { ListenerOptions } from "../../src/postgres/notify/listener.js"
import { Notifier, WakeHub, workerChannel } from "../../src/postgres/notify/wake.js"
import { Connector } from "../../src/postgres/run/connector.js"
import { Runner } from "../../src/postgres/run/pool.js"
import { StatementNames } from "../../src/postgres/run/statement-names.js"
import { schemaNames } from "../../src/postgres/statements/names.js"
import { statementTexts } from "../../src/postgres/statements/sql.js"
import type { Statements } from "../../src/postgres/statements/statements.js"
import type { CheckedWorkerOptions } from "../../src/worker/options.js"
import { QueueWorker } from "../../src/worker/worker.js"
import type { HintWatch } from "./hints.js"
import { type Network, SimulatedPool } from "./network.js"
import type { Process } from "./time.js"

export interface WorkerSetup {
  readonly name: string
  readonly network: Network
  readonly options: CheckedWorkerOptions
  readonly hints: (queue: string) => HintWatch
  readonly event: (event: JobEvent) => void
  /** It could not start. */
  readonly gaveUp: () => void
  readonly log: (level: string, message: string, fields?: object) => void
}

export class SimulatedWorker {
  readonly name: string
  readonly process: Process
  readonly worker: QueueWorker
  readonly options: CheckedWorkerOptions
  readonly pools: SimulatedPool[] = []
  readonly hub = new WakeHub()
  state: "starting" | "running" | "ending" | "ended" | "killed" = "starting"
  paused = false
  /** Handlers that run, by queue. */
  readonly running = new Map<string, number>()
  readonly #network: Network
  readonly #gaveUp: () => void
  readonly #watches: ReadonlyMap<string, HintWatch>
  #listener: ListenerOptions | undefined
  #deaf = false

  constructor({ name, network, options, hints, event, gaveUp, log }: WorkerSetup) {
    this.name = name
    this.options = options
    this.#network = network
    this.#gaveUp = gaveUp
    const { time } = network
    this.process = time.newProcess(name)
    const watches = new Map([...options.queues.keys()].map((queue) => [queue, hints(queue)]))
    this.#watches = watches
    // Before the worker itself hears of it.
    const emit = this.hub.emit.bind(this.hub)
    this.hub.emit = (hint) => {
      if (hint.kind === "lane" && this.hub.taker(hint.lane.queue) !== undefined)
        watches.get(hint.lane.queue)?.heard(hint.lane.priority, hint.lane.seq)
      return emit(hint)
    }
    const names = schemaNames("tusk")
    const level = (l: string) => (message: string, fields?: object) => log(l, message, fields)
    const logger = { debug: level("debug"), info: level("info"), warn: level("warn"), error: level("error") }
    const open = (max: number): pg.Pool => {
      const pool = new SimulatedPool(network, this.process, max, (query, rows) => {
        if (query.name !== "claim") return
        const watch = watches.get(query.values![0])!
        if (rows === undefined) watch.sent(query.planned!, query.values![1], query.values![2])
        else watch.answered(query.planned!, rows, query.values![3])
      })
      this.pools.push(pool)
      return pool as unknown as pg.Pool
    }
    const statements = Object.fromEntries(Object.keys(statementTexts).map((key) => [key, { name: key, text: key }]))
    // Read in the very turn in which the claim is planned.
    Object.defineProperty(statements, "claim", { get: () => ({ name: "claim", text: "claim", planned: time.tick() }) })
    const connector = Connector.with({ host: "simulated", port: 5432 })
    const statementNames = new StatementNames(logger)
    const runner = new Runner(open(2), "simulated", statementNames)
    const database = { names, logger, hub: this.hub, self: name } as unknown as Database
    const eventHub = new EventHub(logger)
    eventHub.on("*", event)
    this.worker = time.as(
      this.process,
      () =>
        new QueueWorker(
          {
            database,
            connected: {
              connector,
              listenConnector: connector,
              connectionString: undefined,
              target: "simulated",
              runner,
              statementNames,
              statements: statements as unknown as Statements,
              notifier: new Notifier({ hub: this.hub, runner, statements: statements as unknown as Statements, names, self: name, logger }),
            },
            events: new EventFeed({ hub: eventHub, database, logger, listen: async () => undefined }),
            maxPayloadBytes: null,
            around: [],
          },
          options,
          {
            pool: (_config, max) => open(max),
            listener: (listener) => ({
              start: async () => {
                this.#listener = listener
                this.hear()
              },
              close: async () => {
                this.#listener = undefined
              },
            }),
          },
        ),
    )
  }

  get alive(): boolean {
    return this.state === "starting" || this.state === "running" || this.state === "ending"
  }

  start(): void {
    this.#network.time.in(
      0,
      () => {
        this.worker.start().then(
          () => {
            if (this.state === "starting") this.state = "running"
          },
          () => {
            this.state = "ended"
            this.#gaveUp()
          },
        )
      },
      this.process,
    )
  }

  end(how: "drain" | "stop"): void {
    this.state = "ending"
    this.#network.time.in(
      0,
      () => {
        void this.worker[how]().then(() => {
          this.state = "ended"
        })
      },
      this.process,
    )
  }

  kill(): void {
    this.state = "killed"
    this.process.dead = true
    for (const pool of this.pools) pool.breakAll()
  }

  /** The listening connection is gone; `hear` brings it back. */
  deafen(): void {
    this.#deaf = true
  }

  hear(): void {
    this.#deaf = false
    this.#network.time.in(this.#network.way(), () => this.#listener?.onLive(), this.process)
  }

  /** A notification arrives, a moment later. */
  notify(message: readonly unknown[], direct: boolean): void {
    if (!this.#deaf) this.#network.time.in(this.#network.way(), () => !this.#deaf && this.#deliver(message, direct), this.process)
  }

  #deliver(message: readonly unknown[], direct: boolean): void {
    if (this.#listener === undefined) return
    const [kind, queue, priority, seq] = message as [string, string, number, number]
    if (kind === "j" && message.at(-1) !== `@${this.name}`) this.#watches.get(queue)?.heard(priority, seq)
    this.#listener.onNotification(direct ? workerChannel(this.worker.id) : schemaNames("tusk").channel, JSON.stringify(message))
  }
}
