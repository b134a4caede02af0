-- The outbox: what an account is told, written with its cause, and a delivery of it for each who is told. Ids and amounts
-- only: the address is looked up when a notice is sent (law 13).

create table webhook_endpoint (
  id           text primary key check (id ~ '^we_[0-9a-f]{32}$'),
  url          text not null,
  secret       text not null check (secret like 'whsec\_%'), -- what deliveries are signed with, so it cannot be a hash
  old_secret   text check (old_secret like 'whsec\_%'),      -- signs beside it while it is being rolled
  old_until    timestamptz,                                  -- machine time
  events       text[] check (cardinality(events) > 0),       -- null: all
  enabled      boolean not null default true,
  failing_since timestamptz, -- machine time; null: the last delivery arrived, or there was none yet
  delivered_at timestamptz,  -- machine time of the last that arrived
  created_at   timestamptz not null default date_trunc('milliseconds', clock_timestamp()),
  check ((old_secret is null) = (old_until is null))
);
create index webhook_endpoint_by_age on webhook_endpoint (created_at desc, id desc);

create table notice (
  id          text primary key check (id ~ '^ntc_[0-9a-f]{32}$'),
  account_id  text not null references account (id),
  kind        text not null check (kind ~ '^[a-z][a-z_]{0,63}$'),
  event       text not null, -- the type that receivers of webhooks see
  key         text not null,
  cause       jsonb not null,
  data        jsonb not null,
  emailed     boolean not null,
  created_at  timestamptz not null default business_now(),
  recorded_at timestamptz not null default clock_timestamp(),
  unique (account_id, key)
);
create index notice_by_age on notice (created_at desc, id desc);
create index notice_of_account on notice (account_id, created_at desc, id desc);
create index notice_recorded on notice (recorded_at);

-- A notice's public id: made from what it is, as is a delivery's, so that whoever writes it again writes the same.
create function notice_id(p_account text, p_key text) returns text language sql immutable as $$
  select 'ntc_' || substr(encode(sha256(convert_to(p_account || ' ' || p_key, 'UTF8')), 'hex'), 1, 32)
$$;
create function delivery_id(p_notice text, p_endpoint text) returns text language sql immutable as $$
  select 'dlv_' || substr(encode(sha256(convert_to(p_notice || ' ' || coalesce(p_endpoint, 'email'), 'UTF8')), 'hex'), 1, 32)
$$;

-- Times are machine times. `pending`: to be tried at next_attempt_at, unless somebody has it until leased_until.
-- `sending`: its mail is going out; whoever had it and is gone leaves it in doubt.
create table notice_delivery (
  id              text primary key,
  notice_id       text not null references notice (id) on delete cascade,
  endpoint_id     text references webhook_endpoint (id), -- null: by e-mail
  target          text generated always as (coalesce(endpoint_id, 'email')) stored,
  state           text not null default 'pending'
                  check (state in ('pending', 'sending', 'delivered', 'failed', 'in_doubt', 'skipped')),
  attempts        integer not null default 0,  -- since it was last asked for
  asked_at        timestamptz not null default date_trunc('milliseconds', clock_timestamp()), -- by its notice, or by a person, again
  next_attempt_at timestamptz not null default clock_timestamp(),
  lease           uuid,
  leased_until    timestamptz,
  status_code     integer, -- what the last receiver answered: HTTP's or SMTP's
  detail          text check (length(detail) <= 300), -- a word on why it is not delivered, or the answer's beginning
  finished_at     timestamptz,
  unique (notice_id, target),
  check ((state in ('pending', 'sending')) = (finished_at is null)),
  check (state <> 'sending' or lease is not null),
  check ((lease is null) = (leased_until is null))
);
create index notice_delivery_due on notice_delivery (target, next_attempt_at) where state = 'pending';
create index notice_delivery_sending on notice_delivery (leased_until) where state = 'sending';
create index notice_delivery_of_endpoint on notice_delivery (endpoint_id, asked_at desc, id desc)
  where endpoint_id is not null;
create index notice_delivery_trouble on notice_delivery (state, asked_at desc, id desc)
  where state in ('failed', 'in_doubt');

revoke execute on function notice_id(text, text), delivery_id(text, text) from public;
grant execute on function notice_id(text, text), delivery_id(text, text) to perennial_service;
grant select, insert, update on webhook_endpoint, notice_delivery to perennial_service;
grant select, insert, delete on notice to perennial_service;

alter table api_key drop constraint api_key_scopes_check;
alter table api_key add constraint api_key_scopes_check check (
  scopes <@ array['read', 'accounts', 'spend', 'overdraft', 'reverse', 'grants', 'grants:large', 'subscriptions', 'webhooks']
);
