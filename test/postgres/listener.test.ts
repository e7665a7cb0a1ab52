import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import { InvalidOptionError } from "../../src/api/errors.js"
import type { ListenerOptions } from "../../src/postgres/notify/listener.js"
import { Connector } from "../../src/postgres/run/connector.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { waitFor } from "../support/wait.js"
import { Ear, notify, sessions, targetOf, terminate } from "./listener-ear.js"

let db: TestDatabase
const ears: Ear[] = []

beforeAll(async () => {
  db = await createDatabase({ migrated: false })
})
afterAll(() => db.close())
afterEach(async () => {
  await Promise.all(ears.splice(0).map((ear) => ear.listener.close()))
  await waitFor(async () => (await sessions(db)).length === 0, { what: "the sessions to be gone" })
})

async function started(options: Partial<ListenerOptions> = {}, url = db.url): Promise<Ear> {
  const ear = new Ear(url, options)
  ears.push(ear)
  await ear.listener.start()
  return ear
}

/** Resolves when the listener has heard all that was sent before. */
async function caughtUp(ear: Ear, channel = "second"): Promise<void> {
  const end = `end ${Math.random()}`
  await notify(db, channel, end)
  await waitFor(() => ear.heard.at(-1)?.[1] === end, { what: "the last notification" })
  ear.heard.pop()
}

