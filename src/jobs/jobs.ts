/** Everything about jobs on one database: storing them, handles to them, waiting for their ends. */

import { InvalidOptionError, TuskError } from "../api/errors.js"
import type { JobEventName } from "../api/events.js"
import type { Job, JobRef } from "../api/job.js"
import type { EnqueueDraft, EnqueueMiddleware } from "../api/options.js"
import { buildDraft } from "../enqueue/draft.js"
import { type Added, Enqueuer } from "../enqueue/enqueuer.js"
import type { EventHub } from "../events/emitter.js"
import { EventFeed } from "../events/event-feed.js"
import { outside } from "../lib/async-context.js"
import { compose } from "../lib/middleware.js"
import { wallClock } from "../lib/timers.js"
import { isUuid, uuidv7 } from "../lib/uuid.js"
import { type Connected, closedError, type Database } from "../postgres/database.js"
import { Listener } from "../postgres/notify/listener.js"
import { parseHint } from "../postgres/notify/wake.js"
import { executorFor } from "../postgres/transactions/transaction.js"
import type { EnqueueRequest } from "../task/client.js"
import type { Draft } from "../task/draft-types.js"
import { JobAdmin } from "./admin.js"
import { EnqueuedJob, type JobContext, JobHandle } from "./job.js"
import { Waiter } from "./waiter.js"

/** How many jobs one call may store; more would hold locks and memory for too long. */
const MAX_JOBS_A_CALL = 100_000

interface Parts {
  readonly context: JobContext
  readonly enqueuer: Enqueuer
}

export class Jobs {
  /** Middlewares around each enqueue; the first is the outermost. */
  readonly onEnqueue: EnqueueMiddleware[] = []
  readonly #database: Database
  /** Events of this client's jobs, and of other processes while somebody here listens. */
  readonly events: EventFeed
  readonly #maxPayloadBytes: number | null
  /** Calls that are not done yet. */
  readonly #submitting = new Set<Promise<unknown>>()
  #closed = false
  #parts: Parts | undefined
  #listener: Listener | undefined
  #listening: Promise<void> | undefined

