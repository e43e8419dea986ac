package ldap

import (
	"encoding/hex"

	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// extendedDN is AD's extended-DN control (MS-ADTS 3.1.1.3.4.1.5): names come as
// <GUID=…>;<SID=…>;name.
type extendedDN struct {
	text bool // GUID and SID as text, not as digits
	look func(dn string) (guid [16]byte, sid string, ok bool)
	of   attributes
	seen map[string]string
}

func (o *op) readExtendedDN(v controlValue) error {
	o.ctl.extended = &extendedDN{}
	if v.value == "" {
		return nil
	}
	d := ber.NewDecoder(v.value)
	s := d.Inside(ber.Sequence)
	o.ctl.extended.text = s.Int() == 1
	d.Close(&s)
	return d.Err()
}

// maxNames bounds the names looked up for one search; more stay plain.
const maxNames = 20_000

// prepareExtended makes the search read what the names are made of.
func (s *search) prepareExtended() {
	x := s.ctl.extended
	if x == nil {
		return
	}
	x.of, x.seen = s.c.server.tree.Schema(), map[string]string{}
	x.look = func(name string) (guid [16]byte, sid string, ok bool) {
		dn, err := tree.ParseDN(name)
		if err != nil || len(dn) == 0 {
			return guid, "", false
		}
		q := &tree.Query{
			Base: dn, Filter: &tree.Filter{Op: tree.Present, Attribute: "objectClass"},
			Attributes: []string{"objectSid"}, Global: s.q.Global, Deleted: true,
		}
		_ = s.run(q, func(e *tree.Entry) error {
			guid, ok = e.GUID, true
			if v := e.Get("objectSid"); len(v) > 0 {
				sid = v[0]
			}
			return nil
		})
		return guid, sid, ok
	}
	s.x.extended = x
	// The SID of the entry itself is not for the client unless it asked.
	if !s.sel.wants("objectSid") {
		s.q.Attributes = append(append([]string(nil), s.q.Attributes...), "objectSid")
		s.x.without = "objectSid"
		if len(s.sel.names) == 1 && s.sel.names[0] == "1.1" {
			s.q.Attributes = []string{"objectSid"}
		}
	}
}

func (x *extendedDN) entry(e *tree.Entry) string {
	sid := ""
	if v := e.Get("objectSid"); len(v) > 0 {
		sid = v[0]
	}
	return x.write(e.GUID, sid, e.DN)
}

func (x *extendedDN) write(guid [16]byte, sid, dn string) string {
	g := hex.EncodeToString(guid[:])
	if x.text {
		g = schema.FormatGUID(guid)
	}
	text := "<GUID=" + g + ">;"
	if sid != "" {
		if x.text {
			text += "<SID=" + schema.FormatSid(sid) + ">;"
		} else {
			text += "<SID=" + hex.EncodeToString([]byte(sid)) + ">;"
		}
	}
	return text + dn
}

// values writes values that are names.
func (x *extendedDN) values(attribute string, values []string) []string {
	a, ok := x.of.Attribute(attribute)
	if !ok || !a.Syntax.DN() {
		return values
	}
	out := make([]string, len(values))
	for i, v := range values {
		text, ok := x.seen[v]
		if !ok {
			text = v
			if len(x.seen) < maxNames {
				if guid, sid, ok := x.look(v); ok {
					text = x.write(guid, sid, v)
				}
				x.seen[v] = text
			}
		}
		out[i] = text
	}
	return out
}
