/** A server that forgets in a crash what no commit has waited for: nothing else brings it to the disk. */
import type pg from "pg"
import { Tusk } from "../../src/index.js"
import { waitFor } from "../support/wait.js"
import { StormServer } from "./ledger/server.js"

export const quietLogger = { debug() {}, info() {}, warn() {}, error() {} }

/** Who else writes the log: the walwriter (held as well, see `#hold`), vacuums, and whoever writes a changed page. */
const QUIET = { wal_writer_delay: "10s", autovacuum: "off", bgwriter_lru_maxpages: "0", checkpoint_timeout: "1d" }

export class ForgetfulServer {
  readonly #server: StormServer
  #walWriter = 0

  private constructor(server: StormServer) {
    this.#server = server
  }

  /** Migrated. */
  static async start(): Promise<ForgetfulServer> {
    const server = await StormServer.start()
    const tusk = new Tusk({ connectionString: server.url, logger: quietLogger, signals: false })
    await tusk.migrate()
    await tusk.close()
    for (const [name, value] of Object.entries(QUIET)) await server.query(`alter system set ${name} = '${value}'`)
    const forgetful = new ForgetfulServer(server)
    // The settings hold from the start, so that nobody is in the middle of something.
    await server.crash()
    await forgetful.#start()
    return forgetful
  }

  get url(): string {
    return this.#server.url
  }

  /** A statement of the conductor's. Its commit waits for the disk, and for all that was written before, if it writes something. */
  query<Row extends object = any>(text: string, values?: readonly unknown[]): Promise<Row[]> {
    return this.#server.query<Row>(text, values)
  }

  connect(): Promise<pg.Client> {
    return this.#server.connect()
  }

  /** Begins the epoch, as the first claim after a crash would, so that a claim need not wait for the disk any more. Durable, with all that was before. */
  async beginEpoch(): Promise<void> {
    await this.query("select from tusk.begin_epoch()")
    await this.query("select from tusk.flush_log()")
  }

  /** As if the plug had been pulled and put back. */
  async restart(): Promise<void> {
    await this.#server.crash([this.#walWriter])
    await this.#start()
  }

  async stop(): Promise<void> {
    process.kill(this.#walWriter, "SIGCONT")
    await this.#server.stop()
  }

  async #start(): Promise<void> {
    await this.#server.start()
    await this.#hold()
  }

  /** Stops the walwriter while it sleeps: it would write every few seconds whatever there is, and whenever others have left much to it. */
  async #hold(): Promise<void> {
    const asleep = "select pid from pg_stat_activity where backend_type = 'walwriter' and wait_event = 'WalWriterMain'"
    const [row] = await waitFor(
      async () => {
        const rows = await this.query<{ pid: number }>(asleep)
        return rows.length > 0 && rows
      },
      { what: "the walwriter to sleep" },
    )
    this.#walWriter = row!.pid
    process.kill(this.#walWriter, "SIGSTOP")
  }
}
