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
  cursor: number
  /** The lowest hint since the claim on its way was sent; Infinity: none. */
  hinted: number
}

/** Lanes in one claim; a queue with more has its first ones served first, and the rest when those are empty. */
const LANES_A_CLAIM = 64

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

  /** There may be work in this lane from `seq` on. Anyone may send a notification: what Postgres could not read is no hint. */
  hint(priority: number, seq: number): void {
    if (!Number.isInteger(priority) || Math.abs(priority + 0.5) > 32_768 || !Number.isSafeInteger(seq)) return
    let at = 0
    while (at < this.#lanes.length && this.#lanes[at]!.priority < priority) at++
    const lane = this.#lanes[at]
    if (lane !== undefined && lane.priority === priority) {
      lane.cursor = Math.min(lane.cursor, seq - 1)
      lane.hinted = Math.min(lane.hinted, seq - 1)
    } else {
      this.#lanes.splice(at, 0, { priority, cursor: seq - 1, hinted: seq - 1 })
    }
  }

  /** The lanes to read now; undefined when none is known to have work. */
  plan(): ClaimPlan | undefined {
    if (this.#lanes.length === 0) return undefined
    const chosen = this.#lanes.slice(0, LANES_A_CLAIM)
    for (const lane of chosen) lane.hinted = Number.POSITIVE_INFINITY
    return { priorities: chosen.map((l) => l.priority), cursors: chosen.map((l) => l.cursor) }
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
      lane.cursor = Math.min(Math.max(lane.cursor, reached.get(priority) ?? 0), lane.hinted)
      if (emptied && lane.hinted === Number.POSITIVE_INFINITY) this.#lanes.splice(at, 1)
    }
  }

  /** A claim by `plan` failed: nothing is known about what it read. */
  failed(plan: ClaimPlan): void {
    for (const lane of this.#lanes) if (plan.priorities.includes(lane.priority)) lane.hinted = Math.min(lane.hinted, lane.cursor)
  }
}
