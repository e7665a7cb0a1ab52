/** The public names, nothing else. */

export * from "./errors.js"
export { flow } from "./jobs/flow.js"
export type * from "./jobs/types.js"
export type { Logger } from "./logger.js"
export { type TasksOf, tasksOf } from "./task/methods.js"
export { listTasks } from "./task/registry.js"
export { task } from "./task/task.js"
export { taskRef } from "./task/task-ref.js"
export type {
  Backoff,
  BackoffFunction,
  BoundTask,
  Call,
  Duration,
  EnqueueDraft,
  EnqueueMiddleware,
  EnqueueOptions,
  OnParentFailure,
  Priority,
  Ref,
  ReportProgress,
  Retention,
  RunOptions,
  StandardSchema,
  Task,
  TaskOptions,
  When,
} from "./task/types.js"
export { configure, Tusk } from "./tusk.js"
export type { TuskOptions } from "./tusk-options.js"
export { currentJob, snooze } from "./worker/current-job.js"
export type * from "./worker/types.js"
