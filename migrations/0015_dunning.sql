-- Failed payments: what a subscription still has to be paid for, and when its customer is reminded of it.

alter table subscription add column payment jsonb;
comment on column subscription.payment is 'the oldest invoice that could not be collected, as Stripe says it; null: none';

alter table catalog add column dunning jsonb not null default '{"reminderDays": []}';
