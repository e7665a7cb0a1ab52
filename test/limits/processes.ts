/** Workers with limited tasks in processes of their own, and the book that they keep of their runs. */

import type { RateLimit } from "../../src/api/options.js"
import type { WorkerOptions } from "../../src/index.js"
import type { TestDatabase } from "../support/database.js"
import { type Script, spawnScript } from "../support/process.js"

export interface LimitedSettings {
  readonly queue: string
  readonly task: string
  readonly workers: number
  readonly slots: number
  /** How long a run takes. */
  readonly ms: number
  readonly concurrency?: number
  readonly rateLimit?: RateLimit
  readonly options?: WorkerOptions
}

/** A table of runs; at most one may note itself at a time, so that each knows how many others of its key run. */
export async function keepBook(db: TestDatabase): Promise<void> {
  await db.query("create table runs (run serial, key text, pid integer, called float8, began timestamptz, ended timestamptz, beside integer)")
  await db.query(`create function begin_run(of_key text, of_pid integer, at float8) returns integer language plpgsql as $$
    declare made integer;
    begin
      perform pg_advisory_xact_lock(4711);
      insert into runs (key, pid, called, began, beside)
      values (of_key, of_pid, at, clock_timestamp(), (select count(*) from runs r where r.key = of_key and r.ended is null)) returning run into made;
      return made;
    end $$`)
}

export async function limitedProcess(url: string, settings: LimitedSettings): Promise<Script> {
  const child = spawnScript(new URL("./fixtures/worker.ts", import.meta.url), [JSON.stringify(settings)], { URL: url })
  await child.line("ready", 25_000)
  return child
}
