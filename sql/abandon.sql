-- Calls abandon_children (sql/functions/abandon_children.sql) for at most $1 parents.
select gone_parents, ended, lanes, due_ms, watched from {schema}.abandon_children($1)
