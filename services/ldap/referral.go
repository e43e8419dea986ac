package ldap

import (
	"strings"

	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// references tells of the naming contexts that lie directly below what was
// searched and were not (RFC 4511 §4.5.3). Their entries are on this server,
// too: a search in the context itself, or at the global catalog, finds them.
func (s *search) references() error {
	if s.q.Global || s.q.DomainScope || s.ctl.phantom || s.q.Scope == tree.Base {
		return nil
	}
	if form, _ := s.dn.Special(); form != "" {
		return nil
	}
	for _, r := range s.c.server.contexts().below[s.dn.Key()] {
		scope := ""
		if s.q.Scope == tree.One {
			if !r.next {
				continue
			}
			scope = "??base"
		}
		m := s.e.Begin(ber.Sequence)
		s.e.Int(ber.Integer, int64(s.id))
		x := s.e.Begin(ber.ApplicationOf(19))
		s.e.Octets(r.url + scope)
		s.e.End(x)
		s.e.End(m)
	}
	return nil
}

// url is the LDAP URL of an entry (RFC 4516 §2); host "" is this server.
func (s *Server) url(dn tree.DN, host string) string {
	if host == "" {
		host = s.cfg.Host
	}
	var b strings.Builder
	b.WriteString("ldap://")
	b.WriteString(host)
	b.WriteByte('/')
	const hexits = "0123456789ABCDEF"
	for _, c := range []byte(dn.String()) {
		// RFC 3986 §2.3 and the sub-delims that a name is full of.
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~=,", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexits[c>>4])
		b.WriteByte(hexits[c&15])
	}
	return b.String()
}
