/** Jobs that depend on each other. */
import type { Job } from "./job.js"
import type { EnqueueOptions, OnParentFailure } from "./options.js"
import type { Call, Ref } from "./task.js"

/** A node of a flow under construction; its `result` may stand as an argument of a later node. */
export interface FlowNode<R> {
  /** Its future result: pass it as an argument of another node's call. */
  readonly result: Ref<R>
}

/** What `flow()` hands to its function. */
export interface FlowBuilder {
  /**
   * Adds a call to the graph. It runs after `after`, and after every node whose result it takes. `onParentFailure`: what it does when one of those does not succeed; default `"block"`.
   * @throws FlowError for a node of another flow
   */
  add<R>(call: Call<R>, options?: { after?: readonly FlowNode<any>[]; onParentFailure?: OnParentFailure }): FlowNode<R>
  /** The results of several nodes as one argument. */
  all<T extends readonly FlowNode<any>[]>(...nodes: T): Ref<{ -readonly [K in keyof T]: T[K] extends FlowNode<infer R> ? R : never }>
}

/** A graph that is stored whole or not at all; its result is the returned node's. */
export interface Flow<R> {
  /** As given to `flow()`. */
  readonly name: string
  /**
   * Stores all its jobs in one statement, in the caller's transaction if `tx` is given. Returns the job of the returned node; `jobs` has all of them in the order of `add`.
   * @throws FlowError for a circle, and whatever `task.enqueue()` throws; then nothing is stored
   */
  enqueue(options?: Pick<EnqueueOptions, "tx" | "via">): Promise<Job<R> & { readonly jobs: readonly Job[] }>
}

/** The low level: `id` is a name inside this flow, `dependsOn` takes such names or ids of stored jobs. */
export interface FlowJob {
  /** Its name inside of this flow. */
  id: string
  /** The name of its task. */
  task: string
  /** Its arguments. Default: none. */
  args?: readonly unknown[]
  /** Names of this flow, or ids of stored jobs. Default: none. */
  dependsOn?: readonly string[]
  /** As in `task.with(options)`. */
  options?: EnqueueOptions
}
