-- Makes the worker known, or known again after it was taken for dead. $1 id, $2 lease in ms, $3 pid, $4 host, $5 version, $6 queues, $7 tasks.
insert into {schema}.workers (id, lease, pid, host, version, queues, tasks)
values ($1, $2::double precision * interval '1 millisecond', $3, $4, $5, $6, $7)
on conflict (id) do update set heartbeat_at = now(), queues = excluded.queues, tasks = excluded.tasks
