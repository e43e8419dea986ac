-- +goose Up

-- Folders that are fed: from an outside calendar, or from the owner's contacts.
-- And calendars that are published under a secret address.

alter table mail.folder add column origin text not null default '';

-- The outside calendar of a folder.
create table mail.feed (
    mailbox bigint      not null,
    folder  bigint      not null,
    url     text        not null,
    due     timestamptz not null default now(),
    leased  timestamptz,          -- until then somebody reads it
    state   jsonb       not null, -- what the last reading said
    primary key (mailbox, folder)
) with (fillfactor = 70);
create index feed_due on mail.feed (due);

-- Birthdays of contacts as a calendar.
create table mail.birthdays (
    mailbox bigint primary key,
    folder  bigint not null,
    seen    bigint not null, -- the newest change that it knows; -1: none, all is to be made anew
    leased  timestamptz
) with (fillfactor = 70);
-- What has changed since is asked for all of them.
create index folder_contacts on mail.folder (mailbox) where class = 'contacts';

-- A folder that is published.
create table mail.publication (
    mailbox bigint not null,
    id      bigint not null,
    folder  bigint not null,
    hash    bytea  not null, -- SHA-256 of the secret
    data    jsonb  not null,
    primary key (mailbox, id)
);
create unique index publication_hash on mail.publication (hash);
