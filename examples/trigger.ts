// A job from SQL: a trigger enqueues it in the transaction of the row that it is about.
import pg from "pg"
import { configure, task } from "pgtusk"

const url = process.env["DATABASE_URL"]
const tusk = configure(url === undefined ? { embedded: true } : { connectionString: url, migrate: true })
let welcomed: (name: string) => void
const done = new Promise<string>((resolve) => {
  welcomed = resolve
})
task({ name: "people.welcome" }, async (name: string) => welcomed(name))

const worker = await tusk.work()
const client = new pg.Client({ connectionString: await tusk.connectionString() })
await client.connect()
await client.query(`
  create table if not exists example_people (name text);
  create or replace function example_welcome() returns trigger language plpgsql as $$
  begin
    perform tusk.enqueue('people.welcome', jsonb_build_array(new.name));
    return new;
  end $$;
  create or replace trigger example_welcome after insert on example_people for each row execute function example_welcome();
  insert into example_people values ('Grace');`)
console.log(`welcome, ${await done}`)
await client.end()
await worker.drain()
await tusk.close()
