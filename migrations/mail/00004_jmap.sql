-- +goose Up

-- Content that somebody uploaded and that nothing refers to yet.
create table mail.upload (
    mailbox bigint      not null,
    owner   bigint      not null, -- the person's object id: nobody else sees it
    id      bigint      not null,
    size    bigint      not null,
    at      timestamptz not null default now(),
    blob    bytea       not null, -- SHA-256
    type    text        not null,
    primary key (mailbox, owner, id)
);
create index upload_blob on mail.upload using hash (blob); -- the collector asks it
create index upload_at on mail.upload (at);

-- The record of what was sent. The id is the change that sent it.
create table mail.submission (
    mailbox     bigint      not null,
    id          bigint      not null,
    changed_seq bigint      not null,
    item        bigint      not null,
    thread      bigint      not null,
    send_at     timestamptz not null,
    created     timestamptz not null default now(),
    canceled    boolean     not null default false,
    gone        boolean     not null default false, -- forgotten: kept to tell of it
    key         text        not null, -- the outbox's
    identity    text        not null,
    sender      text        not null,
    recipients  text[]      not null,
    params      jsonb,
    primary key (mailbox, id)
);
