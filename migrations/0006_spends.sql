-- Spends: one, or all that wait in a process in one statement.

-- Takes credits from a wallet. One call is one transaction. The replay check comes before the floor check, both under
-- the wallet's lock. The wallet's deadline is left as it is: that may now be too early, never too late.
-- outcome: spent | replayed | key_reused | insufficient | no_account
drop function ledger_spend(text, text, text, numeric, text, text, boolean);
create function ledger_spend(
  p_account text, p_key text, p_hash text, p_amount numeric, p_feature text, p_actor text, p_overdraft boolean,
  p_metadata jsonb default null,
  out outcome text, out id text, out amount numeric, out balance_after numeric, out available numeric)
language plpgsql security definer set search_path = public, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  w wallet;
  v_now timestamptz;
  v_old record;
  v_first record;
  v_lots text[];
  v_taken numeric[];
begin
  -- NaN is above infinity
  if p_amount <= 0 or p_amount >= 'Infinity' or p_amount <> round(p_amount, 8) then perform ledger_check_amount(p_amount); end if;
  select * into w from wallet where account_id = p_account for update;
  if not found then outcome := 'no_account'; return; end if;
  -- after the lock: the time, and what the key stands for
  select date_trunc('milliseconds', clock_timestamp()) + c.offset_ms * interval '1 millisecond' as now,
         p.seq, p.kind, p.amount, p.balance_after, p.request_hash
    into v_old
    from business_clock c left join posting p on p.account_id = p_account and p.key = p_key;
  v_now := greatest(v_old.now, w.touched_at);
  if w.next_lapse_at <= v_now then w := ledger_due(w, v_now); end if;
  if v_old.seq is not null then
    outcome := case when v_old.request_hash = p_hash then 'replayed' else 'key_reused' end;
    id := posting_id(p_account, v_old.seq, v_old.kind); amount := -v_old.amount; balance_after := v_old.balance_after;
    return;
  end if;
  available := greatest(0, w.balance - w.held);
  if p_amount > available and not p_overdraft then outcome := 'insufficient'; return; end if;

  select l.id, l.remaining - l.held as free into v_first from lot l
   where l.account_id = p_account and l.remaining > 0 and l.remaining > l.held
   order by l.expires_at asc nulls last, l.priority, l.granted_at, l.id limit 1;
  if v_first.free >= p_amount then
    v_lots := array[v_first.id];
    v_taken := array[p_amount];
  else
    select coalesce(array_agg(b.lot_id order by b.place), '{}'), coalesce(array_agg(b.taken order by b.place), '{}')
      into v_lots, v_taken from ledger_burn(p_account, p_amount) b;
  end if;
  w.debt := w.debt + greatest(0, p_amount - (w.balance + w.debt - w.held));
  w.seq := w.seq + 1;
  w.balance := w.balance - p_amount;
  with drawn as (
    update lot set remaining = lot.remaining - d.taken from unnest(v_lots, v_taken) d (lot_id, taken) where lot.id = d.lot_id
  ), kept as (
    update wallet set seq = w.seq, balance = w.balance, debt = w.debt, touched_at = v_now where account_id = p_account
  )
  insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                       feature, actor, reason_code, lot_ids, lot_amounts, occurred_at)
  values (p_account, w.seq, 'spend', p_account, 'system:used', -p_amount, w.balance, p_key, p_hash, p_feature, p_actor,
          'spend', v_lots, array(select -t from unnest(v_taken) t), v_now);
  id := posting_id(p_account, w.seq, 'spend');
  if p_metadata is not null then insert into note (subject, account_id, metadata) values (id, p_account, p_metadata); end if;
  outcome := 'spent'; amount := p_amount; balance_after := w.balance;
  available := greatest(0, available - p_amount);
end $$;

-- A batch as rows. Not inlined, so that the planner reckons with many rows and joins them by hashing: with few it
-- would choose nested loops, whose cost grows with the square of the batch.
create function ledger_asked(
  p_account text[], p_key text[], p_hash text[], p_amount numeric[], p_feature text[], p_actor text[],
  p_overdraft boolean[], p_metadata jsonb[])
returns table (account text, key text, hash text, amount numeric, feature text, actor text, overdraft boolean,
               metadata jsonb, ord bigint)
language sql volatile rows 256 as $$
  select * from unnest(p_account, p_key, p_hash, p_amount, p_feature, p_actor, p_overdraft, p_metadata) with ordinality
$$;

-- Many spends of many accounts in one round trip: what waits in one process is decided together (law 3). Answers what
-- `ledger_spend` would have answered one after the other, in the order of the arrays. A key is in a batch once.
--
-- Two rulers make it set-based: a wallet's spends laid end to end in order of arrival, its lots laid end to end in burn
-- order. Where an interval of one overlaps an interval of the other, that spend draws that much from that lot.
-- A wallet that cannot pay for all that is asked of it is decided spend by spend, so that one refusal does not
-- touch its neighbours; so is an account that is not there.
create function ledger_spend_many(
  p_account text[], p_key text[], p_hash text[], p_amount numeric[], p_feature text[], p_actor text[],
  p_overdraft boolean[], p_metadata jsonb[])
