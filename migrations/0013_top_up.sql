-- Automatic top-up: what an account has asked for, and every attempt to charge for it.

create table top_up (
  account_id        text primary key references account (id),
  enabled           boolean not null,
  pack              text not null, -- key of a pack; its price is whatever is on sale when it is charged
  threshold         numeric(24, 8) not null check (threshold > 0),
  monthly_max_minor bigint not null check (monthly_max_minor > 0),
  return_url        text not null, -- where a page that asks the customer to pay himself leads back to
  generation        integer not null default 1, -- how often a person has set it going: counts begin anew
  declines          integer not null default 0 check (declines >= 0), -- in a row
  next_attempt_at   timestamptz,   -- business time, as are the others: not before
  stopped           text check (stopped in ('declines', 'no_payment_method', 'pack_not_on_sale')), -- why it stopped by itself
  deadline_at       timestamptz,   -- when its workflow wakes itself
  updated_at        timestamptz not null default business_now(),
  check (not enabled or stopped is null)
);
create index top_up_enabled on top_up (account_id) where enabled;
create index top_up_deadline on top_up (deadline_at) where deadline_at is not null;

-- Written before Stripe is called, so that nobody has to know whether it was: its key in Stripe is its account and ordinal.
create table top_up_attempt (
  id             text primary key check (id ~ '^top_[0-9a-f]{32}$'),
  account_id     text not null references top_up (account_id),
  ordinal        integer not null check (ordinal > 0),
  generation     integer not null,
  state          text not null default 'charging'
                 check (state in ('charging', 'processing', 'succeeded', 'declined', 'failed')),
  price_id       text not null references catalog_price (price_id),
  amount_minor   bigint not null check (amount_minor > 0),
  currency       text not null,
  payment_method text not null,
  payment_id     text unique, -- pi_…, once Stripe has told
  code           text,        -- why it was declined, in Stripe's words
  granted        numeric(24, 8),
  started_at     timestamptz not null default business_now(),
  claimed_at     timestamptz not null default clock_timestamp(), -- machine time: what the number an hour is counted by
  ended_at       timestamptz,
  unique (account_id, ordinal),
  check ((state in ('charging', 'processing')) = (ended_at is null)),
  check ((state = 'succeeded') = (granted is not null)),
  check (state <> 'succeeded' or payment_id is not null)
);
create unique index top_up_one_in_flight on top_up_attempt (account_id) where state in ('charging', 'processing');

-- What a top-up was paid with.
alter table payment add column top_up_id text unique references top_up_attempt (id);

grant select, insert, update on top_up, top_up_attempt to perennial_service;
