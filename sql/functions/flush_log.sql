-- Lets this transaction's commit wait for the disk, and so for all that was written before it by commits that did not wait: only a commit that has written
-- something waits. A sequence, since a change of one locks no row and is told to nobody; an empty logical message would reach whoever decodes the log.
-- With the owner's rights: producers need none on the sequence. Twice, or two at once: one value more that says nothing.
create or replace function {schema}.flush_log() returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform setval('{schema}.flush_seq', 1);
end
$$
