/** Whether a process that a file names is still there, and still the one that was meant. */
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { performance, sleep } from "../lib/timers.js"

/** A zombie counts as gone: in a container whose first process reaps nobody it would stay for ever. */
export function isAlive(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: it is there and belongs to someone else.
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false
  }
  if (process.platform !== "linux") return true
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ENOENT"
  }
}

/** Whether `pid` is the postmaster of this cluster. Pids are used again, soonest in containers. Where nobody can tell, being alive counts. */
export function isPostmaster(pid: number, cluster: string): boolean {
  if (!isAlive(pid)) return false
  try {
    if (process.platform === "linux") return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(cluster)
    if (process.platform === "darwin") return execFileSync("ps", ["-ww", "-o", "command=", "-p", String(pid)], { encoding: "utf8" }).includes(cluster)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ENOENT"
  }
}

/** Asks a server that nobody owns to shut down: clients are disconnected, everything is written. */
export function askToStop(pid: number): void {
  try {
    process.kill(pid, "SIGINT")
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error
  }
}

/** Resolves to whether the process was gone before `ms` were over. */
export async function gone(pid: number, ms: number): Promise<boolean> {
  const deadline = performance.now() + ms
  while (isAlive(pid)) {
    if (performance.now() > deadline) return false
    await sleep(20)
  }
  return true
}
