/** Every public call × what can be wrong with a database: each says it in an error of ours, with the server's own as `cause`. */
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { type AddressInfo, createServer, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createSecureContext, TLSSocket } from "node:tls"
import pg from "pg"
import { describe, expect, onTestFinished, test } from "vitest"
import { ConnectionError, SchemaVersionError, TuskError, WaitTimeoutError } from "../../src/api/errors.js"
import * as exported from "../../src/index.js"
import { flow, type Job, Tusk, task, taskRef } from "../../src/index.js"
import { rejection } from "../jobs/setup.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import { startProxy } from "../support/proxy.js"
import { within } from "../support/wait.js"

const work = task({ name: "first-contact.work", queue: "q" }, async (n: number) => n)
const pair = flow("first-contact.pair", (f) => f.add(work.call(1)))

interface Stage {
  readonly tusk: Tusk
  /** A stored job's handle; of no job where nothing can be stored. */
  readonly job: Job<unknown>
}
type Call = ((stage: Stage) => Promise<unknown>) | string

const NO_DATABASE = "asks nothing of the database"

/** All public calls, by whose they are. A text says why one is not called here. */
const CALLS: Record<string, Record<string, Call>> = {
  exported: {
    configure: NO_DATABASE,
    currentJob: "is of a handler",
    flow: NO_DATABASE,
    listTasks: NO_DATABASE,
    snooze: "is of a handler",
    task: NO_DATABASE,
    taskRef: ({ tusk }) => taskRef("first-contact.work").with({ via: tusk }).enqueue(1),
    tasksOf: NO_DATABASE,
    Tusk: NO_DATABASE,
  },
  tusk: {
    migrate: ({ tusk }) => tusk.migrate(),
    transaction: ({ tusk }) => tusk.transaction((tx) => work.with({ via: tusk, tx }).enqueue(1)),
    enqueue: ({ tusk }) => tusk.enqueue("first-contact.work", [1]),
    enqueueMany: ({ tusk }) => tusk.enqueueMany([work.call(1), work.call(2)]),
    addFlow: ({ tusk }) => tusk.addFlow([{ id: "a", task: "first-contact.work", args: [1] }]),
    jobs: ({ tusk }) => tusk.jobs(),
    queues: ({ tusk }) => tusk.queues(),
    workers: ({ tusk }) => tusk.workers(),
    work: ({ tusk }) => tusk.work({ queues: ["other"] }),
    connectionString: NO_DATABASE,
    register: NO_DATABASE,
    job: NO_DATABASE,
    queue: NO_DATABASE,
    use: NO_DATABASE,
    onEnqueue: NO_DATABASE,
    close: "resolves whatever the database does",
  },
  task: {
    enqueue: ({ tusk }) => work.with({ via: tusk }).enqueue(1),
    delay: ({ tusk }) => work.with({ via: tusk, deduplicate: "k" }).delay(1),
    send: ({ tusk }) => work.with({ via: tusk, id: "i" }).send(1),
    enqueueMany: ({ tusk }) => work.with({ via: tusk }).enqueueMany([[1], [2]]),
    schedule: ({ tusk }) => work.with({ via: tusk }).schedule("other", { every: "1h" }, 1),
    with: NO_DATABASE,
    call: NO_DATABASE,
  },
  job: {
    state: ({ job }) => job.state(),
    snapshot: ({ job }) => job.snapshot(),
    result: ({ job }) => job.result({ timeout: 5 }),
    settled: ({ job }) => job.settled({ timeout: 5 }),
    events: async ({ job }) => {
      for await (const _ of job.events()) return
    },
    cancel: ({ job }) => job.cancel(),
    retry: ({ job }) => job.retry(),
    promote: ({ job }) => job.promote(),
    reschedule: ({ job }) => job.reschedule("1h"),
    remove: ({ job }) => job.remove(),
    explain: ({ job }) => job.explain(),
  },
  queue: {
    job: ({ tusk }) => tusk.queue("q").job("x"),
    pause: ({ tusk }) => tusk.queue("q").pause(),
    resume: ({ tusk }) => tusk.queue("q").resume(),
    info: ({ tusk }) => tusk.queue("q").info(),
    counts: ({ tusk }) => tusk.queue("q").counts(),
    jobs: ({ tusk }) => tusk.queue("q").jobs(),
    drain: ({ tusk }) => tusk.queue("q").drain(),
    clean: ({ tusk }) => tusk.queue("q").clean({ state: "failed" }),
    obliterate: ({ tusk }) => tusk.queue("q").obliterate(),
    deadLetters: ({ tusk }) => tusk.queue("q").deadLetters(),
    redrive: ({ tusk }) => tusk.queue("q").redrive(),
    cancelAll: ({ tusk }) => tusk.queue("q").cancelAll({}),
    owner: ({ tusk }) => tusk.queue("q").owner("k"),
    release: ({ tusk }) => tusk.queue("q").release("k"),
    configure: ({ tusk }) => tusk.queue("q").configure({ concurrency: 3 }),
  },
  schedules: {
    schedule: "is what task.schedule() calls",
    upsert: ({ tusk }) => tusk.schedules.upsert({ id: "another", task: "first-contact.work", args: [1], when: { every: "1h" } }),
    list: ({ tusk }) => tusk.schedules.list(),
    get: ({ tusk }) => tusk.schedules.get("s"),
    preview: ({ tusk }) => tusk.schedules.preview("s", 3),
    pause: ({ tusk }) => tusk.schedules.pause("s"),
    resume: ({ tusk }) => tusk.schedules.resume("s"),
    trigger: ({ tusk }) => tusk.schedules.trigger("s"),
    remove: ({ tusk }) => tusk.schedules.remove("s"),
  },
  events: {
    on: "goes on without the events of other processes, and listens again",
    iterate: "goes on without the events of other processes, and listens again",
  },
  flow: { enqueue: ({ tusk }) => pair.enqueue({ via: tusk }) },
}

