-- +goose Up

-- The text of an object, where it is small; then blob is null. Texts written
-- before, and large ones, are contents.
alter table mail.object add column text bytea;
alter table mail.object alter column text set storage external;
alter table mail.object alter column blob drop not null;
alter table mail.object add constraint object_text check ((text is null) <> (blob is null)) not valid;
