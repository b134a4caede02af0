-- Batches of spends are sent to a session without waiting for the answer to the one before. Should that fail, those behind it
-- must not be decided before it is decided anew: a session knows which of them it has committed last. What a transaction
-- set is undone with it.
create function ledger_batch_begin(p_id text, p_after text) returns void language plpgsql as $$
begin
  if p_after is not null and p_after is distinct from current_setting('perennial.batch', true) then
    raise exception 'the batch before this one was not done' using errcode = 'PB001';
  end if;
  perform set_config('perennial.batch', coalesce(p_id, ''), false);
end $$;
