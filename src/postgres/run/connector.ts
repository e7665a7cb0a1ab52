/** The one place that makes connections: for pools, for LISTEN, for migrations. */
import type { Socket } from "node:net"
import pg from "pg"
import type { PoolLike } from "../../api/client.js"
import { InvalidOptionError } from "../../api/errors.js"
import type { Logger } from "../../api/logger.js"
import { propertyOf } from "../../lib/option-checks.js"
import { type Address, addressFromEnvironment, type ConnectionConfig, parseAddress, targetOf } from "./address.js"
import { NoWritableServerError, ReadOnlyServerError } from "./failure.js"
import { trackClients } from "./pool-end.js"

/** Milliseconds for a connection to one server. */
const CONNECT_MS = 10_000
/** The same where another server can be tried: a host that has vanished must not cost the others their leases. */
const CONNECT_ONE_OF_MS = 5_000

type ClientClass = typeof pg.Client

/** What makes its client by itself needs of a host. */
export interface Host {
  readonly config: ConnectionConfig
  readonly Client: ClientClass
  /** The connection came to nothing: the next one goes elsewhere. */
  failed(): void
}

/**
 * Makes connections to one server, or to that of several which takes writes.
 *
 * A server in recovery is refused: it can neither store a job nor LISTEN. Postgres says at the log-in whether it is in recovery
 * (`in_hot_standby`), so this costs nothing. A pooler may repeat what it was told long ago, or nothing at all; so a refusal is confirmed by a
 * query, and so is a server that says nothing where several hosts or `target_session_attrs` are given.
 *
 * Each attempt goes to the host of the last success. One that fails moves on to the next host, for all who connect after it.
 */
export class Connector {
  /** Hosts, port and database, without secrets, for messages. */
  readonly target: string
  readonly #address: Address
  readonly #base: ClientClass
  /** The host of the last success, or the one after that of the last failure. */
  #current = 0
  /** Which host a failed attempt was meant for. */
  readonly #failedAt = new WeakMap<object, number>()

  constructor(address: Address, base: ClientClass = pg.Client) {
    this.#address = address
    this.#base = base
    this.target = targetOf(address)
  }

  /** @throws InvalidOptionError */
  static to(connectionString: string | readonly string[], field?: string): Connector {
    return new Connector(parseAddress(connectionString, field))
  }

  static with(config: ConnectionConfig): Connector {
    return new Connector({ hosts: [config], checked: false, readWrite: false })
  }

  /**
   * What a pool of the application's says about its connections: its settings, what it keeps out of sight among them (`password`), and its class
   * of clients.
   */
  static like(pool: PoolLike): Connector {
    const { max: _max, min: _min, Promise: _promise, Client: _client, ...settings } = pool.options
    const config: ConnectionConfig = { ...settings, ...("password" in pool.options ? { password: pool.options.password } : {}) }
    return new Connector({ hosts: [config], checked: false, readWrite: false }, subclassOf(pool))
  }

  /** By the variables that pg reads; undefined when none is set. */
  static fromEnvironment(): Connector | undefined {
    const address = addressFromEnvironment()
    return address === undefined ? undefined : new Connector(address)
  }

  /** How many servers there are to try. */
  get size(): number {
    return this.#address.hosts.length
  }

