-- +goose Up

-- Messages to moderated groups wait in the queue until somebody decides. Their
-- recipient is then in the state 'moderated'; the decision makes it due again,
-- with a verdict. A recipient that a group was expanded for, or that came out of
-- one, stays as 'done' while its message lives, so that no other group brings it
-- back. The program before this one never makes either of them and leaves them
-- alone; a message that only has 'done' ones left is swept.
alter table queue.recipient
    drop constraint recipient_state_check,
    add constraint recipient_state_check check (state in ('queued', 'held', 'dead', 'moderated', 'done')),
    add column listed  boolean not null default false,
    add column verdict text    not null default '' check (verdict in ('', 'approved', 'rejected', 'expired')),
    add column comment text    not null default ''; -- of whoever rejected it

-- What was asked of moderators, kept after the decision.
create table queue.moderation (
    id         bigint      primary key generated always as identity,
    recipient  bigint      references queue.recipient on delete set null, -- null and undecided: deleted from the queue
    key        text        not null, -- the message's id
    address    text        not null, -- of the group
    sender     text        not null,
    subject    text        not null,
    size       bigint      not null,
    created    timestamptz not null,
    expires    timestamptz not null,
    verdict    text        not null default '',
    decided    timestamptz,
    decided_by text        not null default '',
    cause      text        not null default '', -- id of the message that decided
    comment    text        not null default ''
);
create index moderation_recipient on queue.moderation (recipient);
create index moderation_waiting on queue.moderation (expires) where verdict = '';
create index moderation_decided on queue.moderation (decided);

-- Who was asked. The token itself is in the mail to the moderator alone.
create table queue.moderator (
    moderation bigint not null references queue.moderation on delete cascade,
    address    text   not null,
    token      bytea  not null unique, -- SHA-256
    primary key (moderation, address)
);
