-- Reversals of spends. Balances at this and at any earlier instant.

-- Which spend a reversal gives back, and how much of it.
create table reversal (
  account_id text not null,
  seq        bigint not null,
  spend_seq  bigint not null,
  amount     numeric(24, 8) not null check (amount > 0),
  primary key (account_id, seq),
  foreign key (account_id, seq) references posting (account_id, seq),
  foreign key (account_id, spend_seq) references posting (account_id, seq)
);
create index reversal_of_spend on reversal (account_id, spend_seq);
create trigger append_only before update or delete or truncate on reversal
  for each statement execute function refuse_change();

-- Gives a spend back, or part of it: first what it owed, then to the lots it drew on, the last first. What has expired
-- meanwhile lapses at once, under the reversal's own key (`lapsed`: how much of it). A debt that was repaid meanwhile
-- comes back as a lot of its own, like the youngest of those that repaid any: one that is owed no more was.
-- outcome: reversed | replayed | key_reused | no_spend | too_much (more than is left of it; `available` says how much)
create function ledger_reverse(
  p_account text, p_spend bigint, p_key text, p_hash text, p_amount numeric, p_actor text, p_reason text,
  p_metadata jsonb,
  out outcome text, out id text, out amount numeric, out balance_after numeric, out lapsed numeric, out available numeric,
  out occurred_at timestamptz)
language plpgsql security definer set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
  w wallet;
  v_spend posting;
  v_old posting;
  v_before numeric; -- given back by earlier reversals
  v_owed numeric;   -- of the spend: what lots did not cover
  v_debt numeric;   -- of that: what is given back now
  v_lots text[];
  v_given numeric[];
  v_like lot;
  l record;
begin
  if p_amount is not null then perform ledger_check_amount(p_amount); end if;
  w := ledger_touch(p_account);
  if w.account_id is null then outcome := 'no_spend'; return; end if;
  select * into v_old from posting p where p.account_id = p_account and p.key = p_key;
  if found then
    outcome := case when v_old.request_hash = p_hash then 'replayed' else 'key_reused' end;
    id := posting_id(p_account, v_old.seq, v_old.kind); amount := v_old.amount; balance_after := v_old.balance_after;
    occurred_at := v_old.occurred_at;
    -- its lapses stand right behind it, one for a lot at most
    select coalesce(sum(-p.amount), 0) into lapsed from posting p
     where p.account_id = p_account and p.seq > v_old.seq and p.seq <= v_old.seq + cardinality(v_old.lot_ids)
       and p.kind = 'lapse' and right(p.key, length(id) + 1) = ':' || id;
    return;
  end if;
  select * into v_spend from posting p where p.account_id = p_account and p.seq = p_spend and p.kind in ('spend', 'capture');
  if not found then outcome := 'no_spend'; return; end if;
  select coalesce(sum(r.amount), 0) into v_before from reversal r where r.account_id = p_account and r.spend_seq = p_spend;
  available := -v_spend.amount - v_before;
  amount := coalesce(p_amount, available);
  if amount > available or amount = 0 then outcome := 'too_much'; return; end if;

  select -v_spend.amount + coalesce(sum(a), 0) into v_owed from unnest(v_spend.lot_amounts) a;
  -- one ruler: what was owed, then the draws, the last first; this reversal is the interval after the earlier ones
  with draw as (
    select d.lot_id, -d.a as drawn, v_owed + sum(-d.a) over (order by d.place desc) as hi, d.place
      from unnest(v_spend.lot_ids, v_spend.lot_amounts) with ordinality as d (lot_id, a, place)
  ), back as (
    select lot_id, least(hi, v_before + amount) - greatest(hi - drawn, v_before) as given, place
      from draw where hi > v_before and hi - drawn < v_before + amount
  ), returned as (
    update lot set remaining = lot.remaining + g.given
      from (select lot_id, sum(given) as given from back group by lot_id) g where lot.id = g.lot_id
  )
  select coalesce(array_agg(lot_id order by place desc), '{}'), coalesce(array_agg(given order by place desc), '{}')
    into v_lots, v_given from back;
  v_debt := greatest(0, least(v_owed, v_before + amount) - v_before);
  if v_debt > w.debt then
    -- by way of the lots: there are few, where postings may be millions
    select lot.* into v_like
      from lot join posting p on p.account_id = lot.account_id and p.key = lot.key
     where lot.account_id = p_account and p.account_id = p_account and p.kind = 'grant' and cardinality(p.lot_ids) > 1
     order by p.seq desc limit 1;
    v_like.id := 'lot_' || replace(gen_random_uuid()::text, '-', '');
    insert into lot (id, account_id, kind, key, granted, remaining, expires_at, priority, granted_at, subscription_id,
                     period_start, payment_id)
    values (v_like.id, p_account, v_like.kind, p_key, v_debt - w.debt, v_debt - w.debt, v_like.expires_at,
            v_like.priority, w.touched_at, v_like.subscription_id, v_like.period_start, v_like.payment_id);
    v_lots := v_lots || v_like.id;
    v_given := v_given || (v_debt - w.debt);
  end if;
  w.debt := w.debt - least(w.debt, v_debt);
  w.seq := w.seq + 1;
  w.balance := w.balance + amount;
  id := posting_id(p_account, w.seq, 'reversal');
  insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                       feature, actor, reason_code, lot_ids, lot_amounts, source, occurred_at)
  values (p_account, w.seq, 'reversal', 'system:used', p_account, amount, w.balance, p_key, p_hash, v_spend.feature,
          p_actor, p_reason, v_lots, v_given,
          jsonb_build_object('spend', posting_id(p_account, p_spend, v_spend.kind)), w.touched_at);
  insert into reversal (account_id, seq, spend_seq, amount) values (p_account, w.seq, p_spend, amount);
  insert into audit_log (account_id, actor, action, subject, reason_code, detail, occurred_at)
  values (p_account, p_actor, 'reverse', id, p_reason,
          jsonb_build_object('spend', posting_id(p_account, p_spend, v_spend.kind)), w.touched_at);
  balance_after := w.balance; lapsed := 0; occurred_at := w.touched_at;
  for l in select g.lot_id, sum(g.given) as given, min(g.place) as place
             from unnest(v_lots, v_given) with ordinality as g (lot_id, given, place)
             join lot on lot.id = g.lot_id and lot.expires_at <= w.touched_at
            group by g.lot_id order by 3
  loop
    w := ledger_lapse(w, l.lot_id, l.given, id, 'reversed', w.touched_at);
    lapsed := lapsed + l.given;
  end loop;
  if p_metadata is not null then insert into note (subject, account_id, metadata) values (id, p_account, p_metadata); end if;
  perform ledger_keep(w);
  outcome := 'reversed';