/** The functions that something public has. */
function methodsOf(...holders: object[]): string[] {
  const names = holders.flatMap((holder) =>
    Object.entries(Object.getOwnPropertyDescriptors(holder)).flatMap(([name, { value }]) => (typeof value === "function" ? [name] : [])),
  )
  return [...new Set(names)].filter((name) => name !== "constructor").sort()
}

test("the list has every public call", () => {
  const tusk = new Tusk({ connectionString: "postgres://x@127.0.0.1:1/x" })
  const isError = (name: string): boolean => name.endsWith("Error")
  const has = {
    exported: Object.keys(exported).filter((name) => !isError(name)),
    tusk: methodsOf(Tusk.prototype),
    task: methodsOf(work, work.with({})),
    job: methodsOf(Object.getPrototypeOf(tusk.job("x"))),
    queue: methodsOf(Object.getPrototypeOf(tusk.queue("q"))),
    schedules: methodsOf(Object.getPrototypeOf(tusk.schedules)),
    events: methodsOf(tusk.events),
    flow: methodsOf(pair),
  }
  for (const [owner, names] of Object.entries(has)) expect(Object.keys(CALLS[owner]!).sort(), owner).toEqual(names.sort())
  expect(Object.keys(CALLS).sort()).toEqual(Object.keys(has).sort())
})

const READS = "tusk.jobs tusk.queues tusk.workers job.state job.snapshot job.explain queue.job queue.info queue.counts queue.jobs queue.clean \
queue.deadLetters queue.redrive queue.owner schedules.list schedules.get schedules.preview".split(" ")

interface Failure {
  readonly says: RegExp
  /** SQLSTATEs or codes of the causes. */
  readonly codes: readonly string[]
  /** It is a rule of the database's against what a call changes. */
  readonly refused?: boolean
  /** Calls that this does not keep from their work. */
  readonly well?: readonly string[]
  /** The client that meets the failure, and a stored job of it. */
  readonly meet: (db: TestDatabase, use: (stage: Stage) => Promise<void>) => Promise<void>
}

const NOBODY = "01890000-0000-7000-8000-000000000000"

/** A client that has never asked for anything. */
async function cold(connectionString: string, use: (stage: Stage) => Promise<void>): Promise<void> {
  await using tusk = new Tusk({ connectionString, signals: false })
  await use({ tusk, job: tusk.job(NOBODY) as Job })
}

/** A client that was well until `spoil`. */
async function warm(url: string, spoil: () => Promise<() => Promise<unknown>>, use: (stage: Stage) => Promise<void>): Promise<void> {
  await using tusk = new Tusk({ connectionString: url, signals: false })
  const job = await work.with({ via: tusk }).enqueue(1)
  await work.with({ via: tusk }).schedule("s", { every: "1h" }, 1)
  await tusk.schedules.pause("s")
  const mend = await spoil()
  try {
    await use({ tusk, job: job as Job })
  } finally {
    await mend()
  }
}

