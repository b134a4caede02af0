-- Packs: orders of another kind in the checkout table, each bought once and granted as what was paid for it.

alter table checkout
  add column kind text not null default 'plan' check (kind in ('plan', 'pack')),
  add column quantity integer not null default 1 check (quantity > 0),
  add column amount_minor bigint check (amount_minor > 0),
  add column currency text,
  add column saves_method boolean not null default false,
  add column granted numeric(24, 8) check (granted >= 0),
  add column payment_id text,
  add column paid_at timestamptz,
  add column ordered_at timestamptz not null default clock_timestamp(),
  alter column interval drop not null,
  alter column plan_group drop not null,
  drop constraint checkout_state_check,
  add constraint checkout_state check (state in ('opening', 'open', 'paid', 'abandoned', 'failed')
    or (kind = 'pack' and state in ('processing', 'late'))),
  add constraint checkout_kind check (case kind
    when 'pack' then num_nonnulls(interval, plan_group, subscription_id) = 0
                     and num_nulls(price_id, amount_minor, currency) = 0
    else num_nonnulls(amount_minor, currency, granted, payment_id, paid_at) = 0
         and num_nulls(interval, plan_group) = 0 and quantity = 1 end),
  -- what is granted, of which payment and when, is one fact
  add constraint checkout_paid check (kind <> 'pack'
    or num_nonnulls(granted, payment_id, paid_at) = case when state in ('paid', 'late') then 3 else 0 end);
comment on column checkout.plan is 'key of the plan, or of the pack';
comment on column checkout.amount_minor is 'of a pack: list price × quantity, what limits count';
comment on column checkout.saves_method is 'of a pack: the customer agrees on the page that the card is kept for later';
comment on column checkout.payment_id is 'pi_…, or cs_… when nothing was due';
comment on column checkout.ordered_at is 'machine time: what the number of orders an hour is counted by';
create index checkout_packs on checkout (account_id, created_at desc, id desc) where kind = 'pack';

-- What a pack was paid with. A refund starts from here.
alter table payment add column order_id text unique references checkout (id);

update catalog set limits = limits || '{"purchaseHourMax": 10}' where not limits ? 'purchaseHourMax';

alter table api_key drop constraint api_key_scopes_check;
alter table api_key add constraint api_key_scopes_check check (
  scopes <@ array['read', 'accounts', 'spend', 'overdraft', 'reverse', 'grants', 'grants:large', 'subscriptions', 'webhooks',
                  'adjustments', 'approvals', 'purchases']
);
