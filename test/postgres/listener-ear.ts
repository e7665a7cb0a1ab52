/** A listener under test, with all that it said. */
import pg from "pg"
import { Listener, type ListenerOptions } from "../../src/postgres/notify/listener.js"
import { Connector } from "../../src/postgres/run/connector.js"
import type { TestDatabase } from "../support/database.js"

const CHANNELS = ["pgtusk:tusk", "second"]

export class Ear {
  readonly listener: Listener
  readonly heard: [channel: string, payload: string][] = []
  readonly downs: Error[] = []
  readonly log: { level: "debug" | "info" | "warn" | "error"; message: string; fields: object | undefined }[] = []
  lives = 0

  constructor(url: string, options: Partial<ListenerOptions> = {}) {
    const write =
      (level: "debug" | "info" | "warn" | "error") =>
      (message: string, fields?: object): void => {
        this.log.push({ level, message, fields })
      }
    this.listener = new Listener({
      connector: Connector.to(url),
      channels: CHANNELS,
      onNotification: (channel, payload) => this.heard.push([channel, payload]),
      onLive: () => {
        this.lives++
      },
      onDown: (reason) => this.downs.push(reason),
      logger: { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") },
      ...options,
    })
  }

  messages(level: "debug" | "info" | "warn" | "error"): string[] {
    return this.log.filter((line) => line.level === level).map((line) => line.message)
  }
}

/** The listeners' sessions on the server. */
export function sessions(db: TestDatabase): Promise<{ pid: number; query: string }[]> {
  return db.query("select pid, query from pg_stat_activity where datname = current_database() and application_name = 'pgtusk listen'")
}

export async function notify(db: TestDatabase, channel: string, payload: string): Promise<void> {
  await db.query("select pg_notify($1, $2)", [channel, payload])
}

/** Cuts the listeners' sessions from the server's side; returns how many. */
export async function terminate(db: TestDatabase): Promise<number> {
  const cut = await db.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'pgtusk listen'",
  )
  return cut.length
}

/** The database's name and port, as messages show them. */
export function targetOf(url: string): string {
  const client = new pg.Client({ connectionString: url })
  return `${client.host}:${client.port}/${client.database}`
}
