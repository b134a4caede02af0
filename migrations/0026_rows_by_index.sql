-- A session plans a function's statements once, also when it does so on a small ledger, where reading a table from end to
-- end is the cheapest way. Every later call then reads all postings, until Postgres gathers statistics anew: what takes
-- microseconds takes milliseconds. Spends have had this from the beginning (0006).
do $$
declare
  f regprocedure;
begin
  for f in select p.oid::regprocedure from pg_proc p
            where p.pronamespace = 'public'::regnamespace and p.prosecdef and p.proname like 'ledger\_%'
  loop
    execute format('alter function %s set enable_seqscan = off', f);
  end loop;
end $$;