end $$;

-- A wallet as it is at this instant, expired lots and holds past their deadline left out, swept or not. No row when
-- there is no such account.
create or replace function ledger_balance(p_account text)
returns table (account_id text, seq bigint, balance numeric, held numeric, available numeric, debt numeric,
               at timestamptz, lots jsonb)
language sql stable security definer set search_path = public, pg_temp as $$
  with clock as materialized (select business_now() as now),
  ended as materialized ( -- what holds that are over still seem to hold
    select r.lot_id, sum(r.a) as amount
      from clock, hold h cross join lateral unnest(h.lot_ids, h.lot_amounts) as r (lot_id, a)
     where h.account_id = p_account and h.state = 'open' and h.expires_at <= clock.now group by r.lot_id
  ), live as (
    select lot.*, lot.held - coalesce(ended.amount, 0) as reserved, lot.expires_at <= clock.now as expired
      from clock, lot left join ended on ended.lot_id = lot.id where lot.account_id = p_account and lot.live
  ), counted as (
    select live.*, case when expired then reserved else remaining end as counts,
           case when expired then 0 else remaining - reserved end as free from live
  ), total as (
    select coalesce(sum(counts), 0) as counts, coalesce(sum(free), 0) as free, coalesce(sum(reserved), 0) as reserved,
           coalesce(jsonb_agg(jsonb_build_object(
             'id', id, 'source', kind, 'granted', granted::text, 'remaining', counts::text, 'expires_at', expires_at)
             order by expires_at asc nulls last, priority, granted_at, id) filter (where counts > 0), '[]') as lots
      from counted
  )
  select w.account_id, w.seq, total.counts - w.debt, total.reserved, greatest(0, total.free - w.debt), w.debt, clock.now,
         total.lots
    from wallet w, total, clock where w.account_id = p_account
$$;

-- The last posting at or before an instant, 0 when there is none. Time never runs backwards in a wallet, so that
-- halving finds it without an index of its own.
create function ledger_seq_at(p_account text, p_at timestamptz) returns bigint language plpgsql stable
security definer set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
  v_low bigint := 0;
  v_high bigint;
  v_mid bigint;
begin
  select seq into v_high from wallet where account_id = p_account;
  while v_low < v_high loop
    v_mid := (v_low + v_high + 1) / 2;
    if (select occurred_at from posting where account_id = p_account and seq = v_mid) <= p_at then v_low := v_mid;
    else v_high := v_mid - 1; end if;
  end loop;
  return v_low;
end $$;

-- A wallet as it was at an instant that is over. Call ledger_settle before, so that all that had lapsed by then is posted.
create function ledger_balance_at(p_account text, p_at timestamptz)
returns table (balance numeric, held numeric, available numeric, debt numeric, lots jsonb)
language sql stable security definer set search_path = public, pg_temp as $$
  with last as materialized (select ledger_seq_at(p_account, p_at) as seq),
  since as materialized ( -- what happened after it
    select l.lot_id, sum(l.amount) as amount
      from last join posting p on p.account_id = p_account and p.seq > last.seq
      cross join lateral unnest(p.lot_ids, p.lot_amounts) as l (lot_id, amount)
     group by l.lot_id
  ), lot_then as (
    select lot.*, lot.remaining - coalesce(since.amount, 0) as was
      from lot left join since on since.lot_id = lot.id where lot.account_id = p_account
  ), reserved as (
    select coalesce(sum(h.amount - coalesce((
             select sum((p.source ->> 'reserved')::numeric) from posting p
              where p.account_id = p_account and p.seq > h.placed_seq and p.seq <= last.seq and p.kind = 'capture'
                and p.source ->> 'hold' = h.id), 0)), 0) as held
      from hold h, last
     where h.account_id = p_account and h.placed_at <= p_at and (h.closed_at is null or h.closed_at > p_at)
  ), total as (
    select coalesce(sum(was), 0) as counts,
           coalesce(jsonb_agg(jsonb_build_object(
             'id', id, 'source', kind, 'granted', granted::text, 'remaining', was::text, 'expires_at', expires_at)
             order by expires_at asc nulls last, priority, granted_at, id) filter (where was > 0), '[]') as lots
      from lot_then
  ), then_ as (
    select coalesce((select p.balance_after from posting p, last where p.account_id = p_account and p.seq = last.seq), 0)
             as balance
  )
  select then_.balance, reserved.held, greatest(0, then_.balance - reserved.held), total.counts - then_.balance, total.lots
    from then_, reserved, total
$$;

revoke execute on all functions in schema public from public;
grant select on reversal to perennial_service;
grant execute on function ledger_balance_at(text, timestamptz), ledger_seq_at(text, timestamptz),
  ledger_reverse(text, bigint, text, text, numeric, text, text, jsonb)
  to perennial_service;
