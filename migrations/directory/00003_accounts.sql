-- +goose Up

-- Passwords that the product made for one program of a person each. They are
-- 128 random bits, so a fast digest (SHA-256) is enough: nobody guesses them.
CREATE TABLE directory.app_password (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    object    bigint      NOT NULL REFERENCES directory.account ON DELETE CASCADE,
    name      text        NOT NULL,
    key       text        COLLATE "C" NOT NULL, -- the folded name
    digest    bytea       NOT NULL,
    created   timestamptz NOT NULL DEFAULT now(),
    last_used timestamptz,
    last_from text        NOT NULL DEFAULT '',
    last_door text        NOT NULL DEFAULT '',
    UNIQUE (object, key)
);

-- Second factors (TOTP, RFC 6238). One that is not active yet waits for its
-- owner to show a code. step is the newest time step used: a code is good once.
-- recovery has digests (SHA-256 of 80 random bits) of codes that work once.
CREATE TABLE directory.factor (
    object   bigint      PRIMARY KEY REFERENCES directory.account ON DELETE CASCADE,
    secret   bytea       NOT NULL,
    active   boolean     NOT NULL DEFAULT false,
    step     bigint      NOT NULL DEFAULT 0,
    recovery bytea[]     NOT NULL DEFAULT '{}',
    created  timestamptz NOT NULL DEFAULT now()
);

-- former holds as many passwords as the account's policy remembers, and at least
-- two. ended is the end of the account (expires) upon which what was granted to
-- it has been ended.
ALTER TABLE directory.account ADD COLUMN ended timestamptz;
CREATE INDEX account_ends ON directory.account (expires) WHERE expires IS NOT NULL;

REVOKE ALL ON ALL TABLES IN SCHEMA directory FROM PUBLIC;
