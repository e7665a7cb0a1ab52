/** A worker of a fleet, alone in its process. bench/fleet/bundle.ts makes a program of it, bench/fleet/member.ts starts that. */
import type { Contestant, FleetWorker, Servers } from "../peers/peer.js"
import { clock, sleep } from "../scenarios/scenario.js"

export interface MemberJob {
  readonly contestant: string
  readonly servers: Servers
}
export type ToMember = "start" | "pause" | "resume" | "release" | "stop" | { readonly handlerMs: number }
/** A handler began: the job, and the time by `clock`. */
export type Began = readonly [n: number, at: number]
export type FromMember = "booted" | "working" | "done" | "stopped" | { readonly began: readonly Began[] }

/** A job's number says what its handler does: it ends after `handlerMs`, or it keeps the event loop or its slot. */
const KIND = 1e12
export const BLOCK = KIND
export const HOLD = 2 * KIND
/** How long the event loop is blocked, and how long after the start of the handler. */
export const BLOCK_MS = 4_000
export const BLOCKS_AFTER_MS = 20
/** Messages that follow one another sooner than this leave together: each costs the processes that are measured. */
const MESSAGE_PAUSE_MS = 5

export function serve(contestants: readonly Contestant[]): void {
  const job = JSON.parse(process.argv[2]!) as MemberJob
  const { fleet } = contestants.find(({ name }) => name === job.contestant)!
  const tell = (message: FromMember): void => void process.send!(message)
  let began: Began[] = []
  let toldAt = Number.NEGATIVE_INFINITY
  let flushing = false
  let worker: FleetWorker | undefined
  let handlerMs = 0
  let release = (): void => undefined
  let released = new Promise<void>((resolve) => {
    release = resolve
  })

  function flush(): void {
    flushing = false
    toldAt = clock()
    tell({ began })
    began = []
  }

  function run(n: number): unknown {
    const at = clock()
    began.push([n, at])
    if (at - toldAt >= MESSAGE_PAUSE_MS) flush()
    else if (!flushing) {
      flushing = true
      setTimeout(flush, MESSAGE_PAUSE_MS)
    }
    if (n >= HOLD) return released
    if (n >= BLOCK) return block()
    return handlerMs > 0 ? sleep(handlerMs) : undefined
  }

  /** Like a long computation, except that it leaves the processor to those who are measured. */
  async function block(): Promise<void> {
    // The message that the handler has begun leaves first.
    await sleep(BLOCKS_AFTER_MS)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BLOCK_MS)
  }

  process.on("message", async (message: ToMember) => {
    if (message === "start") {
      worker = await fleet!.work(job.servers, run)
      tell("working")
    } else if (message === "stop") {
      await worker?.stop()
      if (began.length > 0) flush()
      process.send!("stopped" satisfies FromMember, () => process.exit(0))
    } else {
      if (message === "pause") worker?.pause?.()
      else if (message === "resume") worker?.resume?.()
      else if (message === "release") {
        release()
        released = new Promise<void>((resolve) => {
          release = resolve
        })
      } else handlerMs = message.handlerMs
      tell("done")
    }
  })
  process.on("disconnect", () => process.exit(0))
  tell("booted")
}
