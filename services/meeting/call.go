package meeting

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/itip"
	"waypost/internal/mail"
	"waypost/store"
)

// call is one change of a mailbox. What it means is worked out in the transaction,
// from the newest text, where nothing may be asked of anybody: what is missing
// (whose an address is, where a message's content went) is noted, fetched outside,
// and the change begun anew.
type call struct {
	s    *Service
	a    *actor
	side itip.Side
	// cause makes the keys of messages unique: a message is told once for one cause.
	cause string

	people map[string]string // canonical form by address in lower case
	asked  map[string]bool
	blobs  map[[32]byte]store.Blob
	wanted map[[32]byte][]byte
	groups int
}

// errMissing ends an attempt for which something has to be fetched first.
var errMissing = errors.New("not all is known yet")

const (
	maxAttempts = 12
	// maxMembers of a group are invited one by one; a larger group is invited as
	// such, and mail expands it.
	maxMembers = 200
	// maxGroups that are expanded for one meeting.
	maxGroups = 20
)

func (s *Service) call(a *actor, cause string) *call {
	if cause == "" {
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails
		cause = hex.EncodeToString(b[:])
	}
	c := &call{
		s: s, a: a, side: a.side, cause: cause,
		people: map[string]string{}, asked: map[string]bool{},
		blobs: map[[32]byte]store.Blob{}, wanted: map[[32]byte][]byte{},
	}
	c.side.Canon = c.canon
	c.side.Members = map[string][]itip.Person{}
	for _, own := range append([]string{a.owner.Address}, a.owner.Addresses...) {
		c.people[strings.ToLower(own)] = strings.ToLower(a.owner.Address)
	}
	return c
}

// canon gives the primary address of who is ours, and notes whom nobody asked
// about yet.
func (c *call) canon(address string) string {
	address = strings.ToLower(address)
	if known, ok := c.people[address]; ok {
		return known
	}
	c.asked[address] = true
	return address
}

// attempts runs a change until nothing is missing.
func (c *call) attempts(ctx context.Context, change func() error) error {
	for range maxAttempts {
		err := change()
		if !errors.Is(err, errMissing) {
			return err
		}
		if err := c.fetch(ctx); err != nil {
			return err
		}
	}
	return fault.New(fault.Conflict, "others keep changing this appointment")
}

// missing tells whether the attempt has to end.
func (c *call) missing() bool { return len(c.asked)+len(c.wanted) > 0 }

func (c *call) fetch(ctx context.Context) error {
	for address := range c.asked {
		if err := c.resolve(ctx, address); err != nil {
			return err
		}
	}
	clear(c.asked)
	for hash, body := range c.wanted {
		blob, err := c.s.write(ctx, c.a.as.HomeMDB, body)
		if err != nil {
			return err
		}
		c.blobs[hash] = blob
	}
	clear(c.wanted)
	return nil
}

func (c *call) resolve(ctx context.Context, address string) error {
	c.people[address] = address
	canonical, err := envelope.Canonical(address)
	if err != nil {
		return nil // not a mail address
	}
	r, err := c.s.dir.Resolve(ctx, canonical)
	switch {
	case fault.Of(err) == fault.Invalid && err != nil:
		return nil
	case err != nil:
		return err
	case r.Standing == directory.Person:
		c.people[address] = strings.ToLower(r.Target.Address)
	case r.Standing == directory.List:
		return c.expand(ctx, canonical, address, r.Group)
	}
	return nil
}

// expand notes the people of a group, where the organizer may know and invite
// them; else mail does what the group's rules say.
func (c *call) expand(ctx context.Context, canonical, address string, id directory.ObjectID) error {
	if c.groups++; c.groups > maxGroups {
		return nil
	}
	g, err := c.s.dir.Group(ctx, system, canonical)
	if err != nil || g.HiddenMembers {
		return ignoreRefusal(err)
	}
	approvers, err := c.s.dir.MaySendTo(ctx, directory.Sender{Address: c.a.owner.Address, Known: true}, id)
	if err != nil || len(approvers) > 0 {
		return ignoreRefusal(err)
	}
	list, err := c.s.dir.Expand(ctx, id, directory.Page{Limit: maxMembers + 1})
	if err != nil || len(list) > maxMembers {
		return ignoreRefusal(err)
	}
	for _, t := range list {
		p := itip.Person{Address: t.Address}
		if t.Mailbox == 0 {
			if p.Address = t.Forward; p.Address == "" {
				continue
			}
		} else if u, err := c.s.dir.User(ctx, system, t.ID); err == nil {
			p.Name = u.Name
		}
		if p.Name == "" { // it is invited all the same
			p.Name = p.Address
		}
		c.people[strings.ToLower(p.Address)] = strings.ToLower(p.Address)
		c.side.Members[address] = append(c.side.Members[address], p)
	}
	return nil
}

// ignoreRefusal leaves only errors that may pass.
func ignoreRefusal(err error) error {
	if err != nil && fault.Of(err) == fault.Unavailable {
		return err
	}
	return nil
}

// outgoing makes messages ready for the outbox; those whose content is not written
// yet are noted.
func (c *call) outgoing(list []itip.Message) ([]store.Outgoing, error) {
	var all []store.Outgoing
	for i := range list {
		m := &list[i]
		h := sha256.New()
		h.Write([]byte(c.cause + "\x00" + m.Method + "\x00"))
		o := store.Outgoing{From: c.a.owner.Address}
		if c.side.Mine(m.From.Address) {
			o.From = m.From.Address
		}
		for _, p := range m.To {
			o.Recipients = append(o.Recipients, p.Address)
			h.Write([]byte(strings.ToLower(p.Address) + "\x00"))
		}
		// Not the text: its DTSTAMP is another one when a delivery is repeated.
		h.Write([]byte(strconv.Itoa(i) + "\x00" + m.Subject()))
		o.Key = "meeting " + hex.EncodeToString(h.Sum(nil))
		m.Language = c.a.language
		if !m.Automatic { // as in Exchange, whatever program its writer uses
			o.SaveRole = store.RoleSent
		}
		body := m.Mail(o.Key, c.side.Now)
		sum, err := mail.Parse(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		hash := sha256.Sum256(body)
		blob, ok := c.blobs[hash]
		if !ok {
			c.wanted[hash] = body
			continue
		}
		o.Blob, o.Summary = blob, sum
		all = append(all, o)
	}
	if c.missing() {
		return nil, errMissing
	}
	return all, nil
}

// write stores content that is not yet referred to.
func (s *Service) write(ctx context.Context, home string, body []byte) (store.Blob, error) {
	w, err := s.store.NewBlob(ctx, home)
	if err != nil {
		return store.Blob{}, err
	}
	defer w.Abort()
	if _, err := w.Write(body); err != nil {
		return store.Blob{}, err
	}
	return w.Close(ctx)
}
