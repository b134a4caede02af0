-- Of the postings of a large wallet nearly all are spends: what else there is, is found without walking past them. A spend
-- is in no such index and costs what it did.
create index posting_but_spends on posting (account_id, kind, seq) where kind <> 'spend';
