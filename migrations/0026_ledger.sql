-- Faults of the ledger, mended.

-- What a lot repaid of a debt when it was granted, less what came back of that.
alter table lot add column repaid numeric(24, 8) not null default 0;
update lot set repaid = -p.lot_amounts[2] from posting p
 where p.account_id = lot.account_id and p.key = lot.key and p.kind in ('grant', 'adjustment') and cardinality(p.lot_ids) > 1;

-- As before, and notes what the lot repaid.
create or replace function ledger_grant(
  p_account text, p_key text, p_hash text, p_kind text, p_amount numeric, p_expires_at timestamptz,
  p_priority smallint, p_subscription text, p_period_start timestamptz, p_payment text, p_from text,
  p_actor text, p_reason text, p_source jsonb, p_carry numeric default 0, p_metadata jsonb default null,
  out outcome text, out id text, out lot_id text, out amount numeric, out balance_after numeric,
  out occurred_at timestamptz)
language plpgsql security definer set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
  w wallet;
  v_now timestamptz;
  v_repaid numeric;
  v_old posting;
  v_carry numeric := p_carry; -- what may still live on
  v_kept numeric;
  v_aside numeric;
  v_posted text := case p_kind when 'adjustment' then 'adjustment' else 'grant' end;
  l record;
begin
  perform ledger_check_amount(p_amount);
  if (p_carry >= 0 and p_carry = round(p_carry, 8) and p_carry <> 'NaN') is false then
    raise exception 'what lives on is not negative and has at most 8 decimals: %', p_carry
      using errcode = 'check_violation';
  end if;
  w := ledger_touch(p_account);
  if w.account_id is null then outcome := 'no_account'; return; end if;
  v_now := w.touched_at;
  select * into v_old from posting p where p.account_id = p_account and p.key = p_key;
  if found then
    outcome := case when v_old.request_hash = p_hash then 'replayed' else 'key_reused' end;
    id := posting_id(p_account, v_old.seq, v_old.kind); amount := v_old.amount; balance_after := v_old.balance_after; occurred_at := v_old.occurred_at;
    select lot.id into lot_id from lot where lot.account_id = p_account and lot.key = p_key;
    return;
  end if;

  lot_id := 'lot_' || replace(gen_random_uuid()::text, '-', '');
  if p_subscription is not null and p_carry is not null then
    -- The youngest first: what is carried over is what was granted last. A lot that never expires was granted by a plan
    -- whose credits are for keeps, and is nobody's predecessor.
    for l in select lot.id, lot.remaining - lot.held as free, lot.held from lot
              where lot.account_id = p_account and lot.subscription_id = p_subscription
                and lot.period_start < p_period_start and lot.expires_at > v_now
              order by lot.period_start desc, lot.granted_at desc, lot.id
    loop
      v_kept := least(l.free, v_carry);
      v_carry := v_carry - v_kept;
      v_aside := least(l.held, v_carry); -- what a hold sets aside is left until it is captured
      v_carry := v_carry - v_aside;
      if l.free > v_kept then
        w := ledger_lapse(w, l.id, l.free - v_kept, lot_id, 'succeeded', v_now);
      end if;
      if v_kept + v_aside > 0 or v_carry = 'Infinity' then
        update lot set expires_at = case when p_expires_at is not null then greatest(expires_at, p_expires_at) end
         where lot.id = l.id;
      else
        -- what is still held of it, or comes back to it, goes when that does
        update lot set expires_at = v_now where lot.id = l.id;
      end if;
    end loop;
  end if;

  v_repaid := least(w.debt, p_amount);
  insert into lot (id, account_id, kind, key, granted, remaining, repaid, expires_at, priority, granted_at,
                   subscription_id, period_start, payment_id)
  values (lot_id, p_account, p_kind, p_key, p_amount, p_amount - v_repaid, v_repaid, p_expires_at, p_priority, v_now,
          p_subscription, p_period_start, p_payment);
  w.seq := w.seq + 1;
  w.balance := w.balance + p_amount;
  w.debt := w.debt - v_repaid;
  w.touched_at := v_now;
  id := posting_id(p_account, w.seq, v_posted);
  insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                       actor, reason_code, lot_ids, lot_amounts, source, occurred_at)
  values (p_account, w.seq, v_posted, p_from, p_account, p_amount, w.balance, p_key, p_hash, p_actor, p_reason,
          case when v_repaid > 0 then array[lot_id, lot_id] else array[lot_id] end,
          case when v_repaid > 0 then array[p_amount, -v_repaid] else array[p_amount] end, p_source, v_now);
  insert into audit_log (account_id, actor, action, subject, reason_code, detail, occurred_at)
  values (p_account, p_actor, v_posted, id, p_reason, p_source, v_now);
  if p_metadata is not null then insert into note (subject, account_id, metadata) values (id, p_account, p_metadata); end if;
  outcome := 'granted'; amount := p_amount; balance_after := w.balance; occurred_at := v_now;
  if p_expires_at <= v_now and p_amount > v_repaid then -- a payment that comes this late has been lapsing already
    w := ledger_lapse(w, lot_id, p_amount - v_repaid, 'expiry', 'expired', v_now);
  end if;
  perform ledger_keep(w);
