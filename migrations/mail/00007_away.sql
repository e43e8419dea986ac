-- +goose Up

-- Whether an absence notice is set, beside the counter, where every delivery looks
-- anyway. A constant default writes no row anew.
alter table mail.mailbox add column away boolean not null default false;
update mail.mailbox m set away = true from mail.settings s
    where s.mailbox = m.id and coalesce(s.data #>> '{outOfOffice,state}', '') <> '';
