-- Stores one job that is due at once and has no limits: insert_jobs at a fraction of its cost. $1 id, $2 queue, $3 task, $4 priority, $5 max_attempts, $6 args, $7 headers,
-- $8 options. After a lost answer add_jobs repeats it.
insert into {schema}.jobs (id, queue, task, priority, max_attempts, args, headers, options) values ($1, $2, $3, $4, $5, $6, $7, $8)
returning seq, exists (select from {schema}.subscribers where expires_at > now()) as subscribed
