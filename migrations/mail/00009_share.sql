-- +goose Up

-- Who has rights in whose folder. A folder's rows all carry the number of its newest
-- change of rights: what somebody else's client knew before it is void.
create table mail.share (
    mailbox bigint not null,
    folder  bigint not null,
    grantee bigint not null, -- a person's or group's id in the directory; 0: everyone
    owner   bigint not null, -- whose mailbox it is
    rights  int    not null,
    seq     bigint not null,
    primary key (mailbox, folder, grantee)
);
create index share_grantee on mail.share (grantee, mailbox, folder);

-- Who made an object in another one's folder; null: the owner.
alter table mail.object add column creator bigint;

-- Folders of others that somebody wants to see among its own.
create table mail.subscription (
    mailbox   bigint not null, -- of who sees them
    id        bigint not null, -- from the mailbox's counter
    owner     bigint not null,
    owner_box bigint not null,
    folder    bigint not null,
    name      text   not null, -- empty: the folder's
    data      jsonb  not null,
    primary key (mailbox, id),
    unique (mailbox, owner_box, folder)
);
