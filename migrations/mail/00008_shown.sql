-- +goose Up

-- When the mark as deleted was last taken off: from then on an item is seen again by
-- those who do not show what is marked so.
alter table mail.entry add column shown_seq bigint;
