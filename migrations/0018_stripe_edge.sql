-- The fleet's one door to Stripe: a circuit breaker and the buckets of its rate limits, shared by every process. All of
-- it is machine time (law 14).

create table circuit_breaker (
  name          text primary key,
  state         text not null default 'closed' check (state in ('closed', 'open', 'half_open')),
  epoch         bigint not null default 0,  -- grows with every change of state: an answer of an earlier one changes nothing
  trips         bigint not null default 0,  -- how often it opened
  failed_probes integer not null default 0, -- since it opened: what the back-off grows by
  opened_at     timestamptz,
  retry_at      timestamptz,                -- open: when the next probe may go; half_open: when the probe's lease ends
  last_reason   text,                       -- the last outage that opened it or kept it open
  window_from   timestamptz not null default clock_timestamp(),
  calls         integer not null default 0, -- answered in the window, in this epoch
  outages       integer not null default 0,
  -- what opens it and for how long; an operator may change these
  window_length interval not null default '10 seconds' check (window_length > interval '0'),
  minimum       integer not null default 5 check (minimum > 0),
  ratio         numeric not null default 0.5 check (ratio > 0 and ratio <= 1),
  backoff_first interval not null default '1 second' check (backoff_first > interval '0'),
  backoff_max   interval not null default '1 minute' check (backoff_max >= backoff_first),
  lease         interval not null default '20 seconds' check (lease > interval '0'),
  check ((state = 'closed') = (opened_at is null)),
  check ((state = 'closed') = (retry_at is null)),
  check (outages <= calls)
);
insert into circuit_breaker (name) values ('stripe');
grant select, insert, update on circuit_breaker to perennial_service;

-- One row for the account and one an endpoint. A crash of Postgres forgets them, which costs a moment of too much.
create unlogged table stripe_bucket (
  name          text primary key,
  -- when the bucket would be full again: the theoretical arrival time of the generic cell rate algorithm
  full_at       timestamptz not null default clock_timestamp(),
  refusals      integer not null default 0, -- 429s one after the other: what the back-off grows by
  refused_until timestamptz              -- the end of the last back-off
);
grant select, insert, update on stripe_bucket to perennial_service;

-- Adds answered calls to the window. It ends when it is over and has enough of them: a quiet fleet counts for longer, but
-- never with what is ten minutes old.
create function stripe_counted(b circuit_breaker, p_calls integer, p_outages integer, p_now timestamptz)
returns circuit_breaker language plpgsql as $$
begin
  if (b.window_from + b.window_length < p_now and b.calls >= b.minimum)
     or b.window_from + greatest(b.window_length, interval '10 minutes') < p_now then
    b.calls := 0; b.outages := 0;
  end if;
  if b.calls = 0 then b.window_from := p_now; end if;
  b.calls := b.calls + p_calls;
  b.outages := b.outages + p_outages;
  return b;
end $$;

-- How long whoever is not let through waits: until the next probe, or a moment when one is on its way, for its lease is
-- much longer than an answer takes.
create function stripe_wait_ms(b circuit_breaker, p_now timestamptz) returns integer language sql immutable as $$
  select ceil(extract(epoch from greatest(interval '0', case b.state
    when 'half_open' then least(b.retry_at - p_now, interval '1 second') else b.retry_at - p_now end)) * 1000)::integer
$$;

-- Asks for one call. `go` and `probe`: after wait_ms, at most a second, in this epoch; `busy`: not before wait_ms, for a
-- bucket is empty; `open`: not before wait_ms, when the next probe may go. Rates are calls a second.
-- p_successes: calls of p_epoch that were answered since this process asked last.
-- Locks buckets before the breaker, and the account's before an endpoint's.
create function stripe_admit(
  p_endpoint text, p_account_rate numeric, p_endpoint_rate numeric, p_successes integer, p_epoch bigint,
  out outcome text, out epoch bigint, out wait_ms integer)
language plpgsql set search_path = public, pg_temp as $$
declare
  b circuit_breaker;
  v_account timestamptz;
  v_endpoint timestamptz;
  v_now timestamptz := clock_timestamp();
  v_wait interval;
  -- a quarter of a second's calls may come at once
  c_burst constant interval := interval '250 milliseconds';
