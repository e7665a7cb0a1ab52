/** How each public call is made with a value in one of its places. */
import { type FlowBuilder, flow, snooze, Tusk, task, taskRef, tasksOf } from "../../src/index.js"
import { SnoozeSignal } from "../../src/worker/run/outcome.js"
import { ID, TASK, work } from "./places.js"

let names = 0
/** A name that no other definition has. */
const named = (value: any): any => (isReadable(value) ? withName(value) : value)
const isReadable = (value: unknown): boolean => {
  try {
    return typeof value === "object" && value !== null && [Object.prototype, null].includes(Object.getPrototypeOf(value)) && !("name" in value)
  } catch {
    return false
  }
}
function withName(value: object): object {
  return Object.defineProperties({}, { ...Object.getOwnPropertyDescriptors(value), name: { value: `${TASK}.${names++}`, enumerable: true } })
}

/** How a call is made, and whose the place is: what its error must name. */
interface Call {
  readonly use: (tusk: Tusk, value: any) => unknown
  /** The task, queue or schedule that the error must name. */
  readonly of?: RegExp
  /** What the error calls the parameter itself. */
  readonly says: RegExp
  /** It goes on for as long as the server is not there. */
  readonly waits?: boolean
}

const ofTask = new RegExp(`"${TASK.replace(".", "\\.")}`)
const ofQueue = /ueue "q"/
const viaTask = { says: /options of a job/, of: ofTask }
const inFlow = (build: (f: FlowBuilder) => any): unknown => flow("f", build)