function at(url: string, change: (url: URL) => void): string {
  const changed = new URL(url)
  change(changed)
  return changed.href
}
const set = (url: string, setting: string): string => at(url, (u) => u.searchParams.set("options", `-c ${setting}`))

async function withRole(db: TestDatabase, use: (role: string, url: string) => Promise<void>): Promise<void> {
  const role = `${db.name}_role`
  await db.query(`create role "${role}" login password 'secret'`)
  try {
    await use(
      role,
      at(db.url, (u) => {
        u.username = role
        u.password = "secret"
      }),
    )
  } finally {
    await db.query(`drop owned by "${role}"`)
    await db.query(`drop role "${role}"`)
  }
}

/** Locks all tables; returns how to let them go. */
async function holdTables(db: TestDatabase): Promise<() => Promise<unknown>> {
  const holder = new pg.Client({ connectionString: db.url })
  await holder.connect()
  await holder.query("begin")
  const { rows } = await holder.query(
    "select format('tusk.%I', relname) as name from pg_class where relnamespace = 'tusk'::regnamespace and relkind = 'r'",
  )
  await holder.query(`lock table ${rows.map((row) => row.name).join(", ")} in access exclusive mode`)
  return () => holder.end()
}

async function holdingTables(db: TestDatabase, use: () => Promise<void>): Promise<void> {
  const release = await holdTables(db)
  try {
    await use()
  } finally {
    await release()
  }
}

const FAILURES: Record<string, Failure> = {
  "a read-only server": {
    says: /takes no writes: .*; connect to the primary/,
    codes: ["25006"],
    well: [...READS, "tusk.migrate"],
    meet: async (db, use) => {
      const pool = new pg.Pool({ connectionString: set(db.url, "default_transaction_read_only=on"), max: 10 })
      await using writer = new Tusk({ connectionString: db.url, signals: false })
      await using tusk = new Tusk({ pool, signals: false })
      const job = await work.with({ via: writer }).enqueue(1)
      await work.with({ via: writer }).schedule("s", { every: "1h" }, 1)
      await writer.schedules.pause("s")
      // Of a pool its connections are the application's, and those of a migration are its own.
      await use({ tusk, job: tusk.job(job.id) as Job })
      await tusk.close()
      await pool.end()
    },
  },
  "a statement time-out": {
    says: /has cancelled a statement of pgtusk: canceling statement due to statement timeout; raise statement_timeout|could not be migrated/,
    codes: ["57014", "55P03"],
    meet: (db, use) => warm(set(db.url, "statement_timeout=200"), () => holdTables(db), use),
  },
  "a statement time-out of a millisecond": {
    says: /has cancelled a statement of pgtusk: canceling statement due to statement timeout; raise statement_timeout|could not be migrated/,
    codes: ["57014", "55P03"],
    meet: (db, use) => holdingTables(db, () => cold(set(db.url, "statement_timeout=1"), use)),
  },
  "triggers of the application's that refuse all": {
    says: /^Postgres at \S+ refuses (a change that pgtusk makes|the job|what a worker stores).*: not on a weekday$/,
    codes: ["P0001"],
    refused: true,
    well: [
      ...READS.filter((label) => label !== "queue.clean" && label !== "queue.redrive"),
      // Nothing finished, no key; and a job says how it is before anybody waits for it.
      ...["queue.clean", "queue.redrive", "queue.release", "job.events", "tusk.migrate"],
    ],
    meet: (db, use) =>
      warm(
        db.url,
        async () => {
          await db.query("create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not on a weekday'; end $$")
          for (const table of ["jobs", "schedules", "queues", "workers", "tasks"])
            await db.query(`create trigger refuse before insert or update or delete on tusk.${table} for each statement execute function refuse()`)
          return async () => undefined
        },
        use,
      ),
  },
  "a wrong password": {
    says: /refuses the log-in: .*; check user and password/,
    codes: ["28P01"],
    meet: (db, use) =>
      withRole(db, (_, url) =>
        cold(
          at(url, (u) => {
            u.password = "wrong"
          }),
          use,
        ),
      ),
  },
  "an unknown database": {
    says: /has no such database: .*; create it, or correct the connection string/,
    codes: ["3D000"],
    meet: (db, use) =>
      cold(
        at(db.url, (u) => {
          u.pathname = "/no_such_database"
        }),
        use,
      ),
  },
  "a refused port": {
    says: /^No Postgres answers at \S+ \(ECONNREFUSED\); check host and port/,
    codes: ["ECONNREFUSED"],
    meet: async (db, use) => {
      const proxy = await startProxy(db.url)
      await proxy.close()
      await cold(proxy.url, use)
    },
  },
  "a missing schema": {
    says: /^The database has no pgtusk schema "tusk"; run `npx pgtusk migrate`/,
    codes: [],
    well: ["tusk.migrate"],
    meet: async (_, use) => {
      const empty = await createDatabase({ migrated: false })
      await cold(empty.url, use)
      await empty.close()
    },
  },
  "a schema that was dropped": {
    says: /lacks a part of pgtusk's schema: .*does not exist; .*run `npx pgtusk migrate`/,
    codes: ["42P01", "3F000", "42883"],
    well: ["tusk.migrate"],
    meet: (db, use) =>
      warm(
        db.url,
        async () => {
          await db.query("drop schema tusk cascade")
          return async () => undefined
        },
        use,
      ),
  },
  "rights that are missing": {
    says: /^The user of \S+ lacks a right: permission denied for .*; grant it/,
    codes: ["42501"],
    meet: (db, use) =>
      withRole(db, async (role, url) => {
        await db.query(`grant usage on schema tusk to "${role}"`)
        for (const kind of ["tables", "sequences"]) await db.query(`grant all on all ${kind} in schema tusk to "${role}"`)
        const spoil = async () => {
          await db.query(`drop owned by "${role}"`)
          return async () => undefined
        }
        await warm(url, spoil, use)
      }),
  },
}

