package authn

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
)

// Keeper is where sessions, passkeys and grants are kept.
// *directory/postgres.Store is the real one.
type Keeper interface {
	// AccountOf is Accounts.Account by id.
	AccountOf(ctx context.Context, id directory.ObjectID, client string) (directory.Account, error)

	// AddSession keeps a new session of who, in the epoch that he has shown.
	AddSession(ctx context.Context, digest []byte, who directory.Principal, s directory.StoredSession) (directory.SessionID, error)
	// SessionBy gives the session with the digest, if it is still good.
	SessionBy(ctx context.Context, digest []byte) (directory.StoredSession, error)
	// MoveSession gives a session another secret, epoch and needs, if it still has
	// the digest; spent digests of refresh tokens are remembered.
	MoveSession(ctx context.Context, was, digest []byte, epoch directory.Epoch, s directory.StoredSession) error
	// UseSession notes a use.
	UseSession(ctx context.Context, id directory.SessionID, from, agent string) error
	// Reused gives the session whose refresh token the digest was once; 0: none.
	Reused(ctx context.Context, digest []byte) (directory.SessionID, error)
	// EndSessionsBy ends the sessions with these ids or digests.
	EndSessionsBy(ctx context.Context, ids []directory.SessionID, digests [][]byte) (int, error)

	SessionsOf(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]directory.SessionInfo, error)
	EndSession(ctx context.Context, as directory.Principal, id directory.ObjectID, session directory.SessionID) error
	EndSessions(ctx context.Context, as directory.Principal, id directory.ObjectID, keep directory.SessionID) (int, error)

	AddTicket(ctx context.Context, digest []byte, t directory.Ticket) error
	// Ticket gives a ticket that is still good, TakeTicket for the last time.
	Ticket(ctx context.Context, kind string, digest []byte) (directory.Ticket, error)
	TakeTicket(ctx context.Context, kind string, digest []byte) (directory.Ticket, error)
	// SpendTicket marks a ticket as used by a session; false when it was before,
	// by the session that is given then.
	SpendTicket(ctx context.Context, digest []byte, s directory.SessionID) (before directory.SessionID, ok bool, err error)
	// TicketByLabel finds the ticket with the label, SetTicket replaces what it holds.
	TicketByLabel(ctx context.Context, kind, label string) (digest []byte, t directory.Ticket, err error)
	SetTicket(ctx context.Context, digest []byte, was, data []byte, object directory.ObjectID) (bool, error)

	Passkeys(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]directory.Passkey, error)
	MayAddPasskey(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.User, error)
	KeepPasskey(ctx context.Context, as directory.Principal, p directory.StoredPasskey) (directory.Passkey, error)
	RemovePasskey(ctx context.Context, as directory.Principal, id directory.ObjectID, passkey int64) error
	PasskeysOf(ctx context.Context, id directory.ObjectID) ([]directory.StoredPasskey, error)
	PasskeyBy(ctx context.Context, credential []byte) (directory.StoredPasskey, error)
	UsePasskey(ctx context.Context, id int64, data []byte, from string) error

	OAuthClients(ctx context.Context, as directory.Principal) ([]directory.OAuthClient, error)
	ClientBy(ctx context.Context, id string) (directory.StoredClient, error)
	KeepClient(ctx context.Context, as directory.Principal, c directory.StoredClient) error
	RemoveOAuthClient(ctx context.Context, as directory.Principal, id string) error
	Consented(ctx context.Context, as directory.Principal, client, scope string) (bool, error)

	Linked(ctx context.Context, o directory.Identity) (directory.ObjectID, error)
	Link(ctx context.Context, o directory.Identity, id directory.ObjectID) error
}

const (
	// halfLife is how long a session may wait for its second step.
	halfLife = 10 * time.Minute
	// On a public computer a session ends a quarter of an hour after its last use,
	// on a private one a day after it.
	publicIdle, publicLife   = 15 * time.Minute, 12 * time.Hour
	privateIdle, privateLife = 24 * time.Hour, 30 * 24 * time.Hour
	secretBytes              = 32
	maxAgent                 = 200 // bytes
)

