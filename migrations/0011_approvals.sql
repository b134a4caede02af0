-- Approvals: what one person (or a workflow) asks for and another person decides. What is approved is the stored plan,
-- and nothing can change it: it is asked for once, decided once and carried out once.

create table approval (
  id              text primary key check (id ~ '^apr_[0-9a-f]{32}$'),
  kind            text not null check (kind in ('adjustment', 'late_payment', 'duplicate_subscription')),
  account_id      text not null references account (id),
  key             text not null,         -- made from what is to be approved
  plan            jsonb not null check (jsonb_typeof(plan) = 'object'), -- exactly as it will be carried out
  plan_hash       text not null,         -- of the plan and of who asks for what, why: a plan that was tampered with is seen
  reason_code     text not null check (reason_code ~ '^[a-z][a-z0-9_]{0,63}$'),
  requested_by    text not null,         -- `key_…`, or `system`, when a workflow asks
  requested_at    timestamptz not null default business_now(),
  expires_at      timestamptz not null check (expires_at > requested_at), -- business time, as are the others
  state           text not null default 'pending'
                  check (state in ('pending', 'approved', 'rejected', 'expired', 'executed', 'refused')),
  decided_by      text,
  decided_at      timestamptz,
  decision_reason text check (decision_reason ~ '^[a-z][a-z0-9_]{0,63}$'),
  command_id      text unique,           -- the request that decided it, so that its own repetition is known
  result          jsonb,                 -- of `executed`, what it did; of `refused`, why it could not be done any more
  ended_at        timestamptz,
  constraint approval_two_persons check (decided_by <> requested_by),
  constraint approval_decided_by_a_person check (decided_by like 'key\_%'),
  constraint approval_decided check (
    case when state in ('pending', 'expired') then num_nonnulls(decided_by, decided_at, command_id) = 0
         else num_nonnulls(decided_by, decided_at, command_id) = 3 end),
  constraint approval_in_time check (decided_at >= requested_at and decided_at < expires_at),
  constraint approval_result check ((state in ('executed', 'refused')) = (result is not null)),
  constraint approval_ended check ((state in ('pending', 'approved')) = (ended_at is null))
);
comment on table approval is 'what needs two persons; single use; no personal data: a caller''s metadata is in `note`';
-- The same thing is asked for once. What nobody decided in time may be asked for again.
create unique index approval_once on approval (key) where state <> 'expired';
create index approval_open on approval (expires_at) where state in ('pending', 'approved');
create index approval_by_age on approval (requested_at desc, id desc);
create index approval_of_account on approval (account_id, requested_at desc, id desc);

-- What was asked for never changes; a decision is made once, and carried out once.
create function approval_moves_forward() returns trigger language plpgsql as $$
begin
  if (to_jsonb(new) - '{state,decided_by,decided_at,decision_reason,command_id,result,ended_at}'::text[])
     <> (to_jsonb(old) - '{state,decided_by,decided_at,decision_reason,command_id,result,ended_at}'::text[]) then
    raise exception 'what was asked for with % never changes', old.id using errcode = 'restrict_violation';
  end if;
  if old.state <> 'pending' and (new.decided_by, new.decided_at, new.decision_reason, new.command_id)
     is distinct from (old.decided_by, old.decided_at, old.decision_reason, old.command_id) then
    raise exception '% was decided before', old.id using errcode = 'restrict_violation';
  end if;
  if (old.state, new.state) not in (('pending', 'approved'), ('pending', 'rejected'), ('pending', 'expired'),
                                    ('approved', 'executed'), ('approved', 'refused')) then
    raise exception '% is %, it cannot become %', old.id, old.state, new.state using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger moves_forward before update on approval for each row execute function approval_moves_forward();
create trigger append_only before delete or truncate on approval for each statement execute function refuse_change();

-- Begun by asking: nobody writes one that is approved already.
create function approval_begins_pending() returns trigger language plpgsql as $$
begin
  if new.state <> 'pending' then
    raise exception 'an approval begins pending' using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger begins_pending before insert on approval for each row execute function approval_begins_pending();

-- The metadata of what is asked for goes where it can be erased.
create function approval_note(p_approval text, p_metadata jsonb) returns void language sql security definer
set search_path = public, pg_temp as $$
  insert into note (subject, account_id, metadata)
  select id, account_id, p_metadata from approval where id = p_approval and state = 'pending'
