package jmap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/store"
)

const (
	maxIdentities = 100
	maxSignature  = 64 << 10 // bytes
)

// identities are the addresses that somebody may send from (RFC 8621 section 6):
// those that the directory gives, and those that the owner made.
var identities = &kind{
	name:       "Identity",
	state:      identityState,
	properties: []string{"id", "name", "email", "replyTo", "bcc", "textSignature", "htmlSignature", "mayDelete"},
	all: func(ctx context.Context, c *call) (ids []string, err error) {
		list, err := c.identities(ctx)
		for _, i := range list {
			ids = append(ids, i.ID)
		}
		return ids, err
	},
	read: func(ctx context.Context, c *call, ids, _ []string) (map[string]object, error) {
		list, err := c.identities(ctx)
		found := map[string]object{}
		for _, i := range list {
			if slices.Contains(ids, i.ID) {
				found[i.ID] = object{
					"id": i.ID, "name": i.Name, "email": i.Email, "replyTo": addressesOrNil(i.ReplyTo), "bcc": addressesOrNil(i.Bcc),
					"textSignature": i.TextSignature, "htmlSignature": i.HTMLSignature, "mayDelete": !i.given,
				}
			}
		}
		return found, err
	},
	changes: sameOrNothing(identityState),
	mutable: []string{"name", "replyTo", "bcc", "textSignature", "htmlSignature"},
	unset:   object{"name": "", "textSignature": "", "htmlSignature": ""},
	create:  createIdentity,
	update: func(ctx context.Context, c *call, list []*update) {
		for _, u := range list {
			u.err = c.changeIdentity(ctx, u.id, u.changes)
		}
	},
	destroy: destroyIdentities,
}

// sender is an identity with whether the directory gives it.
type sender struct {
	store.Identity
	given bool
}

// sameOrNothing answers /changes of records of which only a state is known.
func sameOrNothing(state func(context.Context, *call) (string, error)) func(context.Context, *call, string, int) (*changes, error) {
	return func(ctx context.Context, c *call, since string, _ int) (*changes, error) {
		now, err := state(ctx, c)
		if err != nil {
			return nil, err
		}
		if now != since {
			return nil, methodFault("cannotCalculateChanges", "")
		}
		return &changes{state: now}, nil
	}
}

func stateOf(v any) (string, error) {
	data, err := encodeJSON(v)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), err
}

func identityState(ctx context.Context, c *call) (string, error) {
	list, err := c.identities(ctx)
	if err != nil {
		return "", err
	}
	return stateOf(list)
}

// identities lists what there is: the primary address first.
func (c *call) identities(ctx context.Context) (list []sender, err error) {
	u, err := c.people.User(ctx, c.who, c.who.ID)
	if err != nil {
		return nil, err
	}
	set, err := c.store.Settings(ctx, c.who, c.box)
	if err != nil {
		return nil, err
	}
	said := map[string]store.Identity{}
	for _, i := range set.Identities {
		said[i.ID] = i
	}
	seen := map[string]bool{}
	for _, a := range append([]string{u.Address}, u.Addresses...) {
		id := givenID(a)
		if a == "" || seen[id] {
			continue
		}
		seen[id] = true
		i, ok := said[id]
		if !ok {
			i = store.Identity{ID: id, Name: u.Name}
		}
		i.Email = a
		list = append(list, sender{i, true})
	}
	for _, i := range set.Identities {
		if !strings.HasPrefix(i.ID, "D") {
			list = append(list, sender{i, false})
		}
	}
	return list, nil
}

// givenID is the id of an address that the directory gives.
func givenID(address string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(address)))
	return "D" + hex.EncodeToString(sum[:8])
}

