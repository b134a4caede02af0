-- Calls that change something in Stripe, each written down before it is sent. Without an answer its outcome is unknown.
create table stripe_call (
  key         text primary key, -- of what is made or set: the Idempotency-Key of the first generation
  kind        text not null,
  subject     text not null, -- of ours or of Stripe's, never personal
  generation  integer not null default 1 check (generation > 0), -- another one only when the last is known to have made nothing
  asked_at    timestamptz not null default business_now(), -- first, in business time; what it makes is no older
  sent_at     timestamptz not null default business_now(), -- business time of the first under this generation's key, which Stripe keeps for a day
  object_id   text, -- what it made
  answered_at timestamptz, -- machine time; null: the outcome is unknown
  check (object_id is null or answered_at is not null)
);
create index stripe_call_unknown on stripe_call (asked_at) where answered_at is null;
create index stripe_call_answered on stripe_call (answered_at) where answered_at is not null;
grant select, insert, update, delete on stripe_call to perennial_service;
