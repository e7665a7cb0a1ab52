import type { Logger } from "../../api/logger.js"
import type { EventFeed } from "../../events/event-feed.js"
import type { LaneHint, Notifier } from "../../postgres/notify/wake.js"
import type { Runner } from "../../postgres/run/pool.js"
import type { Statements } from "../../postgres/statements/statements.js"
import type { ClaimedRow, Slot } from "./claimed-job.js"

/** What a queue's claimer needs of its worker. */
export interface ClaimHost {
  readonly runner: Runner
  readonly statements: Statements
  readonly notifier: Notifier
  readonly logger: Logger
  readonly events: EventFeed
  readonly workerId: string
  /** How long a claim may take, in milliseconds. */
  readonly claimTimeoutMs: number
  /** May anything be claimed just now? */
  mayClaim(): boolean
  /** Slots of the worker that limited claims on their way may fill. */
  reserved: number
  /** Slots of the worker as a whole. */
  readonly slots: number
  /** Those of them that are free. */
  freeSlots(): number
  /** Names of the tasks that have a handler here. */
  knownTasks(): readonly string[]
  /** Starts a job. Its slot is free again when `returned` is called; whoever calls it pumps afterwards. */
  start(row: ClaimedRow, slot: Slot): void
  /** Whether what was claimed may still be started. */
  holdsLease(): boolean
  /** Gives claimed jobs back that were not started. */
  release(rows: readonly ClaimedRow[], slot: Slot): void
  /** There may be work that no lane tells of: the lanes gave jobs and have just become empty, or there were too many to keep. */
  lookAround(): void
  /** Looks at all lanes now, and says so, if the last look is long enough ago. */
  lookNow(): boolean
  /** Other workers, in other processes, may have had hints that this one has not. */
  shared: boolean
  /** 4 ^ level other workers are to look for jobs of this lane. */
  relay(lane: LaneHint, level: number): void
  failed(error: unknown): void
}
