-- Takes up to $4 waiting jobs of queue $1 for worker $5, lane by lane in the order given: $2 priorities, $3 cursors (nothing claimable lies at or
-- below a cursor, as far as this worker knows). Only tasks that this worker knows ($6): a job of another task is passed over and burns nothing.
-- Uses jobs_claim: one ordered range per lane, from the cursor on, so dead entries before it are never walked. The lateral's limit stops each
-- range; the outer limit stops the lanes. Materialized: the planner may run an IN subselect again and lock more than the limit.
-- A paused queue yields nothing, nor does one with limits, nor jobs whose tasks have any: those are claim_limited's. One whose ttl has run out is left to expire.
-- Twice or two at once: skip locked gives each job to one; what a claim took whose answer was lost is found by lost_claims, or rescued.
-- ttl is what is left of the job's own, in milliseconds: one that is claimed ahead may run out of it before its handler is called.
with lease as materialized (
  select nextval('{schema}.lease_seq') as n
), picked as materialized (
  select p.id
  from unnest($2::smallint[], $3::bigint[]) lane (priority, cursor)
  cross join lateral (
    select j.id from {schema}.jobs j
    where j.state = 'waiting' and j.limit_group is null and j.queue = $1 and j.priority = lane.priority and j.seq > lane.cursor
      and (j.expires_at is null or j.expires_at > now()) and j.task = any ($6::text[])
      and not exists (select from {schema}.queues q where q.name = $1 and (q.paused or q.concurrency is not null or q.rate_limit is not null))
    order by j.seq limit $4 for update skip locked
  ) p
  limit $4
)
update {schema}.jobs j
set state = 'active', attempt = j.attempt + 1, started_at = now(), worker_id = $5, lease = (select n from lease)
from picked where j.id = picked.id
returning j.id, j.seq, j.priority, j.lease, j.task, j.attempt, j.max_attempts, j.args, j.options, j.headers,
  date_part('epoch', j.created_at) as created_at, date_part('epoch', j.scheduled_for) as scheduled_for,
  exists (select from {schema}.subscribers where expires_at > now()) as subscribed,
  date_part('epoch', j.expires_at - now()) * 1000 as ttl
