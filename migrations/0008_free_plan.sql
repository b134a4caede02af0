-- Free plans: subscriptions that are nowhere but here. The role `fallback` gives way to whatever is paid for.

alter table subscription
  drop constraint subscription_id_check,
  drop constraint subscription_role_check,
  add constraint subscription_role check (role in ('primary', 'duplicate', 'fallback')),
  add constraint subscription_id check (case when role = 'fallback' then id ~ '^free_[0-9a-f]{32}$' else id like 'sub\_%' end),
  add constraint subscription_fallback check (role <> 'fallback' or (status in ('active', 'canceled')
    and price_id is not null and current_period_end is not null and (status = 'canceled') = (ended_at is not null))),
  add column metadata jsonb not null default '{}';
comment on table subscription is
  'What Stripe says of a subscription, which never decides money; and free plans, of which this row is the truth';
comment on column subscription.metadata is 'of a free plan: a caller''s; of all others it is with their order';
comment on column subscription.anchor is
  'where months are counted from; of a free plan, the first enrolment of its account in its group';

create unique index subscription_one_fallback on subscription (account_id, plan_group)
  where role = 'fallback' and status <> 'canceled';
