/** A connection beside the measured ones: to make tables, to clear and to count them. */
import pg from "pg"

export class Database {
  readonly #client: pg.Client
  #last: Promise<unknown> = Promise.resolve()

  private constructor(client: pg.Client) {
    this.#client = client
  }

  static async open(url: string): Promise<Database> {
    const client = new pg.Client({ connectionString: url, application_name: "pgtusk bench" })
    client.on("error", () => undefined)
    await client.connect()
    return new Database(client)
  }

  /** One after the other, whoever asks. */
  async run(text: string, values?: unknown[]): Promise<any[]> {
    const result = this.#last.then(() => this.#client.query(text, values))
    this.#last = result.catch(() => undefined)
    return (await result).rows
  }

  /** The first column of the first row, as a number. */
  async number(text: string, values?: unknown[]): Promise<number> {
    const [row] = await this.run(text, values)
    return Number(Object.values(row)[0])
  }

  async close(): Promise<void> {
    await this.#client.end()
  }
}
