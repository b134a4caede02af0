-- What a command was answered, byte for byte, for every replay of its key. Written once: the first writer wins. The one
-- erasable row that holds an answer's text, because a caller's metadata and personal data may be in it (law 13).
create table reply (
  command_id  text primary key references command (id) on delete cascade,
  account_id  text references account (id), -- whose data it holds: what an erasure finds it by
  status_code integer not null check (status_code between 200 and 599),
  body        text not null,
  created_at  timestamptz not null default clock_timestamp()
);
create index reply_of_account on reply (account_id);
grant select, insert on reply to perennial_service;

insert into reply (command_id, account_id, status_code, body, created_at)
select k.id, c.account_id, 201, c.answer, k.finished_at
  from customer c join command k on k.input ->> 'account' = c.account_id
 where k.scope = 'accounts' and k.operation = 'create' and k.state = 'done' and c.answer is not null;
alter table customer drop column answer;

-- Ageing out: finished commands with their replies (by the cascade), and the records of duties.
create index command_finished on command (finished_at) where state <> 'pending';
create index duty_run_by_age on duty_run (started_at);
grant delete on command, duty_run to perennial_service;

-- Scopes per group of routes. `write` becomes what it allowed.
alter table api_key drop constraint api_key_scopes_check;
update api_key
   set scopes = array_remove(scopes, 'write') || array['accounts', 'spend', 'reverse', 'subscriptions']
 where 'write' = any (scopes);
alter table api_key add constraint api_key_scopes_check check (
  scopes <@ array['read', 'accounts', 'spend', 'overdraft', 'reverse', 'grants', 'grants:large', 'subscriptions']
);
