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

-- A second live subscription that a person said may stay until its period ends.
alter table subscription add column kept_by text references approval (id);
comment on column subscription.kept_by is 'of a duplicate: the approval that closed the matter';

revoke execute on all functions in schema public from public;
grant select, insert, update on approval to perennial_service;
grant insert on note to perennial_service; -- the metadata of what is asked for

alter table api_key drop constraint api_key_scopes_check;
alter table api_key add constraint api_key_scopes_check check (
  scopes <@ array['read', 'accounts', 'spend', 'overdraft', 'reverse', 'grants', 'grants:large', 'subscriptions',
                  'webhooks', 'adjustments', 'approvals']
);
