import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { InvalidOptionError } from "../../src/api/errors.js"
import { sqlStateOf } from "../../src/postgres/run/sqlstate.js"
import { executorFor } from "../../src/postgres/transactions/transaction.js"
import { createDatabase, type TestDatabase } from "../support/database.js"
import type { OpenClient } from "./transaction-clients/contract.js"
import { supportedClients } from "./transaction-clients/index.js"

/** The form of all statements that enqueue: text parameters, one-word columns. */
const ADD = `select id, size, fresh from "tusk app".add_jobs($1::text::jsonb, $2::text)`

let db: TestDatabase
beforeAll(async () => {
  db = await createDatabase({ migrated: false })
  await db.query(`create schema "tusk app"`)
  await db.query(`create table "tusk app".jobs (id bigint generated always as identity primary key, payload jsonb not null, queue text unique)`)
  await db.query(`
    create function "tusk app".add_jobs(payload jsonb, queue text, out id text, out size integer, out fresh boolean) language plpgsql as $$
    begin
      insert into "tusk app".jobs (payload, queue) values (add_jobs.payload, add_jobs.queue) returning jobs.id::text into id;
      size := case jsonb_typeof(payload) when 'array' then jsonb_array_length(payload) else 1 end;
      fresh := true;
    end $$`)
  await db.query("create table notes (id serial primary key, body text not null)")
})
afterAll(() => db.close())

const jobs = (): Promise<{ payload: unknown; queue: string | null }[]> => db.query(`select payload, queue from "tusk app".jobs order by id`)
const notes = async (): Promise<string[]> => (await db.query<{ body: string }>("select body from notes order by id")).map((row) => row.body)

class Abandon extends Error {}
const abandon = (): never => {
  throw new Abandon("The application changed its mind")
}

/** Keys that camel-case mappers would rewrite, and characters that placeholders, quoting and encodings trip over. */
const PAYLOAD = {
  user_id: 7,
  created_at: { time_zone: "UTC", deep_list: [{ snake_key: 1, camelKey: 2, "kebab-key": 3 }] },
  text: 'it\'s "quoted" ? ?? $1 $22 :name ::jsonb \\ \\n \\? \n\r\t {} %s `tick` --comment /* */ $$ $tag$ é 漢字 🐘 \u2028',
  nothing: null,
  empty_string: "",
}

