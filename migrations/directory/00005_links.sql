-- +goose Up

-- Links lead to objects without foreign keys: two looks and two row locks for
-- every member were half of the database's time in an import. Whoever writes a
-- link holds the counter row and has found both ends under it, so that nothing
-- can go meanwhile; waypost directory check knows the law. What cascaded from a
-- removed object does so still.
ALTER TABLE directory.link DROP CONSTRAINT link_source_fkey, DROP CONSTRAINT link_target_fkey;
-- +goose StatementBegin
CREATE FUNCTION directory.unlink() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM directory.link WHERE source = ANY (ARRAY(SELECT id FROM gone));
    DELETE FROM directory.link WHERE target = ANY (ARRAY(SELECT id FROM gone));
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER unlink AFTER DELETE ON directory.object REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION directory.unlink();

-- Nobody asks for it: followers read the change log.
DROP INDEX directory.object_by_usn;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA directory FROM PUBLIC;