$$;

-- A second live subscription that a person said may stay until its period ends.
alter table subscription add column kept_by text references approval (id);
comment on column subscription.kept_by is 'of a duplicate: the approval that closed the matter';

-- Corrections: a posting kind of their own, from or to `system:adjusted`, so that none ever looks like a grant or a use.
-- What gives is a lot of kind `adjustment`, by ledger_grant (its newest definition, 0014, posts it as one).
alter table lot drop constraint lot_kind_check;
alter table lot add constraint lot_kind_check
  check (kind in ('plan', 'pack', 'trial', 'goodwill', 'promotion', 'adjustment'));

-- Takes credits away that should not be there: in the order of a spend, and it is none. Never what holds set aside. With
-- p_overdraft what is not available any more is a debt.
-- outcome: debited | replayed | key_reused | insufficient (available: what there is) | no_account
create function ledger_debit(
  p_account text, p_key text, p_hash text, p_amount numeric, p_overdraft boolean, p_actor text, p_reason text,
  p_source jsonb, p_metadata jsonb,
  out outcome text, out id text, out amount numeric, out balance_after numeric, out available numeric,
  out occurred_at timestamptz)
language plpgsql security definer set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
  w wallet;
  v_old posting;
begin
  perform ledger_check_amount(p_amount);
  w := ledger_touch(p_account);
  if w.account_id is null then outcome := 'no_account'; return; end if;
  select * into v_old from posting p where p.account_id = p_account and p.key = p_key;
  if found then
    outcome := case when v_old.request_hash = p_hash then 'replayed' else 'key_reused' end;
    id := posting_id(p_account, v_old.seq, v_old.kind); amount := v_old.amount; balance_after := v_old.balance_after;
    occurred_at := v_old.occurred_at;
    return;
  end if;
  available := greatest(0, w.balance - w.held);
  if p_amount > available and not p_overdraft then outcome := 'insufficient'; return; end if;
  w.debt := w.debt + greatest(0, p_amount - (w.balance + w.debt - w.held));
  w.seq := w.seq + 1;
  w.balance := w.balance - p_amount;
  id := posting_id(p_account, w.seq, 'adjustment');
  with burn as materialized (
    select * from ledger_burn(p_account, p_amount)
  ), drawn as (
    update lot set remaining = lot.remaining - burn.taken from burn where lot.id = burn.lot_id
  )
  insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                       actor, reason_code, lot_ids, lot_amounts, source, occurred_at)
  select p_account, w.seq, 'adjustment', p_account, 'system:adjusted', -p_amount, w.balance, p_key, p_hash,
         p_actor, p_reason, coalesce(array_agg(burn.lot_id order by burn.place), '{}'),
         coalesce(array_agg(-burn.taken order by burn.place), '{}'), p_source, w.touched_at
    from burn;
  insert into audit_log (account_id, actor, action, subject, reason_code, detail, occurred_at)
  values (p_account, p_actor, 'adjustment', id, p_reason, p_source, w.touched_at);
  if p_metadata is not null then insert into note (subject, account_id, metadata) values (id, p_account, p_metadata); end if;
  perform ledger_keep(w);
  outcome := 'debited'; amount := -p_amount; balance_after := w.balance; occurred_at := w.touched_at;
  available := greatest(0, available - p_amount);
end $$;

-- As before (0007), but that a debt may have been repaid by an adjustment, too.
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
     where lot.account_id = p_account and p.account_id = p_account and p.kind in ('grant', 'adjustment')
       and cardinality(p.lot_ids) > 1
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

revoke execute on all functions in schema public from public;
grant select, insert, update on approval to perennial_service;
grant execute on function approval_note(text, jsonb),
  ledger_debit(text, text, text, numeric, boolean, text, text, jsonb, jsonb)
  to perennial_service;

alter table api_key drop constraint api_key_scopes_check;
alter table api_key add constraint api_key_scopes_check check (
  scopes <@ array['read', 'accounts', 'spend', 'overdraft', 'reverse', 'grants', 'grants:large', 'subscriptions',
                  'webhooks', 'adjustments', 'approvals']
);
