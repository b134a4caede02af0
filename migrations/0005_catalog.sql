-- The catalogue grows: commitment prices beside ordinary ones, packs, free plans, renewal rules, and its limits.

alter table catalog_price
  add column kind text not null default 'plan' check (kind in ('plan', 'free', 'pack')),
  add column commitment_months integer check (commitment_months > 1),
  alter column interval drop not null,
  add constraint catalog_price_interval check ((kind = 'pack') = (interval is null)),
  add constraint catalog_price_commitment check (commitment_months is null or kind = 'plan');
comment on column catalog_price.price_id is 'Stripe''s price; of a free plan, its lookup key';
comment on column catalog_price.plan is 'key of the plan, or of the pack';
comment on column catalog_price.terms is 'as they were when bought; rows of the first version lack what came later';

drop index catalog_price_on_sale;
create unique index catalog_price_on_sale on catalog_price (kind, plan, interval, commitment_months)
  nulls not distinct where on_sale;

-- The catalogue in force, but for what it sells: one row, once a catalogue has been put in force.
create table catalog (
  only_row  boolean primary key default true check (only_row),
  version   text not null,
  currency  text not null,
  limits    jsonb not null
);
grant select, insert, update on catalog to perennial_service;

-- A month of a plan whose credits are kept never expires; how many credits of the month before live on beside it.
alter table entitlement
  alter column expires_at drop not null,
  add column carry numeric not null default 0 check (carry >= 0 and carry <> 'NaN');
