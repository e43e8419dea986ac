-- +goose Up

-- The directory of the whole organisation (the forest): one tree of objects
-- with the classes and attributes of Active Directory.
--
-- Text is folded in Go (NFC, lower case) and compared bytewise: every key
-- column is COLLATE "C" whatever the database's own locale is.

-- The counters. Whoever changes the directory takes this row first and holds
-- it until the commit, so that USNs become visible in their own order. A
-- sequence would not do: a follower could skip a number that commits late.
-- Object and mailbox ids are never given out twice.
CREATE TABLE directory.forest (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    usn     bigint  NOT NULL, -- the last one taken
    object  bigint  NOT NULL, -- the last one taken
    mailbox bigint  NOT NULL, -- the last one taken
    floor   bigint  NOT NULL  -- a follower older than this USN begins anew
) WITH (fillfactor = 10);
INSERT INTO directory.forest (usn, object, mailbox, floor) VALUES (1, 1, 0, 0);

-- Every object. attributes holds the truth under AD names, each a list of
-- strings; the columns under "derived" repeat what the in-memory view needs and
-- are written together with it, by one function (directory/postgres, derive).
CREATE TABLE directory.object (
    id          bigint      PRIMARY KEY,
    guid        uuid        NOT NULL UNIQUE,       -- objectGUID
    parent      bigint      REFERENCES directory.object, -- NULL: the root alone
    class       text        COLLATE "C" NOT NULL,  -- the most specific class
    rdn         text        NOT NULL,              -- value of the naming attribute
    rdn_key     text        COLLATE "C" NOT NULL,  -- "cn=" and the folded value
    attributes  jsonb       NOT NULL DEFAULT '{}',
    mailbox     bigint      NOT NULL DEFAULT 0,    -- MailboxID, 0: none
    usn_created bigint      NOT NULL,
    usn_changed bigint      NOT NULL,
    created     timestamptz NOT NULL DEFAULT now(),
    changed     timestamptz NOT NULL DEFAULT now(),
    -- derived
    kind        smallint    NOT NULL DEFAULT 0,    -- directory.Kind, 0: none of mail's
    address     text        NOT NULL DEFAULT '',   -- primary SMTP address
    name        text        NOT NULL DEFAULT '',   -- displayName
    home_mdb    text        NOT NULL DEFAULT '',
    quota       bigint      NOT NULL DEFAULT 0,    -- bytes
    hidden      boolean     NOT NULL DEFAULT false,
    roles       bigint      NOT NULL DEFAULT 0,    -- directory.Role
    terms       text        NOT NULL DEFAULT '',   -- folded words for the address list
    UNIQUE (parent, rdn_key)
);
CREATE INDEX object_by_usn ON directory.object (usn_changed);
CREATE UNIQUE INDEX object_by_mailbox ON directory.object (mailbox) WHERE mailbox <> 0;
CREATE INDEX object_by_kind ON directory.object (kind, id) WHERE kind <> 0;

INSERT INTO directory.object (id, guid, class, rdn, rdn_key, usn_created, usn_changed)
VALUES (1, '00000000-0000-0000-0000-000000000001', 'top', '', '', 1, 1);

-- What an object is found by; unique in the whole forest. An address and a
-- userPrincipalName are also unique among each other (checked under the
-- counter row), because people sign in with both.
CREATE TABLE directory.name (
    kind   smallint NOT NULL, -- 1 address, 2 userPrincipalName, 3 sAMAccountName, 4 other proxyAddresses, 5 domain
    key    text     COLLATE "C" NOT NULL,
    object bigint   NOT NULL REFERENCES directory.object ON DELETE CASCADE,
    PRIMARY KEY (kind, key)
);
CREATE INDEX name_by_object ON directory.name (object);

-- Linked attributes by AD's link id of the forward link: 2 member, 42 manager,
-- 72 managedBy. The back link (memberOf) is the index.
CREATE TABLE directory.link (
    attribute smallint NOT NULL,
    source    bigint   NOT NULL REFERENCES directory.object ON DELETE CASCADE,
    target    bigint   NOT NULL REFERENCES directory.object ON DELETE CASCADE,
    usn       bigint   NOT NULL,
    PRIMARY KEY (attribute, source, target)
);
CREATE INDEX link_back ON directory.link (target, attribute, source);

-- Who can sign in. hash is argon2id in PHC form, '' for nobody; former holds
-- the last two before it, so that a phone that still has one of them does not
-- lock its owner out. Nothing but sign-in reads this table's secrets.
CREATE TABLE directory.account (
    object  bigint      PRIMARY KEY REFERENCES directory.object ON DELETE CASCADE,
    hash    text        NOT NULL DEFAULT '',
    former  text[]      NOT NULL DEFAULT '{}',
    epoch   bigint      NOT NULL DEFAULT 1,
    enabled boolean     NOT NULL DEFAULT true,
    set_at  timestamptz NOT NULL DEFAULT now() -- when the password was set
);

-- The change log: the newest change of each object that is or ever was. An
-- object's older changes are of no use to a follower. What is gone stays for
-- 180 days.
CREATE TABLE directory.change (
    object  bigint      PRIMARY KEY,
    usn     bigint      NOT NULL,
    kind    smallint    NOT NULL,
    gone    boolean     NOT NULL DEFAULT false,
    epoch   bigint      NOT NULL DEFAULT 0,
    enabled boolean     NOT NULL DEFAULT false,
    at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX change_by_usn ON directory.change (usn, object);
CREATE INDEX change_gone ON directory.change (at) WHERE gone;

-- Failed sign-ins by account ("account", object id or digest of a login) and by
-- client ("client", address, /64 for IPv6).
CREATE TABLE directory.lockout (
    kind     text        COLLATE "C" NOT NULL,
    key      text        COLLATE "C" NOT NULL,
    failures integer     NOT NULL,
    last     timestamptz NOT NULL,
    until    timestamptz NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX lockout_by_age ON directory.lockout (last);

-- Client addresses that signed in to an account before; a lock-out of the
-- account never shuts them out.
CREATE TABLE directory.known_address (
    object   bigint      NOT NULL REFERENCES directory.object ON DELETE CASCADE,
    client   text        COLLATE "C" NOT NULL,
    last     timestamptz NOT NULL,
    failures integer     NOT NULL DEFAULT 0, -- since the last success
    PRIMARY KEY (object, client)
);

-- Keys that sign tokens. Only the directory's own database role can read them.
CREATE TABLE directory.signing_key (
    id      text        COLLATE "C" PRIMARY KEY,
    private bytea       NOT NULL, -- Ed25519 seed
    public  bytea       NOT NULL,
    created timestamptz NOT NULL
);

REVOKE ALL ON ALL TABLES IN SCHEMA directory FROM PUBLIC;
