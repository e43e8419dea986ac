-- +goose Up

-- The mailbox store. Every table that belongs to a mailbox begins its primary
-- key with the mailbox, and no foreign key leads out of one, so that mailboxes
-- can be moved, restored and sharded alone. Text is folded and normalised in
-- Go; text columns are compared bytewise (the database's locale is C).

-- The counter row. Whoever changes a mailbox takes this row first and holds it
-- until the commit is on disk, so that numbers become visible in order. It is
-- narrow and its pages are left mostly empty, so that each update is HOT.
create table mail.mailbox (
    id               bigint      primary key,
    seq              bigint      not null default 0, -- the newest change
    hierarchy_seq    bigint      not null default 0, -- the newest change of the folder tree
    hierarchy_floor  bigint      not null default 0, -- older positions begin anew
    next_id          bigint      not null,           -- of folders and items, never given out twice
    next_uidvalidity bigint      not null,
    used             bigint      not null default 0, -- bytes, each item whole
    items            bigint      not null default 0,
    recoverable      bigint      not null default 0, -- bytes
    quota            bigint      not null default 0, -- bytes; 0: the default
    created          timestamptz not null default now()
) with (fillfactor = 20);

-- What an owner sets; apart, so that the counter row stays narrow.
create table mail.settings (
    mailbox bigint primary key,
    version bigint not null,
    data    jsonb  not null
);

create table mail.folder (
    mailbox     bigint  not null,
    id          bigint  not null,
    parent      bigint  not null, -- 0: the root
    uidvalidity bigint  not null,
    uidnext     bigint  not null default 1,
    highest_seq bigint  not null, -- the newest change in this folder
    floor       bigint  not null default 0,
    size        bigint  not null default 0,
    created_seq bigint  not null,
    changed_seq bigint  not null, -- of name, parent, role or subscription
    total       int     not null default 0,
    unread      int     not null default 0,
    deleted     int     not null default 0,
    subscribed  boolean not null,
    name        text    not null,
    name_key    text    not null, -- NFC, folded
    role        text    not null,
    class       text    not null,
    primary key (mailbox, id)
) with (fillfactor = 30);
create unique index folder_name on mail.folder (mailbox, parent, name_key);
create unique index folder_role on mail.folder (mailbox, role) where role <> '';

create table mail.folder_tombstone (
    mailbox bigint      not null,
    seq     bigint      not null,
    id      bigint      not null,
    at      timestamptz not null default now(),
    primary key (mailbox, seq, id)
);
create index folder_tombstone_at on mail.folder_tombstone using brin (at) with (pages_per_range = 16);

-- Where an item is and how it is marked: narrow, for it changes.
create table mail.entry (
    mailbox     bigint      not null,
    item        bigint      not null,
    folder      bigint      not null,
    uid         bigint      not null,
    received    timestamptz not null,
    entered_seq bigint      not null, -- when it came into this folder
    changed_seq bigint      not null,
    size        bigint      not null,
    flags       int         not null,
    keywords    text[],               -- null: none
    props       jsonb,                -- null: none
    primary key (mailbox, item)
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05);
create unique index entry_uid on mail.entry (mailbox, folder, uid);
create index entry_changed on mail.entry (mailbox, folder, changed_seq, item);
-- Never changes while the item stays, so a reader in pages meets each arrival
-- exactly once however often it is marked meanwhile.
create index entry_entered on mail.entry (mailbox, folder, entered_seq, item);
create index entry_received on mail.entry (mailbox, folder, received, item);

-- An item that left a folder.
create table mail.tombstone (
    mailbox     bigint      not null,
    folder      bigint      not null,
    left_seq    bigint      not null,
    item        bigint      not null,
    uid         bigint      not null,
    entered_seq bigint      not null,
    received    timestamptz not null,
    at          timestamptz not null default now(),
    primary key (mailbox, folder, left_seq, item)
);
create index tombstone_at on mail.tombstone using brin (at) with (pages_per_range = 16);

-- An item that was deleted for good; its message stays until the purger comes.
create table mail.recoverable (
    mailbox  bigint      not null,
    item     bigint      not null,
    folder   bigint      not null, -- where it was
    size     bigint      not null,
    received timestamptz not null,
    gone     timestamptz not null default now(),
    flags    int         not null,
    keywords text[],
    props    jsonb,
    primary key (mailbox, item)
);
create index recoverable_gone on mail.recoverable using brin (gone) with (pages_per_range = 16);

-- The wide part of an item, written once.
create table mail.message (
    mailbox   bigint      not null,
    item      bigint      not null,
    thread    bigint      not null,
    blob_size bigint      not null, -- bytes, without prefix
    sent      timestamptz,          -- the Date header
    blob      bytea       not null, -- SHA-256
    prefix    bytea       not null, -- trace headers
    summary   bytea       not null, -- mail.Summary, binary
    subject   text        not null, -- folded, for searching
    people    text        not null, -- folded names and addresses
    preview   text        not null, -- folded
    primary key (mailbox, item)
);
create index message_thread on mail.message (mailbox, thread, item);
create index message_blob on mail.message using hash (blob); -- the collector asks it
-- Nearly all rows fit a page; splitting them off would cost a second look-up.
alter table mail.message set (toast_tuple_target = 8160);

-- Which thread a message identifier (item 0) or a base subject (item of the
-- message that had it) belongs to; key is a hash.
create table mail.thread_key (
    mailbox  bigint      not null,
    key      bigint      not null,
    item     bigint      not null,
    thread   bigint      not null,
    received timestamptz not null,
    at       timestamptz not null default now(),
    people   bigint[],
    primary key (mailbox, key, item)
);
create index thread_key_at on mail.thread_key using brin (at) with (pages_per_range = 32);

-- What makes repeated calls harmless.
create table mail.once (
    mailbox bigint      not null,
    key     text        not null,
    item    bigint      not null, -- 0: none
    seq     bigint      not null,
    at      timestamptz not null default now(),
    primary key (mailbox, key)
);
create index once_at on mail.once using brin (at) with (pages_per_range = 32);

-- Content, once for each database, in chunks that are compressed by themselves
-- (not when that would not make them smaller: then data is size bytes long).
-- The row of part 0 is what a writer locks while it refers to the content.
create table mail.blob (
    hash    bytea       not null, -- SHA-256; of an unfinished upload, random
    part    int         not null,
    size    bigint      not null, -- bytes of this part before compression
    created timestamptz not null default now(),
    data    bytea       not null,
    primary key (hash, part)
);
alter table mail.blob alter column data set storage external;
-- A small mail stays in its row.
alter table mail.blob set (toast_tuple_target = 8160);

-- Content that perhaps nothing refers to: the collector looks a day later.
create table mail.blob_check (
    hash bytea       primary key,
    at   timestamptz not null default now()
);
create index blob_check_at on mail.blob_check (at);

create table mail.outbox (
    id         bigint      generated always as identity primary key,
    mailbox    bigint      not null,
    key        text        not null,
    sender     text        not null,
    recipients text[]      not null,
    blob       bytea       not null,
    blob_size  bigint      not null,
    prefix     bytea       not null,
    not_before timestamptz not null,
    leased     timestamptz, -- until then another mover has it
    created    timestamptz not null default now(),
    unique (mailbox, key)
);
create index outbox_blob on mail.outbox using hash (blob);

create table mail.sync_state (
    mailbox    bigint      not null,
    client     text        not null,
    scope      text        not null,
    generation bigint      not null,
    at         timestamptz not null default now(),
    data       bytea       not null,
    previous   bytea,
    primary key (mailbox, client, scope)
) with (fillfactor = 70);

create table mail.device (
    mailbox bigint not null,
    id      text   not null,
    version bigint not null,
    data    jsonb  not null,
    primary key (mailbox, id)
) with (fillfactor = 70);
