-- What was given back is owed by the account, not by the subscription whose money it was: Stripe keeps it as the
-- customer's balance, which pays for any of them. Rows have had their account from the beginning, so what ended
-- subscriptions left owed counts from now on.
drop index settlement_of_subscription;
create index settlement_of_account on settlement (account_id);
