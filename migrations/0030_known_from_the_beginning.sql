-- Postgres is told that an account may have any number of postings (0026), and believes it once it has gathered statistics.
-- Before that it takes each account for one posting, and a session that plans in that minute may look for a key by walking
-- past all postings of its account. So the statistics of an account are there from the beginning.
do $$
declare part record;
begin
  if to_regproc('pg_restore_attribute_stats') is null then
    return; -- before Postgres 18: known within a minute of the first postings
  end if;
  for part in select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
               where (c.oid = 'reversal'::regclass
                      or c.oid in (select inhrelid from pg_inherits where inhparent = 'posting'::regclass))
                 and not exists (select from pg_stats s where s.schemaname = n.nspname and s.tablename = c.relname)
  loop
    perform pg_restore_attribute_stats('schemaname', part.nspname::text, 'relname', part.relname::text, 'attname', 'account_id',
      'inherited', false, 'null_frac', 0::real, 'avg_width', 37, 'n_distinct', 1::real);
  end loop;
end $$;
