-- Holds, captures and rollover; postings partitioned by account. Every function of the ledger that works off what is
-- due is here anew, because holds have deadlines as lots have expiries.

-- Postings are what grows: by hash of the account, so that indexes stay small and one account stays in one of them.
-- A check is compiled anew for each part that a statement writes to, which costs more than the row itself: only those of
-- the way of credits stay, the others are invariants (`src/ledger/invariant.ts`).
drop view posting_lot;
alter table posting rename to posting_before;
create table posting (
  account_id    text not null,
  seq           bigint not null,
  kind          text not null, -- grant, spend, capture, reversal, lapse
  from_account  text not null,
  to_account    text not null,
  amount        numeric(24, 8) not null, -- what it does to the customer's balance
  balance_after numeric(24, 8) not null,
  key           text not null,
  request_hash  text not null,           -- what "the same content" means for this key
  feature       text,
  actor         text not null,
  reason_code   text not null,
  lot_ids       text[] not null,             -- where each credit came from or went to: lots filled and drawn on,
  lot_amounts   numeric(24, 8)[] not null,   -- and how much of each; below zero is drawn
  source        jsonb not null default '{}', -- ids minted by us or by Stripe: subscription, invoice, line, payment, hold
  occurred_at   timestamptz not null,        -- business time
  recorded_at   timestamptz not null default clock_timestamp(), -- machine time
  constraint posting_pk primary key (account_id, seq),
  constraint posting_once unique (account_id, key),
  constraint posting_way check (cardinality(lot_ids) = cardinality(lot_amounts)),
  constraint posting_direction check (case when amount > 0
    then to_account = account_id and from_account like 'system:%'
    else from_account = account_id and to_account like 'system:%' and amount < 0 end)
) partition by hash (account_id);
do $$
begin
  for part in 0..7 loop
    execute format('create table posting_%s partition of posting for values with (modulus 8, remainder %s)', part, part);
    -- a trigger of the whole would not see a statement that names a part
    execute format('create trigger append_only before update or delete or truncate on posting_%s
                    for each statement execute function refuse_change()', part);
  end loop;
end $$;
insert into posting select * from posting_before;
drop table posting_before;
create trigger append_only before update or delete or truncate on posting
  for each statement execute function refuse_change();

create or replace function posting_id(p_account text, p_seq bigint, p_kind text) returns text language sql immutable as $$
  select case when p_kind in ('spend', 'capture') then 'spd_' else 'pst_' end || substr(p_account, 5) || '_' || p_seq::text
$$;

-- Which lots have something left, as a column of its own: an index over `remaining` itself would have to be changed at
-- each spend, and every other index of the lot with it.
alter table lot add column live boolean not null generated always as (remaining > 0) stored;
drop index lot_unspent;
create index lot_live on lot (account_id, expires_at, priority, granted_at, id) where live;

-- The way of every credit, a row for each lot that a posting filled, drew on or gave something back to.
create view posting_lot as
  select p.account_id, p.seq, l.lot_id, l.amount,
         case when l.amount < 0 then 'draw' when lot.key = p.key then 'fill' else 'return' end as effect
    from posting p
    cross join lateral unnest(p.lot_ids, p.lot_amounts) as l (lot_id, amount)
    left join lot on lot.id = l.lot_id;

-- Credits that are set aside for work whose price is known later. Posts nothing until it is captured.
create table hold (
  id           text primary key check (id ~ '^hld_[A-Za-z0-9]+$'),
  account_id   text not null references wallet (account_id),
  key          text not null,
  request_hash text not null,
  amount       numeric(24, 8) not null check (amount > 0),
  captured     numeric(24, 8) not null default 0 check (captured >= 0), -- above `amount` when the work cost more
  state        text not null default 'open' check (state in ('open', 'captured', 'released', 'lapsed')),
  feature      text check (feature ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
  actor        text not null,
  lot_ids      text[] not null,           -- whose credits are set aside, in burn order,
  lot_amounts  numeric(24, 8)[] not null, -- and how much of each still is
  placed_seq   bigint not null,           -- the wallet's last posting when it was placed
  placed_at    timestamptz not null,      -- business time, as are the next two
  expires_at   timestamptz not null check (expires_at > placed_at),
  closed_at    timestamptz,               -- when nothing was set aside any more
  release_key  text,
  released_by  text,
  unique (account_id, key),
  unique (account_id, release_key),
  check (cardinality(lot_ids) = cardinality(lot_amounts)),
  check ((state = 'open') = (closed_at is null)),
  check ((state = 'released') = (release_key is not null) and (release_key is null) = (released_by is null))
) with (fillfactor = 80);
create index hold_open on hold (account_id, expires_at, id) where state = 'open';
create index hold_by_age on hold (account_id, placed_at desc, id desc);

-- What open holds set aside, a row for each lot.
create view hold_lot as
  select h.account_id, h.id as hold_id, l.lot_id, l.amount
    from hold h, unnest(h.lot_ids, h.lot_amounts) as l (lot_id, amount) where h.state = 'open';

-- A caller's notes on a posting or a hold: erasable, so that postings need not be (law 13).
create table note (
  subject    text primary key,
  account_id text not null references wallet (account_id), -- the row that its writer has locked
  metadata   jsonb not null
);
create index note_of_account on note (account_id);

drop function ledger_touch(text), ledger_keep(wallet);

-- Writes a wallet back. Its next deadline is found anew, because lots and holds may have come, gone or changed.
create function ledger_keep(w wallet) returns wallet language plpgsql as $$
begin
  update wallet set seq = w.seq, balance = w.balance, held = w.held, debt = w.debt, touched_at = w.touched_at,
         next_lapse_at = least(
           (select min(expires_at) from lot where account_id = w.account_id and live and remaining > held),
           (select min(expires_at) from hold where account_id = w.account_id and state = 'open'))
   where account_id = w.account_id returning * into w;
  return w;
end $$;

-- Gives what a hold still sets aside back to its lots; whoever calls it closes the hold. What expired meanwhile lapses
-- at once, under the hold's own key, because the lot's own lapse has been posted already (law 9).
create function ledger_let_go(w wallet, p_hold text, p_at timestamptz) returns wallet language plpgsql as $$
declare l record;
begin
  for l in select a.lot_id, a.amount, lot.expires_at
             from hold h cross join lateral unnest(h.lot_ids, h.lot_amounts) with ordinality as a (lot_id, amount, place)
             join lot on lot.id = a.lot_id
            where h.id = p_hold and a.amount > 0 order by a.place
  loop
    update lot set held = held - l.amount where id = l.lot_id;
    w.held := w.held - l.amount;
    if l.expires_at <= p_at then
      w := ledger_lapse(w, l.lot_id, l.amount, p_hold, 'released', p_at);
    end if;
  end loop;
  update hold set lot_amounts = array_fill(0::numeric, array[cardinality(lot_ids)]) where id = p_hold;
  return w;
end $$;

-- Does what is due in a locked wallet, in the order of time: holds end at their deadline, lots at their expiry. After it
-- no lot has anything free that has expired by p_now.
create function ledger_due(w wallet, p_now timestamptz) returns wallet language plpgsql as $$
declare
  h record;
  l record;
begin
  loop
    select id, expires_at into h from hold
     where account_id = w.account_id and state = 'open' and expires_at <= p_now order by expires_at, id limit 1;
    select id, remaining - held as free, expires_at into l from lot
     where account_id = w.account_id and live and remaining > held and expires_at <= p_now
     order by expires_at, id limit 1;
    exit when h.id is null and l.id is null;
    -- at the same instant the hold goes first: what it set aside lapses under its own key
    if l.id is null or h.expires_at <= l.expires_at then
      w := ledger_let_go(w, h.id, h.expires_at);
      update hold set state = 'lapsed', closed_at = h.expires_at where id = h.id;
    else
      w := ledger_lapse(w, l.id, l.free, 'expiry', 'expired', l.expires_at);
    end if;
  end loop;
  return ledger_keep(w);
end $$;

-- Locks a wallet, reads business time after the lock, and does what is due (law 9).
-- Answers null when there is no such account. touched_at of the answer is the time of what follows.
create function ledger_touch(p_account text) returns wallet language plpgsql as $$
declare
  w wallet;
  v_now timestamptz;
begin
  select * into w from wallet where account_id = p_account for update;
  if not found then return null; end if;
  v_now := greatest(business_now(), w.touched_at);
  if w.next_lapse_at <= v_now then w := ledger_due(w, v_now); end if;
  w.touched_at := v_now;
  return w;
end $$;

create function ledger_check_amount(p_amount numeric) returns void language plpgsql as $$
begin
  -- NaN is above every number
  if (p_amount > 0 and p_amount < 'Infinity' and p_amount = round(p_amount, 8)) is not true then
    raise exception 'an amount of credits is positive and has at most 8 decimals: %', p_amount
      using errcode = 'check_violation';
  end if;
end $$;

-- Which lots pay for an amount, in burn order: soonest to expire first, then by priority, then the oldest; what never
-- expires goes last. Less than the amount when there is less. Run it after a touch: then no free credit has expired.
create function ledger_burn(p_account text, p_amount numeric)
returns table (lot_id text, taken numeric, place bigint) language sql stable as $$
  select id, least(free, p_amount - before), row_number() over (order by before, id)
    from (select l.id, l.remaining - l.held as free,
                 sum(l.remaining - l.held) over (order by l.expires_at asc nulls last, l.priority, l.granted_at, l.id)
                   - (l.remaining - l.held) as before
            from lot l where l.account_id = p_account and l.live and l.remaining > l.held) burn
   where before < p_amount
$$;

-- Puts a new lot into a wallet, once per business key. Debt is repaid first, inside the same posting. A recurring
-- lot succeeds those of the same subscription with an earlier period: of what is left in them p_carry lives on, as long
-- as the new lot does; the rest lapses, and what comes back to them later lapses when it does. 'Infinity' ends nothing.
-- outcome: granted | replayed | key_reused (same key, other content) | no_account
drop function ledger_grant(text, text, text, text, numeric, timestamptz, smallint, text, timestamptz, text, text, text, text, jsonb);
create function ledger_grant(
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
  l record;
begin
  perform ledger_check_amount(p_amount);
  if (p_carry >= 0 and p_carry = round(p_carry, 8) and p_carry <> 'NaN') is not true then
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
  if p_subscription is not null then
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
  insert into lot (id, account_id, kind, key, granted, remaining, expires_at, priority, granted_at,
                   subscription_id, period_start, payment_id)
  values (lot_id, p_account, p_kind, p_key, p_amount, p_amount - v_repaid, p_expires_at, p_priority, v_now,
          p_subscription, p_period_start, p_payment);
  w.seq := w.seq + 1;
  w.balance := w.balance + p_amount;
  w.debt := w.debt - v_repaid;
  w.touched_at := v_now;
  id := posting_id(p_account, w.seq, 'grant');
  insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                       actor, reason_code, lot_ids, lot_amounts, source, occurred_at)
  values (p_account, w.seq, 'grant', p_from, p_account, p_amount, w.balance, p_key, p_hash, p_actor, p_reason,
          case when v_repaid > 0 then array[lot_id, lot_id] else array[lot_id] end,
          case when v_repaid > 0 then array[p_amount, -v_repaid] else array[p_amount] end, p_source, v_now);
  insert into audit_log (account_id, actor, action, subject, reason_code, detail, occurred_at)
  values (p_account, p_actor, 'grant', id, p_reason, p_source, v_now);
  if p_metadata is not null then insert into note (subject, account_id, metadata) values (id, p_account, p_metadata); end if;
  outcome := 'granted'; amount := p_amount; balance_after := w.balance; occurred_at := v_now;
  if p_expires_at <= v_now and p_amount > v_repaid then -- a payment that comes this late has been lapsing already
    w := ledger_lapse(w, lot_id, p_amount - v_repaid, 'expiry', 'expired', v_now);
  end if;
  perform ledger_keep(w);
end $$;

-- Sets credits aside until p_seconds from now. Never more than is available.
-- outcome: held | replayed | key_reused | insufficient | no_account
create function ledger_hold(
  p_account text, p_key text, p_hash text, p_amount numeric, p_seconds integer, p_feature text, p_actor text,
  p_metadata jsonb,
  out outcome text, out id text, out available numeric, out placed_at timestamptz, out expires_at timestamptz)
language plpgsql security definer set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
  w wallet;
  v_old hold;
begin
  perform ledger_check_amount(p_amount);
  w := ledger_touch(p_account);
  if w.account_id is null then outcome := 'no_account'; return; end if;
  select * into v_old from hold h where h.account_id = p_account and h.key = p_key;
  if found then
    outcome := case when v_old.request_hash = p_hash then 'replayed' else 'key_reused' end;
    id := v_old.id; placed_at := v_old.placed_at; expires_at := v_old.expires_at;
    return;
  end if;
  available := greatest(0, w.balance - w.held);
  if p_amount > available then outcome := 'insufficient'; return; end if;
  id := 'hld_' || replace(gen_random_uuid()::text, '-', '');
  placed_at := w.touched_at; expires_at := placed_at + p_seconds * interval '1 second';
  with burn as materialized (select * from ledger_burn(p_account, p_amount)),
  reserved as (update lot set held = lot.held + burn.taken from burn where lot.id = burn.lot_id)
  insert into hold (id, account_id, key, request_hash, amount, feature, actor, lot_ids, lot_amounts, placed_seq,
                    placed_at, expires_at)
  select id, p_account, p_key, p_hash, p_amount, p_feature, p_actor, array_agg(lot_id order by place),
         array_agg(taken order by place), w.seq, ledger_hold.placed_at, ledger_hold.expires_at
    from burn;
  if p_metadata is not null then insert into note (subject, account_id, metadata) values (id, p_account, p_metadata); end if;
  w.held := w.held + p_amount;
  perform ledger_keep(w);
  outcome := 'held'; available := available - p_amount;
end $$;

-- Turns a hold into a spend: of part of it, all of it, or more. What it did not set aside, also because it has lapsed,
-- is taken from what is available, or overdrawn. p_final ends the hold and frees what was not used; otherwise more may
-- be captured later, after it has lapsed, too.
-- outcome: captured | replayed | key_reused | insufficient (available: the most that could be captured)
--          | closed (captured or released before) | no_hold
create function ledger_capture(
  p_hold text, p_key text, p_hash text, p_amount numeric, p_final boolean, p_overdraft boolean, p_feature text,
  p_actor text, p_metadata jsonb, out outcome text, out id text, out account text, out amount numeric,
  out balance_after numeric, out available numeric, out state text)
language plpgsql security definer set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
  w wallet;
  h hold;
  v_old posting;
  v_own numeric;   -- what the hold pays
  v_rest numeric;  -- what it does not
  v_free numeric;
  v_left numeric[];
begin
  perform ledger_check_amount(p_amount);
  select hold.account_id into account from hold where hold.id = p_hold; -- never changes: needs no lock
  if not found then outcome := 'no_hold'; return; end if;
  w := ledger_touch(account);
  select * into v_old from posting p where p.account_id = account and p.key = p_key;
  if found then
    outcome := case when v_old.request_hash = p_hash then 'replayed' else 'key_reused' end;
    id := posting_id(account, v_old.seq, v_old.kind); amount := -v_old.amount; balance_after := v_old.balance_after;
    state := v_old.source ->> 'state';
    return;
  end if;
  select * into h from hold where hold.id = p_hold;
  state := h.state;
  if h.state not in ('open', 'lapsed') then outcome := 'closed'; return; end if;

  v_own := least(p_amount, (select coalesce(sum(a), 0) from unnest(h.lot_amounts) a));
  v_rest := p_amount - v_own;
  available := greatest(0, w.balance - w.held);
  if v_rest > available and not p_overdraft then
    outcome := 'insufficient'; available := available + v_own;
    return;
  end if;
  v_free := w.balance + w.debt - w.held;

  w.seq := w.seq + 1;
  w.balance := w.balance - p_amount;
  w.held := w.held - v_own;
  w.debt := w.debt + greatest(0, v_rest - v_free);
  id := posting_id(account, w.seq, 'capture');
  state := case when p_final then 'captured' else h.state end;
  with own as materialized (
    select lot_id, least(a, v_own - (upto - a)) as taken, place
      from (select r.lot_id, r.a, r.place, sum(r.a) over (order by r.place) as upto
              from unnest(h.lot_ids, h.lot_amounts) with ordinality as r (lot_id, a, place)) ruler
     where a > 0 and upto - a < v_own
  ), draw as materialized (
    select lot_id, taken, true as reserved, place from own
    union all select lot_id, taken, false, cardinality(h.lot_ids) + place from ledger_burn(account, v_rest) where v_rest > 0
  ), per_lot as (
    select lot_id, sum(taken) as taken, sum(taken) filter (where reserved) as freed from draw group by lot_id
  ), drawn as (
    update lot set remaining = lot.remaining - per_lot.taken, held = lot.held - coalesce(per_lot.freed, 0)
      from per_lot where lot.id = per_lot.lot_id
  ), posted as (
    insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                         feature, actor, reason_code, lot_ids, lot_amounts, source, occurred_at)
    select account, w.seq, 'capture', account, 'system:used', -p_amount, w.balance, p_key, p_hash,
           coalesce(p_feature, h.feature), p_actor, 'capture', coalesce(array_agg(lot_id order by place), '{}'),
           coalesce(array_agg(-taken order by place), '{}'),
           jsonb_build_object('hold', p_hold, 'reserved', v_own::text, 'state', state), w.touched_at
      from draw
  )
  select array_agg(r.a - coalesce(own.taken, 0) order by r.place) into v_left
    from unnest(h.lot_ids, h.lot_amounts) with ordinality as r (lot_id, a, place) left join own using (place);
  update hold set captured = captured + p_amount, lot_amounts = v_left where hold.id = p_hold;
  outcome := 'captured'; amount := p_amount; balance_after := w.balance; -- before anything lapses
  if p_final then
    w := ledger_let_go(w, p_hold, w.touched_at);
    update hold set state = 'captured', closed_at = coalesce(closed_at, w.touched_at) where hold.id = p_hold;
  end if;
  if p_metadata is not null then insert into note (subject, account_id, metadata) values (id, account, p_metadata); end if;
  w := ledger_keep(w);
  available := greatest(0, w.balance - w.held);
end $$;

-- Ends a hold and frees what it set aside; of a lapsed one it says that no capture will come. What it answers stays true.
-- outcome: released | replayed | key_reused (for another hold) | closed (captured or released before) | no_hold
create function ledger_release(
  p_hold text, p_key text, p_actor text,
  out outcome text, out account text, out state text, out amount numeric, out captured numeric, out closed_at timestamptz)
language plpgsql security definer set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
  w wallet;
  h hold;
begin
  select hold.account_id into account from hold where hold.id = p_hold; -- never changes: needs no lock
  if not found then outcome := 'no_hold'; return; end if;
  w := ledger_touch(account);
  select * into h from hold where hold.account_id = account and hold.release_key = p_key;
  if found then
    outcome := case when h.id = p_hold then 'replayed' else 'key_reused' end;
  else
    select * into h from hold where hold.id = p_hold;
    if h.state in ('open', 'lapsed') then
      w := ledger_let_go(w, p_hold, w.touched_at);
      update hold set state = 'released', release_key = p_key, released_by = p_actor,
             closed_at = coalesce(hold.closed_at, w.touched_at)
       where hold.id = p_hold returning * into h;
      perform ledger_keep(w);
      outcome := 'released';
    else
      outcome := 'closed';
    end if;
  end if;
  state := h.state; amount := h.amount; captured := h.captured; closed_at := h.closed_at;
end $$;

-- Credits that came too late and were never touched since have waited here for their lapse.
select ledger_settle(account_id) from wallet where next_lapse_at <= touched_at;

revoke execute on all functions in schema public from public;
grant select on posting, posting_lot, hold, hold_lot, note to perennial_service;
grant delete on note to perennial_service; -- an erasure
grant execute on function
  ledger_grant(text, text, text, text, numeric, timestamptz, smallint, text, timestamptz, text, text, text, text, jsonb, numeric, jsonb),
  ledger_hold(text, text, text, numeric, integer, text, text, jsonb),
  ledger_capture(text, text, text, numeric, boolean, boolean, text, text, jsonb),
  ledger_release(text, text, text)
  to perennial_service;
