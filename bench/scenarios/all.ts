/** All scenarios, in the order of the tables. */
import { cost } from "./cost.js"
import { delayed } from "./delayed.js"
import { depth } from "./depth.js"
import { drain, drainUnkept } from "./drain.js"
import { enqueue, enqueueConcurrent, enqueueMany, enqueueTransactions } from "./enqueue.js"
import { fleet } from "./fleet.js"
import { pickupIdle, pickupLoaded } from "./pickup.js"
import { pinned } from "./pinned.js"
import { recovery } from "./recovery.js"
import type { Scenario } from "./scenario.js"
import { serialKey } from "./serial-key.js"
import { start } from "./start.js"
import { twoProcesses } from "./two-processes.js"

export const scenarios: readonly Scenario[] = [
  drain,
  drainUnkept,
  twoProcesses,
  enqueue,
  enqueueConcurrent,
  enqueueTransactions,
  enqueueMany,
  pickupIdle,
  pickupLoaded,
  delayed,
  serialKey,
  pinned,
  depth,
  cost,
  start,
  recovery,
  fleet,
]