  /** A pool of our own. It sets nothing for a session: behind a pooler that session is others' too. */
  createPool(max: number, logger: Logger, purpose: string): pg.Pool {
    const options: pg.PoolConfig & { Client: ClientClass } = {
      ...pooled(this.#host),
      Client: this.#clientClass(purpose),
      max,
      connectionTimeoutMillis: this.connectMs,
      idleTimeoutMillis: 10_000,
      // An idle connection does not keep the process alive. (A stream of the application's may not know how to let it go.)
      allowExitOnIdle: this.#host.stream === undefined,
    }
    const pool = this.size === 1 ? new pg.Pool(options) : new PoolOfSeveral(options, (connect) => this.#try(connect))
    keepQuiet(pool)
    trackClients(pool)
    pool.on("error", (error) => logger.debug("an idle connection was lost", { error }))
    return pool
  }

  /** One connection, outside of any pool. */
  connect(purpose: string): Promise<pg.Client> {
    const Client = this.#clientClass(purpose)
    return this.#try(async () => {
      const client = new Client({ connectionTimeoutMillis: this.connectMs })
      client.on("error", () => undefined)
      await client.connect()
      await (this.#host as pg.PoolConfig).onConnect?.(client as pg.PoolClient)
      return client
    })
  }

  /** Milliseconds for one attempt at one host. */
  get connectMs(): number {
    return this.size === 1 ? CONNECT_MS : CONNECT_ONE_OF_MS
  }

  /** The `application_name` of the connections for a purpose. */
  applicationName(purpose: string): string {
    const { stream: _, ...config } = this.#host
    const parameters: unknown = Reflect.get(new pg.Client({ fallback_application_name: nameOf(purpose), ...config }), "connectionParameters")
    const { application_name: own, fallback_application_name: fallback } = parameters as Record<string, string | undefined>
    return own || fallback || ""
  }

  /** The host that the next connection goes to. */
  next(): Host {
    const at = this.#current
    return { config: this.#host, Client: this.#base, failed: () => this.#moveOn(at) }
  }

  get #host(): ConnectionConfig {
    return this.#address.hosts[this.#current]!
  }

  #moveOn(from: number): void {
    if (this.#current === from) this.#current = (from + 1) % this.size
  }

  /** Tries as often as there are hosts, unless the fault is not one of connecting. */
  async #try<T>(connect: () => Promise<T>): Promise<T> {
    const failures: Error[] = []
    for (;;) {
      try {
        return await connect()
      } catch (error) {
        // Others fail for want of a free connection in the pool, say, which is no host's fault.
        if (this.size === 1 || this.#hostOf(error as Error) === undefined) throw error
        failures.push(error as Error)
        if (failures.length === this.size) throw new NoWritableServerError(failures, failures.map((one) => this.#describe(one)).join("; "))
      }
    }
  }

  /** A pool whose time is over puts an error of its own around that of the attempt. */
  #hostOf(failure: Error): number | undefined {
    return this.#failedAt.get(failure) ?? (failure.cause instanceof Error ? this.#failedAt.get(failure.cause) : undefined)
  }

  #describe(failure: Error): string {
    const host = this.#address.hosts[this.#hostOf(failure) ?? 0]!
    return `${targetOf({ hosts: [host] })}: ${failure.message || Reflect.get(failure, "code")}`
  }

  /** A class whose clients go to the current host, and connect only to one that takes writes. */
  #clientClass(purpose: string): ClientClass {
    const connector = this
    const { checked, readWrite } = this.#address
    return class extends this.#base {
      readonly #at = connector.#current
      /** What the server reports of itself. */
      readonly #reported = new Map<string, string>()

      constructor(own: pg.ClientConfig = {}) {
        super({
          fallback_application_name: nameOf(purpose),
          ...connector.#host,
          keepAlive: true,
          ...(own.connectionTimeoutMillis === undefined ? {} : { connectionTimeoutMillis: own.connectionTimeoutMillis }),
        } as pg.ClientConfig)
        // A pool listens from the end of the attempt on, and the connection may be lost while its server is asked what it is.
        this.on("error", () => undefined)
        connection(this)?.on("parameterStatus", (message: { parameterName: string; parameterValue: string }) => {
          this.#reported.set(message.parameterName, message.parameterValue)
        })
      }

      override connect(): Promise<pg.Client> & Promise<void>
      override connect(callback: (error: Error, client?: pg.Client) => void): void
      override connect(callback?: (error: Error, client?: pg.Client) => void): any {
        if (callback === undefined) {
          return new Promise((resolve, reject) => this.connect((error) => (error ? reject(error) : resolve(this as never))))
        }
        const done = (): void => (callback as (error: Error | null, client?: pg.Client) => void)(null, this)
        const fail = (error: Error): void => {
          connector.#failedAt.set(error, this.#at)
          connector.#moveOn(this.#at)
          callback(error)
        }
        super.connect((error?: Error | null) => {
          if (error) {
            // The driver that refuses to go on, for want of a password say, leaves the socket open, and the server waits for a minute.
            const stream: unknown = Reflect.get(Object(connection(this)), "stream")
            if (typeof (stream as Socket | undefined)?.destroy === "function") (stream as Socket).destroy()
            return fail(error)
          }
          if (!this.#doubtful()) return done()
          this.query(ROLE).then(
            ({ rows: [row] }) => {
              const role = row?.role as string
              if (role === "primary" || (role === "read-only" && !readWrite)) return done()
              void this.end().catch(() => undefined)
              fail(new ReadOnlyServerError(role))
            },
            (reason: Error) => {
              void this.end().catch(() => undefined)
              fail(reason)
            },
          )
        })
      }

      /** Whether the server has to be asked what it is. */
      #doubtful(): boolean {
        const standby = this.#reported.get("in_hot_standby")
        if (standby === undefined) return checked
        return standby === "on" || (readWrite && this.#reported.get("default_transaction_read_only") !== "off")
      }
    }
  }
}

