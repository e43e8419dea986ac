-- +goose Up

-- Items that are no messages: events, tasks, journal entries, notes, cards.

-- The wide part of such an item. A new version of the text replaces the row and
-- gives the entry the next change number.
create table mail.object (
    mailbox       bigint      not null,
    item          bigint      not null,
    folder        bigint,               -- as the entry's; null: recoverable, so that its names are free
    version       bigint      not null, -- the change that wrote this text
    blob_size     bigint      not null,
    starts        timestamptz,          -- of the first occurrence; null: it has no time
    ends          timestamptz,          -- of the last; null: it goes on for ever, or has no time
    expanded_from timestamptz,          -- mail.occurrence holds what is in this time; null: all
    expanded_to   timestamptz,
    kind          text        not null,
    uid           text        not null,
    name          text        not null,
    blob          bytea       not null, -- SHA-256
    search        text        not null, -- folded
    primary key (mailbox, item)
) with (fillfactor = 85);
create unique index object_name on mail.object (mailbox, folder, name);
create unique index object_uid on mail.object (mailbox, folder, uid);
create index object_item on mail.object (mailbox, folder, item);
create index object_blob on mail.object using hash (blob); -- the collector asks it
-- Those whose text must be read for a time that the table does not hold …
create index object_expanded on mail.object (mailbox, folder, expanded_from) where expanded_from is not null;
-- … and those whose time in the table is to be moved.
create index object_window on mail.object (expanded_from) where expanded_from is not null;
alter table mail.object set (toast_tuple_target = 8160);

-- When objects are, for questions by time. Days and floating times are their
-- digits as UTC. None lasts longer than 31 days.
create table mail.occurrence (
    mailbox  bigint      not null,
    item     bigint      not null,
    starts   timestamptz not null,
    ends     timestamptz not null,
    folder   bigint,               -- as the object's
    flags    int         not null,
    instance text        not null, -- RECURRENCE-ID; empty for what does not recur
    primary key (mailbox, item, starts, instance)
);
create index occurrence_time on mail.occurrence (mailbox, folder, starts);

-- An object's name in the folder that it left.
alter table mail.tombstone add column name text;

-- What clients keep about a folder.
create table mail.folder_props (
    mailbox bigint not null,
    folder  bigint not null,
    data    jsonb  not null,
    primary key (mailbox, folder)
);