var errSession = fault.New(fault.Unauthenticated, "you are signed out, sign in again")

// newSecret makes 256 random bits and their digest. It is long enough that a fast
// digest keeps it: nobody guesses it.
func newSecret() (secret string, digest []byte) {
	raw := make([]byte, secretBytes)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw), secretDigest(raw)
}

func secretDigest(raw []byte) []byte {
	sum := sha256.Sum256(append([]byte("waypost session\x00"), raw...))
	return sum[:]
}

// digestOf reads a secret as a client shows it; nil for what never was one.
func digestOf(secret string) []byte {
	raw, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil || len(raw) != secretBytes {
		return nil
	}
	return secretDigest(raw)
}

func clipAgent(s string) string { return s[:min(len(s), maxAgent)] }

// Enter implements directory.Sessions.
func (s *Service) Enter(ctx context.Context, c directory.Credentials, at directory.Place) (_ directory.Entry, err error) {
	begin := time.Now()
	defer func() { s.report(ctx, "enter", c, begin, err) }()
	ctx, cancel := context.WithTimeout(ctx, signInTimeout)
	defer cancel()
	c.From, c.Factor = at.From, ""
	if c.Program() {
		return directory.Entry{}, fault.New(fault.Invalid, "programs have no sessions in a browser")
	}
	a, err := s.check(ctx, c)
	needs := directory.NeedNothing
	var p *directory.SignInProblem
	switch {
	case errors.As(err, &p) && p.Why == directory.FactorNeeded:
		needs = directory.NeedFactor
	case errors.As(err, &p) && p.Renewable():
		needs = directory.NeedPassword
	case err != nil:
		return directory.Entry{}, err
	}
	return s.begin(ctx, a, needs, at, directory.StoredSession{SessionInfo: directory.SessionInfo{How: []string{"pwd"}}})
}

// begin begins a session of the account.
func (s *Service) begin(ctx context.Context, a directory.Account, needs directory.Need, at directory.Place, with directory.StoredSession) (directory.Entry, error) {
	secret, digest := newSecret()
	with.Private = at.Private
	n := s.life(a, needs, at, with)
	id, err := s.keep.AddSession(ctx, digest, a.Principal, n)
	if err != nil {
		return directory.Entry{}, err
	}
	n.ID = id
	return s.entry(ctx, secret, a, n)
}

// life is how long a session lasts in the state that it enters.
func (s *Service) life(a directory.Account, needs directory.Need, at directory.Place, n directory.StoredSession) directory.StoredSession {
	now := s.now()
	n.Needs, n.Agent, n.From = needs, clipAgent(at.Agent), directory.ClientKey(at.From)
	n.Idle, n.Until = publicIdle, now.Add(publicLife)
	if n.Private {
		n.Idle, n.Until = privateIdle, now.Add(privateLife)
	}
	if needs != directory.NeedNothing {
		n.Idle, n.Until = halfLife, now.Add(halfLife)
		return n
	}
	for _, end := range []time.Time{a.Expires, a.PasswordExpires} {
		if !end.IsZero() && end.Before(n.Until) {
			n.Until = end
		}
	}
	return n
}

func (s *Service) entry(ctx context.Context, secret string, a directory.Account, n directory.StoredSession) (directory.Entry, error) {
	e := directory.Entry{Secret: secret, Needs: n.Needs, Until: n.Until}
	switch n.Needs {
	case directory.NeedNothing:
		e.Principal = a.Principal
		e.Principal.Session = n.ID
		e.Warning = warning(a.PasswordExpires.Sub(s.now()), a.PasswordExpires.IsZero())
	case directory.NeedFactor:
		keys, err := s.keep.PasskeysOf(ctx, a.Principal.ID)
		if err != nil {
			return directory.Entry{}, err
		}
		e.Passkeys = len(keys) > 0
	case directory.NeedPassword:
	}
	return e, nil
}

