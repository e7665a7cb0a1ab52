/** Schedules: stored, so that they outlive every process; fired by the workers' duties (see fire.ts). */
import { ScheduleError } from "../api/errors.js"
import type { Job } from "../api/job.js"
import type { EnqueueOptions, When } from "../api/options.js"
import type { Schedule, Schedules } from "../api/schedule.js"
import { decode } from "../codec/codec.js"
import { draftText } from "../enqueue/columns.js"
import { describeValue } from "../lib/invalid-option.js"
import { checkList, checkLookup, checkText, readOptions } from "../lib/option-checks.js"
import { isStorable } from "../lib/text.js"
import type { Database } from "../postgres/database.js"
import { render } from "../postgres/statements/names.js"
import type { EnqueueRequest } from "../task/client.js"
import type { Draft } from "../task/draft-types.js"
import { mergeOptions } from "../task/options.js"
import type { TaskSpec } from "../task/spec.js"
import type { StoredWhen } from "./slots.js"
import { Slots } from "./slots.js"
import { checkWhen, sameWhen, whenOf } from "./when.js"

interface ScheduleRow {
  readonly id: string
  readonly task: string
  readonly queue: string
  readonly args: unknown
  readonly spec: StoredWhen
  readonly next_run_at: Date | null
  readonly last_run_at: Date | null
  readonly paused: boolean
  readonly runs: string
  readonly draft: Record<string, unknown>
  readonly now: Date
}

/** What schedules need of the rest. */
export interface ScheduleHost {
  readonly database: Database
  /** The draft of a request, validated and encoded, as `draftText` takes it. */
  readonly draft: (request: EnqueueRequest) => Promise<Draft>
  readonly specOf: (task: string) => TaskSpec
  readonly submitModel: (draft: Record<string, unknown>) => Promise<Job>
}

const COLUMNS = "id, task, queue, args, spec, next_run_at, last_run_at, paused, runs, draft, now() as now"
/** Options that make no sense for a job that is made again and again, or at another time than its transaction. */
const REFUSED = ["tx", "id", "dependsOn", "onParentFailure", "repeatEvery"] as const

export class ScheduleStore implements Schedules {
  readonly #host: ScheduleHost

  constructor(host: ScheduleHost) {
    this.#host = host
  }

