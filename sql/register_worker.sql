-- Makes the worker known, or known again after it was taken for dead. $1 id, $2 lease in ms, $3 pid, $4 host, $5 version, $6 queues, $7 tasks,
-- $8 whether it may be woken by notifications on its own channel.
insert into {schema}.workers (id, lease, pid, host, version, queues, tasks, listens)
values ($1, $2::double precision * interval '1 millisecond', $3, $4, $5, $6, $7, $8)
on conflict (id) do update set heartbeat_at = now(), queues = excluded.queues, tasks = excluded.tasks, listens = excluded.listens
