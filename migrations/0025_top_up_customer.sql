-- An attempt belongs to the customer that it charges, whoever the account's is by the time it is looked up.
alter table top_up_attempt add column customer_id text;
update top_up_attempt t
   set customer_id = coalesce(
         (select c.id from stripe_customer c
           where c.account_id = t.account_id and (c.deleted_at is null or c.deleted_at >= t.started_at)
           order by c.ordinal limit 1),
         (select a.stripe_customer_id from account a where a.id = t.account_id),
         (select c.id from stripe_customer c where c.account_id = t.account_id order by c.ordinal desc limit 1));
alter table top_up_attempt alter column customer_id set not null;

-- What it is charged in; null: asked for before there was a choice, which is the catalogue's.
alter table top_up add column currency text;
