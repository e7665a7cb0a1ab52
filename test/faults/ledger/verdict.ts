/** After the storm: everything comes to its end, and the books must balance. */
import { setTimeout as sleep } from "node:timers/promises"
import type { Tusk } from "../../../src/index.js"
import type { Check } from "./checks.js"
import type { Injected } from "./conductor.js"
import { certainly } from "./faults.js"
import type { StormServer } from "./server.js"

/** Live jobs that are still to end: not those that repeat for ever, nor those that their parents block for good. */
const OPEN = `
  select j.* from tusk.jobs j where j.task <> 'chain' and not (j.state = 'blocked' and exists (
    select from tusk.job_dependencies d join tusk.finished_jobs p on p.id = d.parent_id and p.state <> 'completed' where d.child_id = j.id))`

/**
 * Waits until nothing is open and the schedules have caught up, then ends what goes on for ever. Resolves with the milliseconds that it took;
 * undefined: it has not happened within the limit.
 */
export async function settle(server: StormServer, tusk: Tusk, limitMs: number): Promise<number | undefined> {
  const began = performance.now()
  const within = async (question: string): Promise<boolean> => {
    for (;;) {
      const [row] = await server.query<{ done: boolean }>(question)
      if (row?.done === true) return true
      if (performance.now() - began > limitMs) return false
      await sleep(50)
    }
  }
  const caughtUp = await within("select not exists (select from tusk.schedules where next_run_at < now()) as done")
  for (const { id } of await tusk.schedules.list()) await certainly(() => tusk.schedules.pause(id))
  const ended = await within(`select not exists (${OPEN}) as done`)
  const ms = performance.now() - began
  // One that succeeds just then has a successor.
  for (;;) {
    const left = await server.query<{ id: string }>("select id from tusk.jobs where task = 'chain'")
    if (left.length === 0 || performance.now() - began > limitMs) break
    for (const { id } of left) await certainly(() => tusk.job(id).cancel("the storm is over"))
    await sleep(50)
  }
  return caughtUp && ended ? ms : undefined
}

/** What the server is busy with, for whoever looks into a storm that has not settled. */
export async function describeSessions(server: StormServer, say: (line: string) => void): Promise<void> {
  const [queue] = await server.query<{ used: number }>("select pg_notification_queue_usage() as used")
  say(`sessions (the queue of notifications is full to ${Math.round(queue!.used * 100)} %)`)
  for (const row of await server.query(
    `select count(*)::int as n, application_name as name, state, wait_event as waits, left(regexp_replace(query, '\\s+', ' ', 'g'), 90) as query, max(now() - state_change)::text as age
     from pg_stat_activity where backend_type = 'client backend' group by 2, 3, 4, 5 order by 1 desc limit 25`,
  ))
    say(`  ${row.n} ${row.name} ${row.state} ${row.waits} ${row.age}: ${row.query}`)
}

export interface Finding {
  readonly check: Check
  readonly found: readonly string[]
  /** It saw its sabotage. */
  readonly canFail: boolean
}

export async function judge(server: StormServer, checks: readonly Check[]): Promise<Finding[]> {
  const client = await server.connect()
  try {
    const rows = async (text: string): Promise<string[]> => (await client.query<{ what: string }>(text)).rows.map((row) => row.what)
    const findings: Finding[] = []
    for (const check of checks) {
      const found = await rows(check.sql)
      await client.query("begin")
      await client.query(check.sabotage)
      const seen = await rows(check.sql)
      await client.query("rollback")
      findings.push({ check, found, canFail: seen.length > found.length })
    }
    return findings
  } finally {
    await client.end()
  }
}

interface Results {
  readonly server: StormServer
  readonly injected: Injected
  readonly verdict: readonly Finding[]
  readonly complaints: readonly string[]
  readonly settledAfter: number | undefined
  readonly seconds: number
  readonly say: (line: string) => void
}

export async function report({ server, injected, verdict, complaints, settledAfter, seconds, say }: Results): Promise<void> {
  say("\njobs by task")
  for (const { task, states } of await server.query<{ task: string; states: string }>(
    `select task, string_agg(n || ' ' || state, ', ' order by n desc) as states
     from (select task, state, count(*) as n from ledger.jobs group by 1, 2) x group by 1 order by 1`,
  ))
    say(`  ${task.padEnd(10)} ${states}`)
  const [sums] = await server.query(
    `select (select count(*) from ledger.accepted) as accepted, (select count(*) from ledger.refused) as refused, (select count(*) from ledger.refused where unknown) as unknown,
      (select count(*) from ledger.effects) as effects, (select count(*) from ledger.moves) as moves,
      (select coalesce(sum(crashes), 0) from tusk.finished_jobs) as crashes`,
  )
  say(
    `  ${sums.accepted} accepted, ${sums.refused} refused (${sums.unknown} of them unknown), ${sums.effects} effects, ${sums.moves} halves of moves, ${sums.crashes} runs lost with their worker`,
  )
  say("\nfaults")
  for (const [name, n] of [...injected.counts].sort()) say(`  ${name.padEnd(20)} ${n}`)
  say("\nchecks")
  for (const { check, found } of verdict) {
    say(`  ${found.length === 0 ? "✓" : "✗"} ${check.name}${found.length === 0 ? "" : `: ${found.length} ${check.kind}`}`)
    for (const what of found.slice(0, 5)) say(`      ${what}`)
  }
  for (const what of complaints) say(`  ✗ ${what.split("\n")[0]}`)
  say(
    `\n${settledAfter === undefined ? "not all had ended in time" : `all had ended ${(settledAfter / 1_000).toFixed(1)} s after the producers`}; ${seconds.toFixed(0)} s in all`,
  )
}
