-- Spends: one, or all that wait in a process in one statement. They are written for speed: see docs/performance.md.

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
  w record;
  v_now timestamptz;
  v_old record;
  v_lot record;
  v_owed numeric;
begin
  -- NaN is above infinity
  if p_amount <= 0 or p_amount >= 'Infinity' or p_amount <> round(p_amount, 8) then perform ledger_check_amount(p_amount); end if;
  select ctid, * into w from wallet where account_id = p_account for update;
  if not found then outcome := 'no_account'; return; end if;
  -- after the lock: the time, and what the key stands for
  select business_now() as now, p.seq, p.amount, p.balance_after, p.request_hash into v_old
    from (select) one left join posting p on p.account_id = p_account and p.key = p_key;
  v_now := greatest(v_old.now, w.touched_at);
  if w.next_lapse_at <= v_now then
    perform ledger_settle(p_account);
    select ctid, * into w from wallet where account_id = p_account;
  end if;
  if v_old.seq is not null then
    outcome := case when v_old.request_hash = p_hash then 'replayed' else 'key_reused' end;
    id := 'spd_' || substr(p_account, 5) || '_' || v_old.seq::text;
    amount := -v_old.amount;
    balance_after := v_old.balance_after;
    return;
  end if;
  available := greatest(0, w.balance - w.held);
  if p_amount > available and not p_overdraft then outcome := 'insufficient'; return; end if;
  id := 'spd_' || substr(p_account, 5) || '_' || (w.seq + 1)::text;
  amount := p_amount;
  balance_after := w.balance - p_amount;

  select l.ctid as lot, l.id, l.remaining - l.held as free into v_lot from lot l
   where l.account_id = p_account and l.live and l.remaining > l.held
   order by l.expires_at asc nulls last, l.priority, l.granted_at, l.id limit 1;
  if v_lot.free >= p_amount then
    update lot set remaining = lot.remaining - p_amount where ctid = v_lot.lot;
    update wallet set seq = wallet.seq + 1, balance = wallet.balance - p_amount, touched_at = v_now where ctid = w.ctid;
    insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                         feature, actor, reason_code, lot_ids, lot_amounts, occurred_at)
    values (p_account, w.seq + 1, 'spend', p_account, 'system:used', -p_amount, ledger_spend.balance_after, p_key, p_hash,
            p_feature, p_actor, 'spend', array[v_lot.id], array[-p_amount], v_now);
  else
    v_owed := greatest(0, p_amount - (w.balance + w.debt - w.held));
    with burn as materialized (
      select * from ledger_burn(p_account, p_amount)
    ), drawn as (
      update lot set remaining = lot.remaining - burn.taken from burn where lot.id = burn.lot_id
    ), kept as (
      update wallet set seq = w.seq + 1, balance = ledger_spend.balance_after, debt = debt + v_owed, touched_at = v_now
       where ctid = w.ctid
    )
    insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                         feature, actor, reason_code, lot_ids, lot_amounts, occurred_at)
    select p_account, w.seq + 1, 'spend', p_account, 'system:used', -p_amount, ledger_spend.balance_after, p_key, p_hash,
           p_feature, p_actor, 'spend', coalesce(array_agg(burn.lot_id order by burn.place), '{}'),
           coalesce(array_agg(-burn.taken order by burn.place), '{}'), v_now
      from burn;
  end if;
  if p_metadata is not null then insert into note (subject, account_id, metadata) values (id, p_account, p_metadata); end if;
  outcome := 'spent';
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

create function ledger_fragmented() returns numeric language plpgsql as $$
begin
  raise exception 'more lots than a batch looks at' using errcode = 'program_limit_exceeded';
end $$;

-- Many spends of many accounts in one round trip: what waits in one process is decided together (law 3). Answers what
-- `ledger_spend` would have answered one after the other, in the order of the arrays. A key is in a batch once.
--
-- Two rulers make it set-based: a wallet's spends laid end to end in order of arrival, its lots laid end to end in burn
-- order. Where an interval of one overlaps an interval of the other, that spend draws that much from that lot.
-- A wallet that cannot pay for all that is asked of it is decided spend by spend, so that one refusal does not
-- touch its neighbours; so is an account that is not there.
--
-- Looking for each key would cost a tenth. Without p_careful nobody looks: a key that is known then breaks the unique
-- constraint, nothing is done, and the caller asks again, carefully.
-- @throws unique_violation; program_limit_exceeded, when a wallet needs more lots than a batch looks at
create function ledger_spend_many(
  p_account text[], p_key text[], p_hash text[], p_amount numeric[], p_feature text[], p_actor text[],
  p_overdraft boolean[], p_metadata jsonb[], p_careful boolean)
returns table (ord bigint, outcome text, id text, amount numeric, balance_after numeric, available numeric)
language plpgsql security definer set search_path = public, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  v_now timestamptz;
  v_next timestamptz;
  v_accounts integer;
  v_poor text[];    -- accounts that are not there or cannot pay for all
  v_slow bigint[];  -- places that are decided spend by spend
  v_depth integer;  -- how many lots of a wallet are looked at
  r record;
