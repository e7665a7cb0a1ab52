-- Somebody waits for the end of the jobs $1: whoever ends one of them will say so. Returns those that are live; the rest have ended, or never were.
-- marked: false where somebody holds the row just now; ask again in a moment (it may be a transaction that adds a child, and takes its time).
-- seq: of waiting jobs that were marked. A claim that came by in this moment has passed them over, so tell the workers of them again.
-- `(select $n)`: whatever the length of a list, one plan, whose cost does not grow with it (docs/architecture.md, "Planner traps").
with free as materialized (
  select id from {schema}.jobs where id = any ((select $1::uuid[])::uuid[]) and not watched order by id for no key update skip locked
), flagged as (
  update {schema}.jobs j set watched = true where j.id = any (array(select id from free)) returning j.id, j.state, j.queue, {schema}.lane(j.priority, j.limit_group) as priority, j.seq
)
select id, true as marked, queue, priority, case when state = 'waiting' then seq end as seq from flagged
union all
select j.id, j.watched, j.queue, j.priority, null from {schema}.jobs j
where j.id = any ((select $1::uuid[])::uuid[]) and not exists (select from free f where f.id = j.id)