// setIdentity changes an identity's properties.
func setIdentity(i *store.Identity, changes map[string]any) error {
	var bad []string
	for name, v := range changes {
		s, ok := v.(string)
		switch name {
		case "name":
			i.Name = s
			ok = ok && len(s) <= 1000
		case "textSignature":
			i.TextSignature = s
			ok = ok && len(s) <= maxSignature
		case "htmlSignature":
			i.HTMLSignature = s
			ok = ok && len(s) <= maxSignature
		case "replyTo":
			i.ReplyTo, ok = addressesProperty(v)
		case "bcc":
			i.Bcc, ok = addressesProperty(v)
		case "email":
			i.Email = s
		default:
			ok = false
		}
		if !ok {
			bad = append(bad, name)
		}
	}
	if len(bad) > 0 {
		return invalidProperties("", bad...)
	}
	return nil
}

func addressesProperty(v any) ([]mail.Address, bool) {
	if v == nil {
		return nil, true
	}
	list, ok := readAddresses(v)
	return list, ok && len(list) <= 100
}

func createIdentity(ctx context.Context, c *call, o object) (string, object, error) {
	i := store.Identity{ID: "I" + random()}
	if err := setIdentity(&i, o); err != nil {
		return "", nil, err
	}
	if !strings.Contains(i.Email, "@") {
		return "", nil, invalidProperties("an identity has an address", "email")
	}
	ok, err := c.people.MaySendAs(ctx, c.who, i.Email)
	if err != nil {
		return "", nil, err
	}
	if !ok {
		return "", nil, &setError{kind: "forbiddenFrom"}
	}
	_, err = c.store.UpdateSettings(ctx, c.who, c.box, func(s *store.Settings) error {
		if len(s.Identities) >= maxIdentities {
			return fault.New(fault.OverQuota, "there are too many identities")
		}
		s.Identities = append(s.Identities, i)
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	given := object{"id": i.ID, "mayDelete": true}
	for name, v := range (object{"name": "", "replyTo": nil, "bcc": nil, "textSignature": "", "htmlSignature": ""}) {
		if _, sent := o[name]; !sent {
			given[name] = v
		}
	}
	return i.ID, given, nil
}

func (c *call) changeIdentity(ctx context.Context, id string, changes map[string]any) error {
	list, err := c.identities(ctx)
	if err != nil {
		return err
	}
	_, err = c.store.UpdateSettings(ctx, c.who, c.box, func(s *store.Settings) error {
		at := slices.IndexFunc(s.Identities, func(i store.Identity) bool { return i.ID == id })
		if at < 0 { // nothing was said of this address before
			given := slices.IndexFunc(list, func(i sender) bool { return i.ID == id })
			if given < 0 {
				return &setError{kind: "notFound"}
			}
			s.Identities = append(s.Identities, list[given].Identity)
			at = len(s.Identities) - 1
		}
		return setIdentity(&s.Identities[at], changes)
	})
	return unwrapped(err)
}

// unwrapped gives the SetError within an error of the store's, which wraps what a
// change's own function said.
func unwrapped(err error) error {
	for e := err; e != nil; {
		if s, ok := e.(*setError); ok {
			return s
		}
		w, ok := e.(interface{ Unwrap() error })
		if !ok {
			break
		}
		e = w.Unwrap()
	}
	return err
}

func destroyIdentities(ctx context.Context, c *call, ids []string) map[string]error {
	errs := map[string]error{}
	list, err := c.identities(ctx)
	for _, id := range ids {
		at := slices.IndexFunc(list, func(i sender) bool { return i.ID == id })
		switch {
		case err != nil:
			errs[id] = err
		case at < 0:
			errs[id] = &setError{kind: "notFound"}
		case list[at].given:
			errs[id] = &setError{kind: "forbidden", text: "the directory gives this address"}
		default:
			_, errs[id] = c.store.UpdateSettings(ctx, c.who, c.box, func(s *store.Settings) error {
				s.Identities = slices.DeleteFunc(s.Identities, func(i store.Identity) bool { return i.ID == id })
				return nil
			})
		}
	}
	return errs
}
