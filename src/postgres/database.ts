/** One schema of one database: how to reach it, what runs on it, and whether it fits this code. Connects on first use. */

import { randomUUID } from "node:crypto"
import type { Pool } from "pg"
import type { DatabaseOptions, MigrationOutcome } from "../api/client.js"
import { ConnectionError, InvalidOptionError, SchemaVersionError } from "../api/errors.js"
import type { Logger } from "../api/logger.js"
import { type EmbeddedServer, startEmbedded } from "../embedded/embedded.js"
import { outside } from "../lib/async-context.js"
import { Notifier, WakeHub } from "./notify/wake.js"
import { parseAddress } from "./run/address.js"
import { Connector, keepQuiet } from "./run/connector.js"
import type { Executor } from "./run/executor.js"
import { connectionError, isNotOfTheCaller } from "./run/failure.js"
import { ClientRunner, executorOn, type Runner } from "./run/pool.js"
import { closeIdle, endPool } from "./run/pool-end.js"
import { StatementNames } from "./run/statement-names.js"
import { assertSchema } from "./schema/schema-version.js"
import { type SchemaNames, schemaNames } from "./statements/names.js"
import { type Statements, statementsFor } from "./statements/statements.js"
import { executorFor } from "./transactions/transaction.js"

/** What exists once the database's address is known. */
export interface Connected {
  readonly connector: Connector
  /** For LISTEN. */
  readonly listenConnector: Connector
  /** What the options or the environment say of the place, as it was given; undefined with a pool. */
  readonly connectionString: string | undefined
  readonly target: string
  readonly runner: Runner
  /** What is known of named statements on the way to this server. */
  readonly statementNames: StatementNames
  readonly statements: Statements
  readonly notifier: Notifier
}

/** Connections of a client: enqueues fold into one, so these serve transactions, waits and administration. */
const POOL_SIZE = 10

export class Database {
  readonly names: SchemaNames
  readonly logger: Logger
  /** Hints inside this process. */
  readonly hub: WakeHub = new WakeHub()
  /** Marks this client's notifications. */
  readonly self: string = randomUUID().slice(0, 8)
  readonly #options: DatabaseOptions
  #embedded: EmbeddedServer | undefined
  #ownPool: Pool | undefined
  #connecting: Promise<Connected> | undefined
  #checking: Promise<void> | undefined
  #fits = false
  #closed = false

  /** @throws InvalidOptionError for a connection string or a schema's name that is none */
  constructor(options: DatabaseOptions, logger: Logger) {
    this.#options = options
    this.logger = logger
    this.names = schemaNames(options.schema ?? "tusk")
    if (options.connectionString !== undefined) parseAddress(options.connectionString)
    if (options.listenConnectionString !== undefined) parseAddress(options.listenConnectionString, "listenConnectionString")
    if (options.pool !== undefined) keepQuiet(options.pool)
  }

