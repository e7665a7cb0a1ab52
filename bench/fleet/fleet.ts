/** Workers of one queue, each in a process of its own, and when they began which jobs. */
import { rm } from "node:fs/promises"
import type { Contestant, Servers } from "../peers/peer.js"
import { bundleMember } from "./bundle.js"
import { Member } from "./member.js"

/** Processes that start at once: with more of them on few processors none would be ready in time. */
const STARTING = 4
const LATE_MS = 120_000

export interface Start {
  readonly at: number
  readonly member: Member
}

export class Fleet {
  readonly #contestant: Contestant
  readonly #servers: Servers
  readonly #program: string
  readonly #starts = new Map<number, Start>()
  readonly #waiting = new Map<number, (start: Start) => void>()
  readonly #repeated: number[] = []
  members: Member[] = []

  private constructor(contestant: Contestant, servers: Servers, program: string) {
    this.#contestant = contestant
    this.#servers = servers
    this.#program = program
  }

  static async open(contestant: Contestant, servers: Servers, module: string): Promise<Fleet> {
    return new Fleet(contestant, servers, await bundleMember(module))
  }

  /** Starts workers until there are so many. */
  async grow(size: number): Promise<void> {
    while (this.members.length < size) {
      const more = Math.min(STARTING, size - this.members.length)
      await Promise.all(Array.from({ length: more }, () => this.#add()))
    }
  }

  async #add(): Promise<void> {
    const job = { contestant: this.#contestant.name, servers: this.#servers }
    const member = await Member.boot(this.#program, job, (n, at, by) => this.#began(n, { at, member: by }))
    this.members.push(member)
    await member.start()
  }

  #began(n: number, start: Start): void {
    if (this.#starts.has(n)) this.#repeated.push(n)
    this.#starts.set(n, start)
    this.#waiting.get(n)?.(start)
    this.#waiting.delete(n)
  }

  /** Resolves when the job has begun. */
  async began(n: number): Promise<Start> {
    const known = this.#starts.get(n)
    if (known !== undefined) return known
    let timer: NodeJS.Timeout | undefined
    try {
      return await new Promise<Start>((resolve, reject) => {
        this.#waiting.set(n, resolve)
        timer = setTimeout(() => reject(new Error(`${this.#contestant.name}: job ${n} had not begun after ${LATE_MS / 1_000} s`)), LATE_MS)
      })
    } finally {
      clearTimeout(timer)
    }
  }

  /** @throws when a job has run twice. That each has run once is what `began` waits for. */
  verify(): void {
    if (this.#repeated.length > 0) throw new Error(`${this.#contestant.name}: ${this.#repeated.length} jobs of a fleet ran more than once`)
  }

  async all(what: Parameters<Member["do"]>[0], members: readonly Member[] = this.members): Promise<void> {
    await Promise.all(members.map((member) => member.do(what)))
  }

  forgetCounts(): void {
    for (const member of this.members) member.began = 0
  }

  /** Ends it like a power cut does. */
  kill(member: Member): void {
    member.signal("SIGKILL")
    this.members = this.members.filter((other) => other !== member)
  }

  async stop(): Promise<void> {
    const members = this.members
    try {
      await Promise.all(members.map((member) => member.stop()))
    } finally {
      for (const member of members) member.signal("SIGKILL")
      this.members = []
      await rm(this.#program, { force: true })
    }
  }
}