/** pg's half of a client that speaks with the server; other clients may have none. */
function connection(client: pg.Client): NodeJS.EventEmitter | undefined {
  return Reflect.get(client, "connection") as NodeJS.EventEmitter | undefined
}

/** As text, whatever parsers the application has set. */
const ROLE = {
  text: "select case when pg_is_in_recovery() then 'standby' when current_setting('transaction_read_only') = 'on' then 'read-only' else 'primary' end as role",
  types: { getTypeParser: () => (value: string) => value },
} as unknown as pg.QueryConfig

/** A pool whose new connections may go to one of several hosts. */
class PoolOfSeveral extends pg.Pool {
  readonly #attempts: <T>(connect: () => Promise<T>) => Promise<T>

  constructor(options: pg.PoolConfig, attempts: <T>(connect: () => Promise<T>) => Promise<T>) {
    super(options)
    this.#attempts = attempts
  }

  override connect(): Promise<pg.PoolClient>
  override connect(callback: (error: Error | undefined, client: pg.PoolClient | undefined, done: (release?: any) => void) => void): void
  override connect(callback?: (error: Error | undefined, client: pg.PoolClient | undefined, done: (release?: any) => void) => void): any {
    const client = this.#attempts(() => super.connect())
    if (callback === undefined) return client
    client.then(
      (one) => callback(undefined, one, one.release),
      (error: Error) => callback(error, undefined, () => undefined),
    )
  }
}

/** What pg_stat_activity calls a connection: the application's own name for it comes first. */
const nameOf = (purpose: string): string => `pgtusk ${purpose}`

/** Of the settings of an application's pool, those that say how long a connection may live and what is done to a new one. */
function pooled(settings: ConnectionConfig): pg.PoolConfig {
  const { onConnect, verify, maxUses, maxLifetimeSeconds } = settings as pg.PoolConfig & { verify?: unknown; onConnect?: unknown }
  return Object.fromEntries(Object.entries({ onConnect, verify, maxUses, maxLifetimeSeconds }).filter(([, value]) => value !== undefined))
}

/** The pool's class of clients where it is one of the application's; pg's own may be of another version than ours, or the one over libpq. */
function subclassOf(pool: PoolLike): ClientClass | undefined {
  const Client: unknown = Reflect.get(pool, "Client") ?? pool.options.Client
  if (typeof Client !== "function") return undefined
  const parent: unknown = Object.getPrototypeOf(Client)
  return typeof parent === "function" && typeof parent.prototype?.connect === "function" ? (Client as ClientClass) : undefined
}

/** Pools that have the listener; several clients may share one. */
const quiet = new WeakSet<object>()

/**
 * The loss of an idle connection is an event of its pool, and one that nobody listens to ends the process. So is that of a connection that the server cuts off in the
 * very packet that says it is ready: nobody who asked for it listens yet. Whoever uses the connection then learns of it from its first statement.
 */
export function keepQuiet(pool: Pick<PoolLike, "on">): void {
  if (quiet.has(pool)) return
  quiet.add(pool)
  pool.on("error", () => undefined)
  pool.on("connect", (client: pg.PoolClient) => client.on("error", () => undefined))
}

/** @throws InvalidOptionError for something that is no pool of pg's */
export function checkPool(pool: unknown): asserts pool is PoolLike {
  const refusal = (why: string): InvalidOptionError =>
    new InvalidOptionError(`pool is no pool of pg; write new pg.Pool({ … }), or give connectionString instead${why}`)
  if (typeof pool !== "object" || pool === null) throw refusal("")
  for (const method of ["connect", "query", "end", "on"]) {
    if (typeof propertyOf(pool, method) !== "function") throw refusal(`. It has no method ${method}()`)
  }
  const options = propertyOf(pool, "options")
  if (typeof options !== "object" || options === null) throw refusal(". It has no options, by which workers and LISTEN could connect")
  const text: unknown = Reflect.get(options, "connectionString")
  if (text === undefined || text === null || text === "") return
  if (parseAddress(text as string, "The connectionString of the pool").hosts.length > 1) {
    throw new InvalidOptionError(
      "The connectionString of the pool has several hosts, of which pg reads one only; write configure({ connectionString })",
    )
  }
}
