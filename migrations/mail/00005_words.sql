-- +goose Up

-- The index of words (store/words): which items of a mailbox have which words. It
-- is made from the messages after they arrived, and may be emptied at any time
-- (truncate all three): it is made anew.

-- Items up to this one are in the index.
create table mail.words_position (
    mailbox bigint primary key,
    upto    bigint not null
) with (fillfactor = 50);

-- The items of a segment, ascending, as differences; its name is the first.
create table mail.words_segment (
    mailbox bigint not null,
    segment bigint not null,
    docs    int    not null,
    items   bytea  not null,
    primary key (mailbox, segment)
);

-- A run of a segment's terms, with the places of the items that have them. Terms
-- and lists are compressed each by itself, for most questions read few lists.
create table mail.words_block (
    mailbox    bigint not null,
    segment    bigint not null,
    block      int    not null,
    terms_size int    not null, -- bytes before compression
    lists_size int    not null,
    first      bytea  not null,
    last       bytea  not null,
    terms      bytea  not null,
    lists      bytea  not null,
    primary key (mailbox, segment, block)
);
alter table mail.words_block alter column terms set storage external;
alter table mail.words_block alter column lists set storage external;
