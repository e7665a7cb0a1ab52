/** The public names, nothing else. */

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
