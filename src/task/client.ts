/**
 * The port between tasks and the client that stores their jobs. The task layer knows no database: `tusk.ts` registers a factory for the default
 * client when it is loaded, and each client has its port under `"~client"`.
 */
import type { Job } from "../api/job.js"
import type { EnqueueOptions, OnParentFailure, When } from "../api/options.js"
import type { Schedule } from "../api/schedule.js"
import { isDevelopment } from "../lib/development.js"
import type { TaskSpec } from "./spec.js"

/** One job asked for, before validation and encoding. */
export interface EnqueueRequest {
  readonly task: TaskSpec
  readonly args: readonly unknown[]
  readonly options: EnqueueOptions
  /** Parents among the requests of the same call, by index. Arguments that a parent's result will fill stand as null until then. */
  readonly edges?: readonly RequestEdge[]
  readonly flow?: { readonly id: string; readonly name: string }
}

export interface RequestEdge {
  readonly index: number
  readonly onFailure: OnParentFailure
  readonly paths: readonly (readonly string[])[]
}

export interface TaskClient {
  /** Another client is the default now: closes the connections that nobody uses. */
  rest?(): void
  /** Stores all or none; handles in the order of the requests. `tx` of the first request's options applies to all. */
  submit(requests: readonly EnqueueRequest[]): Promise<Job<any>[]>
  schedule(id: string, when: When, request: EnqueueRequest): Promise<Schedule>
}

/** Where a client has its port. A plain key, so that it is found across two copies of the package. */
export const CLIENT: "~client" = "~client"
export interface HasClient {
  /** Internal. */
  readonly "~client": TaskClient
}

const DEFAULT: unique symbol = Symbol.for("pgtusk.default")
interface Slot {
  client?: HasClient | undefined
  /** Default clients so far. */
  count?: number
  /** Default clients with workers. */
  working?: Set<WorkingClient>
  factory?: () => HasClient
}
// On globalThis, since bundlers may load this module twice.
const slot: Slot = ((globalThis as { [DEFAULT]?: Slot })[DEFAULT] ??= {})

/** Says how to make the default client when nobody called `configure()`. */
export function setDefaultFactory(factory: () => HasClient): void {
  slot.factory = factory
}
/** Makes `client` the default, or forgets it (undefined). */
export function setDefaultClient(client: HasClient | undefined): void {
  slot.client = client
}
export function currentDefault(): HasClient | undefined {
  return slot.client
}

/** A default client that has workers. */
export interface WorkingClient {
  /** The later one has the higher number. */
  readonly number: number
  /** Ends its workers. */
  retire(): void
}

/** Makes `client` the default, as `configure()` does. Returns its number. */
export function replaceDefaultClient(client: HasClient): number {
  const before = slot.client
  slot.client = client
  if (isDevelopment()) before?.["~client"].rest?.()
  slot.count = (slot.count ?? 0) + 1
  return slot.count
}

/**
 * A default client works now. In development a module with `configure()` and `work()` is evaluated anew with each change: then the workers of the
 * latest client alone go on. Elsewhere several default clients may work in one process.
 */
export function nowWorking(client: WorkingClient): void {
  slot.working ??= new Set()
  slot.working.add(client)
  if (!isDevelopment()) return
  const latest = [...slot.working].reduce((a, b) => (a.number > b.number ? a : b))
  for (const other of [...slot.working]) if (other !== latest) other.retire()
}

export function noLongerWorking(client: WorkingClient): void {
  slot.working?.delete(client)
}

/** The client of a call: its `via`, else the configured one, else one made from DATABASE_URL. */
export function clientFor(via: unknown): TaskClient {
  if (via !== undefined) return (via as HasClient)["~client"]
  if (slot.client === undefined) {
    if (slot.factory === undefined) throw new Error("pgtusk: no client; import it from the package's main entry")
    slot.client = slot.factory()
  }
  return slot.client["~client"]
}
