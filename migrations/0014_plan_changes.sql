-- Plan changes: what a proration does to credits, and what Stripe is to change by itself.

-- Prorations of a paid invoice that are settled, once per invoice and target price; and grants that made good what a
-- settlement left owed. What a subscription owes is the sum: credits whose money was given back after the grant.
create table settlement (
  key             text primary key,
  account_id      text not null references account (id),
  subscription_id text not null,
  invoice_id      text not null,
  owed            numeric(24, 8) not null, -- negative: made good by a smaller grant
  recorded_at     timestamptz not null default clock_timestamp()
);
create index settlement_of_subscription on settlement (subscription_id);
grant select, insert on settlement to perennial_service;

-- A month of a paid year becomes smaller when its money was given back; one that has nothing left is never granted.
-- A month that a proration bought succeeds nothing: it has no carry.
alter table entitlement
  add column cut numeric(24, 8) not null default 0,
  add constraint entitlement_cut check (cut >= 0 and cut <= amount),
  alter column carry drop not null;
drop index entitlement_due;
create index entitlement_due on entitlement (subscription_id, due_at) where granted_at is null and cut < amount;

alter table subscription
  add column pending_change jsonb,
  add column paused boolean not null default false;
comment on column subscription.pending_change is
  'what Stripe changes by itself: at the end of the period, or when an invoice is paid; as Stripe says it';

-- As before, but that a null p_carry succeeds nothing: the lot of a proration stands beside its period's; and that a lot
-- of kind `adjustment` is posted as one.
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
  insert into lot (id, account_id, kind, key, granted, remaining, expires_at, priority, granted_at,
                   subscription_id, period_start, payment_id)
  values (lot_id, p_account, p_kind, p_key, p_amount, p_amount - v_repaid, p_expires_at, p_priority, v_now,
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
