-- +goose Up

-- The address lists that every organisation begins with, below the configuration.
-- Whoever removes one has removed it: they are made with the forest's first
-- domain, and once here. Returns the newest object id.
-- +goose StatementBegin
CREATE FUNCTION directory.address_lists(at_usn bigint, last_id bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    r     record;
    up    bigint;
    text_ text;
BEGIN
    FOR r IN
        SELECT * FROM (VALUES
            (1, '', 'Address Lists Container', ''),
            (2, '/Address Lists Container', 'All Address Lists', ''),
            (3, '/Address Lists Container', 'All Global Address Lists', ''),
            (4, '/Address Lists Container/All Global Address Lists', 'Default Global Address List', '(&(proxyAddresses=*)(|(objectClass=user)(objectClass=contact)(objectClass=group)(objectClass=msExchDynamicDistributionList)))'),
            (5, '/Address Lists Container/All Address Lists', 'All Users', '(&(proxyAddresses=*)(objectClass=user)(!(msExchResourceMetaData=ResourceType:*)))'),
            (6, '/Address Lists Container/All Address Lists', 'All Groups', '(&(proxyAddresses=*)(|(objectClass=group)(objectClass=msExchDynamicDistributionList)))'),
            (7, '/Address Lists Container/All Address Lists', 'All Contacts', '(&(proxyAddresses=*)(objectClass=contact))'),
            (8, '/Address Lists Container/All Address Lists', 'All Rooms', '(&(proxyAddresses=*)(msExchResourceMetaData=ResourceType:Room))')
        ) AS v (n, path, name, filter) ORDER BY n
    LOOP
        SELECT id INTO up FROM directory.object WHERE class = 'configuration' AND deleted IS NULL;
        CONTINUE WHEN up IS NULL;
        FOREACH text_ IN ARRAY string_to_array(ltrim(r.path, '/'), '/') LOOP
            SELECT id INTO STRICT up FROM directory.object WHERE parent = up AND rdn_key = 'cn=' || lower(text_) AND deleted IS NULL;
        END LOOP;
        CONTINUE WHEN EXISTS (SELECT FROM directory.object WHERE parent = up AND rdn_key = 'cn=' || lower(r.name) AND deleted IS NULL);
        last_id := last_id + 1;
        INSERT INTO directory.object (id, guid, parent, class, rdn, rdn_key, attributes, name, terms, usn_created, usn_changed)
        VALUES (last_id, gen_random_uuid(), up, 'addressBookContainer', r.name, 'cn=' || lower(r.name),
            jsonb_build_object('cn', jsonb_build_array(r.name), 'displayName', jsonb_build_array(r.name))
                || CASE WHEN r.filter = '' THEN '{}' ELSE jsonb_build_object('purportedSearch', jsonb_build_array(r.filter)) END,
            r.name, (SELECT string_agg(DISTINCT word, ' ' ORDER BY word) FROM unnest(string_to_array(lower(r.name), ' ')) word), at_usn, at_usn);
        INSERT INTO directory.change (object, usn, kind, guid) SELECT id, at_usn, 0, guid FROM directory.object WHERE id = last_id;
    END LOOP;
    RETURN last_id;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$
DECLARE
    n    bigint;
    last bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM directory.object WHERE class = 'configuration' AND deleted IS NULL) THEN
        RETURN;
    END IF;
    UPDATE directory.forest SET usn = usn + 1 RETURNING usn, object INTO n, last;
    last := directory.address_lists(n, last);
    UPDATE directory.forest SET object = last;
END
$$;
-- +goose StatementEnd

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA directory FROM PUBLIC;
