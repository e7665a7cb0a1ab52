/** All scenarios, in the order of the tables. */
import { drain, drainUnkept } from "./drain.js"
import type { Scenario } from "./scenario.js"

export const scenarios: readonly Scenario[] = [drain, drainUnkept]
