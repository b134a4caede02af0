-- The ledger: wallets, lots, append-only postings and where each credit came from and went (laws 1 to 4, 8, 9, 12).
-- The service's login reaches these tables only through the functions below, so there is one door for every change.

do $$
begin
  create role perennial_service nologin;
exception when duplicate_object or unique_violation then null; -- roles belong to the cluster, not to this database
end $$;

-- Business time (law 14): the wall, moved only by the sandbox's clock. Milliseconds, so that it survives JavaScript.
create table business_clock (
  singleton boolean primary key default true check (singleton),
  offset_ms bigint not null default 0
);
insert into business_clock default values;

create function business_now() returns timestamptz language sql volatile as $$
  select date_trunc('milliseconds', clock_timestamp())
       + (select offset_ms from business_clock) * interval '1 millisecond'
$$;

create table account (
  id         text primary key check (id ~ '^acc_[A-Za-z0-9]+$'),
  created_at timestamptz not null default business_now(),
  stripe_customer_id text unique
);

-- The row that is locked first, always (law 3).
create table wallet (
  account_id    text primary key references account (id),
  seq           bigint         not null default 0,
  balance       numeric(24, 8) not null default 0,
  held          numeric(24, 8) not null default 0 check (held >= 0),
  debt          numeric(24, 8) not null default 0 check (debt >= 0),
  next_lapse_at timestamptz,
  touched_at    timestamptz not null default '-infinity', -- occurred_at of the last posting; keeps the order of time
  check (balance >= -debt)
) with (fillfactor = 70);

create function wallet_of_new_account() returns trigger language plpgsql security definer
set search_path = public, pg_temp as $$
begin
  insert into wallet (account_id) values (new.id);
  return new;
end $$;
create trigger account_has_wallet after insert on account for each row execute function wallet_of_new_account();

create table lot (
  id              text primary key,
  account_id      text not null references wallet (account_id),
  kind            text not null check (kind in ('plan', 'pack', 'trial', 'goodwill', 'promotion')),
  key             text not null,
  granted         numeric(24, 8) not null check (granted > 0),
  remaining       numeric(24, 8) not null,
  held            numeric(24, 8) not null default 0,
  expires_at      timestamptz,
  priority        smallint not null default 100,
  granted_at      timestamptz not null,
  subscription_id text,         -- of a recurring lot: whose successor lapses it
  period_start    timestamptz,  -- of a recurring lot: a later one succeeds an earlier one
  payment_id      text,         -- pi_… or in_…: what a refund gives back
  unique (account_id, key),
  check (0 <= held and held <= remaining and remaining <= granted),
  check ((subscription_id is null) = (period_start is null))
) with (fillfactor = 80);
create index lot_unspent on lot (account_id, expires_at, priority, granted_at, id) where remaining > 0;
create index lot_of_subscription on lot (subscription_id) where subscription_id is not null;

create table posting (
  account_id    text not null,
  seq           bigint not null check (seq > 0),
  kind          text not null check (kind in ('grant', 'spend', 'lapse')),
  from_account  text not null,
  to_account    text not null,
  amount        numeric(24, 8) not null, -- what it does to the customer's balance
  balance_after numeric(24, 8) not null,
  key           text not null,
  request_hash  text not null,           -- what "the same content" means for this key
  feature       text check (feature ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
  actor         text not null,
  reason_code   text not null check (reason_code ~ '^[a-z][a-z0-9_]{0,63}$'),
  lot_ids       text[] not null,             -- where each credit came from or went to: lots filled and drawn on,
  lot_amounts   numeric(24, 8)[] not null,   -- and how much of each; below zero is drawn
  source        jsonb not null default '{}', -- ids minted by us or by Stripe: subscription, invoice, line, payment
  occurred_at   timestamptz not null,        -- business time
  recorded_at   timestamptz not null default clock_timestamp(), -- machine time
  primary key (account_id, seq),
  unique (account_id, key),
  constraint posting_way check (cardinality(lot_ids) = cardinality(lot_amounts)),
  constraint posting_direction check ((to_account = account_id and from_account like 'system:%' and amount > 0)
                                   or (from_account = account_id and to_account like 'system:%' and amount < 0))
);

-- A posting's public id: made from what it is, so that no index and no random number is needed to find it.
create function posting_id(p_account text, p_seq bigint, p_kind text) returns text language sql immutable as $$
  select case when p_kind = 'spend' then 'spd_' else 'pst_' end || substr(p_account, 5) || '_' || p_seq
$$;

-- The way of every credit, a row for each lot that a posting filled or drew on.
create view posting_lot as
  select p.account_id, p.seq, l.lot_id, case when l.amount > 0 then 'fill' else 'draw' end as effect, l.amount
    from posting p, unnest(p.lot_ids, p.lot_amounts) as l (lot_id, amount);

-- Who did what and why, for everything but spends, whose posting is its own audit row.
create table audit_log (
  id          bigint generated always as identity primary key,
  account_id  text,
  actor       text not null,
  action      text not null,
  subject     text not null,
  reason_code text not null,
  detail      jsonb not null default '{}',
  occurred_at timestamptz not null default business_now(),
  recorded_at timestamptz not null default clock_timestamp()
);
create index audit_log_of_account on audit_log (account_id, id);

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only: % refused', tg_table_name, tg_op using errcode = 'restrict_violation';
end $$;
create trigger append_only before update or delete or truncate on posting
  for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on audit_log
  for each statement execute function refuse_change();

-- Takes the rest of one lot away from a locked wallet and answers the wallet as it then is.
create function ledger_lapse(w wallet, p_lot text, p_amount numeric, p_cause text, p_reason text, p_at timestamptz)
returns wallet language plpgsql as $$
begin
  w.seq := w.seq + 1;
  w.balance := w.balance - p_amount;
  w.touched_at := greatest(p_at, w.touched_at);
  insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                       actor, reason_code, lot_ids, lot_amounts, source, occurred_at)
  values (w.account_id, w.seq, 'lapse', w.account_id, 'system:lapsed', -p_amount, w.balance,
          'lapse:' || p_lot || ':' || p_cause, p_lot || ':' || p_cause, 'system', p_reason,
          array[p_lot], array[-p_amount], jsonb_build_object('lot', p_lot), w.touched_at);
  update lot set remaining = remaining - p_amount where id = p_lot;
  return w;
