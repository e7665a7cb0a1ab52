/** Talking to the embedded server as its superuser. */
import pg from "pg"

const DATABASE = "pgtusk"
const USER = "postgres"
const HOST = "127.0.0.1"

export function connectionString(port: number, password: string): string {
  // The server speaks no TLS; without saying so a PGSSLMODE in the environment would ask for it.
  return `postgres://${USER}:${password}@${HOST}:${port}/${DATABASE}?sslmode=disable`
}

async function withClient<T>(port: number, password: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ host: HOST, port, user: USER, password, database: "postgres", ssl: false, connectionTimeoutMillis: 5_000 })
  // The server may go at any time; the query in flight says so.
  client.on("error", () => {})
  try {
    await client.connect()
    return await work(client)
  } finally {
    await client.end().catch(() => {})
  }
}

/** The process that started the server, and the directory that it serves. */
export async function askServer(port: number, password: string): Promise<{ owner: number; dataDirectory: string }> {
  return await withClient(port, password, async (client) => {
    const { rows } = await client.query("select current_setting('pgtusk.owner', true) as owner, current_setting('data_directory') as directory")
    return { owner: Number(rows[0].owner), dataDirectory: rows[0].directory }
  })
}

/** Whoever comes first makes it: the owner may not have got so far when another process joins. */
export async function ensureDatabase(port: number, password: string): Promise<void> {
  await withClient(port, password, async (client) => {
    const { rowCount } = await client.query("select from pg_database where datname = $1", [DATABASE])
    if (rowCount === 1) return
    await client.query(`create database ${DATABASE} template template0`).catch((error: { code?: string }) => {
      const taken = error.code === "42P04" || error.code === "23505"
      if (!taken) throw error
    })
  })
}

/** The server is there and takes no connections: it starts, it stops, or it has just gone. */
export function isPassing(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string }
  return /^(57P0[123]|ECONNREFUSED|ECONNRESET|EPIPE)$/.test(code ?? "") || /terminated|timeout/.test(message ?? "")
}
