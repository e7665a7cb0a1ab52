import { Socket } from "node:net"
import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { Connector } from "../../src/postgres/run/connector.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { spawnScript } from "../support/process.js"
import { startProxy } from "../support/proxy.js"
import { waitFor, within } from "../support/wait.js"
import { Ear, sessions } from "./listener-ear.js"

/** Compiling the fixture on a loaded machine takes its time. */
const STARTUP_MS = 40_000
const SCRIPT = new URL("./fixtures/listen.ts", import.meta.url)

let db: TestDatabase
const warnings: Error[] = []
const onWarning = (warning: Error): void => {
  warnings.push(warning)
}

beforeAll(async () => {
  db = await createDatabase({ migrated: false })
  process.on("warning", onWarning)
})
afterAll(async () => {
  process.off("warning", onWarning)
  await db.close()
})

async function noSessions(): Promise<void> {
  await waitFor(async () => (await sessions(db)).length === 0, { what: "no session to be left" })
}

describe("the life of a Listener", () => {
  test("close() at any instant of an attempt, on a slow network, leaves no session and no socket", async () => {
    const proxy = await startProxy(db.url)
    proxy.delay({ toServer: 4, toClient: 4 })
    try {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.nat(130), { minLength: 1, maxLength: 6 }), async (instants) => {
          const ears = await Promise.all(
            instants.map(async (ms) => {
              const sockets: Socket[] = []
              const stream = (): Socket => {
                const socket = new Socket()
                sockets.push(socket)
                return socket
              }
              const ear = new Ear(proxy.url, { connector: Connector.with({ connectionString: proxy.url, stream }) })
              const starting = ear.listener.start()
              // The instant is what the property is about.
              await new Promise((resolve) => setTimeout(resolve, ms))
              await within(ear.listener.close(), 8_000, "close()")
              expect(sockets.filter((socket) => !socket.closed)).toEqual([])
              await within(starting, 1_000, "start() after close()")
              return ear
            }),
          )
          for (const ear of ears) {
            expect([ear.listener.live, ear.listener.state, ear.downs]).toEqual([false, "stopped", []])
            expect(ear.messages("warn")).toEqual([])
          }
          await waitFor(() => proxy.connections === 0, { what: "no connection to be left" })
        }),
        { numRuns: 25 },
      )
      await noSessions()
    } finally {
      await proxy.close()
    }
  })

  test("close() during a connect into a black hole is quick, and opens nothing later", async () => {
    const proxy = await startProxy(db.url)
    proxy.pause()
    try {
      const ear = new Ear(proxy.url)
      const starting = ear.listener.start()
      await waitFor(() => proxy.accepted === 1)
      await within(ear.listener.close(), 3_000, "close()")
      await within(starting, 1_000, "start()")
      proxy.resume()
      await waitFor(() => proxy.connections === 0)
      expect([proxy.accepted, ear.lives, ear.downs]).toEqual([1, 0, []])
      await noSessions()
    } finally {
      await proxy.close()
    }
  })

  test("close() of a live connection that fell into a black hole takes no longer than its goodbye", async () => {
    const proxy = await startProxy(db.url)
    try {
      const ear = new Ear(proxy.url)
      await ear.listener.start()
      proxy.pause()
      await within(ear.listener.close(), 5_000, "close()")
      expect(ear.downs).toEqual([])
      proxy.resume()
      await noSessions()
    } finally {
      await proxy.close()
    }
  })

  test("close() ends a pause between attempts", async () => {
    const proxy = await startProxy(db.url)
    proxy.refuse()
    const ear = new Ear(proxy.url, { backoffMs: { min: 60_000, max: 60_000 } })
    await ear.listener.start()
    await within(ear.listener.close(), 3_000, "close()")
    await proxy.close()
  })

  test("many quick starts and closes leave nothing behind", async () => {
    for (let round = 0; round < 10; round++) {
      const ears = Array.from({ length: 5 }, () => new Ear(db.url))
      await Promise.all(ears.map((ear) => ear.listener.start()))
      expect(ears.map((ear) => [ear.listener.live, ear.lives])).toEqual(ears.map(() => [true, 1]))
      await Promise.all(ears.map((ear) => ear.listener.close()))
    }
    await noSessions()
    expect(warnings).toEqual([])
  })

  test("start and close are idempotent, and a closed listener stays closed", async () => {
    const ear = new Ear(db.url)
    await Promise.all([ear.listener.start(), ear.listener.start()])
    expect(await sessions(db)).toHaveLength(1)
    await Promise.all([ear.listener.close(), ear.listener.close(), ear.listener.stop()])
    await ear.listener.close()
    await ear.listener.start()
    expect([ear.listener.live, ear.lives]).toEqual([false, 1])
    await noSessions()

    const never = new Ear(db.url)
    await never.listener.close()
    await never.listener.start()
    expect(never.log).toEqual([])
  })

  test("nothing is called after close(), not even for what has arrived already", async () => {
    const ear = new Ear(db.url, {
      onNotification: (channel, payload) => {
        ear.heard.push([channel, payload])
        void ear.listener.close()
      },
    })
    await ear.listener.start()
    // Of one transaction, so that they come in one packet.
    await db.query("select pg_notify('second', n::text) from generate_series(1, 200) n")
    await within(ear.listener.stopped, 8_000, "stopped")
    expect([ear.listener.live, ear.heard, ear.lives, ear.downs]).toEqual([false, [["second", "1"]], 1, []])
    await noSessions()
  })
})

describe("a process with a Listener", { timeout: 60_000 }, () => {
  test("ends by itself when it is live and has nothing else to do", async () => {
    const script = spawnScript(SCRIPT, ["leave"], { URL: db.url })
    await script.line("live: true", STARTUP_MS)
    expect(await within(script.exit, 8_000, "the process to end")).toEqual({ code: 0, signal: null })
    expect(script.stderr).toBe("")
    await noSessions()
  })

  test("ends by itself while it waits to try again", async () => {
    const proxy = await startProxy(db.url)
    proxy.refuse()
    const script = spawnScript(SCRIPT, ["leave"], { URL: proxy.url })
    await script.line("live: false", STARTUP_MS)
    expect(await within(script.exit, 8_000, "the process to end")).toEqual({ code: 0, signal: null })
    await proxy.close()
  })

  test("lives until close() is done", async () => {
    const script = spawnScript(SCRIPT, ["close"], { URL: db.url })
    await script.line("closed", STARTUP_MS)
    expect(await within(script.exit, 8_000, "the process to end")).toEqual({ code: 0, signal: null })
    expect(script.stderr).toBe("")
  })
})
