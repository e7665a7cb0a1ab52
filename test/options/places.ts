/** What each place of a public call takes. `public-places.ts` reads from the types which places there are. */
import pg from "pg"
import * as z from "zod"
import { type FlowBuilder, type Task, Tusk, task } from "../../src/index.js"
import * as k from "./kinds.js"

/** A text says why the place has no wrong values, or where they are tried. */
export type Place = k.Kind | string

export const TASK = "wrong.value"
export const ID = "01890a5d-ac96-774b-bcce-b302099a8057"
/** The task whose options are wrong. */
export const work: Task<[n: number], number> = task({ name: TASK }, async (n: number) => n)
const END = ["completed", "failed", "expired", "cancelled"]
const STATES = ["waiting", "delayed", "blocked", "active", ...END]
const PAYLOAD = "any value that can be stored: test/task/codec.test.ts"
const HANDLER = "is of a handler; a wrong one counts as none: test/worker/outcome.test.ts, test/task/backoff.test.ts"
const KEY = k.key

const RUN: Record<string, Place> = {
  queue: k.text(),
  retries: k.integer(0, 32_767),
  backoff: k.either(2, k.base),
  "backoff.base": k.base,
  "backoff.first": k.duration,
  "backoff.max": k.duration,
  "backoff.jitter": k.fraction,
  "backoff.fixed": k.required(k.duration),
  "backoff.steps": k.required({ ok: () => false, sample: ["1s"] }),
  "backoff.steps[]": k.required(k.duration),
  ttl: k.positive,
  timeout: k.positive,
  priority: k.integer(-32_768, 32_767),
  keep: k.options,
  "keep.completed": k.kept,
  "keep.failed": k.kept,
}
const DEDUPLICATE: Record<string, Place> = {
  deduplicate: k.either("x", KEY),
  "deduplicate.key": k.required(KEY),
  "deduplicate.ttl": k.positive,
  "deduplicate.replace": k.boolean,
  "deduplicate.extend": k.boolean,
}
const FAILURES = k.oneOf("block", "fail", "cancel", "run")
const client = new Tusk("postgres://nobody@127.0.0.1:1/nothing")
const tx = k.special(undefined)
const ENQUEUE: Record<string, Place> = {
  ...RUN,
  ...DEDUPLICATE,
  via: k.special(client, ["postgres://user@host/db"]),
  tx: "any client: test/tusk/options.test.ts, test/postgres/transaction-refusals.test.ts",
  delay: k.due,
  dependsOn: { ...k.list(), more: [[5]], later: Array.isArray, ok: (v) => Array.isArray(v) && v.every((one) => typeof one === "string") },
  "dependsOn[]": k.required(k.jobId(ID)),
  "dependsOn[].job": k.required(k.jobId(ID)),
  "dependsOn[].onFailure": FAILURES,
  onParentFailure: FAILURES,
  repeatEvery: k.positive,
  id: k.customId,
  headers: k.byName({}),
  "headers{}": k.required(k.anyText),
  wake: k.oneOf("now", "poll"),
  concurrencyKey: KEY,
  rateLimitKey: KEY,
}
const RATE: Record<string, Place> = {
  rateLimit: k.filled({ limit: 1, per: "1m" }),
  "rateLimit.limit": k.required(k.limit),
  "rateLimit.per": k.required(k.positive),
  "rateLimit.strategy": k.oneOf("sliding-window", "token-bucket"),
}
const WHEN: Record<string, Place> = {
  "": k.required(k.filled({ every: "1h" })),
  cron: k.required({ ok: () => false, sample: "0 9 * * *", more: ["* * *", "60 * * * *", "0 0 30 2 *", "a b c d e"] }),
  tz: { ok: () => false, sample: "Europe/Berlin", more: ["Mars/Olympus", "europe-berlin"] },
  every: k.required(k.atLeast(0.1)),
  from: k.date,
  until: k.date,
  limit: k.integer(1, 2 ** 53 - 1),
  overlap: k.oneOf("all", "skip"),
  missed: k.oneOf("skip", "once", "all"),
}
const states: k.Kind = { ...k.oneOf(...STATES), ok: (v) => STATES.includes(v as string) || (Array.isArray(v) && v.length === 0) }
const FILTER: Record<string, Place> = {
  "": k.options,
  task: k.anyText,
  text: k.anyText,
  args: PAYLOAD,
  since: k.date,
  until: k.date,
  order: k.oneOf("newest", "oldest"),
  limit: k.integer(1, 1_000),
  after: k.special(ID),
}
const WAIT: Record<string, Place> = { "": k.options, timeout: k.positive, signal: k.signal }
const CONNECTION: k.Kind = { ok: () => false, sample: "postgres://u@127.0.0.1:1/d", secret: true, more: ["localhost", "mysql://h/d"] }
const pool = new pg.Pool({ connectionString: "postgres://u@127.0.0.1:1/d" })
const logger = { debug() {}, info() {}, warn() {}, error() {} }
const CONFIGURE: Record<string, Place> = {
  "": k.options,
  connectionString: CONNECTION,
  "connectionString[]": k.required(CONNECTION),
  listenConnectionString: CONNECTION,
  "listenConnectionString[]": k.required(CONNECTION),
  pool: { ...k.special(pool, [{ connect() {} }]), secret: true },
  embedded: k.either(false, k.boolean, k.options),
  "embedded.dataDir": k.text(4_096),
  "embedded.port": k.integer(1, 65_535),
  schema: { ok: (v) => typeof v === "string" && v.trim() !== "" && v.length <= 63 && !v.includes("\0") && v !== "\ud800", sample: "x" },
  migrate: k.boolean,
  preparedStatements: k.boolean,
  signals: k.boolean,
  maxPayloadBytes: k.orNull(k.integer(1, 2 ** 53 - 1)),
  logger: k.special(logger, [{ warn() {} }]),
}

