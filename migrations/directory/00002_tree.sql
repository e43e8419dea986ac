-- +goose Up

-- The directory as LDAP sees it: every object has its attributes under the
-- schema's names, links by object id, a security identifier, and when it is
-- removed it stays for 180 days as a tombstone.

-- Auxiliary classes that the object names besides those of its class, its SID
-- (binary; '' for what is no security principal), and when it was removed. The
-- parent of a tombstone is the container "Deleted Objects" of its domain.
ALTER TABLE directory.object
    ADD COLUMN extra   text[]      COLLATE "C" NOT NULL DEFAULT '{}',
    ADD COLUMN sid     bytea       NOT NULL DEFAULT '',
    ADD COLUMN deleted timestamptz,
    ADD COLUMN names   text        COLLATE "C" NOT NULL DEFAULT ''; -- derived: its rows of directory.name, a digit for the kind and the key, one a line
CREATE INDEX object_by_sid ON directory.object (sid) WHERE sid <> '';
-- The few accounts whose primary group is not that of everybody.
CREATE INDEX object_by_primary ON directory.object ((attributes -> 'primaryGroupID' ->> 0))
    WHERE attributes -> 'primaryGroupID' ->> 0 NOT IN ('513', '515');
CREATE INDEX object_deleted ON directory.object (deleted) WHERE deleted IS NOT NULL;

-- Attributes of which a value is larger than 2 KiB (photos, certificates), all
-- values of the attribute. No process keeps them in memory.
CREATE TABLE directory.cold (
    object    bigint  NOT NULL REFERENCES directory.object ON DELETE CASCADE,
    attribute text    COLLATE "C" NOT NULL,
    place     integer NOT NULL, -- order of the values, from 0
    value     bytea   NOT NULL,
    PRIMARY KEY (object, attribute, place)
);
ALTER TABLE directory.cold ALTER COLUMN value SET STORAGE EXTERNAL; -- photos are compressed already

-- Every attribute whose values are names of objects is kept in link, so that a
-- rename changes no row of it and a removal leaves nothing that leads nowhere.
-- Those that have no link id of AD are given one here, from 100,001.
-- The key begins with the source: what an object links to is read with it.
ALTER TABLE directory.link ALTER COLUMN attribute TYPE integer;
ALTER TABLE directory.link DROP CONSTRAINT link_pkey, ADD PRIMARY KEY (source, attribute, target);
CREATE INDEX link_by_usn ON directory.link (usn, source);

