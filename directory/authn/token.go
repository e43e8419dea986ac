package authn

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"waypost/directory"
	"waypost/internal/fault"
)

const (
	issuer   = "waypost-directory"
	audience = "waypost"
	// tokenLife is how long a token is good for.
	tokenLife = 10 * time.Minute
	// rotate is how old the newest signing key may get.
	rotate = 30 * 24 * time.Hour
	// publish is how long a key is published: longer than any token that it
	// signed lives.
	publish = rotate + 24*time.Hour
	// settle is how long a new key is published before it signs, so that
	// verifiers have it.
	settle = 2 * time.Minute
	// reread is how long a process keeps its keys before it looks again.
	reread = time.Minute
	// leeway is what the clocks of two machines may differ.
	leeway = 30 * time.Second
)

// claims are a principal in a token (RFC 7519 and our own names).
type claims struct {
	jwt.RegisteredClaims
	Mailbox directory.MailboxID `json:"mbx,omitempty"`
	HomeMDB string              `json:"mdb,omitempty"`
	Address string              `json:"email,omitempty"`
	Name    string              `json:"name,omitempty"`
	Roles   directory.Role      `json:"roles,omitempty"`
	Epoch   directory.Epoch     `json:"epoch"`
	App     bool                `json:"app,omitempty"`
	Session directory.SessionID `json:"sid,omitempty"`
	Scope   string              `json:"scope,omitempty"`
}

// signer issues tokens with the newest key and makes keys when they get old.
type signer struct {
	accounts Accounts

	mu   sync.Mutex
	at   time.Time
	keys []directory.SigningKey // newest first
}

// ready gives the keys, read again every minute.
func (s *signer) ready(ctx context.Context) ([]directory.SigningKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if len(s.keys) > 0 && now.Sub(s.at) < reread {
		return s.keys, nil
	}
	keys, err := s.accounts.SigningKeys(ctx, now.Add(-publish))
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 || now.Sub(keys[0].Created) > rotate {
		k, err := newKey(now)
		if err != nil {
			return nil, err
		}
		if err := s.accounts.AddSigningKey(ctx, k, now.Add(-rotate), now.Add(-2*publish)); err != nil {
			return nil, err
		}
		if keys, err = s.accounts.SigningKeys(ctx, now.Add(-publish)); err != nil {
			return nil, err
		}
		if len(keys) == 0 {
			return nil, fault.New(fault.Unavailable, "no signing key")
		}
	}
	s.keys, s.at = keys, now
	return keys, nil
}

func newKey(now time.Time) (k directory.SigningKey, err error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return k, err
	}
	var id [9]byte
	_, _ = rand.Read(id[:])
	return directory.SigningKey{
		ID: base64.RawURLEncoding.EncodeToString(id[:]), Seed: private.Seed(), Public: public, Created: now.UTC(),
	}, nil
}

// issue makes a session for p, whose credentials are good until then (zero: for
// ever).
func (s *signer) issue(ctx context.Context, p directory.Principal, until time.Time) (directory.Session, error) {
	keys, err := s.ready(ctx)
	if err != nil {
		return directory.Session{}, err
	}
	now := time.Now()
	key := s.signing(keys, now)
	expires := now.Add(tokenLife).Truncate(time.Second)
	if !until.IsZero() && until.Before(expires) {
		expires = until.Truncate(time.Second)
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: strconv.FormatInt(int64(p.ID), 10),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires),
		},
		Mailbox: p.Mailbox, HomeMDB: p.HomeMDB, Address: p.Address, Name: p.Name, Roles: p.Roles, Epoch: p.Epoch, App: p.App,
		Session: p.Session, Scope: p.Scope,
	})
	t.Header["kid"] = key.ID
	signed, err := t.SignedString(ed25519.NewKeyFromSeed(key.Seed))
	if err != nil {
		return directory.Session{}, err
	}
	return directory.Session{Principal: p, Token: signed, Expires: expires, Until: until}, nil
}

// signing is the key that signs now: the newest that verifiers had time to read.
func (s *signer) signing(keys []directory.SigningKey, now time.Time) directory.SigningKey {
	for _, k := range keys {
		if now.Sub(k.Created) >= settle {
			return k
		}
	}
	return keys[len(keys)-1]
}

// Keys gives the public keys; see directory.Directory.
func (s *Service) Keys(ctx context.Context) ([]directory.Key, error) {
	keys, err := s.signer.ready(ctx)
	if err != nil {
		return nil, err
	}
	public := make([]directory.Key, len(keys))
	for i, k := range keys {
		public[i] = directory.Key{ID: k.ID, Public: k.Public}
	}
	return public, nil
}

var errToken = fault.New(fault.Unauthenticated, "the session is over, sign in again")

// parse checks everything of a token but the account's epoch. key gives the
// public key by its id, nil when there is none.
func parse(token string, key func(id string) ed25519.PublicKey) (p directory.Principal, expires time.Time, err error) {
	if len(token) > maxToken {
		return p, expires, errToken
	}
	var c claims
	_, err = jwt.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		if k := key(id); k != nil {
			return k, nil
		}
		return nil, errToken
	}, jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway))
	if err != nil {
		return p, expires, fault.From(fault.Unauthenticated, err, "the session is over, sign in again")
	}
	id, err := strconv.ParseInt(c.Subject, 10, 64)
	if err != nil || id <= 0 || c.Epoch <= 0 {
		return p, expires, errToken
	}
	return directory.Principal{
		ID: directory.ObjectID(id), Mailbox: c.Mailbox, HomeMDB: c.HomeMDB, Address: c.Address, Name: c.Name,
		Roles: c.Roles &^ directory.RoleSystem, Epoch: c.Epoch, App: c.App,
		Session: c.Session, Scope: c.Scope,
	}, c.ExpiresAt.Time, nil
}

// maxToken bounds a token in bytes; ours have about 600.
const maxToken = 4096