end $$;

-- Writes a wallet back. Its next lapse is found anew, because lots may have come, gone or changed.
create function ledger_keep(w wallet) returns wallet language plpgsql as $$
begin
  update wallet set seq = w.seq, balance = w.balance, held = w.held, debt = w.debt, touched_at = w.touched_at,
         next_lapse_at = (select min(expires_at) from lot
                           where account_id = w.account_id and remaining > 0 and remaining > held)
   where account_id = w.account_id returning * into w;
  return w;
end $$;

-- Locks a wallet, reads business time after the lock, and posts the lapses that are due (law 9).
-- Answers null when there is no such account. touched_at of the answer is the time of what follows.
create function ledger_touch(p_account text) returns wallet language plpgsql as $$
declare
  w wallet;
  v_now timestamptz;
  l record;
begin
  select * into w from wallet where account_id = p_account for update;
  if not found then return null; end if;
  v_now := greatest(business_now(), w.touched_at);
  if w.next_lapse_at <= v_now then
    for l in select id, remaining - held as free, expires_at from lot
              where account_id = p_account and remaining > 0 and remaining > held and expires_at <= v_now
              order by expires_at, id
    loop
      w := ledger_lapse(w, l.id, l.free, 'expiry', 'expired', l.expires_at);
    end loop;
    w := ledger_keep(w);
  end if;
  w.touched_at := v_now;
  return w;
end $$;

-- Posts what is due in one wallet now. Answers how many postings the wallet has.
create function ledger_settle(p_account text) returns bigint language plpgsql security definer
set search_path = public, pg_temp as $$
declare w wallet;
begin
  w := ledger_touch(p_account);
  return w.seq;
end $$;

-- Puts a new lot into a wallet, once per business key. Debt is repaid first, inside the same posting. A recurring
-- lot ends its predecessors: those of the same subscription with an earlier period.
-- outcome: granted | replayed | key_reused (same key, other content) | no_account
create function ledger_grant(
  p_account text, p_key text, p_hash text, p_kind text, p_amount numeric, p_expires_at timestamptz,
  p_priority smallint, p_subscription text, p_period_start timestamptz, p_payment text, p_from text,
  p_actor text, p_reason text, p_source jsonb,
  out outcome text, out id text, out lot_id text, out amount numeric, out balance_after numeric,
  out occurred_at timestamptz)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  w wallet;
  v_now timestamptz;
  v_repaid numeric;
  v_old posting;
  l record;
begin
  if p_amount <= 0 or p_amount <> round(p_amount, 8) then
    raise exception 'an amount of credits is positive and has at most 8 decimals: %', p_amount
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
    for l in select lot.id, lot.remaining - lot.held as free from lot
              where lot.account_id = p_account and lot.subscription_id = p_subscription
                and lot.period_start < p_period_start and lot.remaining > 0
              order by lot.period_start, lot.id
    loop
      if l.free > 0 then
        w := ledger_lapse(w, l.id, l.free, lot_id, 'succeeded', v_now);
      end if;
      -- what is still held of it goes when the hold does
      update lot set expires_at = least(expires_at, v_now) where lot.id = l.id;
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
  w := ledger_keep(w);
  outcome := 'granted'; amount := p_amount; balance_after := w.balance; occurred_at := v_now;
end $$;