  /** What runs on the database; nothing is asked of it yet, except that an embedded one is started. */
  connect(): Promise<Connected> {
    if (this.#closed) return Promise.reject(closedError())
    this.#connecting ??= outside(() =>
      this.#connect().catch((error: unknown) => {
        this.#connecting = undefined
        throw error
      }),
    )
    return this.#connecting
  }

  /** Connected, and the schema is known to fit. */
  async ready(): Promise<Connected> {
    const connected = await this.connect()
    this.#checking ??= outside(() =>
      this.#check(connected).catch((error: unknown) => {
        // The next call looks again: somebody may migrate, or the server come up.
        this.#checking = undefined
        throw error
      }),
    )
    await this.#checking
    return connected
  }

  /**
   * The schema is known to fit, as somebody's transaction sees it: that one may have made it, and a pool that lent its last connection to it has
   * none for us.
   */
  async readyIn(executor: Executor): Promise<void> {
    if (this.#fits) return
    const { target } = await this.connect()
    if (this.#migrates) {
      await this.ready()
      return
    }
    try {
      await assertSchema(executor, this.names)
    } catch (error) {
      throw isNotOfTheCaller(error) ? connectionError(error, target) : error
    }
    this.#fits = true
  }

  async migrate(tx: unknown): Promise<MigrationOutcome> {
    const { migrateOn, migrateIn } = await migrations()
    if (tx !== undefined) return migrateIn(executorFor(tx), this.names)
    const { connector } = await this.connect()
    const outcome = await migrateOn(connector, this.names)
    this.#checking = undefined
    return outcome
  }

  /** Gives back what `connect()` took, cutting connections off once the time is over. */
  async close(within: (work: Promise<unknown>) => Promise<boolean>): Promise<void> {
    this.#closed = true
    const connected = await this.#connecting?.catch(() => undefined)
    if (connected !== undefined) await within(connected.notifier.flush())
    if (this.#ownPool !== undefined && !(await endPool(this.#ownPool, within))) {
      this.logger.warn("close() has cut off connections that were still at work; what they did may not have been committed")
    }
    await this.#embedded?.stop()
  }

  /** Closes connections that nobody uses now; later calls open others. */
  async rest(): Promise<void> {
    if (this.#ownPool !== undefined && !this.#closed) await closeIdle(this.#ownPool)
  }

  async #check({ connector, runner }: Connected): Promise<void> {
    const migrated =
      this.#migrates &&
      (await (await migrations()).migrateOn(connector, this.names).catch((error: unknown) => {
        if (!(error instanceof SchemaVersionError)) throw error
        // Newer than this code; it may admit it all the same.
        return undefined
      }))
    if (!migrated) await assertSchema(executorOn(runner), this.names)
    this.#fits = true
  }

  get #migrates(): boolean {
    return this.#options.migrate ?? this.#embedded !== undefined
  }

  async #connect(): Promise<Connected> {
    const { connector, connectionString } = await this.#connector()
    const { target } = connector
    if (this.#options.pool === undefined) this.#ownPool = connector.createPool(POOL_SIZE, this.logger, "client")
    const pool = this.#options.pool ?? this.#ownPool!
    const statementNames = new StatementNames(this.logger)
    const runner = new ClientRunner(pool, target, statementNames)
    const statements = statementsFor(this.names, this.#options.preparedStatements ?? true)
    const direct = this.#options.listenConnectionString
    return {
      connector,
      listenConnector: direct === undefined ? connector : Connector.to(direct, "listenConnectionString"),
      connectionString,
      target,
      runner,
      statementNames,
      statements,
      notifier: new Notifier({ hub: this.hub, runner, statements, names: this.names, self: this.self, logger: this.logger }),
    }
  }

  async #connector(): Promise<Pick<Connected, "connector" | "connectionString">> {
    const { connectionString, pool, embedded } = this.#options
    if (pool !== undefined) return { connector: Connector.like(pool), connectionString: undefined }
    if (embedded !== undefined && embedded !== false) {
      this.#embedded = await startEmbedded({ ...(embedded === true ? {} : embedded), logger: this.logger })
      return { connector: Connector.to(this.#embedded.connectionString), connectionString: this.#embedded.connectionString }
    }
    const given = connectionString ?? (process.env["DATABASE_URL"] || undefined)
    if (given !== undefined) {
      const connector = Connector.to(given, connectionString === undefined ? "DATABASE_URL" : "connectionString")
      return { connector, connectionString: typeof given === "string" ? given : given[0] }
    }
    const connector = Connector.fromEnvironment()
    if (connector !== undefined) return { connector, connectionString: undefined }
    throw new InvalidOptionError(
      `pgtusk does not know your database: call configure({ connectionString: "postgres://…" }), set DATABASE_URL, or use configure({ embedded: true }) for a first try${process.env["PGSERVICE"] ? ". (PGSERVICE is set, but node-postgres reads no service files)" : ""}`,
    )
  }
}

export function closedError(): ConnectionError {
  return new ConnectionError("This client of pgtusk is closed; make a new one")
}

/** Loaded when it is needed: Kysely takes longer to load than all the rest, and most processes never migrate. */
function migrations(): Promise<typeof import("./schema/migrate.js")> {
  return import("./schema/migrate.js")
}