function under(place: string, table: Record<string, Place>): Record<string, Place> {
  return Object.fromEntries(Object.entries(table).map(([path, kind]) => [`${place}${path === "" ? "" : `.${path}`}`, kind]))
}
const without = (table: Record<string, Place>, ...names: string[]): Record<string, Place> =>
  Object.fromEntries(Object.entries(table).filter(([path]) => !names.includes(path)))
/** The same in each of these places. */
const each = (places: readonly string[], table: Record<string, Place>): Record<string, Place> =>
  Object.assign({}, ...places.map((place) => under(place, table)))

const DATA = Object.fromEntries(
  ["Task", "BoundTask"].flatMap((owner) => [
    ...["enqueue", "delay", "send", "call", "schedule"].flatMap((name) => [
      [`${owner}.${name}(...args)`, PAYLOAD],
      [`${owner}.${name}(...args)[]`, PAYLOAD],
    ]),
    [`${owner}.enqueueMany(list)`, k.required({ ok: (v) => Array.isArray(v) && v.every(Array.isArray), sample: [] })],
    [`${owner}.enqueueMany(list)[]`, k.required(k.anyList)],
    [`${owner}.enqueueMany(list)[][]`, PAYLOAD],
    [`${owner}.schedule(id)`, k.required(k.text())],
  ]),
)
const options = { "": k.options, ...ENQUEUE }

