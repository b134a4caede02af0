-- How far Stripe's event list was compared with the inbox, and the pass that is under way.
create table catch_up (
  id             boolean primary key default true check (id), -- one row
  compared_until timestamptz, -- Stripe's time: what was made before it was seen by a whole pass; null: none yet
  passed_at      timestamptz, -- machine time of the end of the last whole pass
  pass           bigint not null default 0, -- counts passes
  pass_from      timestamptz, -- Stripe's time that the pass under way goes back to; null: none is
  pass_newest    timestamptz, -- the newest event that it met
  pass_after     text, -- the event that it got to, from the newest on
  check (pass_from is not null or (pass_newest is null and pass_after is null))
);
insert into catch_up default values;
grant select, update on catch_up to perennial_service;

-- Events of another API version: their owner is not known before the object was read again.
create index inbox_unread on processed_webhook_events (next_attempt_at)
  where owner is null and settled_at is null and parked_at is null;