describe.each(supportedClients)("$name", ({ open, renames }) => {
  let client: OpenClient
  beforeAll(async () => {
    client = await open(db.url)
  })
  afterAll(() => client.close())
  beforeEach(() => db.query(`truncate "tusk app".jobs, notes`))

  test("commits with the client's own write", async () => {
    await client.transaction(async ({ tx, write }) => {
      await write("mine")
      const { rows, rowCount } = await executorFor(tx).query(ADD, ['{"to":"a@b.c"}', "mail"])
      expect(rows).toEqual([{ id: expect.stringMatching(/^\d+$/), size: 1, fresh: true }])
      expect(rowCount).toBe(1)
      expect(await jobs()).toEqual([])
      expect(await notes()).toEqual([])
    })
    expect(await jobs()).toEqual([{ payload: { to: "a@b.c" }, queue: "mail" }])
    expect(await notes()).toEqual(["mine"])
  })

  test("rolls back with the client's own write", async () => {
    const lost = client.transaction(async ({ tx, write }) => {
      await write("mine")
      expect((await executorFor(tx).query(ADD, ['{"to":"a@b.c"}', "mail"])).rows).toHaveLength(1)
      abandon()
    })
    await expect(lost).rejects.toThrow(Abandon)
    expect(await jobs()).toEqual([])
    expect(await notes()).toEqual([])
  })

  test("a statement sees what the transaction wrote before, ours and the client's", async () => {
    await client.transaction(async ({ tx, write }) => {
      const executor = executorFor(tx)
      await executor.query(ADD, ["1", "first"])
      await write("mine")
      const { rows } = await executor.query(
        `select (select count(*)::int from "tusk app".jobs) as jobs, (select count(*)::int from notes) as notes`,
        [],
      )
      expect(rows).toEqual([{ jobs: 1, notes: 1 }])
      await executorFor(tx).query(ADD, ["2", "second"])
    })
    expect((await jobs()).map((job) => job.queue)).toEqual(["first", "second"])
  })

  test("a savepoint rolled back takes only what was enqueued in it", async () => {
    await client.transaction(async ({ tx, nested }) => {
      await executorFor(tx).query(ADD, ["1", "outer"])
      await nested(async (point) => {
        await executorFor(point).query(ADD, ["2", "kept"])
      })
      const lost = nested(async (point) => {
        await executorFor(point).query(ADD, ["3", "lost"])
        abandon()
      })
      await expect(lost).rejects.toThrow(Abandon)
      await executorFor(tx).query(ADD, ["4", "after"])
    })
    expect((await jobs()).map((job) => job.queue)).toEqual(["outer", "kept", "after"])
  })

  test("a payload arrives as it was written", async () => {
    await client.transaction(async ({ tx }) => {
      await executorFor(tx).query(ADD, [JSON.stringify(PAYLOAD), PAYLOAD.text])
    })
    expect(await jobs()).toEqual([{ payload: PAYLOAD, queue: PAYLOAD.text }])
  })

  test("an array of a thousand jobs is one statement", async () => {
    const many = Array.from({ length: 1000 }, (_, i) => ({ ...PAYLOAD, job_number: i }))
    await client.transaction(async ({ tx }) => {
      const { rows } = await executorFor(tx).query(ADD, [JSON.stringify(many), null])
      expect(rows[0]).toMatchObject({ size: 1000, fresh: true })
    })
    expect(await jobs()).toEqual([{ payload: many, queue: null }])
  })

  test("strings, numbers, booleans and null pass as parameters, in any order and more than once", async () => {
    await client.transaction(async ({ tx }) => {
      const { rows } = await executorFor(tx).query(
        "select $2::text as b, $1::text as a, $2::text as again, $3::integer as n, $4::double precision as x, $5::boolean as t, $6::boolean as f, " +
          "$7::text is null as nothing, $8::text is null as missing, $9::text as digits, $10::text as tenth",
        ["one", "two", 3, 0.5, true, false, null, undefined, 42, "ten"],
      )
      expect(rows).toEqual([
        { b: "two", a: "one", again: "two", n: 3, x: 0.5, t: true, f: false, nothing: true, missing: true, digits: "42", tenth: "ten" },
      ])
    })
  })

  test("the text of a statement is left alone", async () => {
    const literals = String.raw`'?' as q, '??' as qq, '\?' as bq, '\\?' as bbq, '$1' as one, ':name ::text' as colon, '{}' as braces`
    const expected = { q: "?", qq: "??", bq: "\\?", bbq: "\\\\?", one: "$1", colon: ":name ::text", braces: "{}" }
    await client.transaction(async ({ tx }) => {
      const executor = executorFor(tx)
      expect((await executor.query(`select ${literals}, '{"a": 1}'::jsonb ? 'a' as has`, [])).rows).toEqual([{ ...expected, has: true }])
      expect((await executor.query(`select ${literals}, '{"a": 1}'::jsonb ? $1::text as has -- ? $2`, ["b"])).rows).toEqual([
        { ...expected, has: false },
      ])
    })
  })

  test("several rows come in order, none as an empty list", async () => {
    await client.transaction(async ({ tx }) => {
      const executor = executorFor(tx)
      expect(await executor.query("select n::text as n from generate_series(1, $1::integer) n order by n.n", [3])).toEqual({
        rows: [{ n: "1" }, { n: "2" }, { n: "3" }],
        rowCount: 3,
      })
      expect((await executor.query("select 1 as n where $1::boolean", [false])).rows).toEqual([])
      const changed = await executor.query("insert into notes (body) select 'x' from generate_series(1, $1::integer)", [4])
      expect(changed.rows).toEqual([])
      expect([4, null]).toContain(changed.rowCount)
    })
    expect(await notes()).toHaveLength(4)
  })

  test("an error of the database keeps its SQLSTATE and aborts the transaction", async () => {
    await client.transaction(async ({ tx }) => {
      await executorFor(tx).query(ADD, ["1", "taken"])
    })
    for (const [sql, params, state] of [
      [ADD, ["2", "taken"], "23505"],
      [ADD, ["not json", null], "22P02"],
      ["do $$ begin raise exception 'no' using errcode = 'TU042'; end $$", [], "TU042"],
      ["selec 1", [], "42601"],
    ] as const) {
      let seen: unknown
      const failed = client.transaction(async ({ tx, write }) => {
        await write("mine")
        await executorFor(tx)
          .query(sql, params)
          .catch((error: unknown) => {
            seen = error
            throw error
          })
      })
      await expect(failed).rejects.toThrow()
      expect(sqlStateOf(seen)).toBe(state)
      expect(seen).not.toBeInstanceOf(InvalidOptionError)
    }
    expect(await jobs()).toHaveLength(1)
    expect(await notes()).toEqual([])
  })

  test("result columns and the keys of JSON in them keep their names", async () => {
    await client.transaction(async ({ tx }) => {
      const { rows } = await executorFor(tx).query(`select 'x' as two_words, $1::text::jsonb as payload`, ['{"snake_key": {"deep_key": 1}}'])
      expect(rows).toEqual([
        renames ? { twoWords: "x", payload: { snakeKey: { deepKey: 1 } } } : { two_words: "x", payload: { snake_key: { deep_key: 1 } } },
      ])
    })
  })
})

describe.each(supportedClients.filter((client) => client.knowsEnd))("the end of a transaction: $name", ({ open, endCause }) => {
  let client: OpenClient
  beforeAll(async () => {
    client = await open(db.url)
  })
  afterAll(() => client.close())
  beforeEach(() => db.query(`truncate "tusk app".jobs, notes`))

  test.each(["committed", "rolled back"])("a transaction that was %s is refused, and nothing is stored", async (end) => {
    let kept: unknown
    const first = client.transaction(async ({ tx, write }) => {
      kept = tx
      await write("mine")
      if (end === "rolled back") abandon()
    })
    if (end === "committed") await first
    else await expect(first).rejects.toThrow(Abandon)

    const late = await (async () => executorFor(kept).query(ADD, ["1", "late"]))().catch((error: unknown) => error)
    expect(late).toBeInstanceOf(InvalidOptionError)
    expect((late as Error).message).toMatch(/^tx: the .*(committed or rolled back)/)
    if (endCause !== undefined) expect(((late as Error).cause as Error).message).toMatch(endCause)
    expect(await jobs()).toEqual([])

    // The client's connections are none the worse for it.
    await client.transaction(async ({ tx }) => {
      await executorFor(tx).query(ADD, ["1", "next"])
    })
    expect((await jobs()).map((job) => job.queue)).toEqual(["next"])
  })
})
