-- +goose Up

-- Who sends from outside is told of failures once somebody has the message, but
-- is known no better for it: "trusted" said both, and a restricted group believed
-- it when the message was tried again. The program before this one leaves the
-- column alone; its messages are then only not told of.
alter table queue.message add column tell boolean not null default false;
