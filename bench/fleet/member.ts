/** Starts a worker of a fleet in a process of its own, and speaks with it. */
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import type { FromMember, MemberJob, ToMember } from "./child.js"

/** Fifty of them start on few processors. */
const ANSWER_MS = 180_000

export class Member {
  readonly #process: ChildProcess
  /** Jobs that began here, since it was set to 0. */
  began = 0

  private constructor(child: ChildProcess, onBegan: (n: number, at: number, member: Member) => void) {
    this.#process = child
    child.on("message", (message: FromMember) => {
      if (typeof message === "string") return
      for (const [n, at] of message.began) {
        this.began++
        onBegan(n, at, this)
      }
    })
  }

  /** Resolves when its process is there; it does not work yet. */
  static async boot(program: string, job: MemberJob, onBegan: (n: number, at: number, member: Member) => void): Promise<Member> {
    const library = process.env["PGTUSK_BENCH_LIBRARY"] ?? new URL("../../dist/src/index.js", import.meta.url).href
    const child = fork(program, [JSON.stringify(job)], {
      execArgv: library.endsWith(".ts") ? ["--import", "tsx"] : [],
      env: { ...process.env, PGTUSK_BENCH_LIBRARY: library },
      stdio: ["ignore", 2, 2, "ipc"],
    })
    const member = new Member(child, onBegan)
    await member.#answer("booted")
    return member
  }

  /** Resolves when it works. */
  start(): Promise<void> {
    return this.#ask("start", "working")
  }

  do(what: Exclude<ToMember, "start" | "stop">): Promise<void> {
    return this.#ask(what, "done")
  }

  async stop(): Promise<void> {
    const exited = once(this.#process, "exit")
    await this.#ask("stop", "stopped")
    await exited
  }

  signal(signal: "SIGSTOP" | "SIGCONT" | "SIGKILL"): void {
    this.#process.kill(signal)
  }

  #ask(what: ToMember, wanted: FromMember): Promise<void> {
    const answer = this.#answer(wanted)
    this.#process.send(what)
    return answer
  }

  #answer(wanted: FromMember): Promise<void> {
    const child = this.#process
    return new Promise((resolve, reject) => {
      const end = (error?: Error): void => {
        clearTimeout(timer)
        child.off("message", onMessage)
        child.off("disconnect", onGone)
        if (error === undefined) resolve()
        else reject(error)
      }
      const onMessage = (message: FromMember): void => {
        if (message === wanted) end()
      }
      const onGone = (): void => end(new Error(`a fleet's worker ended before it was ${JSON.stringify(wanted)}`))
      const timer = setTimeout(() => end(new Error(`a fleet's worker was not ${JSON.stringify(wanted)} within ${ANSWER_MS / 1_000} s`)), ANSWER_MS)
      child.on("message", onMessage)
      child.once("disconnect", onGone)
    })
  }
}