returns table (ord bigint, outcome text, id text, amount numeric, balance_after numeric, available numeric)
language plpgsql security definer set search_path = public, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  v_now timestamptz;
  v_next timestamptz;
  v_poor text[]; -- accounts to be decided spend by spend
  r record;
begin
  if exists (select 1 from unnest(p_amount) a where a <= 0 or a >= 'Infinity' or a <> round(a, 8)) then
    perform ledger_check_amount(a) from unnest(p_amount) a;
  end if;
  -- sorted, so that two batches never wait for each other in a circle
  select min(w.next_lapse_at) into v_next
    from (select next_lapse_at from wallet where account_id = any(p_account) order by account_id for update) w;
  v_now := business_now();
  if v_next <= v_now then
    perform ledger_settle(w.account_id) from wallet w
      where w.account_id = any(p_account) and w.next_lapse_at <= v_now order by w.account_id;
  end if;
  select array_agg(a.account) into v_poor
    from (select t.account, sum(t.amount) as total from unnest(p_account, p_amount) t (account, amount) group by 1) a
    left join wallet w on w.account_id = a.account
   where w.account_id is null or a.total > w.balance - w.held;

  return query
  with asked as materialized (
    select * from ledger_asked(p_account, p_key, p_hash, p_amount, p_feature, p_actor, p_overdraft, p_metadata) a
     where v_poor is null or not a.account = any(v_poor)
  ), known as materialized (
    select a.*, p.seq, p.kind, p.amount as before, p.balance_after, p.request_hash
      from asked a left join posting p on p.account_id = a.account and p.key = a.key
  ), fresh as materialized (
    select k.account, k.key, k.hash, k.amount, k.feature, k.actor, k.metadata, k.ord,
           w.seq + row_number() over upto as seq, w.balance as balance, w.balance - w.held as available,
           greatest(w.touched_at, v_now) as at, sum(k.amount) over upto as hi
      from known k join wallet w on w.account_id = k.account
     where k.seq is null
    window upto as (partition by k.account order by k.ord)
  ), need as materialized (
    select f.account, max(f.hi) as total, max(f.seq) as seq from fresh f group by f.account
  ), burn as materialized (
    select b.account, b.id, b.hi - b.free as lo, b.hi, b.total
      from (select n.account, n.total, l.id, l.remaining - l.held as free,
                   sum(l.remaining - l.held) over (partition by n.account
                     order by l.expires_at asc nulls last, l.priority, l.granted_at, l.id) as hi
              from need n join lot l on l.account_id = n.account and l.remaining > 0 and l.remaining > l.held) b
     where b.hi - b.free < b.total
  ), posted as (
    insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                         feature, actor, reason_code, lot_ids, lot_amounts, occurred_at)
    select f.account, f.seq, 'spend', f.account, 'system:used', -f.amount, f.balance - f.hi, f.key, f.hash, f.feature,
           f.actor, 'spend', array_agg(b.id order by b.lo),
           array_agg(greatest(f.hi - f.amount, b.lo) - least(f.hi, b.hi) order by b.lo), f.at
      from fresh f join burn b on b.account = f.account and b.hi > f.hi - f.amount and b.lo < f.hi
     group by f.account, f.seq, f.amount, f.balance, f.hi, f.key, f.hash, f.feature, f.actor, f.at
  ), drawn as (
    update lot l set remaining = l.remaining - (least(b.hi, b.total) - b.lo) from burn b where l.id = b.id
  ), kept as (
    update wallet w set seq = n.seq, balance = w.balance - n.total, touched_at = greatest(w.touched_at, v_now)
      from need n where w.account_id = n.account
  ), noted as ( -- of what is spent now: a replay brings nothing back that was erased, a reused key adds nothing
    insert into note (subject, account_id, metadata)
    select posting_id(f.account, f.seq, 'spend'), f.account, f.metadata from fresh f where f.metadata is not null
  )
  select f.ord, 'spent', posting_id(f.account, f.seq, 'spend'), f.amount, f.balance - f.hi, f.available - f.hi
    from fresh f
  union all
  select k.ord, case when k.request_hash = k.hash then 'replayed' else 'key_reused' end,
         posting_id(k.account, k.seq, k.kind), -k.before, k.balance_after, null
    from known k where k.seq is not null;

  if v_poor is not null then
    for r in select * from ledger_asked(p_account, p_key, p_hash, p_amount, p_feature, p_actor, p_overdraft, p_metadata) a
              where a.account = any(v_poor) order by a.ord
    loop
      return query select r.ord, s.* from
        ledger_spend(r.account, r.key, r.hash, r.amount, r.feature, r.actor, r.overdraft, r.metadata) s;
    end loop;
  end if;
end $$;

revoke execute on all functions in schema public from public;
grant execute on function ledger_spend(text, text, text, numeric, text, text, boolean, jsonb),
  ledger_spend_many(text[], text[], text[], numeric[], text[], text[], boolean[], jsonb[])
  to perennial_service;
