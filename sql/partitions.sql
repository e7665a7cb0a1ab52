-- Calls partitions (sql/functions/partitions.sql).
select {schema}.partitions() as dropped