// half gives a session that needs something, with its account.
func (s *Service) half(ctx context.Context, secret string, need directory.Need, at directory.Place) (digest []byte, n directory.StoredSession, a directory.Account, err error) {
	if digest = digestOf(secret); digest == nil {
		return nil, n, a, errSession
	}
	if n, err = s.keep.SessionBy(ctx, digest); err != nil {
		return nil, n, a, err
	}
	if n.Needs != need || n.Client != "" {
		return nil, n, a, errSession
	}
	if a, err = s.keep.AccountOf(ctx, n.Principal.ID, directory.ClientKey(at.From)); err != nil {
		return nil, n, a, err
	}
	if a.Principal.Epoch != n.Principal.Epoch {
		return nil, n, a, errSession
	}
	return digest, n, a, s.stands(a, directory.Credentials{})
}

// EnterCode implements directory.Sessions.
func (s *Service) EnterCode(ctx context.Context, secret, code string, at directory.Place) (_ directory.Entry, err error) {
	begin := time.Now()
	c := directory.Credentials{From: at.From, Door: "web"}
	defer func() { s.report(ctx, "enter code", c, begin, err) }()
	digest, n, a, err := s.half(ctx, secret, directory.NeedFactor, at)
	if err != nil {
		return directory.Entry{}, err
	}
	c.Login = a.Principal.Address
	t := directory.Attempt{ID: a.Principal.ID, Login: c.Login, Client: directory.ClientKey(at.From), Known: a.Known, Noted: a.Noted, Door: c.Door}
	if a.Factor != nil {
		if len(code) > maxFactor {
			code = "?" // wrong as any other
		}
		if err := s.factor(ctx, a, t, code); err != nil {
			return directory.Entry{}, err
		}
	}
	if err := s.accounts.Succeeded(ctx, t); err != nil {
		return directory.Entry{}, err
	}
	n.How = append(n.How, "otp")
	return s.step(ctx, digest, n, a, at)
}

// step takes a session on after its second factor. It gets another secret: who
// had the first one seen has nothing.
func (s *Service) step(ctx context.Context, digest []byte, n directory.StoredSession, a directory.Account, at directory.Place) (directory.Entry, error) {
	needs := directory.NeedNothing
	if a.MustChange || !a.PasswordExpires.IsZero() && !a.PasswordExpires.After(s.now()) {
		needs = directory.NeedPassword
	}
	return s.move(ctx, digest, n, a, needs, at)
}

func (s *Service) move(ctx context.Context, was []byte, n directory.StoredSession, a directory.Account, needs directory.Need, at directory.Place) (directory.Entry, error) {
	secret, digest := newSecret()
	n = s.life(a, needs, at, n)
	if err := s.keep.MoveSession(ctx, was, digest, a.Principal.Epoch, n); err != nil {
		return directory.Entry{}, err
	}
	return s.entry(ctx, secret, a, n)
}

// EnterPassword implements directory.Sessions. Who is signed in already shows the
// old password again; who must change it has shown it a moment ago.
func (s *Service) EnterPassword(ctx context.Context, secret, old, password string, at directory.Place) (_ directory.Entry, err error) {
	begin := time.Now()
	c := directory.Credentials{From: at.From, Door: "web"}
	defer func() { s.report(ctx, "enter password", c, begin, err) }()
	ctx, cancel := context.WithTimeout(ctx, signInTimeout)
	defer cancel()
	digest, n, a, err := s.half(ctx, secret, directory.NeedPassword, at)
	if err != nil {
		if digest, n, a, err = s.half(ctx, secret, directory.NeedNothing, at); err != nil {
			return directory.Entry{}, err
		}
		c.Login, c.Password = a.Principal.Address, old
		var p *directory.SignInProblem
		if _, err = s.check(ctx, c); err != nil && (!errors.As(err, &p) || p.Why != directory.FactorNeeded) {
			return directory.Entry{}, err
		}
	}
	c.Login = a.Principal.Address
	if len(password) > maxPassword {
		return directory.Entry{}, fault.New(fault.TooLarge, "a password has at most %d bytes", maxPassword)
	}
	ctx = directory.WithClient(ctx, directory.ClientKey(at.From))
	if a.Principal.Epoch, err = s.accounts.Renew(ctx, a.Principal, a.Hash, password); err != nil {
		return directory.Entry{}, err
	}
	a.MustChange, a.PasswordExpires = false, time.Time{} // the next sign-in tells
	return s.move(ctx, digest, n, a, directory.NeedNothing, at)
}