export const PLACES: Readonly<Record<string, Place>> = {
  ...DATA,
  ...each(["Task.with(options)", "BoundTask.with(options)", "Call.with(options)"], { ...options, "": k.required(k.options) }),
  ...each(["taskRef(options)", "Tusk.enqueue(options)", "Tusk.enqueueMany(options)"], options),
  ...each(["Task.schedule(when)", "BoundTask.schedule(when)"], WHEN),
  ...each(["configure(options)", "new Tusk(options)"], { ...CONFIGURE, "": { ...k.options, secret: true } }),
  ...each(["Job.result(options)", "Job.settled(options)", "JobRef.result(options)", "JobRef.settled(options)"], WAIT),
  ...under("task(options)", {
    "": k.required(k.options),
    ...RUN,
    name: k.text(),
    progress: k.boolean,
    transactional: k.boolean,
    backoff: k.either(2, k.base, k.fn),
    "backoff()": HANDLER,
    input: k.special(z.any()),
    deduplicate: k.callback,
    "deduplicate()": k.required(k.either("x", KEY)),
    "deduplicate().key": k.required(KEY),
    "deduplicate().ttl": k.positive,
    "deduplicate().replace": k.boolean,
    "deduplicate().extend": k.boolean,
    concurrency: k.filled({ limit: 1 }),
    "concurrency.limit": k.required(k.limit),
    "concurrency.key": k.callback,
    "concurrency.key()": k.required(KEY),
    ...RATE,
    "rateLimit.key": k.callback,
    "rateLimit.key()": k.required(KEY),
    maxCrashes: k.integer(1, 32_767),
    runIn: k.only(k.oneOf("main", "thread", "process"), (v) => v === "main"),
    onError: k.fn,
    "onError()": HANDLER,
    "onError().retryIn": HANDLER,
  }),
  "task(fn)": k.required(k.fn),
  "task(fn)()": PAYLOAD,
  "taskRef(name)": k.required(k.text()),
  "tasksOf(cls)": k.required(k.fn),
  "snooze(delay)": k.required(k.duration),
  "flow(name)": k.required(k.text()),
  "flow(build)": k.required(k.special((f: FlowBuilder) => f.add(work.call(1)))),
  "flow(build)()": k.required(k.special(undefined)),
  "flow(build)().result": "is what f.add() made",
  ...under("Flow.enqueue(options)", { "": k.options, tx: ENQUEUE["tx"]!, via: ENQUEUE["via"]! }),
  "FlowBuilder.add(call)": k.required(k.special(undefined)),
  ...under("FlowBuilder.add(options)", { "": k.options, after: k.list(), "after[]": k.required(tx), onParentFailure: FAILURES }),
  "FlowBuilder.add(options).after[].result": "is what f.add() made",
  "FlowBuilder.all(...nodes)": "are several",
  "FlowBuilder.all(...nodes)[]": k.required(k.special(undefined)),
  "FlowBuilder.all(...nodes)[].result": "is what f.add() made",
  ...each(["Job.cancel(reason)", "JobRef.cancel(reason)"], { "": k.anyText }),
  ...each(["Job.reschedule(delay)", "JobRef.reschedule(delay)"], { "": k.required(k.due) }),
  "Tusk.addFlow(jobs)": k.required(k.list()),
  "Tusk.addFlow(jobs)[]": k.required(k.filled({ id: "a", task: TASK })),
  ...under("Tusk.addFlow(jobs)[]", {
    id: k.required(k.text()),
    task: k.required(k.text()),
    args: k.anyList,
    "args[]": PAYLOAD,
    dependsOn: k.list(),
    "dependsOn[]": k.required({ ok: () => false, sample: ID }),
  }),
  ...under("Tusk.addFlow(jobs)[].options", { ...options, via: "is the client of addFlow()" }),
  ...under("Tusk.addFlow(options)", { "": k.options, tx: ENQUEUE["tx"]! }),
  "Tusk.enqueue(task)": k.required(k.text()),
  "Tusk.enqueue(args)": k.anyList,
  "Tusk.enqueue(args)[]": PAYLOAD,
  "Tusk.enqueueMany(calls)": k.required(k.list()),
  "Tusk.enqueueMany(calls)[]": k.required(k.special(undefined)),
  "Tusk.job(id)": k.required(k.lookup),
  ...under("Tusk.jobs(filter)", { ...FILTER, state: states, "state[]": k.required(k.oneOf(...STATES)), queue: k.anyText }),
  ...under("Tusk.migrate(options)", { "": k.options, tx: ENQUEUE["tx"]! }),
  "Tusk.onEnqueue(middleware)": k.required(k.fn),
  "Tusk.use(middleware)": k.required(k.fn),
  "Tusk.queue(name)": k.required(k.text()),
  "Tusk.register(instance)": k.required(k.special(undefined)),
  "Tusk.transaction(work)": k.required(k.fn),
  "Tusk.transaction(work)()": "is the application's",
  ...under("Tusk.work(options)", {
    "": k.options,
    queues: k.either(
      { mail: 3 },
      k.only(k.byName({}, k.integer(1, 100_000)), (v) => Object.keys(v as object).length > 0),
      k.texts,
    ),
    "queues[]": k.required(k.text()),
    "queues{}": k.required(k.either(3, k.integer(1, 100_000), k.options)),
    "queues{}.concurrency": k.integer(1, 100_000),
    concurrency: k.integer(1, 100_000),
    signals: k.boolean,
    drainTimeout: k.positive,
    poll: k.positive,
    lease: k.atLeast(1),
    onStart: k.fn,
    onStop: k.fn,
  }),
  ...under("Events.iterate(filter)", {
    "": k.options,
    queue: k.text(),
    task: k.text(),
    names: k.list(),
    "names[]": k.required(k.oneOf("job:failed", "job:completed")),
    signal: k.signal,
  }),
  "Events.on(name)": k.required(k.oneOf("*", "job:failed")),
  "Events.on(listener)": k.required(k.fn),
  ...each(["Queue.jobs(filter)"], { ...FILTER, state: states, "state[]": k.required(k.oneOf(...STATES)) }),
  ...each(["Queue.cancelAll(filter)"], {
    ...FILTER,
    "": k.required(k.options),
    limit: k.integer(1, 2 ** 53 - 1),
    state: states,
    "state[]": k.required(k.oneOf(...STATES)),
  }),
  ...under("Queue.deadLetters(filter)", FILTER),
  ...under("Queue.redrive(filter)", { ...FILTER, limit: k.integer(1, 2 ** 53 - 1), preview: k.boolean, rate: k.rate }),
  ...under("Queue.clean(options)", {
    "": k.required(k.filled({ state: "failed" })),
    state: k.required({ ...k.oneOf(...END), more: STATES }),
    grace: k.duration,
    limit: k.integer(1, 2 ** 53 - 1),
  }),
  ...under("Queue.drain(options)", { "": k.options, delayed: k.boolean }),
  ...under("Queue.obliterate(options)", { "": k.options, force: k.boolean }),
  "Queue.job(id)": k.required(k.lookup),
  "Queue.owner(key)": k.required(k.lookup),
  "Queue.release(key)": k.required(k.lookup),
  ...under("Queue.configure(settings)", {
    "": k.required(k.options),
    concurrency: k.orNull(k.limit),
    ...RATE,
    rateLimit: k.orNull(k.filled({ limit: 1, per: "1m" })),
    keep: k.options,
    "keep.completed": k.kept,
    "keep.failed": k.kept,
  }),
  ...Object.fromEntries(["get", "pause", "resume", "trigger", "remove", "preview"].map((name) => [`Schedules.${name}(id)`, k.required(k.lookup)])),
  "Schedules.preview(count)": k.required(k.integer(0, 1_000)),
  "Schedules.upsert(schedule)": k.required(k.filled({ id: "s", task: TASK, when: { every: "1h" } })),
  ...under("Schedules.upsert(schedule)", { id: k.required(k.text()), task: k.required(k.text()), args: k.anyList, "args[]": PAYLOAD }),
  ...under("Schedules.upsert(schedule).when", WHEN),
  ...under("Schedules.upsert(schedule).options", without(options, "tx", "id", "dependsOn", "onParentFailure", "repeatEvery")),
  ...Object.fromEntries(
    ["tx", "id", "onParentFailure", "repeatEvery"].map((name) => [`Schedules.upsert(schedule).options.${name}`, "no job of a schedule may have it"]),
  ),
  ...Object.fromEntries(
    ["dependsOn", "dependsOn[]", "dependsOn[].job", "dependsOn[].onFailure"].map((name) => [
      `Schedules.upsert(schedule).options.${name}`,
      "no job of a schedule may have it",
    ]),
  ),
  "CurrentJob.reportProgress(fraction)": "is of a handler: test/worker/handlers.test.ts",
  "CurrentJob.reportProgress(data)": "is of a handler: test/worker/handlers.test.ts",
  "Transaction.query(sql)": "is the application's own statement",
  "Transaction.query(params)": "is the application's own statement",
  "Transaction.query(params)[]": "is the application's own statement",
  ...Object.fromEntries(
    ["debug", "info", "warn", "error"].flatMap((level) => [
      [`Logger.${level}(message)`, "is called by us"],
      [`Logger.${level}(fields)`, "is called by us"],
    ]),
  ),
  ...Object.fromEntries(["on(event)", "on(listener)", "query(...args)", "query(...args)[]"].map((call) => [`PoolLike.${call}`, "is called by us"])),
  "new RetryAfterError(delay)": HANDLER,
}