-- Takes credits from a wallet, soonest to expire first, then by priority, then oldest; what never expires goes last.
-- One call is one transaction. The replay check comes before the floor check, both under the wallet's lock.
-- outcome: spent | replayed | key_reused | insufficient | no_account
create function ledger_spend(
  p_account text, p_key text, p_hash text, p_amount numeric, p_feature text, p_actor text, p_overdraft boolean,
  out outcome text, out id text, out amount numeric, out balance_after numeric, out available numeric,
  out occurred_at timestamptz)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  w wallet;
  v_old posting;
  v_free numeric;
begin
  if p_amount <= 0 or p_amount <> round(p_amount, 8) then
    raise exception 'an amount of credits is positive and has at most 8 decimals: %', p_amount
      using errcode = 'check_violation';
  end if;
  w := ledger_touch(p_account);
  if w.account_id is null then outcome := 'no_account'; return; end if;
  select * into v_old from posting p where p.account_id = p_account and p.key = p_key;
  if found then
    outcome := case when v_old.request_hash = p_hash then 'replayed' else 'key_reused' end;
    id := posting_id(p_account, v_old.seq, v_old.kind); amount := -v_old.amount; balance_after := v_old.balance_after; occurred_at := v_old.occurred_at;
    return;
  end if;
  -- every lot that has something free is unexpired here: the touch has posted the others
  select coalesce(sum(lot.remaining - lot.held), 0) into v_free
    from lot where lot.account_id = p_account and lot.remaining > 0 and lot.remaining > lot.held;
  available := greatest(0, v_free - w.debt);
  if p_amount > available and not p_overdraft then outcome := 'insufficient'; return; end if;

  w.seq := w.seq + 1;
  w.balance := w.balance - p_amount;
  w.debt := w.debt + greatest(0, p_amount - v_free);
  id := posting_id(p_account, w.seq, 'spend');
  with burn as (
    select lot.id, lot.remaining - lot.held as free,
           sum(lot.remaining - lot.held) over (order by lot.expires_at asc nulls last, lot.priority, lot.granted_at, lot.id)
             - (lot.remaining - lot.held) as before
      from lot where lot.account_id = p_account and lot.remaining > 0 and lot.remaining > lot.held
  ), draw as materialized (
    select burn.id, before, least(free, p_amount - before) as taken from burn where before < p_amount
  ), drawn as (
    update lot set remaining = lot.remaining - draw.taken from draw where lot.id = draw.id
  )
  insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                       feature, actor, reason_code, lot_ids, lot_amounts, occurred_at)
  select p_account, w.seq, 'spend', p_account, 'system:used', -p_amount, w.balance, p_key, p_hash, p_feature, p_actor,
         'spend', coalesce(array_agg(draw.id order by before), '{}'),
         coalesce(array_agg(-draw.taken order by before), '{}'), w.touched_at
    from draw;
  w := ledger_keep(w);
  outcome := 'spent'; amount := p_amount; balance_after := w.balance; occurred_at := w.touched_at;
  available := greatest(0, available - p_amount);
end $$;

-- A wallet as it is at this instant, expired lots left out, swept or not. No row when there is no such account.
create function ledger_balance(p_account text)
returns table (account_id text, seq bigint, balance numeric, held numeric, available numeric, debt numeric,
               at timestamptz, lots jsonb)
language sql stable security definer set search_path = public, pg_temp as $$
  with clock as materialized (select business_now() as now),
  live as (
    select lot.*, case when lot.expires_at <= clock.now then lot.held else lot.remaining end as counts,
           case when lot.expires_at <= clock.now then 0 else lot.remaining - lot.held end as free
      from lot, clock where lot.account_id = p_account and lot.remaining > 0
  ), total as (
    select coalesce(sum(counts), 0) as counts, coalesce(sum(free), 0) as free,
           coalesce(jsonb_agg(jsonb_build_object(
             'id', id, 'source', kind, 'granted', granted::text, 'remaining', counts::text, 'expires_at', expires_at)
             order by expires_at asc nulls last, priority, granted_at, id) filter (where counts > 0), '[]') as lots
      from live
  )
  select w.account_id, w.seq, total.counts - w.debt, w.held, greatest(0, total.free - w.debt), w.debt, clock.now,
         total.lots
    from wallet w, total, clock where w.account_id = p_account
$$;

revoke execute on all functions in schema public from public;
grant usage on schema public to perennial_service;
grant select on business_clock, account, wallet, lot, posting, posting_lot, audit_log to perennial_service;
grant insert, update on account to perennial_service;
grant insert on audit_log to perennial_service;
grant execute on function business_now(), posting_id(text, bigint, text), ledger_settle(text), ledger_balance(text),
  ledger_grant(text, text, text, text, numeric, timestamptz, smallint, text, timestamptz, text, text, text, text, jsonb),
  ledger_spend(text, text, text, numeric, text, text, boolean)
  to perennial_service;
