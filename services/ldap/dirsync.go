package ldap

import (
	"encoding/binary"
	"errors"
	"slices"

	"waypost/directory"
	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// dirSyncRequest is AD's DirSync control (MS-ADTS 3.1.1.3.4.1.3).
type dirSyncRequest struct {
	flags    int64
	maxBytes int64
	cookie   string
}

// objectSecurity gives what the reader may see, and needs no right beyond that.
const objectSecurity = 1

func (o *op) readDirSync(v controlValue) error {
	d := ber.NewDecoder(v.value)
	s := d.Inside(ber.Sequence)
	r := &dirSyncRequest{flags: s.Int(), maxBytes: s.Int(), cookie: s.Octets()}
	d.Close(&s)
	o.ctl.dirSync = r
	return d.Err()
}

// dirSyncCookie is a position: changes after since up to upto are being given,
// in order of ObjectID, and those up to after were. It holds at every server
// and over restarts; who makes one up sees no more than by a search.
type dirSyncCookie struct {
	since, upto directory.USN
	after       directory.ObjectID
}

const dirSyncMagic = "WPDS1"

func (c dirSyncCookie) String() string {
	b := []byte(dirSyncMagic)
	b = binary.BigEndian.AppendUint64(b, uint64(c.since))
	b = binary.BigEndian.AppendUint64(b, uint64(c.upto))
	return string(binary.BigEndian.AppendUint64(b, uint64(c.after)))
}

func parseDirSyncCookie(s string) (c dirSyncCookie, ok bool) {
	if s == "" {
		return c, true
	}
	if len(s) != len(dirSyncMagic)+24 || s[:len(dirSyncMagic)] != dirSyncMagic {
		return c, false
	}
	b := []byte(s[len(dirSyncMagic):])
	c.since = directory.USN(binary.BigEndian.Uint64(b))
	c.upto = directory.USN(binary.BigEndian.Uint64(b[8:]))
	c.after = directory.ObjectID(binary.BigEndian.Uint64(b[16:]))
	return c, c.since >= 0 && c.upto >= 0 && c.after >= 0
}

// dirSync gives what changed in a naming context since the cookie, tombstones
// among it. An object comes with all the attributes that were asked for, not
// only with those that changed.
func (s *search) dirSync() error {
	r := s.ctl.dirSync
	if s.q.Scope != tree.Sub || !slices.ContainsFunc(s.c.server.tree.Contexts(), s.dn.Equal) {
		return refuse(codeUnwilling, "DirSync searches a whole naming context")
	}
	if r.flags&objectSecurity == 0 && s.who.Roles&(directory.RoleAdmin|directory.RoleSystem) == 0 {
		return refuse(codeInsufficientAccess, "00002105: SecErr: replication needs an administrator, or the flag of object security")
	}
	at, ok := parseDirSyncCookie(r.cookie)
	if !ok {
		return refuse(codeUnwilling, "the cookie of DirSync is none of ours")
	}
	if at.upto == 0 {
		// Another server may have been ahead of this one.
		at.upto = max(s.c.server.tree.USN(), at.since)
	}
	q := s.q
	q.Since, q.After, q.Deleted, q.DomainScope = at.since, at.after, true, true
	q.Ranges, q.MaxRange = nil, 0 // range limits do not apply
	if len(q.Attributes) > 0 {
		q.Attributes = append(slices.Clone(q.Attributes), "objectGUID", "instanceType", "parentGUID")
	}
	size := s.c.server.cfg.MaxPage
	given := 0
	q.Limit = size + 1
	err := s.run(&q, func(e *tree.Entry) error {
		if given == size || r.maxBytes > 0 && int64(s.bytes) >= r.maxBytes && given > 0 {
			return errFull
		}
		given++
		at.after = e.ID
		return s.give(e)
	})
	more := errors.Is(err, errFull)
	if err != nil && !more {
		return err
	}
	if !more {
		at = dirSyncCookie{since: at.upto}
	}
	var e ber.Encoder
	m := e.Begin(ber.Sequence)
	if more {
		e.Int(ber.Integer, 1)
	} else {
		e.Int(ber.Integer, 0)
	}
	e.Int(ber.Integer, 0)
	e.Octets(at.String())
	e.End(m)
	s.controls = append(s.controls, responseControl{oidDirSync, string(e.Buf)})
	return nil
}