  constructor(database: Database, events: EventHub, maxPayloadBytes: number | null) {
    this.#database = database
    this.events = new EventFeed({ hub: events, database, logger: database.logger, listen: () => this.#listen() })
    this.#maxPayloadBytes = maxPayloadBytes
  }

  /** Stores the jobs, all or none, so all in one transaction: the `tx` of their options must be the same. */
  submit(requests: readonly EnqueueRequest[]): Promise<Job<any>[]> {
    if (this.#closed) return Promise.reject(closedError())
    const submitted = this.#submit(requests)
    this.#submitting.add(submitted)
    const done = (): void => void this.#submitting.delete(submitted)
    submitted.then(done, done)
    return submitted
  }

  async #submit(requests: readonly EnqueueRequest[]): Promise<Job<any>[]> {
    if (requests.length === 0) return []
    if (requests.length > MAX_JOBS_A_CALL) {
      throw new InvalidOptionError(`One call holds ${requests.length} jobs; enqueue at most ${MAX_JOBS_A_CALL} at once, in several calls`)
    }
    const tx = commonTransaction(requests)
    const executor = tx === undefined ? undefined : executorFor(tx)
    if (this.onEnqueue.length > 0) requests = await Promise.all(requests.map((request) => this.#throughMiddleware(request)))
    const built = buildAll(requests, this.#maxPayloadBytes)
    // Awaited only where a schema is asynchronous: a thousand enqueues of one turn leave in one statement.
    const plain = built.some((draft) => draft instanceof Promise) ? await Promise.all(built) : (built as Draft[])
    const ids = plain.map(() => uuidv7())
    const drafts = plain.map((draft, i) => withEdges(draft, requests[i]!, ids))
    const { enqueuer } = this.#partsOf(await this.#database.connect())
    if (executor !== undefined) await this.#database.readyIn(executor)
    // In a transaction nobody else sees them yet.
    if (executor !== undefined) return this.#handles(await enqueuer.addIn(executor, drafts, ids), drafts)
    if (!this.events.wants("job:added")) return this.#handles(await enqueuer.add(drafts, ids), drafts)
    this.events.storing(drafts.map(({ task, queue = "default" }, i) => ({ name: "job:added", id: ids[i]!, task, queue, at: new Date(wallClock()) })))
    try {
      const added = await enqueuer.add(drafts, ids)
      for (const { id, queue, created } of added) if (created) this.events.stored(id, queue)
      return this.#handles(added, drafts, true)
    } finally {
      for (const id of ids) this.events.forget(id)
    }
  }

  #handles(added: readonly Added[], drafts: readonly Draft[], told = false): Job<any>[] {
    return added.map(({ id, queue, created }, i) => this.#stored(id, drafts[i]!.task, queue, created, told))
  }

  async #throughMiddleware(request: EnqueueRequest): Promise<EnqueueRequest> {
    const draft = { task: request.task.name, args: request.args, options: request.options }
    let reached = false
    await compose(this.onEnqueue as readonly ((draft: EnqueueDraft, next: () => Promise<any>) => Promise<unknown>)[], draft, async () => {
      reached = true
    })
    if (!reached)
      throw new TuskError("ENQUEUE_REFUSED", `An onEnqueue middleware did not call next(), so the job of task "${draft.task}" was not stored`)
    return { ...request, args: draft.args, options: draft.options }
  }

  /** `told`: that it was added. */
  #stored(id: string, task: string, queue: string, created: boolean, told = false): Job<any> {
    const name: JobEventName = created ? "job:added" : "job:deduplicated"
    // In a transaction the job may yet be rolled back; the event tells of the call.
    if (!(created && told) && this.events.wants(name)) this.events.emit({ name, id, task, queue, at: new Date(wallClock()) })
    return new EnqueuedJob(id, task, queue, created, this.#open)
  }

  /** The draft of a request, validated and encoded, for a schedule to keep: middlewares see it once, when it is made. */
  async draft(request: EnqueueRequest): Promise<Draft> {
    return buildDraft(this.onEnqueue.length === 0 ? request : await this.#throughMiddleware(request), this.#maxPayloadBytes)
  }

  /** Stores a job from a model, as schedules keep it. */
  async submitModel(model: Record<string, unknown>): Promise<Job> {
    const { enqueuer } = this.#partsOf(await this.#database.connect())
    const { id, queue, created } = await enqueuer.addModel(model, uuidv7())
    return this.#stored(id, String(model["task"]), queue, created)
  }

  /** The handle of a job; reads nothing yet. */
  handle<R>(id: string): JobRef<R> {
    return new JobHandle<R>(isUuid(id) ? id.toLowerCase() : id, this.#open)
  }

  /** The handle of a job that is known to exist. */
  known(id: string, task: string, queue: string): Job {
    return new EnqueuedJob(id, task, queue, false, this.#open)
  }

  async admin(): Promise<JobAdmin> {
    return (await this.#open()).admin
  }

  /** Sends what is on its way as long as there is time, and ends all waits. */
  async close(within: (work: Promise<unknown>) => Promise<boolean>): Promise<void> {
    this.#closed = true
    await within(Promise.allSettled(this.#submitting))
    this.#parts?.context.waiter.close()
    await within(this.events.close())
    if (this.#listener !== undefined) await within(this.#listener.close())
  }

  /** Listens no longer where nobody waits for anything; the next wait listens again. */
  async rest(): Promise<void> {
    if (this.#closed || this.events.subscribed || this.#parts?.context.waiter.waits) return
    const listener = this.#listener
    this.#listener = undefined
    this.#listening = undefined
    await listener?.close()
  }

  readonly #open = async (): Promise<JobContext> => this.#partsOf(await this.#database.ready()).context

  #partsOf(connected: Connected): Parts {
    this.#parts ??= outside(() => this.#makeParts(connected))
    return this.#parts
  }

  #makeParts({ runner, statements, notifier }: Connected): Parts {
    const { names, logger, hub } = this.#database
    const waiter = new Waiter({ runner, notifier, statements, logger, listen: () => this.#listen() })
    hub.listen((hint) => {
      if (hint.kind === "ended") waiter.told(hint.ids)
    })
    const ready = async (): Promise<void> => void (await this.#database.ready())
    const admin = new JobAdmin({ runner, notifier, events: this.events, statements, quoted: names.quoted })
    return {
      context: { runner, statements, notifier, waiter, admin, events: this.events },
      enqueuer: new Enqueuer({ runner, statements, names, notifier, logger, ready, events: this.events }),
    }
  }

  /** One listener for all waits of this client; polling goes on beside it. */
  #listen(): Promise<void> {
    this.#listening ??= outside(() => this.#startListener())
    return this.#listening
  }

  async #startListener(): Promise<void> {
    const connected = await this.#database.connect()
    const { waiter } = this.#partsOf(connected).context
    const { names, logger, self } = this.#database
    this.#listener = new Listener({
      connector: connected.listenConnector,
      channels: [names.channel, names.eventsChannel],
      logger,
      onNotification: (channel, payload) => {
        if (channel === names.eventsChannel) return this.events.receive(payload)
        const hint = parseHint(payload, self)
        if (hint?.kind === "ended") waiter.told(hint.ids)
      },
      onLive: () => waiter.lookAgain(),
      onDown: () => undefined,
    })
    await this.#listener.start()
  }
}

function commonTransaction(requests: readonly EnqueueRequest[]): unknown {
  const { tx } = requests[0]!.options
  const other = requests.find((request) => request.options.tx !== tx)
  if (other === undefined) return tx
  throw new InvalidOptionError(
    `The jobs of one call are stored together, and those of task "${requests[0]!.task.name}" and "${other.task.name}" have different transactions (option "tx"); enqueue them in calls of their own`,
  )
}

function buildAll(requests: readonly EnqueueRequest[], maxPayloadBytes: number | null): (Draft | Promise<Draft>)[] {
  const built: (Draft | Promise<Draft>)[] = []
  try {
    for (const request of requests) built.push(buildDraft(request, maxPayloadBytes))
  } catch (error) {
    // Nobody will wait for those that an asynchronous schema still looks at.
    for (const draft of built) if (draft instanceof Promise) draft.catch(() => undefined)
    throw error
  }
  return built
}

/** The draft with its parents of the same call, whose ids are known only now. */
function withEdges(draft: Draft, { edges, flow }: EnqueueRequest, ids: readonly string[]): Draft {
  if (edges === undefined && flow === undefined) return draft
  const inner = (edges ?? []).map(({ index, onFailure, paths }) => ({ id: ids[index]!, onFailure, ...(paths.length === 0 ? {} : { paths }) }))
  return {
    ...draft,
    parents: [...draft.parents, ...inner],
    ...(flow === undefined ? {} : { stored: { ...draft.stored, flow } }),
  }
}