end $$;

-- Gives a spend back, or part of it: first what it owed, then to the lots it drew on, the last first. What it owed and
-- grants have repaid meanwhile goes back to the lots that repaid it, those that came after it first: they keep their kind,
-- their expiry and their payment. What has expired meanwhile lapses at once, under the reversal's own key (`lapsed`: how
-- much of it).
-- outcome: reversed | replayed | key_reused | no_spend | too_much (more than is left of it; `available` says how much)
create or replace function ledger_reverse(
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
  v_repaid numeric; -- of that: what grants have repaid meanwhile
  v_part numeric;
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
  v_repaid := greatest(0, v_debt - w.debt);
  for l in select lot.id, lot.repaid from lot
             cross join lateral (select p.seq from posting p where p.account_id = p_account and p.key = lot.key limit 1) p
            where lot.account_id = p_account and lot.repaid > 0
            order by p.seq > p_spend desc, p.seq
  loop
    exit when v_repaid = 0;
    v_part := least(l.repaid, v_repaid);
    update lot set repaid = lot.repaid - v_part, remaining = lot.remaining + v_part where lot.id = l.id;
    v_repaid := v_repaid - v_part;
    v_lots := v_lots || l.id;
    v_given := v_given || v_part;
  end loop;
  if v_repaid > 0 then raise exception 'no lot repaid what % owed', posting_id(p_account, p_spend, v_spend.kind); end if;
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

-- As before (0006), and never before the lapse that it posted.
create or replace function ledger_spend(
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
    v_now := greatest(v_now, w.touched_at); -- a lapse may have been posted a moment later
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

-- As before (0009), but for three things. A wallet whose spends need more lots than are looked at is decided spend by
-- spend, and its neighbours are not. Nobody waits long for a wallet that somebody has locked: then nothing is done, and the
-- caller asks account by account. And keys are looked for one by one: where most accounts have one posting, a join was
-- planned to read all postings of an account for each key.
-- @throws unique_violation; lock_not_available
create or replace function ledger_spend_many(
  p_account text[], p_key text[], p_hash text[], p_amount numeric[], p_feature text[], p_actor text[],
  p_overdraft boolean[], p_metadata jsonb[], p_careful boolean)
returns table (ord bigint, outcome text, id text, amount numeric, balance_after numeric, available numeric)
language plpgsql security definer set search_path = public, pg_temp
set plan_cache_mode = force_generic_plan set enable_seqscan = off set lock_timeout = '200ms' as $$
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
     cross join lateral (select from posting p where p.account_id = a.account and p.key = a.key limit 1) known;
  end if;
  if v_slow is null then
    select array_agg(l.lot), array_agg(l.id), bool_and(coalesce(l.free >= t.total, false))
      into v_lot, v_front, v_covered
      from unnest(v_wallet, v_total) t (account, total) left join lateral (
        select l.ctid as lot, l.id, l.remaining - l.held as free from lot l
         where l.account_id = t.account and l.live and l.remaining > l.held
         order by l.expires_at asc nulls last, l.priority, l.granted_at, l.id limit 1) l on true;
  end if;

  if v_covered is not true then
    -- who needs more lots than are looked at is decided spend by spend, too
    v_depth := greatest(3, 64 / cardinality(v_wallet));
    select v_slow || array_agg(a.ord) into v_slow
      from unnest(v_wallet, v_total) t (account, total)
      join unnest(p_account) with ordinality a (account, ord) on a.account = t.account
     where not t.account = any(coalesce(v_poor, '{}'))
       and t.total > (select coalesce(sum(f.free), 0)
                        from (select l.remaining - l.held as free from lot l
                               where l.account_id = t.account and l.live and l.remaining > l.held
                               order by l.expires_at asc nulls last, l.priority, l.granted_at, l.id limit v_depth) f);
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
      select n.account, n.total, b.lot, b.id, b.hi - b.free as lo, b.hi
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
      update wallet w set seq = n.seq, balance = w.balance - n.total, touched_at = greatest(w.touched_at, v_now)
        from need n where w.ctid = n.wallet
    )
    select l.place::bigint, 'spent', 'spd_' || substr(l.account, 5) || '_' || l.seq::text, l.amount, l.balance - l.hi,
           null::numeric
      from laid l;
  end if;

  if array_remove(p_metadata, null) <> '{}' then
    insert into note (subject, account_id, metadata)
    select posting_id(p.account_id, p.seq, p.kind), p.account_id, a.metadata
      from ledger_asked(p_account, p_key, p_hash, p_amount, p_feature, p_actor, p_overdraft, p_metadata) a
     cross join lateral (select * from posting where account_id = a.account and key = a.key limit 1) p
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
drop function ledger_fragmented();

-- An account may have any number of postings: what accounts have on the average says nothing of one. Where most have one,
-- Postgres took it that all have, found no difference between the indexes of keys and of numbers, and read all postings of
-- an account for one of them.
do $$
declare
  part regclass;
begin
  for part in select inhrelid::regclass from pg_inherits where inhparent = 'posting'::regclass
              union all select 'reversal'::regclass
  loop
    execute format('alter table %s alter column account_id set (n_distinct = 1)', part);
  end loop;
end $$;

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
