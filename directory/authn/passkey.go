package authn

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"net/url"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"waypost/directory"
	"waypost/internal/fault"
)

const (
	// challengeLife is how long an authenticator may take.
	challengeLife = 5 * time.Minute
	maxPasskeys   = 40
	maxAnswer     = 64 << 10 // bytes
)

// The kinds of tickets that are challenges.
const (
	ticketEnter = "passkey sign-in"
	ticketAdd   = "passkey new"
)

// rp makes WebAuthn's relying party of the site that the browser shows. Passkeys
// are bound to its host (WebAuthn section 5.1.2); every place of one organisation
// has the same.
func rp(site string) (*webauthn.WebAuthn, error) {
	u, err := url.Parse(site)
	if err != nil || u.Hostname() == "" {
		return nil, fault.New(fault.Invalid, "no site is named")
	}
	w, err := webauthn.New(&webauthn.Config{
		RPID: u.Hostname(), RPDisplayName: "Waypost", RPOrigins: []string{site},
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, UserVerification: protocol.VerificationRequired,
		},
		AttestationPreference: protocol.PreferNoAttestation,
	})
	return w, fault.From(fault.Invalid, err, "passkeys do not work at %s", site)
}

// holder is an account as the library sees it.
type holder struct {
	id            directory.ObjectID
	name, display string
	keys          []directory.StoredPasskey
}

// handle is the account to authenticators (WebAuthn section 6.1: no name of the
// person's).
func handle(id directory.ObjectID) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) } //nolint:gosec // ids are positive

func (h *holder) WebAuthnID() []byte          { return handle(h.id) }
func (h *holder) WebAuthnName() string        { return h.name }
func (h *holder) WebAuthnDisplayName() string { return h.display }
func (h *holder) WebAuthnCredentials() (all []webauthn.Credential) {
	for _, k := range h.keys {
		var c webauthn.Credential
		if json.Unmarshal(k.Data, &c) == nil {
			all = append(all, c)
		}
	}
	return all
}

// challenge keeps what the library wants to see again.
func (s *Service) challenge(ctx context.Context, kind string, id directory.ObjectID, options any, data *webauthn.SessionData) (c directory.Challenge, err error) {
	raw, err := json.Marshal(data)
	if err != nil {
		return c, err
	}
	if c.Options, err = json.Marshal(options); err != nil {
		return c, err
	}
	var digest []byte
	c.ID, digest = newSecret()
	err = s.keep.AddTicket(ctx, digest, directory.Ticket{Kind: kind, Object: id, Data: raw, Until: s.now().Add(challengeLife)})
	return c, err
}

// answered takes the challenge of an answer.
func (s *Service) answered(ctx context.Context, kind string, a directory.Answer) (t directory.Ticket, data webauthn.SessionData, err error) {
	digest := digestOf(a.ID)
	if digest == nil || len(a.Response) > maxAnswer {
		return t, data, errPasskey
	}
	if t, err = s.keep.TakeTicket(ctx, kind, digest); err != nil {
		return t, data, err
	}
	return t, data, json.Unmarshal(t.Data, &data)
}

var errPasskey = fault.New(fault.Unauthenticated, "the passkey was not accepted")

// BeginPasskey implements directory.Sessions.
func (s *Service) BeginPasskey(ctx context.Context, secret string, at directory.Place) (c directory.Challenge, err error) {
	w, err := rp(at.Site)
	if err != nil {
		return c, err
	}
	if secret == "" {
		options, data, err := w.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
		if err != nil {
			return c, err
		}
		return s.challenge(ctx, ticketEnter, 0, options, data)
	}
	_, _, a, err := s.half(ctx, secret, directory.NeedFactor, at)
	if err != nil {
		return c, err
	}
	keys, err := s.keep.PasskeysOf(ctx, a.Principal.ID)
	if err != nil {
		return c, err
	}
	if len(keys) == 0 {
		return c, fault.New(fault.NotFound, "there is no passkey")
	}
	options, data, err := w.BeginLogin(&holder{id: a.Principal.ID, name: a.Principal.Address, display: a.Principal.Name, keys: keys},
		webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return c, err
	}
	return s.challenge(ctx, ticketEnter, a.Principal.ID, options, data)
}

// EnterPasskey implements directory.Sessions. A passkey is two factors in one: the
// device, and what unlocks it, because user verification is asked for.
func (s *Service) EnterPasskey(ctx context.Context, secret string, answer directory.Answer, at directory.Place) (_ directory.Entry, err error) {
	begin := time.Now()
	c := directory.Credentials{From: at.From, Door: "web"}
	defer func() { s.report(ctx, "enter by passkey", c, begin, err) }()
	key, err := s.assert(ctx, answer, at)
	if err != nil {
		return directory.Entry{}, err
	}
	client := directory.ClientKey(at.From)
	t := directory.Attempt{ID: key.Object, Client: client, Door: "web"}
	if secret != "" {
		digest, n, a, err := s.half(ctx, secret, directory.NeedFactor, at)
		if err != nil {
			return directory.Entry{}, err
		}
		if a.Principal.ID != key.Object {
			return directory.Entry{}, errPasskey
		}
		c.Login, t.Login, t.Known, t.Noted = a.Principal.Address, a.Principal.Address, a.Known, a.Noted
		if err := s.accounts.Succeeded(ctx, t); err != nil {
			return directory.Entry{}, err
		}
		n.How, n.Passkey = append(n.How, "hwk"), key.ID
		return s.step(ctx, digest, n, a, at)
	}
	a, err := s.keep.AccountOf(ctx, key.Object, client)
	if err != nil {
		return directory.Entry{}, err
	}
	c.Login, t.Login, t.Known, t.Noted = a.Principal.Address, a.Principal.Address, a.Known, a.Noted
	if err := s.stands(a, directory.Credentials{}); err != nil {
		return directory.Entry{}, err
	}
	if err := s.accounts.Succeeded(ctx, t); err != nil {
		return directory.Entry{}, err
	}
	needs := directory.NeedNothing
	if a.MustChange {
		needs = directory.NeedPassword
	}
	a.PasswordExpires = time.Time{} // it is not the password that was shown
	return s.begin(ctx, a, needs, at, directory.StoredSession{Passkey: key.ID, SessionInfo: directory.SessionInfo{How: []string{"hwk"}}})
}