describe("every public call", () => {
  for (const [name, failure] of Object.entries(FAILURES)) {
    test.concurrent(`with ${name}`, async () => {
      const db = await createDatabase()
      const wrong: string[] = []
      const check = async (label: string, call: Exclude<Call, string>, stage: Stage): Promise<void> => {
        const outcome = await within(
          call(stage).then(
            () => undefined,
            (error: unknown) => error,
          ),
          25_000,
          label,
        )
        const fault = failure.well?.includes(label) ? wellFault(outcome) : errorFault(outcome, failure, /\.(result|settled|events)$/.test(label))
        if (fault !== undefined) wrong.push(`${label}: ${fault}`)
      }
      await failure.meet(db, async (stage) => {
        const all = Object.entries(CALLS).flatMap(([owner, calls]) =>
          Object.entries(calls).map(([call, use]) => ({ label: `${owner}.${call}`, use })),
        )
        // What makes the schema comes last.
        const [last, rest] = [all.filter(({ label }) => label === "tusk.migrate"), all.filter(({ label }) => label !== "tusk.migrate")]
        for (const some of [rest, last])
          await Promise.all(some.map(({ label, use }) => (typeof use === "string" ? undefined : check(label, use, stage))))
      })
      expect(wrong).toEqual([])
      await db.close()
    }, 60_000)
  }
})

function wellFault(outcome: unknown): string | undefined {
  return outcome === undefined ? undefined : `rejected with ${String(outcome)}`
}

function errorFault(outcome: any, { says, codes, refused }: Failure, waits: boolean): string | undefined {
  if (outcome === undefined) return "resolved"
  if (!(outcome instanceof TuskError)) return `is no error of ours: ${outcome?.name} ${outcome?.code} ${outcome?.message}`
  // Whoever waits for a job waits for the server too.
  if (waits && outcome instanceof WaitTimeoutError) return undefined
  if (!says.test(outcome.message)) return `says ${outcome.message}`
  if (codes.length === 0) return outcome instanceof SchemaVersionError ? undefined : `is ${outcome.name}`
  if (refused === true ? outcome.code !== "REFUSED" : !(outcome instanceof ConnectionError)) return `is ${outcome.name} ${outcome.code}`
  let cause: any = outcome.cause
  while (cause instanceof TuskError) cause = cause.cause
  if (!(cause instanceof Error)) return "has no cause"
  const code = (cause as AggregateError).errors?.[0]?.code ?? Reflect.get(cause, "code")
  if (!codes.includes(code)) return `has the cause ${code} ${cause.message}`
  return cause.message === outcome.message ? "says no more than the driver" : undefined
}

/** A first contact of each kind: what one call, and a migration, say of it. */
async function expectFirst(connectionString: string, says: RegExp, cause: RegExp): Promise<void> {
  for (const migrate of [false, true]) {
    await using tusk = new Tusk({ connectionString, signals: false, migrate })
    for (const call of [() => tusk.migrate(), () => work.with({ via: tusk }).enqueue(1), () => tusk.work({ queues: ["q"] })]) {
      const error = await within(rejection(call()), 25_000, "a refusal")
      expect(error).toBeInstanceOf(ConnectionError)
      expect(error.message).toMatch(says)
      expect(error.unknown).toBe(false)
      expect(error.message).not.toContain("hush")
      expect((error.cause as Error).message).toMatch(cause)
    }
  }
}

