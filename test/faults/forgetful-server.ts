import { Tusk } from "../../src/index.js"
import { StormServer } from "./ledger/server.js"

export const quietLogger = { debug() {}, info() {}, warn() {}, error() {} }

/** A migrated server whose crash forgets all that no commit has waited for. */
export async function startForgetfulServer(): Promise<StormServer> {
  const server = await StormServer.start()
  const tusk = new Tusk({ connectionString: server.url, logger: quietLogger, signals: false })
  await tusk.migrate()
  await tusk.close()
  // Otherwise it writes what commits left in memory every 200 ms.
  await server.query("alter system set wal_writer_delay = '10s'")
  await server.query("select pg_reload_conf()")
  return server
}

export async function restart(server: StormServer): Promise<void> {
  await server.crash()
  await server.start()
}