-- Links that are gone: so a process that follows the changes need not read all
-- members of a large group when one leaves. before is the newest USN that was
-- committed when the link went; rows are kept for an hour.
CREATE TABLE directory.unlinked (
    before    bigint      NOT NULL,
    source    bigint      NOT NULL,
    attribute integer     NOT NULL,
    target    bigint      NOT NULL,
    at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX unlinked_by_usn ON directory.unlinked (before, source);
-- +goose StatementBegin
CREATE FUNCTION directory.note_unlinked() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO directory.unlinked (before, source, attribute, target)
    SELECT f.usn, g.source, g.attribute, g.target FROM gone g, directory.forest f;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER unlinked AFTER DELETE ON directory.link REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION directory.note_unlinked();
CREATE TABLE directory.reference (
    id        integer PRIMARY KEY,
    attribute text    COLLATE "C" NOT NULL UNIQUE -- the schema's name
);

-- Who signs in, further: when the account ends, and whether the password must
-- be changed first.
ALTER TABLE directory.account
    ADD COLUMN expires     timestamptz,
    ADD COLUMN must_change boolean NOT NULL DEFAULT false;

-- The change log tells followers of removed objects by their objectGUID too.
ALTER TABLE directory.change ADD COLUMN guid uuid;

-- Who changed what. changes has the attributes with their values before and
-- after: {"title": [["Clerk"], ["Head"]]}; secrets are never among them.
CREATE TABLE directory.audit (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    usn       bigint      NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    who       bigint      NOT NULL, -- 0: the product itself
    who_name  text        NOT NULL,
    source    text        NOT NULL, -- the client's address, or what acted
    operation text        COLLATE "C" NOT NULL,
    object    bigint      NOT NULL, -- of many at once: 0
    name      text        NOT NULL, -- the object's DN then
    changes   jsonb
);
CREATE INDEX audit_by_object ON directory.audit (object, id);
CREATE INDEX audit_by_time ON directory.audit (at);

-- le32 writes the last part of a SID, which is little-endian (MS-DTYP 2.4.2);
-- sid_below gives the SID of the account rid of a domain.
-- +goose StatementBegin
CREATE FUNCTION directory.le32(n bigint) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
    SELECT set_byte(set_byte(set_byte(set_byte('\x00000000'::bytea,
        0, (n & 255)::int), 1, (n >> 8 & 255)::int), 2, (n >> 16 & 255)::int), 3, (n >> 24 & 255)::int)
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION directory.sid_below(domain bytea, rid bigint) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
    SELECT set_byte(domain, 1, get_byte(domain, 1) + 1) || directory.le32(rid)
$$;
-- +goose StatementEnd

-- furnish makes what every domain has, and below the forest's first one the
-- configuration. It may be run again: what is there stays as it is. It takes
-- the last object id given out and gives the new last one, because the caller
-- holds the counters. The name keys of accounts are made here as derive makes
-- them: built-in names are ASCII.
-- +goose StatementBegin
CREATE FUNCTION directory.furnish(domain bigint, at_usn bigint, last_id bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    d      directory.object;
    root   boolean;
    config bigint;
    r      record;
    up     bigint;
    ref    integer;
    own    bytea;
    text_  text;
    attrs  jsonb;
BEGIN
    SELECT * INTO STRICT d FROM directory.object WHERE id = domain;
    root := NOT EXISTS (SELECT FROM directory.object WHERE class = 'configuration' AND deleted IS NULL);
    IF d.sid = '' THEN
        -- S-1-5-21 and 96 random bits.
        d.sid := '\x010400000000000515000000'::bytea || decode(substr(replace(gen_random_uuid()::text, '-', ''), 21, 12)
            || substr(replace(gen_random_uuid()::text, '-', ''), 21, 12), 'hex');
        UPDATE directory.object SET sid = d.sid WHERE id = domain;
    END IF;

    FOR r IN
        SELECT * FROM (VALUES
            -- path of the parent ('' is the domain), class, naming attribute, name, more attributes, RID, only the first domain
            (1, '', 'container', 'cn', 'Users', '{"description": ["Default container for accounts"]}', 0, false),
            (2, '', 'container', 'cn', 'Computers', '{"description": ["Default container for computers"]}', 0, false),
            (3, '', 'organizationalUnit', 'ou', 'Domain Controllers', '{"description": ["Servers of the directory"]}', 0, false),
            (4, '', 'container', 'cn', 'System', '{"description": ["Settings of the domain"], "showInAdvancedViewOnly": ["TRUE"]}', 0, false),
            (5, '/System', 'msDS-PasswordSettingsContainer', 'cn', 'Password Settings Container', '{}', 0, false),
            (6, '', 'builtinDomain', 'cn', 'Builtin', '{"showInAdvancedViewOnly": ["FALSE"]}', 0, false),
            (7, '', 'lostAndFound', 'cn', 'LostAndFound', '{"description": ["Objects whose container was removed"], "showInAdvancedViewOnly": ["TRUE"]}', 0, false),
            (8, '', 'container', 'cn', 'ForeignSecurityPrincipals', '{"description": ["Accounts of other forests"]}', 0, false),
            (9, '', 'container', 'cn', 'Deleted Objects', '{"description": ["Removed objects"], "showInAdvancedViewOnly": ["TRUE"]}', 0, false),
            (20, '/Users', 'group', 'cn', 'Domain Admins', '{"groupType": ["-2147483646"], "description": ["Administrators of the domain"], "adminCount": ["1"]}', 512, false),
            (21, '/Users', 'group', 'cn', 'Domain Users', '{"groupType": ["-2147483646"], "description": ["All people of the domain"]}', 513, false),
            (22, '/Users', 'group', 'cn', 'Domain Guests', '{"groupType": ["-2147483646"], "description": ["Guests of the domain"]}', 514, false),
            (23, '/Users', 'group', 'cn', 'Domain Computers', '{"groupType": ["-2147483646"], "description": ["Computers of the domain"]}', 515, false),
            (24, '/Users', 'group', 'cn', 'Domain Controllers', '{"groupType": ["-2147483646"], "description": ["Servers of the directory"]}', 516, false),
            (25, '/Users', 'group', 'cn', 'Schema Admins', '{"groupType": ["-2147483640"], "description": ["Administrators of the schema"], "adminCount": ["1"]}', 518, true),
            (26, '/Users', 'group', 'cn', 'Enterprise Admins', '{"groupType": ["-2147483640"], "description": ["Administrators of the forest"], "adminCount": ["1"]}', 519, true),
            (27, '/Builtin', 'group', 'cn', 'Administrators', '{"groupType": ["-2147483643"], "description": ["Administrators"], "adminCount": ["1"]}', 544, true),
            (28, '/Builtin', 'group', 'cn', 'Users', '{"groupType": ["-2147483643"], "description": ["People"]}', 545, true),
            (29, '/Builtin', 'group', 'cn', 'Guests', '{"groupType": ["-2147483643"], "description": ["Guests"]}', 546, true),
            (40, '', 'configuration', 'cn', 'Configuration', '{}', 0, true),
            (41, '/Configuration', 'dMD', 'cn', 'Schema', '{"objectVersion": ["88"]}', 0, true),
            (42, '/Configuration', 'sitesContainer', 'cn', 'Sites', '{}', 0, true),
            (43, '/Configuration/Sites', 'site', 'cn', 'Default-First-Site-Name', '{}', 0, true),
            (44, '/Configuration/Sites/Default-First-Site-Name', 'serversContainer', 'cn', 'Servers', '{}', 0, true),
            (45, '/Configuration/Sites', 'subnetContainer', 'cn', 'Subnets', '{}', 0, true),
            (46, '/Configuration', 'crossRefContainer', 'cn', 'Partitions', '{}', 0, true),
            (47, '/Configuration', 'container', 'cn', 'Services', '{}', 0, true),
            (48, '/Configuration/Services', 'container', 'cn', 'Windows NT', '{}', 0, true),
            (49, '/Configuration/Services/Windows NT', 'nTDSService', 'cn', 'Directory Service', '{"tombstoneLifetime": ["180"]}', 0, true),
            (50, '/Configuration/Services', 'container', 'cn', 'Waypost', '{}', 0, true),
            (51, '/Configuration/Services/Waypost', 'container', 'cn', 'Mailbox Databases', '{}', 0, true),
            (52, '/Configuration/Services/Waypost/Mailbox Databases', 'msExchPrivateMDB', 'cn', 'default', '{"deliveryMechanism": ["0"]}', 0, true),
            (53, '/Configuration', 'container', 'cn', 'Extended-Rights', '{}', 0, true),
            (54, '/Configuration', 'lostAndFound', 'cn', 'LostAndFoundConfig', '{}', 0, true),
            (55, '/Configuration', 'container', 'cn', 'Deleted Objects', '{"showInAdvancedViewOnly": ["TRUE"]}', 0, true)
        ) AS v (n, path, class, naming, rdn, more, rid, first) WHERE root OR NOT v.first ORDER BY n
    LOOP
        up := domain;
        FOREACH text_ IN ARRAY string_to_array(ltrim(r.path, '/'), '/') LOOP
            SELECT id INTO STRICT up FROM directory.object WHERE parent = up AND rdn_key = 'cn=' || lower(text_);
        END LOOP;
        CONTINUE WHEN EXISTS (SELECT FROM directory.object WHERE parent = up AND rdn_key = r.naming || '=' || lower(r.rdn));
        last_id := last_id + 1;
        own := '';
        attrs := r.more::jsonb || jsonb_build_object(r.naming, jsonb_build_array(r.rdn));
        IF r.rid <> 0 THEN
            own := directory.sid_below(CASE WHEN r.path = '/Builtin' THEN '\x010100000000000520000000'::bytea ELSE d.sid END, r.rid);
            -- Account names are unique in the whole forest: those of later domains say which one.
            text_ := CASE WHEN root THEN r.rdn ELSE d.rdn || ' ' || r.rdn END;
            attrs := attrs || jsonb_build_object('sAMAccountName', jsonb_build_array(text_),
                'sAMAccountType', jsonb_build_array(CASE WHEN r.path = '/Builtin' THEN '536870912' ELSE '268435456' END));
        END IF;
        INSERT INTO directory.object (id, guid, parent, class, rdn, rdn_key, attributes, sid, usn_created, usn_changed)
        VALUES (last_id, gen_random_uuid(), up, r.class, r.rdn, r.naming || '=' || lower(r.rdn), attrs, own, at_usn, at_usn);
        INSERT INTO directory.change (object, usn, kind, guid) SELECT id, at_usn, 0, guid FROM directory.object WHERE id = last_id;
        IF r.rid <> 0 THEN
            INSERT INTO directory.name (kind, key, object) VALUES (3, lower(text_), last_id);
            UPDATE directory.object SET names = '3' || lower(text_) WHERE id = last_id;
        END IF;
    END LOOP;

    -- Who may do what: administrators of the domain in it, those of the forest
    -- in all of it (directory/access).
    UPDATE directory.object o SET attributes = o.attributes || jsonb_build_object('accessControlEntry', jsonb_build_array('allow #' || g.id || ' full on all'))
    FROM directory.object u JOIN directory.object g ON g.parent = u.id AND g.rdn_key = 'cn=domain admins'
    WHERE o.id = domain AND u.parent = domain AND u.rdn_key = 'cn=users' AND NOT o.attributes ? 'accessControlEntry';
    IF root THEN
        UPDATE directory.object o SET attributes = o.attributes || jsonb_build_object('accessControlEntry',
            coalesce(o.attributes -> 'accessControlEntry', '[]') || jsonb_build_array('allow #' || g.id || ' full on all')), usn_changed = at_usn
        FROM directory.object u JOIN directory.object g ON g.parent = u.id AND g.rdn_key = 'cn=enterprise admins'
        WHERE o.id = 1 AND u.parent = domain AND u.rdn_key = 'cn=users';
        UPDATE directory.object o SET attributes = o.attributes || jsonb_build_object('accessControlEntry', jsonb_build_array('allow #' || g.id || ' full on all'))
        FROM directory.object u JOIN directory.object g ON g.parent = u.id AND g.rdn_key = 'cn=schema admins'
        WHERE o.class = 'dMD' AND u.parent = domain AND u.rdn_key = 'cn=users';
        INSERT INTO directory.change (object, usn, kind, guid) SELECT id, at_usn, 0, guid FROM directory.object WHERE id = 1
        ON CONFLICT (object) DO UPDATE SET usn = at_usn, at = now();
    END IF;

    -- Each domain is a partition of the forest.
    SELECT id INTO STRICT config FROM directory.object WHERE class = 'crossRefContainer' AND deleted IS NULL;
    SELECT id INTO ref FROM directory.reference WHERE attribute = 'nCName';
    IF ref IS NULL THEN
        INSERT INTO directory.reference (id, attribute) SELECT coalesce(max(id), 100000) + 1, 'nCName' FROM directory.reference RETURNING id INTO ref;
    END IF;
    IF NOT EXISTS (SELECT FROM directory.link WHERE attribute = ref AND target = domain) THEN
        last_id := last_id + 1;
        INSERT INTO directory.object (id, guid, parent, class, rdn, rdn_key, attributes, usn_created, usn_changed)
        VALUES (last_id, gen_random_uuid(), config, 'crossRef', d.rdn, 'cn=' || d.rdn,
            jsonb_build_object('cn', jsonb_build_array(d.rdn), 'dnsRoot', jsonb_build_array(d.rdn), 'systemFlags', jsonb_build_array('3')), at_usn, at_usn);
        INSERT INTO directory.link (attribute, source, target, usn) VALUES (ref, last_id, domain, at_usn);
        INSERT INTO directory.change (object, usn, kind, guid) SELECT id, at_usn, 0, guid FROM directory.object WHERE id = last_id;
    END IF;
    RETURN last_id;
END
$$;
-- +goose StatementEnd

-- What version 1 has becomes what version 2 wants, all under one new USN.
-- +goose StatementBegin
DO $$
DECLARE
    n    bigint;
    last bigint;
    d    record;
    mdb  record;
    home bigint;
BEGIN
    UPDATE directory.change c SET guid = o.guid FROM directory.object o WHERE o.id = c.object;
    -- Runs of spaces in names count as one now.
    UPDATE directory.object o SET rdn_key = regexp_replace(rdn_key, ' +', ' ', 'g') WHERE rdn_key LIKE '%  %'
        AND NOT EXISTS (SELECT FROM directory.object x WHERE x.parent = o.parent AND x.id <> o.id
            AND regexp_replace(x.rdn_key, ' +', ' ', 'g') = regexp_replace(o.rdn_key, ' +', ' ', 'g'));
    -- What everybody may read, and everybody write of himself (directory/access).
    UPDATE directory.object SET attributes = attributes || '{"accessControlEntry": [
        "allow authenticated read on all",
        "allow self write attributes(@personal) on below(user,contact)",
        "allow owner manage-members on below(group)"]}' WHERE id = 1;
    IF NOT EXISTS (SELECT FROM directory.object WHERE class = 'domainDNS') THEN
        RETURN;
    END IF;
    UPDATE directory.forest SET usn = usn + 1 RETURNING usn, object INTO n, last;
    FOR d IN SELECT id FROM directory.object WHERE class = 'domainDNS' ORDER BY id LOOP
        last := directory.furnish(d.id, n, last);
    END LOOP;

    -- A mailbox database is an object; homeMDB was its name.
    SELECT p.id INTO STRICT home FROM directory.object p JOIN directory.object s ON s.id = p.parent
    WHERE p.rdn_key = 'cn=mailbox databases' AND s.rdn_key = 'cn=waypost';
    FOR mdb IN SELECT DISTINCT home_mdb AS name FROM directory.object WHERE home_mdb NOT IN ('', 'default') LOOP
        last := last + 1;
        INSERT INTO directory.object (id, guid, parent, class, rdn, rdn_key, attributes, usn_created, usn_changed)
        VALUES (last, gen_random_uuid(), home, 'msExchPrivateMDB', mdb.name, 'cn=' || lower(mdb.name),
            jsonb_build_object('cn', jsonb_build_array(mdb.name), 'deliveryMechanism', jsonb_build_array('0')), n, n);
        INSERT INTO directory.change (object, usn, kind, guid) SELECT id, n, 0, guid FROM directory.object WHERE id = last;
    END LOOP;
    INSERT INTO directory.link (attribute, source, target, usn)
    SELECT 32, o.id, m.id, n FROM directory.object o JOIN directory.object m ON m.parent = home AND m.rdn = o.home_mdb
    WHERE o.home_mdb <> '';

    -- Accounts and groups get a SID in their domain, and what AD keeps of them.
    WITH RECURSIVE tree (id, sid) AS (
        SELECT id, sid FROM directory.object WHERE class = 'domainDNS'
        UNION ALL SELECT o.id, t.sid FROM directory.object o JOIN tree t ON o.parent = t.id WHERE o.class <> 'domainDNS')
    UPDATE directory.object o SET sid = directory.sid_below(t.sid, 1000 + o.id), usn_changed = n,
        attributes = CASE WHEN o.class = 'group' THEN o.attributes || '{"sAMAccountType": ["268435457"]}'
            ELSE (o.attributes - 'homeMDB') || '{"primaryGroupID": ["513"], "sAMAccountType": ["805306368"]}' END
    FROM tree t WHERE t.id = o.id AND o.class IN ('user', 'group') AND o.sid = '';
    -- When the password was set, as LDAP tells it: 100 ns since 1601.
    UPDATE directory.object o SET attributes = o.attributes || jsonb_build_object('pwdLastSet', jsonb_build_array(
        (floor(extract(epoch FROM a.set_at) * 1000000)::bigint * 10 + 116444736000000000)::text))
    FROM directory.account a WHERE a.object = o.id AND a.hash <> '';
    UPDATE directory.object o SET names = k.names FROM (
        SELECT object, string_agg(kind || key, E'\n' ORDER BY kind, key) AS names FROM directory.name GROUP BY object) k WHERE k.object = o.id;
    UPDATE directory.object SET usn_changed = n WHERE class = 'domainDNS';
    UPDATE directory.change c SET usn = n, at = now() FROM directory.object o
    WHERE o.id = c.object AND NOT c.gone AND o.usn_changed = n AND c.usn <> n;
    UPDATE directory.forest SET object = last;
END
$$;
-- +goose StatementEnd

REVOKE ALL ON ALL TABLES IN SCHEMA directory FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA directory FROM PUBLIC;
