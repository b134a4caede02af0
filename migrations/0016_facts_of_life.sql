-- Facts of life in Stripe: customers that were deleted there, and objects that are nobody's here.

-- Every customer that an account had in Stripe, so that what comes late for a deleted one still finds its account.
-- account.stripe_customer_id is the one it has now.
create table stripe_customer (
  id         text primary key,
  account_id text not null references account (id),
  ordinal    integer not null check (ordinal > 0), -- part of the key under which it was made
  tied_at    timestamptz not null default business_now(),
  deleted_at timestamptz,
  unique (account_id, ordinal)
);
create unique index stripe_customer_one_live on stripe_customer (account_id) where deleted_at is null;
insert into stripe_customer (id, account_id, ordinal)
  select stripe_customer_id, id, 1 from account where stripe_customer_id is not null;

-- Objects in Stripe that belong to no account. Seen, and never counted as money of ours that is missing.
-- foreign: nothing on it names us. orphan: it names an account or an order that is not here, which a person must explain.
create table stray_object (
  id        text primary key,
  kind      text not null check (kind in ('subscription', 'checkout')),
  standing  text not null check (standing in ('foreign', 'orphan')),
  named     text, -- the account or order of ours that an orphan names
  first_at  timestamptz not null default clock_timestamp(),
  last_at   timestamptz not null default clock_timestamp(),
  check ((standing = 'orphan') = (named is not null))
);

grant select, insert, update on stripe_customer to perennial_service;
grant select, insert, update, delete on stray_object to perennial_service;
