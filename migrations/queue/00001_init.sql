-- +goose Up

-- The outbound queue. A message waits here until each of its recipients was
-- handed on or given up. Times are the relay's, passed in, never now(), so that
-- five days can pass within a test.

-- Ids that were taken once, kept longer than any message waits: whoever hands a
-- message over again, in doubt, changes nothing.
create table queue.seen (
    key text        primary key,
    at  timestamptz not null
);
create index seen_at on queue.seen (at);

create table queue.message (
    id      bigint      primary key generated always as identity,
    key     text        not null unique,
    sender  text        not null, -- reverse path; '' is never told of failures
    trace   bytea       not null, -- trace headers, in front of the content
    trusted boolean     not null, -- its sender is told of failures
    utf8    boolean     not null,
    size    bigint      not null, -- bytes of content
    created timestamptz not null,
    expires timestamptz not null
);

-- A recipient of a message. A row that is being worked on has a lease, and
-- next_at is the lease's end: who dies leaves it due again.
create table queue.recipient (
    id          bigint      primary key generated always as identity,
    message     bigint      not null references queue.message on delete cascade,
    address     text        not null,
    domain      text        not null, -- where it goes, lower case
    state       text        not null default 'queued' check (state in ('queued', 'held', 'dead')),
    next_at     timestamptz not null,
    lease       text,
    attempts    int         not null default 0,
    warned      int         not null default 0, -- delay notices sent
    last_at     timestamptz,
    last_code   int         not null default 0,
    last_status text        not null default '',
    last_text   text        not null default '',
    last_host   text        not null default '',
    unique (message, address)
);
create index recipient_due on queue.recipient (next_at, id) where state = 'queued';
create index recipient_domain on queue.recipient (domain);

-- The content in pieces of 256 KiB, each compressed by itself with zstd.
create table queue.chunk (
    message bigint not null references queue.message on delete cascade,
    n       int    not null,
    data    bytea  not null,
    primary key (message, n)
);
alter table queue.chunk alter column data set storage external;