begin
  -- what a crash takes back is a moment's counts
  perform set_config('synchronous_commit', 'off', true);
  select * into strict b from circuit_breaker where name = 'stripe';
  epoch := b.epoch;
  if b.retry_at > v_now then
    outcome := 'open'; wait_ms := stripe_wait_ms(b, v_now);
    return;
  end if;

  select full_at into v_account from stripe_bucket where name = 'account' for update;
  if not found then
    insert into stripe_bucket (name) values ('account') on conflict do nothing;
    select full_at into strict v_account from stripe_bucket where name = 'account' for update;
  end if;
  select full_at into v_endpoint from stripe_bucket where name = p_endpoint for update;
  if not found then
    insert into stripe_bucket (name) values (p_endpoint) on conflict do nothing;
    select full_at into strict v_endpoint from stripe_bucket where name = p_endpoint for update;
  end if;
  v_now := clock_timestamp();
  v_wait := greatest(v_account, v_endpoint) - c_burst - v_now;
  wait_ms := greatest(0, ceil(extract(epoch from v_wait) * 1000));
  if wait_ms > 1000 then outcome := 'busy'; return; end if;
  update stripe_bucket set full_at = greatest(full_at, v_now) + interval '1 second' / p_account_rate::float8
   where name = 'account';
  update stripe_bucket set full_at = greatest(full_at, v_now) + interval '1 second' / p_endpoint_rate::float8
   where name = p_endpoint;

  outcome := 'go';
  if b.state = 'closed' and (p_successes = 0 or p_epoch <> b.epoch) then return; end if;
  select * into strict b from circuit_breaker where name = 'stripe' for update;
  v_now := clock_timestamp();
  epoch := b.epoch;
  if b.state = 'closed' then
    if p_epoch <> b.epoch then return; end if;
    b := stripe_counted(b, p_successes, 0, v_now);
    update circuit_breaker set window_from = b.window_from, calls = b.calls, outages = b.outages where name = 'stripe';
  elsif b.retry_at > v_now then
    outcome := 'open'; wait_ms := stripe_wait_ms(b, v_now);
  else
    -- exactly one: whoever comes next sees a lease; it outlives a prober that died, and then the next one probes
    update circuit_breaker c set state = 'half_open', epoch = c.epoch + 1, retry_at = v_now + c.lease
     where name = 'stripe' returning c.epoch into epoch;
    outcome := 'probe';
  end if;
end $$;

-- Reports what became of a call that was admitted in p_epoch, with the calls answered before it that are not counted yet.
-- p_outage: why it is one; null when Stripe answered. Says the state now, and how long to wait.
create function stripe_report(
  p_epoch bigint, p_outage text, p_successes integer, out state text, out wait_ms integer)
language plpgsql set search_path = public, pg_temp as $$
declare
  b circuit_breaker;
  v_now timestamptz;
  v_was text;
begin
  select * into strict b from circuit_breaker where name = 'stripe' for update;
  v_now := clock_timestamp();
  v_was := b.state;
  if b.epoch = p_epoch then -- of an open one nobody holds the epoch; of a half open one, the probe alone
    if b.state = 'closed' then
      b := stripe_counted(b, p_successes + 1, case when p_outage is null then 0 else 1 end, v_now);
      if p_outage is not null and b.calls >= b.minimum and b.outages >= b.ratio * b.calls then
        b.state := 'open'; b.trips := b.trips + 1; b.failed_probes := 0; b.opened_at := v_now;
      end if;
    elsif p_outage is not null then
      b.state := 'open'; b.failed_probes := b.failed_probes + 1;
    else
      b.state := 'closed'; b.opened_at := null; b.retry_at := null; b.failed_probes := 0;
    end if;
    if b.state <> v_was then
      b.epoch := b.epoch + 1; b.calls := 0; b.outages := 0; b.window_from := v_now;
    end if;
    if b.state = 'open' then
      b.last_reason := p_outage;
      -- between half and all of it, so that what waits does not come back at once
      b.retry_at := v_now + least(b.backoff_max, b.backoff_first * power(2, least(b.failed_probes, 20)))
                          * (0.5 + random() / 2);
    end if;
    update circuit_breaker c
       set state = b.state, epoch = b.epoch, trips = b.trips, failed_probes = b.failed_probes, opened_at = b.opened_at,
           retry_at = b.retry_at, last_reason = b.last_reason, window_from = b.window_from, calls = b.calls,
           outages = b.outages
     where name = 'stripe';
    if b.state = 'open' and v_was = 'closed' then
      insert into alert (kind, subject, detail) values ('stripe_unavailable', 'stripe', 'calls wait: ' || p_outage)
      on conflict (kind, subject) where resolved_at is null
      do update set times = alert.times + 1, last_at = clock_timestamp(), detail = excluded.detail;
    elsif b.state = 'closed' and v_was <> 'closed' then
      update alert set resolved_at = clock_timestamp()
       where kind = 'stripe_unavailable' and subject = 'stripe' and resolved_at is null;
    end if;
  end if;
  state := b.state;
  wait_ms := stripe_wait_ms(b, v_now);
end $$;

-- Stripe refused for the rate: the bucket stays empty for a while that doubles with each refusal after the while before,
-- up to half a minute. Refusals of calls that were on their way meanwhile say nothing new.
create function stripe_refused(p_bucket text, out wait_ms integer)
language plpgsql set search_path = public, pg_temp as $$
declare
  r stripe_bucket;
  v_now timestamptz;
  v_while interval;
begin
  perform set_config('synchronous_commit', 'off', true);
  insert into stripe_bucket (name) values (p_bucket) on conflict do nothing;
  select * into strict r from stripe_bucket where name = p_bucket for update;
  v_now := clock_timestamp();
  if r.refused_until is null or r.refused_until < v_now then
    -- a minute without one is forgiven
    if r.refused_until < v_now - interval '1 minute' then r.refusals := 0; end if;
    v_while := least(interval '30 seconds', interval '1 second' * power(2, r.refusals)) * (0.5 + random() / 2);
    -- beyond the burst and what may be waited for: nobody goes before, and then one after the other
    r.full_at := v_now + v_while + interval '1250 milliseconds';
    update stripe_bucket set full_at = r.full_at, refusals = least(r.refusals + 1, 20), refused_until = v_now + v_while
     where name = p_bucket;
  end if;
  wait_ms := greatest(0, ceil(extract(epoch from r.full_at - interval '250 milliseconds' - v_now) * 1000));
end $$;