export const CALLS: Readonly<Record<string, Call>> = {
  "task(options)": {
    use: async (tusk, value) => {
      const made = task(named(value), async (n: number) => n)
      // What a callback returns is looked at when a job is made.
      return made.with({ via: tusk }).enqueue(1)
    },
    says: /first argument of task\(\)/,
    of: ofTask,
  },
  "task(fn)": { use: (_, value) => task({ name: `${TASK}.${names++}` }, value), says: /second argument of task\(\)/, of: ofTask },
  "taskRef(name)": { use: (_, value) => taskRef(value), says: /name/ },
  "taskRef(options)": { use: (_, value) => taskRef(TASK, value), ...viaTask },
  "tasksOf(cls)": { use: (_, value) => tasksOf(value), says: /tasksOf\(\)/ },
  "snooze(delay)": {
    use: (_, value) => {
      try {
        snooze(value)
      } catch (error) {
        if (!(error instanceof SnoozeSignal)) throw error
      }
    },
    says: /snooze\(\)/,
  },
  "flow(name)": { use: (_, value) => flow(value, (f) => f.add(work.call(1))), says: /name of a flow/ },
  "flow(build)": { use: (_, value) => flow("f", value), says: /second argument of flow\(\)|returned node/, of: /"f"/ },
  "Flow.enqueue(options)": {
    use: (tusk, value) =>
      flow("f", (f) => f.add(work.call(1))).enqueue(
        isReadable(value) && !("via" in value)
          ? Object.defineProperties({}, { ...Object.getOwnPropertyDescriptors(value), via: { value: tusk, enumerable: true } })
          : value,
      ),
    says: /enqueue\(\)/,
    of: /"f"|wrong\.value/,
  },
  "FlowBuilder.add(call)": { use: (_, value) => inFlow((f) => f.add(value)), says: /call/ },
  "FlowBuilder.add(options)": { use: (_, value) => inFlow((f) => f.add(work.call(1), value)), says: /options of add\(\)/, of: /"f"/ },
  "FlowBuilder.all(...nodes)": { use: (_, value) => inFlow((f) => f.add(work.call(f.all(...value) as never))), says: /all\(\)/, of: /"f"/ },
  "configure(options)": { use: (_, value) => new Tusk(value), says: /configure\(\)|connectionString/ },
  "new Tusk(options)": { use: (_, value) => new Tusk(value), says: /configure\(\)|connectionString/ },
  "Events.iterate(filter)": { use: (tusk, value) => tusk.events.iterate(value), says: /filter of events/ },
  "Events.on(name)": { use: (tusk, value) => tusk.events.on(value, () => undefined)(), says: /events\.on\(\)/ },
  "Events.on(listener)": { use: (tusk, value) => tusk.events.on("*", value)(), says: /events\.on\(\)/ },
  "Queue.jobs(filter)": { use: (tusk, value) => tusk.queue("q").jobs(value), says: /filter/, of: /./ },
  "Queue.deadLetters(filter)": { use: (tusk, value) => tusk.queue("q").deadLetters(value), says: /filter/ },
  "Queue.redrive(filter)": { use: (tusk, value) => tusk.queue("q").redrive(value), says: /redrive\(\)/ },
  "Queue.cancelAll(filter)": { use: (tusk, value) => tusk.queue("q").cancelAll(value), says: /cancelAll\(\)/ },
  "Queue.clean(options)": { use: (tusk, value) => tusk.queue("q").clean(value), says: /clean\(\)/, of: ofQueue },
  "Queue.drain(options)": { use: (tusk, value) => tusk.queue("q").drain(value), says: /drain\(\)/, of: ofQueue },
  "Queue.obliterate(options)": { use: (tusk, value) => tusk.queue("q").obliterate(value), says: /obliterate\(\)/, of: ofQueue },
  "Queue.configure(settings)": { use: (tusk, value) => tusk.queue("q").configure(value), says: /configure\(\)/, of: ofQueue },
  "Queue.job(id)": { use: (tusk, value) => tusk.queue("q").job(value), says: /job\(\)/, of: ofQueue },
  "Queue.owner(key)": { use: (tusk, value) => tusk.queue("q").owner(value), says: /owner\(\)/, of: ofQueue },
  "Queue.release(key)": { use: (tusk, value) => tusk.queue("q").release(value), says: /release\(\)/, of: ofQueue },
  ...Object.fromEntries(
    ["get", "pause", "resume", "trigger", "remove"].map((name) => [
      `Schedules.${name}(id)`,
      { use: (tusk: any, value: any) => tusk.schedules[name](value), says: new RegExp(`${name}\\(\\)`) },
    ]),
  ),
  "Schedules.preview(id)": { use: (tusk, value) => tusk.schedules.preview(value, 3), says: /preview\(\)/ },
  "Schedules.preview(count)": { use: (tusk, value) => tusk.schedules.preview("s", value), says: /count/, of: /"s"/ },
  "Schedules.upsert(schedule)": { use: (tusk, value) => tusk.schedules.upsert(value), says: /upsert\(\)/, of: /"s"|upsert\(\)|wrong\.value/ },
  "Tusk.addFlow(jobs)": {
    use: (tusk, value) => tusk.addFlow(value),
    says: /addFlow\(\)|of the flow/,
    of: /"a"|wrong\.value|of the flow|addFlow\(\)/,
  },
  "Tusk.addFlow(options)": { use: (tusk, value) => tusk.addFlow([{ id: "a", task: TASK, args: [1] }], value), says: /addFlow\(\)/ },
  "Tusk.enqueue(task)": { use: (tusk, value) => tusk.enqueue(value), says: /name/ },
  "Tusk.enqueue(args)": { use: (tusk, value) => tusk.enqueue(TASK, value), says: /arguments/, of: ofTask },
  "Tusk.enqueue(options)": { use: (tusk, value) => tusk.enqueue(TASK, [1], value), ...viaTask },
  "Tusk.enqueueMany(calls)": { use: (tusk, value) => tusk.enqueueMany(value), says: /enqueueMany\(\)|call/ },
  "Tusk.enqueueMany(options)": { use: (tusk, value) => tusk.enqueueMany([work.call(1)], value), ...viaTask },
  "Tusk.job(id)": { use: (tusk, value) => tusk.job(value), says: /job\(\)/ },
  "Tusk.jobs(filter)": { use: (tusk, value) => tusk.jobs(value), says: /filter/ },
  "Tusk.migrate(options)": { use: (tusk, value) => tusk.migrate(value), says: /migrate\(\)/ },
  "Tusk.onEnqueue(middleware)": { use: (tusk, value) => tusk.onEnqueue(value), says: /onEnqueue\(\)/ },
  "Tusk.use(middleware)": { use: (tusk, value) => tusk.use(value), says: /use\(\)/ },
  "Tusk.queue(name)": { use: (tusk, value) => tusk.queue(value), says: /name of a queue/ },
  "Tusk.register(instance)": { use: (tusk, value) => tusk.register(value), says: /register\(\)/ },
  "Tusk.transaction(work)": { use: (tusk, value) => tusk.transaction(value), says: /transaction\(\)/ },
  "Tusk.work(options)": { use: (tusk, value) => tusk.work(value), says: /work\(\)/ },
  ...Object.fromEntries(
    ["Job", "JobRef"].flatMap((owner): [string, Call][] => [
      [`${owner}.cancel(reason)`, { use: (tusk, value) => tusk.job(ID).cancel(value), says: /cancel\(\)/ }],
      [`${owner}.reschedule(delay)`, { use: (tusk, value) => tusk.job(ID).reschedule(value), says: /reschedule\(\)/ }],
      [`${owner}.result(options)`, { use: (tusk, value) => tusk.job(ID).result(value), says: /result\(\)/, waits: true }],
      [`${owner}.settled(options)`, { use: (tusk, value) => tusk.job(ID).settled(value), says: /settled\(\)/, waits: true }],
    ]),
  ),
  ...Object.fromEntries(
    (
      [
        ["Task", (tusk: Tusk) => work.with({ via: tusk })],
        ["BoundTask", (tusk: Tusk) => work.with({ via: tusk, priority: 3 })],
      ] as const
    ).flatMap(([owner, make]): [string, Call][] => [
      [`${owner}.with(options)`, { use: (tusk, value) => make(tusk).with(value), ...viaTask }],
      [`${owner}.enqueueMany(list)`, { use: (tusk, value) => make(tusk).enqueueMany(value), says: /enqueueMany\(\)/, of: ofTask }],
      [`${owner}.schedule(id)`, { use: (tusk, value) => make(tusk).schedule(value, { every: "1h" }, 1), says: /id of a schedule/, of: ofTask }],
      [`${owner}.schedule(when)`, { use: (tusk, value) => make(tusk).schedule("s", value, 1), says: /Schedule "s"/, of: /"s"/ }],
    ]),
  ),
  "Call.with(options)": { use: (_, value) => work.call(1).with(value), ...viaTask },
}
