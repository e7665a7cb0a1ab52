import pg from "pg"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { createDatabase, type TestDatabase } from "./database.js"
import { type FaultProxy, startProxy } from "./proxy.js"
import { deferred, waitFor, within } from "./wait.js"

let db: TestDatabase
let proxy: FaultProxy
const clients: pg.Client[] = []
const APPLICATION = "through the proxy"

beforeAll(async () => {
  db = await createDatabase({ migrated: false })
})
afterAll(() => db.close())
beforeEach(async () => {
  // The server ends a session a moment after its socket: the last test's would be counted in this one.
  await waitFor(async () => (await sessions()) === 0)
  proxy = await startProxy(db.url)
})
afterEach(async () => {
  await proxy.close()
  await Promise.all(clients.splice(0).map((client) => client.end()))
})

function makeClient(): { client: pg.Client; failed: Promise<Error> } {
  const client = new pg.Client({ connectionString: proxy.url, application_name: APPLICATION })
  const failed = deferred<Error>()
  client.on("error", failed.resolve)
  clients.push(client)
  return { client, failed: failed.promise }
}

async function connected(): Promise<{ client: pg.Client; failed: Promise<Error> }> {
  const made = makeClient()
  await made.client.connect()
  return made
}

/** Sessions through the proxy, as the server counts them. */
async function sessions(): Promise<number> {
  const [row] = await db.query<{ n: number }>(
    "select count(*)::int as n from pg_stat_activity where datname = current_database() and application_name = $1",
    [APPLICATION],
  )
  return row!.n
}

/** True when nothing comes while other connections get several answers. */
async function silent(promise: Promise<unknown>): Promise<boolean> {
  let came = false
  promise.then(
    () => {
      came = true
    },
    () => {
      came = true
    },
  )
  for (let i = 0; i < 20; i++) await db.query("select 1")
  return !came
}

describe("FaultProxy", () => {
  test("passes a session through, also a large answer", async () => {
    const { client } = await connected()
    const { rows } = await client.query("select repeat('x', 20000000) as text, $1::int as n", [7])
    expect([rows[0].text.length, rows[0].n]).toEqual([20_000_000, 7])
    expect([proxy.connections, proxy.accepted]).toEqual([1, 1])
    await client.end()
    await waitFor(() => proxy.connections === 0)
  })

  test("pause holds everything up, also a new connection and a close; resume lets it pass", async () => {
    const { client } = await connected()
    proxy.pause()
    const answer = client.query("select 1 as one")
    const late = makeClient()
    const connecting = late.client.connect()
    expect(await silent(Promise.race([answer, connecting]))).toBe(true)
    expect(await sessions()).toBe(1)
    proxy.resume()
    expect((await answer).rows).toEqual([{ one: 1 }])
    await connecting
    proxy.pause()
    const ended = client.end()
    expect(await silent(ended)).toBe(true)
    expect(await sessions()).toBe(2)
    proxy.resume()
    await ended
    await waitFor(async () => (await sessions()) === 1)
  })

  test("a connection that is gone during a pause is gone for the server after it", async () => {
    const { client, failed } = await connected()
    proxy.pause()
    const stream = (client as unknown as { connection: { stream: { resetAndDestroy(): void } } }).connection.stream
    stream.resetAndDestroy()
    await failed
    expect(await sessions()).toBe(1)
    proxy.resume()
    await waitFor(async () => (await sessions()) === 0)
    expect(proxy.connections).toBe(0)
  })

  test.each(["reset", "end"] as const)("drop with %s ends both sides", async (how) => {
    const { failed } = await connected()
    expect(proxy.drop(how)).toBe(1)
    const error = (await failed) as Error & { code?: string }
    expect(error.code ?? error.message).toBe(how === "reset" ? "ECONNRESET" : "Connection terminated unexpectedly")
    await waitFor(async () => (await sessions()) === 0)
    await connected()
  })

  test("refuse shuts the port, accept opens the same again", async () => {
    const { client } = await connected()
    proxy.refuse()
    await expect(connected()).rejects.toMatchObject({ code: "ECONNREFUSED" })
    expect((await client.query("select 1 as one")).rows).toEqual([{ one: 1 }])
    await proxy.accept()
    await connected()
  })

  test("delay is latency, not bandwidth", async () => {
    const { client } = await connected()
    proxy.delay({ toServer: 100, toClient: 300 })
    const begun = performance.now()
    const { rows } = await client.query("select repeat('x', 3000000) as text")
    const took = performance.now() - begun
    expect(rows[0].text.length).toBe(3_000_000)
    expect(took).toBeGreaterThan(395)
    // Some 46 pieces; each would wait for the one before, if it were bandwidth.
    expect(took).toBeLessThan(8_000)
  })

  test("loseReplies: the server commits, the client never hears of it", async () => {
    await db.query("create table kept (n int)")
    const { client, failed } = await connected()
    const lost = proxy.loseReplies("insert into kept")
    expect((await client.query("select 1 as one")).rows).toEqual([{ one: 1 }])
    const insert = client.query("insert into kept values (1)")
    await expect(insert).rejects.toThrow()
    await within(Promise.all([lost, failed]), 5_000, "the loss")
    expect(await db.query("select n from kept")).toEqual([{ n: 1 }])

    const next = await connected()
    const silence = proxy.loseReplies("insert into kept", { keepOpen: true })
    const unanswered = next.client.query("insert into kept values (2)")
    unanswered.catch(() => undefined)
    await within(silence, 5_000, "the loss")
    expect(await silent(unanswered)).toBe(true)
    await waitFor(async () => (await db.query("select n from kept")).length === 2)
  })

  test("notifications: a pooler in transaction mode delivers them only within a query", async () => {
    const { client } = await connected()
    const got: (string | undefined)[] = []
    client.on("notification", (message) => got.push(message.payload))
    await client.query("listen c")
    await db.query("notify c, 'one'")
    await waitFor(() => got.includes("one"))
    proxy.notifications = "in query"
    await client.query("notify c, 'own'")
    await db.query("notify c, 'idle'")
    await waitFor(() => proxy.lostNotifications === 1)
    await client.query("select 1")
    expect(got).toEqual(["one", "own"])
    proxy.notifications = "none"
    await client.query("notify c, 'nothing'")
    proxy.notifications = "all"
    await client.query("notify c, 'all'")
    expect(got).toEqual(["one", "own", "all"])
    expect(proxy.lostNotifications).toBe(2)
  })
})