/** What must stand beside an option for it to make sense. */
const BESIDE: readonly (readonly [RegExp, object])[] = [
  [/backoff\.(first|max|jitter)$/, { base: 2 }],
  [/deduplicate(\(\))?\.(ttl|replace)$/, { key: "x" }],
  [/deduplicate(\(\))?\.extend$/, { key: "x", ttl: "1h" }],
  [/dependsOn\[\]\.onFailure$/, { job: ID }],
  [/concurrency\.key(\(\))?$/, { limit: 1 }],
  [/rateLimit\.limit$/, { per: "1m" }],
  [/rateLimit\.per$/, { limit: 1 }],
  [/rateLimit\.(strategy|key)(\(\))?$/, { limit: 1, per: "1m" }],
  [/when\)?\.(from|until|limit|overlap|missed)$/, { every: "1h" }],
  [/when\)?\.tz$/, { cron: "0 9 * * *" }],
  [/^Schedules\.upsert\(schedule\)\.(id|task|args|when|options)$/, { id: "s", task: TASK, when: { every: "1h" } }],
  [/^Tusk\.addFlow\(jobs\)\[\]\.(id|task|args|dependsOn|options)$/, { id: "a", task: TASK }],
  [/^Queue\.clean\(options\)\.(grace|limit)$/, { state: "failed" }],
]

/** The parameter of a place's call with the value in its place. */
export function parameterWith(place: string, value: unknown): unknown {
  const head = /^[^(]*\([^)]*\)/.exec(place)![0]
  const steps = place.slice(head.length).match(/\.[A-Za-z]+|\[\]|\{\}|\(\)/g) ?? []
  let inner = value
  for (let i = steps.length - 1; i >= 0; i--) {
    const step = steps[i]!
    const here = inner
    if (step === "[]") inner = [here]
    else if (step === "{}") inner = { a: here }
    else if (step === "()") inner = () => here
    else {
      const at = head + steps.slice(0, i + 1).join("")
      inner = { ...beside(at), [step.slice(1)]: here }
    }
  }
  return inner
}

export function beside(place: string): object {
  return BESIDE.find(([at]) => at.test(place))?.[1] ?? {}
}