  /**
   * Stores a schedule, or changes the one of that id. With the same `when` its next run stays; another `when` computes it anew; neither un-pauses.
   * @throws ScheduleError for a wrong time, InvalidOptionError and PayloadError for the job
   */
  async schedule(id: string, when: When, request: EnqueueRequest): Promise<Schedule> {
    checkText(id, `The id of a schedule of task "${request.task.name}"`)
    for (const option of REFUSED) {
      if (request.options[option] !== undefined)
        throw new ScheduleError(`Schedule "${id}" has the option ${option}, which a job of a schedule cannot have; leave it out`)
    }
    const spec = checkWhen(when, id)
    const draft = await this.#host.draft(request)
    const json = draftText(draft, undefined)
    const { runner, notifier } = await this.#host.database.ready()
    const row = await runner.shortTransaction(async (client) => {
      const now = (await client.query<{ now: Date }>("select now() as now")).rows[0]!.now
      const known = (await client.query<ScheduleRow>(this.#sql(`select ${COLUMNS} from {schema}.schedules where id = $1 for update`), [id])).rows[0]
      const kept = known !== undefined && sameWhen(known.spec, spec)
      const stored: StoredWhen = kept ? known.spec : { ...spec, ...(spec.everyMs === undefined ? {} : { origin: now.toISOString() }) }
      const next = kept ? known.next_run_at : new Slots(stored, `Schedule "${id}"`).next(now)
      const { rows } = await client.query<ScheduleRow>(
        this.#sql(`insert into {schema}.schedules as s (id, task, queue, args, draft, spec, next_run_at)
          values ($1, $2, coalesce($3, (select t.queue from {schema}.tasks t where t.name = $2), 'default'), ($4::text::jsonb) -> 'args', $4::text::jsonb, $5, $6)
          on conflict (id) do update set task = excluded.task, queue = excluded.queue, args = excluded.args, draft = excluded.draft, spec = excluded.spec,
            next_run_at = $6, runs = case when $7 then s.runs else 0 end, updated_at = now()
          returning ${COLUMNS}`),
        [id, request.task.name, draft.queue, json, JSON.stringify(stored), next, kept],
      )
      return rows[0]!
    })
    if (row.next_run_at !== null) notifier.wake([], 0)
    return scheduleOf(row)
  }

  async upsert(schedule: { id: string; task: string; args?: readonly unknown[]; when: When; options?: EnqueueOptions }): Promise<Schedule> {
    const { id, task, args = [], when, options = {} } = readOptions(schedule, ["id", "task", "args", "when", "options"], "The schedule for upsert()")
    checkText(task, "task of the schedule for upsert()")
    checkText(id, `id of a schedule of task "${task}"`)
    checkList(args, `args of schedule "${id}"`, "[argument] also for a single one")
    return this.schedule(id, when, { task: this.#host.specOf(task), args, options: mergeOptions({}, options, task) })
  }

  async list(): Promise<Schedule[]> {
    const { runner } = await this.#host.database.ready()
    return (await runner.run<ScheduleRow>({ text: this.#sql(`select ${COLUMNS} from {schema}.schedules order by id`) })).map(scheduleOf)
  }

  async get(id: string): Promise<Schedule | undefined> {
    const row = await this.#row(id, "get()")
    return row === undefined ? undefined : scheduleOf(row)
  }

  /** The next slots, at most 1,000: those that it will fire, were it resumed now if it is paused; none once it is over. */
  async preview(id: string, count: number): Promise<Date[]> {
    if (!(Number.isSafeInteger(count) && count >= 0 && count <= 1_000))
      throw new ScheduleError(`preview() of schedule ${describeValue(id)} got the count ${describeValue(count)}; write 0 to 1000`)
    const row = await this.#known(id, "preview()")
    // Null: it is over. A paused one goes on with its first slot from now, by the database's clock.
    if (row.next_run_at === null) return []
    const slots = new Slots(row.spec)
    const left = row.spec.limit === undefined ? count : Math.min(count, row.spec.limit - Number(row.runs))
    const found: Date[] = []
    let slot = row.paused ? slots.next(row.now) : row.next_run_at
    while (slot !== null && found.length < left) {
      found.push(slot)
      slot = slots.next(slot)
    }
    return found
  }

  async pause(id: string): Promise<boolean> {
    if (!isStorable(checkLookup(id, "The id for pause()"))) return false
    const { runner } = await this.#host.database.ready()
    const rows = await runner.run({
      text: this.#sql("update {schema}.schedules set paused = true where id = $1 and not paused returning id"),
      values: [id],
    })
    return rows.length > 0
  }

  /** Goes on with the first slot from now: those of the pause do not count as missed. */
  async resume(id: string): Promise<boolean> {
    if (!isStorable(checkLookup(id, "The id for resume()"))) return false
    const { runner, notifier } = await this.#host.database.ready()
    const done = await runner.shortTransaction(async (client) => {
      const { rows } = await client.query<ScheduleRow>(this.#sql(`select ${COLUMNS} from {schema}.schedules where id = $1 and paused for update`), [
        id,
      ])
      const row = rows[0]
      if (row === undefined) return false
      const next = row.next_run_at === null ? null : new Slots(row.spec).next(row.now)
      await client.query(this.#sql("update {schema}.schedules set paused = false, next_run_at = $2 where id = $1"), [id, next])
      return true
    })
    if (done) notifier.wake([], 0)
    return done
  }

  async trigger(id: string): Promise<Job> {
    const row = await this.#known(id, "trigger()")
    return this.#host.submitModel(row.draft)
  }

  async remove(id: string): Promise<boolean> {
    if (!isStorable(checkLookup(id, "The id for remove()"))) return false
    const { runner } = await this.#host.database.ready()
    return (await runner.run({ text: this.#sql("delete from {schema}.schedules where id = $1 returning id"), values: [id] })).length > 0
  }

  async #row(id: string, call: string): Promise<ScheduleRow | undefined> {
    if (!isStorable(checkLookup(id, `The id for ${call}`))) return undefined
    const { runner } = await this.#host.database.ready()
    return (await runner.run<ScheduleRow>({ text: this.#sql(`select ${COLUMNS} from {schema}.schedules where id = $1`), values: [id] }))[0]
  }

  async #known(id: string, call: string): Promise<ScheduleRow> {
    const row = await this.#row(id, call)
    if (row === undefined) throw new ScheduleError(`There is no schedule ${describeValue(id)}`)
    return row
  }

  #sql(text: string): string {
    return render(text, this.#host.database.names)
  }
}

function scheduleOf(row: ScheduleRow): Schedule {
  return {
    id: row.id,
    task: row.task,
    queue: row.queue,
    when: whenOf(row.spec),
    args: decode(row.args) as readonly unknown[],
    nextRunAt: row.paused ? null : row.next_run_at,
    lastRunAt: row.last_run_at,
    paused: row.paused,
  }
}
