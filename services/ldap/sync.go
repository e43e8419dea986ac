package ldap

import (
	"errors"
	"strconv"
	"strings"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/services/ldap/ber"
)

// syncRequest is the content-synchronization control (RFC 4533 §2.2).
type syncRequest struct {
	persist bool
	cookie  string
	reload  bool // begin anew rather than refuse when the cookie is too old
}

// States of an entry (RFC 4533 §2.3).
const (
	stateAdd    = 1
	stateModify = 2
)

func (o *op) readSync(v controlValue) error {
	const refreshOnly, refreshAndPersist = 1, 3
	d := ber.NewDecoder(v.value)
	s := d.Inside(ber.Sequence)
	mode := s.Enum()
	r := &syncRequest{persist: mode == refreshAndPersist}
	r.cookie, _ = s.Optional(ber.Octets)
	r.reload = s.OptionalBool(ber.Boolean)
	if d.Close(&s); d.Err() != nil {
		return d.Err()
	}
	if mode != refreshOnly && mode != refreshAndPersist {
		return refuse(codeProtocolError, "no such mode of synchronization")
	}
	o.ctl.sync = r
	return nil
}

// The cookie is the position in the directory's changes and nothing else: it
// holds at every server and over restarts.
func syncCookie(usn directory.USN) string { return "usn=" + strconv.FormatInt(int64(usn), 10) }

func parseSyncCookie(text string) (directory.USN, bool) {
	if text == "" {
		return 0, true
	}
	n, ok := strings.CutPrefix(text, "usn=")
	usn, err := strconv.ParseInt(n, 10, 64)
	return directory.USN(usn), ok && err == nil && usn >= 0
}

var (
	errSyncDone    = errors.New("synchronized")
	errSyncRefresh = refuse(codeSyncRefreshRequired, "the cookie is too old or none of ours; begin anew")
)

// sync gives what changed since the cookie, and goes on when that is wanted.
func (s *search) sync() error {
	r := s.ctl.sync
	since, ok := parseSyncCookie(r.cookie)
	if !ok && !r.reload {
		return errSyncRefresh
	}
	if !ok {
		since = 0
	}
	if r.persist {
		if err := s.beginWatch(); err != nil {
			return err
		}
	}
	err := s.syncSince(since)
	if since > 0 && fault.Of(err) == fault.Resync && err != nil && s.entries == 0 {
		if !r.reload {
			return errSyncRefresh
		}
		err = s.syncSince(0)
	}
	if errors.Is(err, errSyncDone) {
		return nil
	}
	return err
}

// syncer follows one synchronization.
type syncer struct {
	*search
	since directory.USN
	gone  [][16]byte // UUIDs that left the content and were not told yet
}

// maxGone is how many UUIDs one message tells of.
const maxGone = 500

func (s *search) syncSince(since directory.USN) error {
	y := &syncer{search: s, since: since}
	return s.follow(since, func(e *tree.Event, first bool) error {
		switch {
		case e.Present:
			return y.refreshed(e.USN)
		case e.Entry == nil:
			return y.left(e, first)
		}
		state := stateAdd
		cookie := ""
		if !first {
			if !e.Added {
				state = stateModify
			}
			cookie = syncCookie(e.USN)
		}
		return s.give(e.Entry, syncState(state, schema.SwapGUID(e.Entry.GUID), cookie))
	})
}

// left tells that an entry is no longer in the content. It has no name any more
// that the client could know it by, so it is told by its UUID.
func (y *syncer) left(e *tree.Event, first bool) error {
	if first && y.since == 0 {
		return nil // the client never heard of it
	}
	y.gone = append(y.gone, schema.SwapGUID(e.GUID))
	if first && len(y.gone) < maxGone {
		return nil
	}
	cookie := ""
	if !first {
		cookie = syncCookie(e.USN)
	}
	return y.tellGone(cookie)
}

func (y *syncer) tellGone(cookie string) error {
	if len(y.gone) == 0 {
		return nil
	}
	y.info(ber.ContextOf(3), cookie, func(e *ber.Encoder) { // syncIdSet
		e.Bool(ber.Boolean, true) // refreshDeletes
		set := e.Begin(ber.Set)
		for _, u := range y.gone {
			e.Octets(string(u[:]))
		}
		e.End(set)
	})
	y.gone = y.gone[:0]
	if len(y.e.Buf) >= sendAt {
		return y.send()
	}
	return nil
}

// refreshed ends the refresh stage (RFC 4533 §3.3, §3.4.1). After a full one
// the client removes what it was not told of.
func (y *syncer) refreshed(usn directory.USN) error {
	if err := y.tellGone(""); err != nil {
		return err
	}
	deletes := y.since > 0
	if !y.ctl.sync.persist {
		var e ber.Encoder
		m := e.Begin(ber.Sequence)
		e.Octets(syncCookie(usn))
		if deletes {
			e.Bool(ber.Boolean, true)
		}
		e.End(m)
		y.controls = append(y.controls, responseControl{oidSyncDone, string(e.Buf)})
		return errSyncDone
	}
	tag := ber.ContextOf(2) // refreshPresent
	if deletes {
		tag = ber.ContextOf(1) // refreshDelete
	}
	y.info(tag, syncCookie(usn), func(*ber.Encoder) {}) // refreshDone is TRUE by default
	return nil
}

// info writes a Sync Info Message (RFC 4533 §2.5).
func (y *syncer) info(choice ber.Tag, cookie string, rest func(*ber.Encoder)) {
	var v ber.Encoder
	m := v.Begin(choice)
	if cookie != "" {
		v.Octets(cookie)
	}
	rest(&v)
	v.End(m)
	m = y.e.Begin(ber.Sequence)
	y.e.Int(ber.Integer, int64(y.id))
	r := y.e.Begin(ber.ApplicationOf(25)) // IntermediateResponse, RFC 4511 §4.13
	y.e.String(ber.Context(0), oidSyncInfo)
	y.e.String(ber.Context(1), string(v.Buf))
	y.e.End(r)
	y.e.End(m)
}

func syncState(state int, uuid [16]byte, cookie string) responseControl {
	var e ber.Encoder
	m := e.Begin(ber.Sequence)
	e.Int(ber.Enumerated, int64(state))
	e.Octets(string(uuid[:]))
	if cookie != "" {
		e.Octets(cookie)
	}
	e.End(m)
	return responseControl{oidSyncState, string(e.Buf)}
}
