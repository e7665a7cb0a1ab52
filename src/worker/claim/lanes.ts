/**
 * Which lanes have work, and from where to read them.
 *
 * A lane is a (queue, priority). Its cursor is a seq at or below which nothing claimable lies, as far as this worker knows: a claim reads
 * `seq > cursor`, so it never walks the dead index entries of jobs that are gone. A lane that a claim found empty is forgotten; the next hint of
 * it (a notification, a sweep) carries the lowest seq that may be new, and that is its cursor again.
 *
 * Invariant: after `hint(lane, seq)` every claim reads from below seq until a claim that was sent after the hint has passed it.
 */
interface Lane {
  readonly priority: number
  /** A sweep or a claim has seen jobs in it; of the others only a hint tells, and anyone may send one. */
  sure: boolean
  cursor: number
  /** The lowest hint since the claim on its way was sent; Infinity: none. */
  hinted: number
}

/** Lanes in one claim; a queue with more has its first ones served first, and the rest when those are empty. Half of them are kept for those that are sure. */
const LANES_A_CLAIM = 64
/** Beyond so many, a lane that only a hint tells of is left to the next sweep. */
const MAX_LANES = 256

/** A claim about to be sent, and what to tell its lanes afterwards. */
export interface ClaimPlan {
  readonly priorities: readonly number[]
  readonly cursors: readonly number[]
}

export class QueueLanes {
  /** In order of priority. */
  readonly #lanes: Lane[] = []

  get hot(): boolean {
    return this.#lanes.length > 0
  }

  /** Whether this lane is one of those that are read. */
  has(priority: number): boolean {
    return this.#lanes.some((lane) => lane.priority === priority)
  }

  /** The first lane that may have jobs, and from where on. */
  first(): { readonly priority: number; readonly seq: number } | undefined {
    const lane = this.#lanes[0]
    return lane === undefined ? undefined : { priority: lane.priority, seq: lane.cursor + 1 }
  }

  /**
   * There may be work in this lane from `seq` on; `sure`: it was seen. Anyone may send a notification: what Postgres could not read is no hint, and a
   * flood of lanes must not stand before the real ones. False: there are too many to keep this one, so a sweep has to look.
   */
  hint(priority: number, seq: number, sure = false): boolean {
    if (!Number.isInteger(priority) || Math.abs(priority + 0.5) > 32_768 || !Number.isSafeInteger(seq)) return true
    let at = 0
    while (at < this.#lanes.length && this.#lanes[at]!.priority < priority) at++
    const lane = this.#lanes[at]
    if (lane !== undefined && lane.priority === priority) {
      lane.cursor = Math.min(lane.cursor, seq - 1)
      lane.hinted = Math.min(lane.hinted, seq - 1)
      lane.sure ||= sure
    } else if (!sure && this.#lanes.length >= MAX_LANES) {
      return false
    } else {
      this.#lanes.splice(at, 0, { priority, sure, cursor: seq - 1, hinted: seq - 1 })
    }
    return true
  }

  /** The lanes to read now; undefined when none is known to have work. */
  plan(): ClaimPlan | undefined {
    if (this.#lanes.length === 0) return undefined
    const chosen = this.#lanes.length <= LANES_A_CLAIM ? this.#lanes : this.#someLanes()
    for (const lane of chosen) lane.hinted = Number.POSITIVE_INFINITY
    return { priorities: chosen.map((l) => l.priority), cursors: chosen.map((l) => l.cursor) }
  }

  /** In order of priority, as all. */
  #someLanes(): Lane[] {
    const kept = new Set(this.#lanes.filter((lane) => lane.sure).slice(0, LANES_A_CLAIM / 2))
    let others = LANES_A_CLAIM - kept.size
    return this.#lanes.filter((lane) => kept.has(lane) || others-- > 0)
  }

  /** A claim by `plan` took these jobs; `full` when it took as many as it asked for, so that its last lane may hold more. */
  claimed(plan: ClaimPlan, taken: readonly { priority: number; seq: number }[], full: boolean): void {
    const reached = new Map<number, number>()
    for (const job of taken) reached.set(job.priority, Math.max(reached.get(job.priority) ?? 0, job.seq))
    const last = full ? Math.max(...reached.keys()) : Number.POSITIVE_INFINITY
    for (const priority of plan.priorities) {
      const at = this.#lanes.findIndex((l) => l.priority === priority)
      const lane = this.#lanes[at]
      if (lane === undefined) continue
      const emptied = priority < last
      lane.sure ||= reached.has(priority)
      lane.cursor = Math.min(Math.max(lane.cursor, reached.get(priority) ?? 0), lane.hinted)
      if (emptied && lane.hinted === Number.POSITIVE_INFINITY) this.#lanes.splice(at, 1)
    }
  }

  /** A claim by `plan` failed: nothing is known about what it read. */
  failed(plan: ClaimPlan): void {
    for (const lane of this.#lanes) if (plan.priorities.includes(lane.priority)) lane.hinted = Math.min(lane.hinted, lane.cursor)
  }
}