begin
  -- the cast rounds
  if 0 >= any(p_amount) or 'Infinity' <= any(p_amount) or p_amount::numeric(24, 8)[] <> p_amount then
    perform ledger_check_amount(a) from unnest(p_amount) a;
  end if;
  -- sorted, so that two batches never wait for each other in a circle
  select min(w.next_lapse_at), count(*), array_agg(t.account) filter (where w.account_id is null or t.total > w.free)
    into v_next, v_accounts, v_poor
    from (select a.account, sum(a.amount) as total from unnest(p_account, p_amount) a (account, amount) group by a.account) t
    left join (select account_id, balance - held as free, next_lapse_at from wallet
                where account_id = any(p_account) order by account_id for update) w on w.account_id = t.account;
  v_now := business_now();
  if v_next <= v_now then
    perform ledger_settle(w.account_id) from wallet w
      where w.account_id = any(p_account) and w.next_lapse_at <= v_now order by w.account_id;
    select array_agg(t.account) into v_poor
      from (select a.account, sum(a.amount) as total from unnest(p_account, p_amount) a (account, amount) group by a.account) t
      left join wallet w on w.account_id = t.account
     where w.account_id is null or t.total > w.balance - w.held;
  end if;
  if v_poor is not null then
    select array_agg(a.ord) into v_slow
      from unnest(p_account) with ordinality a (account, ord) where a.account = any(v_poor);
  end if;
  if p_careful then
    select v_slow || array_agg(a.ord) into v_slow
      from unnest(p_account, p_key) with ordinality a (account, key, ord)
      join posting p on p.account_id = a.account and p.key = a.key;
  end if;
  v_depth := greatest(3, 64 / v_accounts);

  return query
  with laid as materialized (
    select a.*, w.ctid as wallet, w.seq + row_number() over upto as seq, w.balance, greatest(w.touched_at, v_now) as at,
           sum(a.amount) over upto as hi
      from ledger_asked(p_account, p_key, p_hash, p_amount, p_feature, p_actor, p_overdraft, p_metadata) a
      join wallet w on w.account_id = a.account
     where v_slow is null or not a.ord = any(v_slow)
    window upto as (partition by a.account order by a.ord)
  ), need as materialized (
    select l.account, l.wallet, max(l.hi) as total, max(l.seq) as seq from laid l group by l.account, l.wallet
  ), ruler as materialized (
    select n.account, n.wallet, n.seq, n.total, b.lot, b.id, b.hi - b.free as lo, b.hi
      from need n cross join lateral (
        select f.lot, f.id, f.free, sum(f.free) over (order by f.expires_at asc nulls last, f.priority, f.granted_at, f.id
                                                      rows unbounded preceding) as hi
          from (select l.ctid as lot, l.id, l.remaining - l.held as free, l.expires_at, l.priority, l.granted_at from lot l
                 where l.account_id = n.account and l.live and l.remaining > l.held
                 order by l.expires_at asc nulls last, l.priority, l.granted_at, l.id limit v_depth) f) b
     where b.hi - b.free < n.total
  ), pair as materialized (
    select l.account, l.seq, l.amount, l.balance - l.hi as after, l.key, l.hash, l.feature, l.actor, l.at, l.hi,
           b.id, b.lo, b.hi as upto
      from laid l join ruler b on b.account = l.account and b.hi > l.hi - l.amount and b.lo < l.hi
  ), posted as (
    insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                         feature, actor, reason_code, lot_ids, lot_amounts, occurred_at)
    select p.account, p.seq, 'spend', p.account, 'system:used', -p.amount, p.after, p.key, p.hash, p.feature, p.actor,
           'spend', array[p.id], array[-p.amount], p.at
      from pair p where p.lo <= p.hi - p.amount and p.upto >= p.hi
    union all
    select p.account, p.seq, 'spend', p.account, 'system:used', -p.amount, p.after, p.key, p.hash, p.feature, p.actor,
           'spend', array_agg(p.id order by p.lo),
           array_agg(greatest(p.hi - p.amount, p.lo) - least(p.hi, p.upto) order by p.lo), p.at
      from pair p where not (p.lo <= p.hi - p.amount and p.upto >= p.hi)
     group by p.account, p.seq, p.amount, p.after, p.key, p.hash, p.feature, p.actor, p.at
  ), drawn as (
    update lot l set remaining = l.remaining - (least(b.hi, b.total) - b.lo) from ruler b where l.ctid = b.lot
  ), kept as (
    update wallet w set seq = n.seq, touched_at = greatest(w.touched_at, v_now),
                        balance = w.balance - case when n.reach >= n.total then n.total else ledger_fragmented() end
      from (select b.wallet, b.seq, b.total, max(b.hi) as reach from ruler b group by b.wallet, b.seq, b.total) n
     where w.ctid = n.wallet
  )
  select l.ord, 'spent', 'spd_' || substr(l.account, 5) || '_' || l.seq::text, l.amount, l.balance - l.hi, null::numeric
    from laid l;

  if array_remove(p_metadata, null) <> '{}' then
    insert into note (subject, account_id, metadata)
    select posting_id(p.account_id, p.seq, p.kind), p.account_id, a.metadata
      from ledger_asked(p_account, p_key, p_hash, p_amount, p_feature, p_actor, p_overdraft, p_metadata) a
      join posting p on p.account_id = a.account and p.key = a.key
     where a.metadata is not null and (v_slow is null or not a.ord = any(v_slow));
  end if;
  if v_slow is not null then
    for r in select * from ledger_asked(p_account, p_key, p_hash, p_amount, p_feature, p_actor, p_overdraft, p_metadata) a
              where a.ord = any(v_slow) order by a.ord
    loop
      return query select r.ord, s.* from
        ledger_spend(r.account, r.key, r.hash, r.amount, r.feature, r.actor, r.overdraft, r.metadata) s;
    end loop;
  end if;
end $$;

revoke execute on all functions in schema public from public;
grant execute on function ledger_spend(text, text, text, numeric, text, text, boolean, jsonb),
  ledger_spend_many(text[], text[], text[], numeric[], text[], text[], boolean[], jsonb[], boolean)
  to perennial_service;