// Session implements directory.Sessions.
func (s *Service) Session(ctx context.Context, secret string, at directory.Place) (directory.SessionInfo, error) {
	digest := digestOf(secret)
	if digest == nil {
		return directory.SessionInfo{}, errSession
	}
	n, err := s.keep.SessionBy(ctx, digest)
	if err != nil {
		return directory.SessionInfo{}, err
	}
	if n.Needs != directory.NeedNothing || n.Client != "" {
		return directory.SessionInfo{}, errSession
	}
	n.Principal.Session = n.ID
	return n.SessionInfo, s.keep.UseSession(ctx, n.ID, directory.ClientKey(at.From), clipAgent(at.Agent))
}

// Leave implements directory.Sessions.
func (s *Service) Leave(ctx context.Context, secret string) error {
	digest := digestOf(secret)
	if digest == nil {
		return nil
	}
	_, err := s.keep.EndSessionsBy(ctx, nil, [][]byte{digest})
	return err
}

// SessionsOf implements directory.Sessions.
func (s *Service) SessionsOf(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]directory.SessionInfo, error) {
	return s.keep.SessionsOf(ctx, as, id)
}

// EndSession implements directory.Sessions.
func (s *Service) EndSession(ctx context.Context, as directory.Principal, id directory.ObjectID, session directory.SessionID) error {
	return s.keep.EndSession(ctx, as, id, session)
}

// EndSessions implements directory.Sessions.
func (s *Service) EndSessions(ctx context.Context, as directory.Principal, id directory.ObjectID, keep directory.SessionID) (int, error) {
	return s.keep.EndSessions(ctx, as, id, keep)
}

// EnterOutside implements directory.Sessions.
func (s *Service) EnterOutside(ctx context.Context, o directory.Identity, at directory.Place) (_ directory.Entry, err error) {
	begin := time.Now()
	c := directory.Credentials{Login: o.Address, From: at.From, Door: "web"}
	defer func() { s.report(ctx, "enter from outside", c, begin, err) }()
	client := directory.ClientKey(at.From)
	id, err := s.keep.Linked(ctx, o)
	if err != nil {
		return directory.Entry{}, err
	}
	var a directory.Account
	switch {
	case id != 0:
		a, err = s.keep.AccountOf(ctx, id, client)
	case o.Address != "":
		if a, err = s.accounts.Account(ctx, o.Address, client); err == nil && a.Principal.ID != 0 {
			err = s.keep.Link(ctx, o, a.Principal.ID)
		}
	}
	switch {
	case err != nil:
		return directory.Entry{}, err
	case a.Principal.ID == 0:
		return directory.Entry{}, fault.New(fault.Unauthenticated, "nobody here is who the provider says you are")
	}
	if err := s.stands(a, directory.Credentials{}); err != nil {
		return directory.Entry{}, err
	}
	// Its password does not matter here, nor how old it is: the provider answers
	// for who this is.
	a.PasswordExpires = time.Time{}
	return s.begin(ctx, a, directory.NeedNothing, at, directory.StoredSession{SessionInfo: directory.SessionInfo{How: []string{"ext"}}})
}
