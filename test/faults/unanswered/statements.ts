/** Statements of a worker's, by a part by which they are recognised on their way. test/faults/lost-answers.test.ts loses the answer of each under a load. */
export const WORKER_STATEMENTS: Readonly<Record<string, string>> = {
  claim: "pgtusk_claim_",
  "limited claim": "claim_limited",
  settle: "pgtusk_settle_",
  "completion in the job's transaction": "idle_in_transaction_session_timeout', '10s', true) from (",
  heartbeat: "pgtusk_heartbeat_",
  "question what is due": "pgtusk_next_due_",
  promotion: "pgtusk_promote_",
  expiry: "pgtusk_expire_",
  sweep: "pgtusk_sweep_",
  "look at due schedules": "for update of s skip locked",
  "job of a schedule": "add_jobs($1::text::jsonb, null, false)",
  "move of a schedule": "set next_run_at = $2, last_run_at",
  // With the end of the message: "begin isolation level read committed" is none.
  commit: "commit\0",
  notification: "pgtusk_wake_",
}
