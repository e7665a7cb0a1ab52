/** Redis servers for reference, of the system's own package. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Durability } from "./peers/peer.js"
import { sleep } from "./scenarios/scenario.js"

export interface RedisServers {
  readonly ports: Partial<Record<Durability, number>>
  readonly version: string | null
  stop(): Promise<void>
}

/** Without persistence at all, and with each write on the disk before it is answered, as Postgres does it. */
const SETTINGS: Readonly<Record<Durability, readonly string[]>> = {
  no: ["--appendonly", "no"],
  always: ["--appendonly", "yes", "--appendfsync", "always"],
}

export async function startRedis(durabilities: readonly Durability[], say: (line: string) => void): Promise<RedisServers> {
  const none: RedisServers = { ports: {}, version: null, stop: async () => undefined }
  if (durabilities.length === 0) return none
  if (!isThere() && !install()) {
    say("!!!! redis-server is not here and cannot be installed (apt-get install redis-server): BullMQ on Redis is left out !!!!")
    return none
  }
  const folder = await mkdtemp(join(tmpdir(), "pgtusk-bench-redis-"))
  const children: ChildProcess[] = []
  const ports: Partial<Record<Durability, number>> = {}
  const stop = async (): Promise<void> => {
    for (const child of children) child.kill()
    await Promise.all(children.map((child) => child.exitCode ?? new Promise((resolve) => child.once("exit", resolve))))
    await rm(folder, { recursive: true, force: true })
  }
  try {
    for (const durability of durabilities) {
      const port = await freePort()
      const common = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder, "--appenddirname", durability]
      children.push(spawn("redis-server", [...common, ...SETTINGS[durability]], { stdio: "ignore" }))
      await answers(port)
      ports[durability] = port
    }
  } catch (error) {
    await stop()
    throw error
  }
  const version = /v=(\S+)/.exec(execFileSync("redis-server", ["--version"], { encoding: "utf8" }))?.[1] ?? null
  return { ports, version, stop }
}

const isThere = (): boolean => spawnSync("redis-server", ["--version"], { stdio: "ignore" }).status === 0

function install(): boolean {
  const apt = (...args: string[]): boolean => spawnSync("apt-get", ["-yqq", ...args], { stdio: "ignore", timeout: 180_000 }).status === 0
  const installed =
    apt("install", "--no-install-recommends", "redis-server") || (apt("update") && apt("install", "--no-install-recommends", "redis-server"))
  return installed && isThere()
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}

async function answers(port: number): Promise<void> {
  for (let i = 0; i < 100; i++) {
    const answered = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => {
        socket.destroy()
        resolve(true)
      })
      socket.once("error", () => resolve(false))
    })
    if (answered) return
    await sleep(50)
  }
  throw new Error(`redis-server does not answer on port ${port}`)
}
