package ldap

import (
	"waypost/directory"
	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// persistRequest is the persistent-search control (draft-ietf-ldapext-psearch-03
// §3).
type persistRequest struct {
	types       int64 // of changes, as bits
	changesOnly bool
	tell        bool // return entry change notifications
}

// Types of changes (§4).
const (
	changeAdd    = 1
	changeDelete = 2
	changeModify = 4
	changeMove   = 8
)

func (o *op) readPersistent(v controlValue) error {
	d := ber.NewDecoder(v.value)
	s := d.Inside(ber.Sequence)
	r := &persistRequest{types: s.Int(), changesOnly: s.Bool(), tell: s.Bool()}
	d.Close(&s)
	o.ctl.persist = r
	return d.Err()
}

// persist gives the result, if that is wanted, and then what changes.
func (s *search) persist() error {
	if err := s.beginWatch(); err != nil {
		return err
	}
	r := s.ctl.persist
	since := directory.USN(0)
	if r.changesOnly {
		since = s.c.server.tree.USN()
	}
	return s.follow(since, func(e *tree.Event, first bool) error {
		if e.Present || first && (r.changesOnly || e.Entry == nil) {
			return nil
		}
		if first {
			return s.give(e.Entry)
		}
		entry, kind := e.Entry, int64(changeModify)
		switch {
		case entry == nil:
			kind = changeDelete
			if r.types&kind == 0 {
				return nil
			}
			var err error
			if entry, err = s.tombstone(e.GUID); entry == nil || err != nil {
				return err
			}
		case e.Added:
			kind = changeAdd
		case e.Moved:
			kind = changeMove
		}
		if r.types&kind == 0 {
			return nil
		}
		if !r.tell {
			return s.give(entry)
		}
		return s.give(entry, entryChange(kind, e.USN))
	})
}

// tombstone gives what is left of a deleted object, nil when it is only no
// longer in the search.
func (s *search) tombstone(guid [16]byte) (found *tree.Entry, err error) {
	q := s.q
	q.Base, q.Scope, q.Deleted = byGUID(guid), tree.Base, true
	q.Filter = &tree.Filter{Op: tree.Present, Attribute: "objectClass"}
	err = s.run(&q, func(e *tree.Entry) error {
		if e.Deleted {
			found = e
		}
		return nil
	})
	if s.c.server.resultOf(err).code == codeNoSuchObject {
		err = nil // nothing of it may be seen
	}
	return found, err
}

// entryChange is the entry-change-notification control (§5).
func entryChange(kind int64, usn directory.USN) responseControl {
	var e ber.Encoder
	m := e.Begin(ber.Sequence)
	e.Int(ber.Enumerated, kind)
	e.Int(ber.Integer, int64(usn))
	e.End(m)
	return responseControl{oidEntryChange, string(e.Buf)}
}
