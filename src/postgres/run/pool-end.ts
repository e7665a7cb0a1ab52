/** The end of pools of our own. */
import type pg from "pg"

/** The connections of each. */
const openClients = new WeakMap<object, ReadonlySet<pg.PoolClient>>()

/** To be called once a pool is made, so that its connections can be cut off. */
export function trackClients(pool: pg.Pool): void {
  const open = new Set<pg.PoolClient>()
  openClients.set(pool, open)
  pool.on("remove", (client) => void open.delete(client))
  pool.on("connect", (client) => void open.add(client))
}

/** Ends a pool, and cuts off what is still at work in it once the time is over. False then. */
export async function endPool(pool: pg.Pool, within: (work: Promise<unknown>) => Promise<boolean>): Promise<boolean> {
  if (await within(pool.end())) return true
  for (const client of openClients.get(pool) ?? []) {
    // A statement that is under way, or a server that does not answer, must not keep the process alive either.
    const connection = client as pg.PoolClient & { end(): Promise<void>; unref?(): void }
    connection.end().catch(() => undefined)
    connection.unref?.()
  }
  return false
}

/** Closes the connections of a pool that nobody uses now. */
export async function closeIdle(pool: pg.Pool): Promise<void> {
  const idle = Array.from({ length: pool.idleCount }, () => pool.connect().then((client) => client.release(true)))
  await Promise.allSettled(idle)
}
