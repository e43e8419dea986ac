-- +goose Up

-- As with links: names, accounts, values and the place in the tree are written
-- by who holds the counter row and has found under it what they belong to. Four
-- looks and a lock on the container's row for every new object were a tenth of
-- the database's time in it. What cascaded from a removed object does so still.
ALTER TABLE directory.object DROP CONSTRAINT object_parent_fkey;
ALTER TABLE directory.name DROP CONSTRAINT name_object_fkey;
ALTER TABLE directory.account DROP CONSTRAINT account_object_fkey;
ALTER TABLE directory.cold DROP CONSTRAINT cold_object_fkey;
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION directory.unlink() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM directory.link WHERE source = ANY (ARRAY(SELECT id FROM gone));
    DELETE FROM directory.link WHERE target = ANY (ARRAY(SELECT id FROM gone));
    DELETE FROM directory.name WHERE object = ANY (ARRAY(SELECT id FROM gone));
    DELETE FROM directory.account WHERE object = ANY (ARRAY(SELECT id FROM gone));
    DELETE FROM directory.cold WHERE object = ANY (ARRAY(SELECT id FROM gone));
    RETURN NULL;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA directory FROM PUBLIC;