/** Something on a port of its own; its URL. */
async function listening(answer: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on("error", () => {})
    answer(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `postgres://u:hush@127.0.0.1:${(server.address() as AddressInfo).port}/app`
}

/** A server that refuses each log-in in the words of Postgres. */
function refusing(state: string, message: string): Promise<string> {
  const body = Buffer.from(`SFATAL\0VFATAL\0C${state}\0M${message}\0\0`)
  const head = Buffer.alloc(5)
  head.write("E")
  head.writeInt32BE(body.length + 4, 1)
  return listening((socket) => socket.once("data", () => socket.end(Buffer.concat([head, body]))))
}

describe("a first contact", () => {
  test("without a password", async () => {
    const db = await createDatabase()
    await withRole(db, (_, url) =>
      expectFirst(
        at(url, (u) => {
          u.password = ""
        }),
        /asks for a password and the connection string has none .*; write postgres:\/\/user:password@/,
        /client password must be a/,
      ),
    )
    await db.close()
  })

  test("with a user who is not in pg_hba.conf", async () => {
    const url = await refusing("28000", 'no pg_hba.conf entry for host "10.0.0.1", user "u", database "app", no encryption')
    await expectFirst(
      url,
      /refuses the log-in: no pg_hba\.conf entry for host .*; add an entry .* to pg_hba\.conf, or write sslmode=require/,
      /^no pg_hba/,
    )
  })

  test.each([
    [
      "a certificate that nobody vouches for",
      "?sslmode=verify-full",
      /does not trust the certificate of Postgres at \S+: .*; give the certificate of its authority/,
      /self-signed certificate/,
    ],
    ["a server that speaks no TLS", "?sslmode=require", /speaks no TLS .*; turn ssl on there, or write sslmode=disable/, /does not support SSL/],
  ])("with %s", async (kind, query, says, cause) => {
    const secure = kind.startsWith("a certificate") ? certificate() : undefined
    const url = await listening((socket) =>
      socket.once("data", () => {
        socket.write(secure === undefined ? "N" : "S")
        if (secure !== undefined) new TLSSocket(socket, { isServer: true, secureContext: createSecureContext(secure) }).on("error", () => {})
      }),
    )
    await expectFirst(url + query, says, cause)
  })

  test("with something that speaks HTTP", async () => {
    const url = await listening((socket) => socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")))
    for (const query of ["", "?sslmode=require"]) {
      await using tusk = new Tusk({ connectionString: url + query, signals: false })
      for (const call of [() => tusk.migrate(), () => work.with({ via: tusk }).enqueue(1)]) {
        const error = await within(rejection(call()), 15_000, "a refusal")
        expect(error).toBeInstanceOf(ConnectionError)
        expect(error.message).toMatch(/127\.0\.0\.1:\d+\/app.*(check|sslmode)/)
        expect(error.cause).toBeInstanceOf(Error)
      }
    }
  })

  test("with a host that has no address", async () => {
    await expectFirst(
      "postgres://u:hush@no-such-host.invalid/app",
      /cannot find the host of no-such-host\.invalid:5432\/app; check the name/,
      /ENOTFOUND|EAI_AGAIN/,
    )
  })

  test.each([
    ["57P03", "the database system is starting up", /takes no connections now: the database system is starting up; it starts, stops or recovers/],
    ["53300", "sorry, too many clients already", /has no connection left: sorry, too many clients already; raise max_connections/],
  ])("with a server that answers %s (%s)", async (state, message, says) => {
    const url = await refusing(state, message)
    await using tusk = new Tusk({ connectionString: url, signals: false })
    for (const call of [() => tusk.migrate(), () => tusk.workers(), () => tusk.work({ queues: ["q"] })]) {
      const error = await rejection(call())
      expect(error).toBeInstanceOf(ConnectionError)
      expect(error.message).toMatch(says)
      expect(error.cause).toMatchObject({ code: state })
    }
  })
})

/** One that signs itself, for 127.0.0.1. */
function certificate(): { key: string; cert: string } {
  const folder = mkdtempSync(join(tmpdir(), "pgtusk-tls-"))
  try {
    const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")]
    const args = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", cert]
    execFileSync("openssl", args, { stdio: "ignore" })
    return { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
