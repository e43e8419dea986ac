-- +goose Up

-- Where people are signed in: browsers (client is '') and programs that were
-- granted access. digest is SHA-256 of the cookie's secret or of the newest
-- refresh token. needs tells what is missing before it is good for anything (1 a
-- second factor, 2 another password). A session is of one epoch of its account.
CREATE TABLE directory.session (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    object  bigint      NOT NULL REFERENCES directory.account ON DELETE CASCADE,
    epoch   bigint      NOT NULL,
    digest  bytea       NOT NULL UNIQUE,
    needs   smallint    NOT NULL DEFAULT 0,
    client  text        COLLATE "C" NOT NULL DEFAULT '',
    scope   text        NOT NULL DEFAULT '',
    how     text[]      NOT NULL DEFAULT '{}',
    passkey bigint      NOT NULL DEFAULT 0, -- it began with
    private boolean     NOT NULL DEFAULT false,
    agent   text        NOT NULL DEFAULT '',
    client_address text NOT NULL DEFAULT '',
    created timestamptz NOT NULL DEFAULT now(),
    used    timestamptz NOT NULL DEFAULT now(),
    idle    interval    NOT NULL, -- it ends when it was not used for so long
    until   timestamptz NOT NULL
);
CREATE INDEX session_of ON directory.session (object);
CREATE INDEX session_by_client ON directory.session (client) WHERE client <> '';

-- Refresh tokens that were exchanged for another: who shows one again has stolen
-- it, or was stolen from (OAuth 2.1 section 4.3.1).
CREATE TABLE directory.refresh_used (
    digest  bytea  PRIMARY KEY,
    session bigint NOT NULL REFERENCES directory.session ON DELETE CASCADE
);
CREATE INDEX refresh_used_of ON directory.refresh_used (session);

-- What ended, for the feed. Whoever ends sessions takes the counter row, so that
-- numbers become visible in order. Kept for an hour; a token lives ten minutes.
CREATE TABLE directory.session_counter (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    n   bigint  NOT NULL DEFAULT 0
);
INSERT INTO directory.session_counter DEFAULT VALUES;
CREATE TABLE directory.session_ended (
    n       bigint      NOT NULL,
    session bigint      NOT NULL,
    at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (n, session)
);

-- What is given out and good once, for a short while: challenges of passkeys,
-- authorization codes, device codes. session is what came of it.
CREATE TABLE directory.ticket (
    digest  bytea       PRIMARY KEY,
    kind    text        NOT NULL,
    object  bigint      REFERENCES directory.account ON DELETE CASCADE,
    data    jsonb       NOT NULL,
    label   text        COLLATE "C" UNIQUE, -- a device's user code
    until   timestamptz NOT NULL,
    session bigint      NOT NULL DEFAULT 0
);
CREATE INDEX ticket_of ON directory.ticket (object) WHERE object IS NOT NULL;
CREATE INDEX ticket_until ON directory.ticket (until);

-- Passkeys (WebAuthn). data is the credential as its library keeps it.
CREATE TABLE directory.passkey (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    object     bigint      NOT NULL REFERENCES directory.account ON DELETE CASCADE,
    name       text        NOT NULL,
    credential bytea       NOT NULL UNIQUE,
    data       jsonb       NOT NULL,
    created    timestamptz NOT NULL DEFAULT now(),
    last_used  timestamptz,
    last_from  text        NOT NULL DEFAULT ''
);
CREATE INDEX passkey_of ON directory.passkey (object);

-- Programs that may ask for access (OAuth 2.1). secret is a digest of 256 random
-- bits; empty for public clients.
CREATE TABLE directory.oauth_client (
    id        text        COLLATE "C" PRIMARY KEY,
    name      text        NOT NULL,
    secret    bytea       NOT NULL DEFAULT '',
    redirects text[]      NOT NULL DEFAULT '{}',
    scopes    text[]      NOT NULL DEFAULT '{}',
    trusted   boolean     NOT NULL DEFAULT false,
    created   timestamptz NOT NULL DEFAULT now()
);

-- Accounts of outside OpenID providers.
CREATE TABLE directory.outside (
    issuer  text   COLLATE "C" NOT NULL,
    subject text   COLLATE "C" NOT NULL,
    object  bigint NOT NULL REFERENCES directory.account ON DELETE CASCADE,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX outside_of ON directory.outside (object);

REVOKE ALL ON ALL TABLES IN SCHEMA directory FROM PUBLIC;
