/** Once for a run: one Postgres, and in it one migrated template that every test file's database is made from. */
import { randomBytes } from "node:crypto"
import { rm } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import pg from "pg"
import type { TestProject } from "vitest/node"
import { migrateUrl } from "../../src/postgres/schema/migrate.js"
import { databasePrefix, withDatabase } from "./names.js"
import { startServer, type TestServer } from "./server.js"

declare module "vitest" {
  export interface ProvidedContext {
    serverUrl: string
    template: string
    runId: string
    /** A directory for compiled scripts. */
    scripts: string
  }
}

let server: TestServer | undefined
const runId = randomBytes(4).toString("hex")
const scripts = fileURLToPath(new URL(`../../node_modules/.cache/pgtusk-test-${runId}`, import.meta.url))

export async function setup(project: TestProject): Promise<void> {
  server = await startServer()
  try {
    const template = `${databasePrefix(runId)}template`
    await withAdmin(async (client) => {
      const { rows } = await client.query("show server_version")
      process.stdout.write(`Postgres ${rows[0].server_version} (${server?.kind})\n`)
    })
    await withAdmin((client) => client.query(`create database "${template}" template template0`))
    await migrateUrl(withDatabase(server.url, template))
    project.provide("serverUrl", server.url)
    project.provide("template", template)
    project.provide("runId", runId)
    project.provide("scripts", scripts)
  } catch (error) {
    await teardown()
    throw error
  }
}

export async function teardown(): Promise<void> {
  const stopping = server
  if (stopping === undefined) return
  try {
    await withAdmin(async (client) => {
      const { rows } = await client.query("select datname from pg_database where starts_with(datname, $1)", [databasePrefix(runId)])
      for (const { datname } of rows) await client.query(`drop database if exists "${datname}" with (force)`)
    })
  } finally {
    server = undefined
    await stopping.stop()
    await rm(scripts, { recursive: true, force: true })
  }
}

async function withAdmin(work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: server?.url })
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}
