/**
 * Flows: graphs of jobs that are stored whole or not at all.
 *
 * A reference to a node's result in another node's arguments is the dependency, so the graph and the data flow cannot disagree; a node can only
 * refer to nodes added before it, so there are no cycles. When a parent completes, its result is put into the child's stored arguments in the
 * same transaction.
 */
import { FlowError } from "../api/errors.js"
import type { Flow, FlowBuilder, FlowNode } from "../api/flow.js"
import type { Job } from "../api/job.js"
import type { EnqueueOptions, OnParentFailure } from "../api/options.js"
import type { Call, Ref } from "../api/task.js"
import { describeValue } from "../lib/invalid-option.js"
import { checkFunction, checkList, checkOneOf, checkText, isA, readOptions } from "../lib/option-checks.js"
import { uuidv7 } from "../lib/uuid.js"
import { callParts } from "../task/call.js"
import { clientFor, type EnqueueRequest, type RequestEdge } from "../task/client.js"
import { PARENT_FAILURES } from "../task/job-option-checks.js"
import { mergeOptions } from "../task/options.js"
import { MAX_NODES, stored } from "./add-flow.js"

/** A class, so that a reference in the wrong place (inside of an object) is refused by the codec, with its path. */
class NodeRef<T> implements Ref<T> {
  declare readonly "~ref": T
  readonly builder: Builder
  /** One node, or several whose results make an array. */
  readonly nodes: number | readonly number[]
  constructor(builder: Builder, nodes: number | readonly number[]) {
    this.builder = builder
    this.nodes = nodes
    Object.freeze(this)
  }
}

class Node<R> implements FlowNode<R> {
  readonly builder: Builder
  readonly index: number
  readonly result: Ref<R>
  constructor(builder: Builder, index: number) {
    this.builder = builder
    this.index = index
    this.result = new NodeRef<R>(builder, index)
    Object.freeze(this)
  }
}

class Builder implements FlowBuilder {
  readonly requests: EnqueueRequest[] = []
  readonly #name: string

  constructor(name: string) {
    this.#name = name
  }

  add<R>(call: Call<R>, options: { after?: readonly FlowNode<any>[]; onParentFailure?: OnParentFailure } = {}): FlowNode<R> {
    const { task, args, options: own } = callParts(call)
    const given = readOptions(options, ["after", "onParentFailure"], `The options of add() in flow "${this.#name}"`)
    const where = `of task "${task.name}" in flow "${this.#name}"`
    if (this.requests.length === MAX_NODES) throw new FlowError(`Flow "${this.#name}" has more than ${MAX_NODES} nodes; make several flows of it`)
    if (own.tx !== undefined || own.via !== undefined) {
      throw new FlowError(
        `Node ${this.requests.length} (task "${task.name}") of flow "${this.#name}" has tx or via; give them to the flow's enqueue()`,
      )
    }
    const onFailure = checkOneOf(
      "onParentFailure" in given ? given.onParentFailure : (own.onParentFailure ?? "block"),
      `onParentFailure ${where}`,
      PARENT_FAILURES,
    )
    const paths = new Map<number, string[][]>()
    const needs = (index: number, path?: string[]): void => {
      const known = paths.get(index) ?? []
      if (path !== undefined) known.push(path)
      paths.set(index, known)
    }
    const filled = args.map((arg, i) => {
      if (!(arg instanceof NodeRef)) return arg
      this.#checkOwn(arg.builder, `argument ${i} of task "${task.name}"`)
      if (typeof arg.nodes === "number") {
        needs(arg.nodes, [String(i)])
        return null
      }
      arg.nodes.forEach((index, k) => {
        needs(index, [String(i), String(k)])
      })
      return arg.nodes.map(() => null)
    })
    const after: unknown = "after" in given ? given.after : []
    checkList(after, `after ${where}`, "the nodes that come first: after: [node]")
    for (const node of after as readonly unknown[]) needs(this.#indexOf(node, `after of task "${task.name}"`))
    const edges: RequestEdge[] = [...paths].map(([index, where]) => ({ index, onFailure, paths: where }))
    this.requests.push({ task, args: filled, options: own, edges })
    return new Node<R>(this, this.requests.length - 1)
  }

  all<T extends readonly FlowNode<any>[]>(...nodes: T): Ref<{ -readonly [K in keyof T]: T[K] extends FlowNode<infer R> ? R : never }> {
    return new NodeRef(
      this,
      nodes.map((node) => this.#indexOf(node, "all()")),
    )
  }

  /** The index of the flow's own node. */
  indexOfResult(node: unknown): number {
    return this.#indexOf(node, "the returned node")
  }

  #indexOf(node: unknown, where: string): number {
    if (!isA(node, Node)) throw new FlowError(`${where} in flow "${this.#name}" is no node; write what f.add() returned, not ${describeValue(node)}`)
    this.#checkOwn(node.builder, where)
    return node.index
  }

  #checkOwn(builder: Builder, where: string): void {
    if (builder !== this) throw new FlowError(`${where} in flow "${this.#name}" belongs to another flow`)
  }
}

/**
 * Builds a graph; `enqueue()` stores all of it or nothing, as often as it is called. The flow's result is the returned node's.
 *
 * ```ts
 * const order = flow("order", (f) => {
 *   const pay = f.add(charge.call("o-1"))
 *   const box = f.add(pack.call("o-1"))
 *   return f.add(ship.call(pay.result, box.result), { onParentFailure: "fail" })
 * })
 * const job = await order.enqueue()
 * await job.result()
 * ```
 * @throws FlowError for a node of another flow, or a flow without nodes; from `enqueue()` also for an unknown parent of a node
 */
export function flow<R>(name: string, build: (f: FlowBuilder) => FlowNode<R>): Flow<R> {
  checkText(name, "The name of a flow")
  checkFunction(build, `The second argument of flow() for "${name}"`, "flow(name, (f) => f.add(task.call(…)))")
  const builder = new Builder(name)
  const last = builder.indexOfResult(build(builder))
  const requests: readonly EnqueueRequest[] = Object.freeze([...builder.requests])
  return {
    name,
    async enqueue(options: Pick<EnqueueOptions, "tx" | "via"> = {}): Promise<Job<R> & { readonly jobs: readonly Job[] }> {
      const given: EnqueueOptions = readOptions(options, ["tx", "via"], `enqueue() of flow "${name}"`)
      const part = { id: uuidv7(), name }
      const all = requests.map((request) => ({ ...request, flow: part, options: mergeOptions(request.options, given, request.task.name) }))
      const jobs = await stored(clientFor(given.via).submit(all), `Flow "${name}" cannot be stored`)
      return Object.assign(jobs[last]!, { jobs }) as Job<R> & { readonly jobs: readonly Job[] }
    },
  }
}
