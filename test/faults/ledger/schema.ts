/** The ledger's tables, beside those of pgtusk, and triggers that write down every move of every job, so that no way round the code goes unseen. */
export const LEDGER: readonly string[] = [
  "create schema ledger",
  // What producers were promised: an id that enqueue() returned, or a row of their own in the transaction that enqueued.
  "create table ledger.accepted (job uuid primary key, task text not null, token text not null, ends text[] not null)",
  // What enqueue() refused; unknown: it said that it does not know.
  "create table ledger.refused (token text primary key, unknown boolean not null, error text not null)",
  "create table ledger.cancels (job uuid primary key)",
  "create table ledger.sums (job uuid primary key, expected integer not null)",
  "create table ledger.chains (token text primary key)",
  `create table ledger.effects (
    n bigserial primary key, tx bigint not null default txid_current(), at timestamptz not null default clock_timestamp(),
    job uuid not null, token text not null, attempt integer not null, fence bigint not null, kind text not null, pid integer not null
  )`,
  "create index on ledger.effects (job)",
  `create table ledger.moves (
    n bigserial primary key, tx bigint not null default txid_current(), at timestamptz not null default clock_timestamp(),
    job uuid not null, lease bigint, direction text not null, state text not null, task text not null, concurrency_key text, rate_key text
  )`,
  `create function ledger.write() returns trigger language plpgsql as $$
    declare
      before jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
      after jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
    begin
      if before ->> 'state' = after ->> 'state' then return null; end if;
      if before is not null then
        insert into ledger.moves (job, lease, direction, state, task, concurrency_key, rate_key) values
          (old.id, (before ->> 'lease')::bigint, 'out', before ->> 'state', before ->> 'task', before ->> 'concurrency_key', before ->> 'rate_key');
      end if;
      if after is not null then
        insert into ledger.moves (job, lease, direction, state, task, concurrency_key, rate_key) values
          (new.id, (after ->> 'lease')::bigint, 'in', after ->> 'state', after ->> 'task', after ->> 'concurrency_key', after ->> 'rate_key');
      end if;
      return null;
    end $$`,
  "create trigger ledger after insert or update or delete on tusk.jobs for each row execute function ledger.write()",
  "create trigger ledger after insert or delete on tusk.finished_jobs for each row execute function ledger.write()",
  // Every job that has a row, live or finished.
  `create view ledger.jobs as
    select id, state::text, task, queue, args, headers, created_at, started_at, finished_at, expires_at, run_at, attempt, result, custom_id, parents, scheduled_for, options, false as live
    from tusk.finished_jobs
    union all
    select id, state::text, task, queue, args, headers, created_at, started_at, null, expires_at, run_at, attempt, null, custom_id, parents, scheduled_for, options, true from tusk.jobs`,
]