describe("Listener", () => {
  test("is live after start and hears its channels, in order and as sent", async () => {
    const ear = await started()
    expect([ear.listener.live, ear.lives, ear.downs]).toEqual([true, 1, []])
    const payloads = ['{"a":1}', "{no json", "", "Grüße 🐘", "x".repeat(7_999), "'; drop table x; --", "error"]
    for (const payload of payloads) await notify(db, "pgtusk:tusk", payload)
    await notify(db, "third", "not for us")
    await caughtUp(ear)
    expect(ear.heard).toEqual(payloads.map((payload) => ["pgtusk:tusk", payload]))
    expect(ear.messages("warn")).toEqual([])
  })

  test("takes any channel name, and keeps names apart by case", async () => {
    const names = ["error", "select", 'Ü"quoted" name', "newListener", "a".repeat(63), "Second"]
    const ear = await started({ channels: [...names, "second", "second"] })
    for (const name of names) await notify(db, name, name)
    await caughtUp(ear)
    expect(ear.heard).toEqual(names.map((name) => [name, name]))
  })

  test("shows as one session, by the application's name where the connection string has one", async () => {
    const url = new URL(db.url)
    url.searchParams.set("application_name", "shop")
    url.searchParams.set("statement_timeout", "60000")
    const ear = await started({}, url.href)
    expect([ear.listener.live, ear.messages("warn")]).toEqual([true, []])
    expect(await sessions(db)).toHaveLength(0)
    expect(await db.query("select pid from pg_stat_activity where datname = current_database() and application_name = 'shop'")).toHaveLength(1)
  })

  test("callbacks that throw or reject are logged and harm nothing", async () => {
    const ear = new Ear(db.url, {
      onNotification: (channel, payload) => {
        ear.heard.push([channel, payload])
        if (payload === "throw") throw new Error("thrown")
        if (payload === "reject") return Promise.reject(new Error("rejected")) as unknown as undefined
      },
      onLive: () => {
        throw new Error("live")
      },
      onDown: () => {
        throw new Error("down")
      },
    })
    ears.push(ear)
    await ear.listener.start()
    for (const payload of ["throw", "reject", "fine"]) await notify(db, "second", payload)
    await caughtUp(ear)
    expect(ear.heard.map(([, payload]) => payload)).toEqual(["throw", "reject", "fine"])
    await terminate(db)
    await waitFor(() => ear.messages("info").length === 1, { what: "the return" })
    expect(ear.messages("error")).toEqual([
      "The listener's onLive failed",
      "The listener's onNotification failed",
      "The listener's onNotification failed",
      "The listener's onDown failed",
      "The listener's onLive failed",
    ])
  })

  test("a logger that throws harms nothing", async () => {
    const fail = (): never => {
      throw new Error("the logger is broken")
    }
    const ear = await started({ logger: { debug: fail, info: fail, warn: fail, error: fail } })
    await terminate(db)
    await waitFor(() => ear.lives === 2)
  })

  test("comes back after the server ends its session, and says so", async () => {
    const ear = await started()
    const [before] = await sessions(db)
    expect(await terminate(db)).toBe(1)
    await waitFor(() => ear.lives === 2, { what: "the second onLive" })
    const [after] = await sessions(db)
    expect(after!.pid).not.toBe(before!.pid)
    expect(ear.downs).toHaveLength(1)
    expect(ear.downs[0]).toMatchObject({ name: "ConnectionError", code: "CONNECTION" })
    expect(ear.messages("warn")).toEqual([expect.stringMatching(/^Notifications do not arrive.*polling.*Connection terminated/)])
    expect(ear.messages("info")).toEqual([`Listening again at ${targetOf(db.url)}`])
    await notify(db, "second", "after")
    await waitFor(() => ear.heard.some(([, payload]) => payload === "after"))
  })

  test("strangers' messages on the channel of probes neither stand for its own nor do harm", async () => {
    const ear = await started({ probeIntervalMs: 20 })
    // Its last statement is a probe soon, and names the channel.
    const own = await waitFor(async () => /NOTIFY (pgtusk_probe)\b/.exec((await sessions(db))[0]!.query)?.[1])
    for (let i = 0; i < 300; i++) await notify(db, own, i % 2 === 0 ? `junk ${i}` : "")
    await caughtUp(ear)
    expect([ear.lives, ear.downs, ear.messages("warn"), ear.heard]).toEqual([1, [], [], []])
  })

  test("probes do not pile up, and each is its own", async () => {
    const ear = await started({ probeIntervalMs: 5 })
    const seen = new Set<string>()
    await waitFor(
      async () => {
        const [session] = await sessions(db)
        if (session?.query.includes("NOTIFY")) seen.add(session.query)
        return seen.size >= 20
      },
      { what: "twenty probes" },
    )
    // Of the whole server, where other listeners may be in the middle of something.
    await waitFor(async () => (await db.query("select pg_notification_queue_usage() as share"))[0].share === 0, { what: "nothing to be left over" })
    expect([ear.lives, ear.downs]).toEqual([1, []])
  })

  test("a wrong password: start() resolves, one clear warning, and it goes on until the password is right", async () => {
    const role = `ear_${db.name}`
    await db.query(`create role "${role}" login password 'right'`)
    try {
      const url = new URL(db.url)
      url.username = role
      url.password = "wrong"
      const ear = await started({ backoffMs: { min: 5, max: 20 } }, url.href)
      expect([ear.listener.live, ear.lives, ear.listener.state]).toEqual([false, 0, "running"])
      await waitFor(() => ear.messages("debug").length >= 3, { what: "more attempts" })
      expect(ear.messages("warn")).toEqual([expect.stringMatching(/refuses the log-in.*check user and password/)])
      expect(ear.messages("warn")[0]).toContain(targetOf(db.url))
      expect(JSON.stringify(ear.log)).not.toContain("wrong")
      expect(ear.downs).toHaveLength(1)
      await db.query(`alter role "${role}" password 'wrong'`)
      await waitFor(() => ear.listener.live)
      expect([ear.lives, ear.downs.length]).toEqual([1, 1])
      await ear.listener.close()
    } finally {
      await db.query(`drop role "${role}"`)
    }
  })

  test("a connection string that cannot be read is an outage like any other", async () => {
    const settings = { connectionString: db.url }
    const connector = Connector.with(settings)
    settings.connectionString = "postgres://user:secret@[broken/db"
    const ear = await started({ connector })
    expect(ear.listener.live).toBe(false)
    expect(ear.downs).toHaveLength(1)
    expect(JSON.stringify(ear.log)).not.toContain("secret")
  })

  test("a server without room for a second session is listened to all the same", async () => {
    const role = `lone_${db.name}`
    await db.query(`create role "${role}" login password 'pw' connection limit 1`)
    try {
      const url = new URL(db.url)
      url.username = role
      url.password = "pw"
      const ear = await started({}, url.href)
      expect([ear.listener.live, ear.lives, ear.messages("warn")]).toEqual([true, 1, []])
      expect(ear.messages("debug")).toContain("The listener could not probe from a second session")
      await ear.listener.close()
    } finally {
      await waitFor(async () => (await sessions(db)).length === 0)
      await db.query(`drop role "${role}"`)
    }
  })

  test.each([
    [{ channels: [""] }, 'channels contains ""; write names of 1 to 63 bytes'],
    [{ channels: ["ok", "ü".repeat(32)] }, "channels contains"],
    [{ probeIntervalMs: 0 }, "probeIntervalMs is 0; write milliseconds"],
    [{ probeTimeoutMs: Number.NaN }, "probeTimeoutMs is NaN"],
    [{ connectTimeoutMs: -1 }, "connectTimeoutMs is -1"],
    [{ deafRetryMs: Number.POSITIVE_INFINITY }, "deafRetryMs is Infinity"],
    [{ backoffMs: { min: 0, max: 1 } }, "backoffMs.min is 0"],
  ] satisfies [Partial<ListenerOptions>, string][])("refuses %j", (options, message) => {
    expect(() => new Ear(db.url, options)).toThrow(InvalidOptionError)
    expect(() => new Ear(db.url, options)).toThrow(message)
  })
})
