-- A plan or pack may be sold in several currencies, with a price for each.
drop index catalog_price_on_sale;
create unique index catalog_price_on_sale on catalog_price (kind, plan, interval, commitment_months, (terms ->> 'currency'))
  nulls not distinct where on_sale;

-- Whether Stripe reckons tax on what is sold from now on.
alter table catalog add column automatic_tax boolean not null default false;
