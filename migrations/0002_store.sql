-- Everything but the ledger. Personal data lives in `customer` and nowhere else (law 13).

create table customer (
  account_id  text primary key references account (id),
  external_id text unique check (length(external_id) between 1 and 255),
  email       text,
  name        text,
  metadata    jsonb not null default '{}',
  answer      text -- what POST /v1/accounts answered, for its replays: kept here because it repeats personal data
);
create index account_by_age on account (created_at desc, id desc);

create table api_key (
  id          text primary key,
  hash        bytea not null unique, -- SHA-256 of a secret of 160 random bits: nothing to guess, so no slow hash
  scopes      text[] not null check (scopes <@ array['read', 'write']),
  name        text not null,
  created_at  timestamptz not null default clock_timestamp(),
  revoked_at  timestamptz
);

-- Which Stripe price is which price of the catalogue. Kept for ever: subscribers keep what they bought.
create table catalog_price (
  price_id    text primary key,
  lookup_key  text not null unique,
  plan        text not null,
  interval    text not null check (interval in ('month', 'year')),
  version     text not null,
  terms       jsonb not null, -- credits, list price, currency, grace, discount rule, group: as they were when bought
  on_sale     boolean not null default false
);
create unique index catalog_price_on_sale on catalog_price (plan, interval) where on_sale;

-- A hosted checkout, from the order to its end.
create table checkout (
  id              text primary key check (id ~ '^ord_[A-Za-z0-9]+$'),
  account_id      text not null references account (id),
  plan            text not null,
  interval        text not null,
  plan_group      text not null,
  price_id        text,
  success_url     text not null,
  cancel_url      text not null,
  state           text not null default 'opening' check (state in ('opening', 'open', 'paid', 'abandoned', 'failed')),
  session_id      text unique,
  url             text,
  subscription_id text,
  metadata        jsonb not null default '{}',
  expires_at      timestamptz,
  deadline_at     timestamptz, -- when its workflow wakes itself
  created_at      timestamptz not null default business_now()
);
create unique index checkout_one_opening on checkout (account_id, plan_group) where state in ('opening', 'open');
create index checkout_deadline on checkout (deadline_at) where deadline_at is not null;

-- A mirror of Stripe's subscription: enough to answer reads, find the owner and wake the workflow. Never decides money.
create table subscription (
  id                   text primary key check (id like 'sub\_%'),
  account_id           text not null references account (id),
  order_id             text,
  role                 text not null check (role in ('primary', 'duplicate')),
  plan                 text,
  plan_group           text not null,
  interval             text,
  price_id             text,
  quantity             integer not null,
  status               text not null,
  current_period_start timestamptz,
  current_period_end   timestamptz,
  anchor               timestamptz not null,
  cancel_at            timestamptz,
  ended_at             timestamptz,
  deadline_at          timestamptz, -- when its workflow wakes itself; null when nothing is left to do
  attention            text,        -- why a person must look at it
  observed_at          timestamptz not null,
  created_at           timestamptz not null
);
create unique index subscription_one_primary on subscription (account_id, plan_group)
  where role = 'primary' and status not in ('canceled', 'incomplete_expired');
create index subscription_deadline on subscription (deadline_at) where deadline_at is not null;
create index subscription_of_account on subscription (account_id, created_at);

-- The twelve grants of a paid year, written when it is paid, posted when due.
create table entitlement (
  key             text primary key, -- the posting's key
  account_id      text not null references account (id),
  subscription_id text not null,
  payment_id      text not null,
  amount          numeric(24, 8) not null check (amount > 0),
  due_at          timestamptz not null,
  period_end      timestamptz not null,
  expires_at      timestamptz not null,
  source          jsonb not null,
  granted_at      timestamptz
);
create index entitlement_due on entitlement (subscription_id, due_at) where granted_at is null;

-- What was paid: payment intent <-> invoice <-> account. A refund starts from here, so it is written with the grant.
create table payment (
  id              text primary key, -- pi_…, or in_… when no payment intent settled the invoice
  account_id      text not null references account (id),
  subscription_id text,
  invoice_id      text unique,
  amount_minor    bigint not null,
  currency        text not null,
  paid_at         timestamptz not null
);

-- The inbox (law 5): each signed event once, as an allow-listed projection.
create table processed_webhook_events (
  event_id        text primary key,
  type            text not null,
  api_version     text,
  livemode        boolean not null,
  object_id       text,
  owner           text,        -- id of the workflow that owns the object; null when nobody handles this type
  payload         jsonb not null,
  created_at      timestamptz not null, -- Stripe's time
  received_at     timestamptz not null default clock_timestamp(),
  signalled_at    timestamptz,
  settled_at      timestamptz, -- a run has observed after this event and nothing was left to do
  wakes           integer not null default 0, -- how often a sweeper has woken its owner; sets the next wait
  attempts        integer not null default 0, -- passes of its owner that failed; too many park it
  next_attempt_at timestamptz not null default clock_timestamp(),
  parked_at       timestamptz,
  parked_reason   text
);
create index inbox_due on processed_webhook_events (next_attempt_at)
  where settled_at is null and parked_at is null;
create index inbox_parked on processed_webhook_events (parked_at) where settled_at is null and parked_at is not null;
create index inbox_of_owner on processed_webhook_events (owner) where settled_at is null and parked_at is null;

-- One request of one caller: its key, what it asked, what it was answered.
create table command (
  id           text primary key check (id ~ '^cmd_[A-Za-z0-9]+$'),
  scope        text not null,  -- account id, or 'accounts' for what makes one
  operation    text not null,
  key          text not null,
  request_hash text not null,
  owner        text,           -- workflow id, for what a workflow does
  input        jsonb not null,
  state        text not null default 'pending' check (state in ('pending', 'done', 'refused')),
  status_code  integer,
  result       jsonb,
  attempts     integer not null default 0,
  next_attempt_at timestamptz not null default clock_timestamp(),
  created_at   timestamptz not null default clock_timestamp(),
  finished_at  timestamptz,
  unique (scope, operation, key),
  check ((state = 'pending') = (finished_at is null))
);
create index command_pending on command (next_attempt_at) where state = 'pending' and owner is not null;

create table duty_run (
  id          bigint generated always as identity primary key,
  duty        text not null,
  started_at  timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  result      jsonb
);
create index duty_run_latest on duty_run (duty, started_at desc);

-- What a person must look at. One open row a kind and subject; it counts how often it was raised.
create table alert (
  id          bigint generated always as identity primary key,
  kind        text not null,
  subject     text not null,
  detail      text not null,
  times       integer not null default 1,
  raised_at   timestamptz not null default clock_timestamp(),
  last_at     timestamptz not null default clock_timestamp(),
  resolved_at timestamptz
);
create unique index alert_open on alert (kind, subject) where resolved_at is null;

grant select, insert, update on customer, api_key, catalog_price, checkout, subscription, entitlement, payment,
  processed_webhook_events, command, duty_run, alert to perennial_service;
