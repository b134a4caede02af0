-- A batch of spends, written anew for speed: see docs/performance.md. Nearly always one lot of each wallet pays for all
-- that is asked of it, and then nobody needs rulers. What was read under the lock is not looked for again.

-- As before (0006), in two ways. When the front lot of every wallet covers all that is asked of the wallet, each spend
-- draws on that one lot. Otherwise there are two rulers: a wallet's spends laid end to end in order of arrival, its lots
-- laid end to end in burn order. Where an interval of one overlaps an interval of the other, that spend draws that much
-- from that lot. A wallet that cannot pay for all that is asked of it is decided spend by spend, so that one refusal does
-- not touch its neighbours; so is an account that is not there.
-- @throws unique_violation; program_limit_exceeded, when a wallet needs more lots than a batch looks at
create or replace function ledger_spend_many(
  p_account text[], p_key text[], p_hash text[], p_amount numeric[], p_feature text[], p_actor text[],
  p_overdraft boolean[], p_metadata jsonb[], p_careful boolean)
returns table (ord bigint, outcome text, id text, amount numeric, balance_after numeric, available numeric)
language plpgsql security definer set search_path = public, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
  -- variables, so that an element of them is found without counting from the first
  v_account text[] := p_account;
  v_key text[] := p_key;
  v_hash text[] := p_hash;
  v_amount numeric[] := p_amount;
  v_feature text[] := p_feature;
  v_actor text[] := p_actor;
  -- the wallets, a place each: as they were when they were locked, and what is asked of them
  v_wallet text[];
  v_at tid[];
  v_seq bigint[];
  v_balance numeric[];
  v_touched timestamptz[];
  v_total numeric[];
  v_spends bigint[];
  -- and the lots that burn first
  v_lot tid[];
  v_front text[];
  v_covered boolean;
  v_now timestamptz;
  v_next timestamptz;
  v_poor text[];    -- accounts that are not there or cannot pay for all
  v_slow bigint[];  -- places that are decided spend by spend
  v_depth integer;  -- how many lots of a wallet are looked at
  r record;
