-- Notifies workers that something falls due in so many milliseconds: ["d", milliseconds], on the channels of the first two listening workers by id, which
-- keep the time for all (see Maintenance in docs/architecture.md); the others find it by polling. As in wake_lane, the common channel is for workers of
-- version 0.1.0, and where there is nobody else. With the owner's rights. Twice, or lost: polling is the floor.
create or replace function {schema}.wake_due(channel text, ms double precision, mark text default null) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  picked record;
begin
  with live as materialized (
    select w.id, w.listens from {schema}.workers w where w.listens is not false and w.heartbeat_at > clock_timestamp() - w.lease
  ), keepers as materialized (
    select l.id from live l where l.listens order by l.id limit 2
  )
  select (select count(pg_notify('pgtusk:' || k.id, json_build_array('d', ceil(ms))::text)) from keepers k) as keepers,
    exists (select from live where listens is null) as old
  into picked;
  if picked.old or picked.keepers = 0 then
    perform pg_notify(channel, (jsonb_build_array('d', ceil(ms)) || case when picked.keepers > 0 then '["+"]'::jsonb else '[]' end
      || case when mark is null then '[]' else jsonb_build_array(mark) end)::text);
  end if;
end
$$