// assert checks an authenticator's answer and tells whose key it is of.
func (s *Service) assert(ctx context.Context, answer directory.Answer, at directory.Place) (key directory.StoredPasskey, err error) {
	w, err := rp(at.Site)
	if err != nil {
		return key, err
	}
	t, data, err := s.answered(ctx, ticketEnter, answer)
	if err != nil {
		return key, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer.Response)
	if err != nil {
		return key, fault.From(fault.Unauthenticated, err, "the passkey was not accepted")
	}
	if key, err = s.keep.PasskeyBy(ctx, parsed.RawID); err != nil {
		return key, err
	}
	h := &holder{id: key.Object, keys: []directory.StoredPasskey{key}}
	var used *webauthn.Credential
	if t.Object == 0 {
		_, used, err = w.ValidatePasskeyLogin(func(_, user []byte) (webauthn.User, error) {
			if !bytes.Equal(user, handle(key.Object)) {
				return nil, errPasskey
			}
			return h, nil
		}, data, parsed)
	} else {
		if t.Object != key.Object {
			return key, errPasskey
		}
		// The list of those that were allowed is of all the account's keys.
		if h.keys, err = s.keep.PasskeysOf(ctx, key.Object); err != nil {
			return key, err
		}
		used, err = w.ValidateLogin(h, data, parsed)
	}
	if err != nil {
		return key, fault.From(fault.Unauthenticated, err, "the passkey was not accepted")
	}
	if used.Authenticator.CloneWarning { // WebAuthn section 6.1.1
		return key, fault.From(fault.Unauthenticated, fault.New(fault.Denied, "the passkey's counter went back: it may have been copied"), "the passkey was not accepted")
	}
	raw, err := json.Marshal(used)
	if err != nil {
		return key, err
	}
	return key, s.keep.UsePasskey(ctx, key.ID, raw, directory.ClientKey(at.From))
}

// Passkeys implements directory.Sessions.
func (s *Service) Passkeys(ctx context.Context, as directory.Principal, id directory.ObjectID) ([]directory.Passkey, error) {
	return s.keep.Passkeys(ctx, as, id)
}

// RemovePasskey implements directory.Sessions.
func (s *Service) RemovePasskey(ctx context.Context, as directory.Principal, id directory.ObjectID, passkey int64) error {
	return s.keep.RemovePasskey(ctx, as, id, passkey)
}

// NewPasskey implements directory.Sessions.
func (s *Service) NewPasskey(ctx context.Context, as directory.Principal, id directory.ObjectID, at directory.Place) (c directory.Challenge, err error) {
	w, err := rp(at.Site)
	if err != nil {
		return c, err
	}
	u, err := s.keep.MayAddPasskey(ctx, as, id)
	if err != nil {
		return c, err
	}
	keys, err := s.keep.PasskeysOf(ctx, id)
	if err != nil {
		return c, err
	}
	if len(keys) >= maxPasskeys {
		return c, fault.New(fault.Limit, "at most %d passkeys", maxPasskeys)
	}
	h := &holder{id: id, name: u.Address, display: u.Name, keys: keys}
	options, data, err := w.BeginRegistration(h, webauthn.WithExclusions(webauthn.Credentials(h.WebAuthnCredentials()).CredentialDescriptors()))
	if err != nil {
		return c, err
	}
	return s.challenge(ctx, ticketAdd, id, options, data)
}

// AddPasskey implements directory.Sessions.
func (s *Service) AddPasskey(ctx context.Context, as directory.Principal, id directory.ObjectID, name string, answer directory.Answer, at directory.Place) (p directory.Passkey, err error) {
	w, err := rp(at.Site)
	if err != nil {
		return p, err
	}
	u, err := s.keep.MayAddPasskey(ctx, as, id)
	if err != nil {
		return p, err
	}
	t, data, err := s.answered(ctx, ticketAdd, answer)
	if err != nil {
		return p, err
	}
	if t.Object != id {
		return p, errPasskey
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer.Response)
	if err != nil {
		return p, fault.From(fault.Invalid, err, "the passkey was not accepted")
	}
	made, err := w.CreateCredential(&holder{id: id, name: u.Address, display: u.Name}, data, parsed)
	if err != nil {
		return p, fault.From(fault.Invalid, err, "the passkey was not accepted")
	}
	raw, err := json.Marshal(made)
	if err != nil {
		return p, err
	}
	return s.keep.KeepPasskey(ctx, as, directory.StoredPasskey{
		Passkey: directory.Passkey{Name: name}, Object: id, Credential: made.ID, Data: raw,
	})
}
