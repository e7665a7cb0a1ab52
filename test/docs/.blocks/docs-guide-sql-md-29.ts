import { configure, task } from "pgtusk"

const tusk = configure(process.env["DATABASE_URL"])
const welcome = task({ name: "users.welcome" }, async (name: string) => `Welcome, ${name}`)
await tusk.migrate()
await tusk.transaction(async (tx) => {
  await tx.query("create table users (name text)")
  await tx.query(`create function user_added() returns trigger language plpgsql as $$
    begin
      perform tusk.enqueue('users.welcome', jsonb_build_array(new.name), '{"id": "welcome-ada"}');
      return new;
    end $$`)
  await tx.query("create trigger user_added after insert on users for each row execute function user_added()")
})

await tusk.work()
await tusk.transaction((tx) => tx.query("insert into users values ('Ada')"))
const job = await tusk.queue("default").job("welcome-ada")
console.log(await tusk.job(job!.id).result())
await tusk.close()