begin
  -- the cast rounds
  if 0 >= any(p_amount) or 'Infinity' <= any(p_amount) or p_amount::numeric(24, 8)[] <> p_amount then
    perform ledger_check_amount(a) from unnest(p_amount) a;
  end if;
  loop
    -- sorted, so that two batches never wait for each other in a circle
    select min(w.next_lapse_at), array_agg(t.account) filter (where w.account_id is null or t.total > w.free),
           array_agg(t.account), array_agg(w.at), array_agg(w.seq), array_agg(w.balance), array_agg(w.touched_at),
           array_agg(t.total), array_agg(t.spends)
      into v_next, v_poor, v_wallet, v_at, v_seq, v_balance, v_touched, v_total, v_spends
      from (select a.account, sum(a.amount) as total, count(*) as spends
              from unnest(p_account, p_amount) a (account, amount) group by a.account) t
      left join (select account_id, ctid as at, seq, balance, balance - held as free, touched_at, next_lapse_at
                   from wallet where account_id = any(p_account) order by account_id for update) w
        on w.account_id = t.account;
    -- once: what is due after it is not due
    exit when v_now is not null;
    v_now := business_now();
    exit when v_next is null or v_next > v_now;
    perform ledger_settle(w.account_id) from wallet w
      where w.account_id = any(p_account) and w.next_lapse_at <= v_now order by w.account_id;
  end loop;
  if v_poor is not null then
    select array_agg(a.ord) into v_slow
      from unnest(p_account) with ordinality a (account, ord) where a.account = any(v_poor);
  end if;
  if p_careful then
    select v_slow || array_agg(a.ord) into v_slow
      from unnest(p_account, p_key) with ordinality a (account, key, ord)
      join posting p on p.account_id = a.account and p.key = a.key;
  end if;
  if v_slow is null then
    select array_agg(l.lot), array_agg(l.id), bool_and(coalesce(l.free >= t.total, false))
      into v_lot, v_front, v_covered
      from unnest(v_wallet, v_total) t (account, total) left join lateral (
        select l.ctid as lot, l.id, l.remaining - l.held as free from lot l
         where l.account_id = t.account and l.live and l.remaining > l.held
         order by l.expires_at asc nulls last, l.priority, l.granted_at, l.id limit 1) l on true;
  end if;

  if v_covered then
    return query
    with laid as materialized (
      select a.*, w.front, w.seq + row_number() over upto as seq, w.balance - sum(a.amount) over upto as after,
             greatest(w.touched_at, v_now) as at
        from (select v_account[g.i] as account, v_key[g.i] as key, v_hash[g.i] as hash, v_amount[g.i] as amount,
                     v_feature[g.i] as feature, v_actor[g.i] as actor, g.i as place
                from generate_series(1, cardinality(p_account)) g (i)) a
        join unnest(v_wallet, v_seq, v_balance, v_touched, v_front) w (account, seq, balance, touched_at, front)
          on w.account = a.account
      window upto as (partition by a.account order by a.place)
    ), posted as (
      insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                           feature, actor, reason_code, lot_ids, lot_amounts, occurred_at)
      select l.account, l.seq, 'spend', l.account, 'system:used', -l.amount, l.after, l.key, l.hash, l.feature, l.actor,
             'spend', array[l.front], array[-l.amount], l.at
        from laid l
    ), drawn as (
      update lot l set remaining = l.remaining - f.total from unnest(v_lot, v_total) f (lot, total) where l.ctid = f.lot
    ), kept as (
      update wallet w set seq = w.seq + f.spends, balance = w.balance - f.total, touched_at = greatest(w.touched_at, v_now)
        from unnest(v_at, v_total, v_spends) f (at, total, spends) where w.ctid = f.at
    )
    select l.place::bigint, 'spent', 'spd_' || substr(l.account, 5) || '_' || l.seq::text, l.amount, l.after, null::numeric
      from laid l;
  else
    v_depth := greatest(3, 64 / cardinality(v_wallet));
    return query
    with laid as materialized (
      select a.*, w.at as wallet, w.seq + row_number() over upto as seq, w.balance, greatest(w.touched_at, v_now) as at,
             sum(a.amount) over upto as hi
        from (select v_account[g.i] as account, v_key[g.i] as key, v_hash[g.i] as hash, v_amount[g.i] as amount,
                     v_feature[g.i] as feature, v_actor[g.i] as actor, g.i as place
                from generate_series(1, cardinality(p_account)) g (i)) a
        join unnest(v_wallet, v_at, v_seq, v_balance, v_touched) w (account, at, seq, balance, touched_at)
          on w.account = a.account
       where v_slow is null or not a.place = any(v_slow)
      window upto as (partition by a.account order by a.place)
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
             'spend', array_agg(p.id order by p.lo),
             array_agg(greatest(p.hi - p.amount, p.lo) - least(p.hi, p.upto) order by p.lo), p.at
        from pair p
       group by p.account, p.seq, p.amount, p.after, p.key, p.hash, p.feature, p.actor, p.at
    ), drawn as (
      update lot l set remaining = l.remaining - (least(b.hi, b.total) - b.lo) from ruler b where l.ctid = b.lot
    ), kept as (
      update wallet w set seq = n.seq, touched_at = greatest(w.touched_at, v_now),
                          balance = w.balance - case when n.reach >= n.total then n.total else ledger_fragmented() end
        from (select b.wallet, b.seq, b.total, max(b.hi) as reach from ruler b group by b.wallet, b.seq, b.total) n
       where w.ctid = n.wallet
    )
    select l.place::bigint, 'spent', 'spd_' || substr(l.account, 5) || '_' || l.seq::text, l.amount, l.balance - l.hi,
           null::numeric
      from laid l;
  end if;

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
