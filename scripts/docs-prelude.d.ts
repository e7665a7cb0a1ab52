// Names that the examples in README.md and docs/ use without making them. See docs-examples.mjs.
import type * as pgtusk from "pgtusk"

declare global {
  // ── What pgtusk exports ────────────────────────────────────────────────────
  const task: typeof pgtusk.task
  const tasksOf: typeof pgtusk.tasksOf
  const taskRef: typeof pgtusk.taskRef
  const flow: typeof pgtusk.flow
  const configure: typeof pgtusk.configure
  const currentJob: typeof pgtusk.currentJob
  const snooze: typeof pgtusk.snooze
  const listTasks: typeof pgtusk.listTasks
  const Tusk: typeof pgtusk.Tusk
  const TuskError: typeof pgtusk.TuskError
  const NonRetryableError: typeof pgtusk.NonRetryableError
  const RetryAfterError: typeof pgtusk.RetryAfterError
  const JobFailedError: typeof pgtusk.JobFailedError
  const JobCancelledError: typeof pgtusk.JobCancelledError
  const WaitTimeoutError: typeof pgtusk.WaitTimeoutError
  const PayloadError: typeof pgtusk.PayloadError
  const ConnectionError: typeof pgtusk.ConnectionError
  type Job<R = unknown> = pgtusk.Job<R>
  type Task<A extends readonly unknown[] = readonly any[], R = unknown> = pgtusk.Task<A, R>
  type Logger = pgtusk.Logger

  // ── An application ─────────────────────────────────────────────────────────
  const tusk: pgtusk.Tusk
  const sendEmail: pgtusk.Task<[to: string, subject: string, body?: string], { messageId: string }>
  const job: pgtusk.Job<{ messageId: string }>
  const worker: pgtusk.Worker
  /** A generated client; only its shape matters here. */
  const prisma: {
    $transaction<T>(
      work: (tx: {
        $queryRawUnsafe(sql: string, ...values: unknown[]): Promise<any>
        order: { create(query: { data: object }): Promise<{ id: string }> }
      }) => Promise<T>,
    ): Promise<T>
  }
  /** What `export default` gives. */
  let exported: unknown
}
