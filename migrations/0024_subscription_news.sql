-- The same change of a subscription may be made twice in a period, and each is told: what is told carries its number.

alter table subscription add column news integer not null default 0;
comment on column subscription.news is 'how many passes of its workflow have found something to tell';
