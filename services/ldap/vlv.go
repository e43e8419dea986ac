package ldap

import (
	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// vlvRequest is the virtual-list-view control
// (draft-ietf-ldapext-ldapv3-vlv-09 §6.1).
type vlvRequest struct {
	before, after int
	byValue       bool
	value         string
	offset, count int64
	context       string
}

func (o *op) readVLV(v controlValue) error {
	r := &vlvRequest{}
	d := ber.NewDecoder(v.value)
	s := d.Inside(ber.Sequence)
	before, after := s.Int(), s.Int()
	switch s.Peek() {
	case ber.ContextOf(0):
		at := s.Inside(ber.ContextOf(0))
		r.offset, r.count = at.Int(), at.Int()
		s.Close(&at)
	case ber.Context(1):
		r.byValue, r.value = true, s.Value(ber.Context(1))
	default:
		s.Fail(ber.ErrTag)
	}
	r.context, _ = s.Optional(ber.Octets)
	if d.Close(&s); d.Err() != nil {
		return d.Err()
	}
	if before < 0 || after < 0 || r.offset < 0 || r.count < 0 {
		return refuse(codeProtocolError, "a number of the list view is negative")
	}
	most := int64(o.c.server.cfg.MaxPage)
	r.before, r.after = int(min(before, most)), int(min(after, most))
	o.ctl.vlv = r
	return nil
}

// vlvDone adds the response control (§6.2).
func (s *search) vlvDone(position, count int, result code, set *resultSet) {
	var e ber.Encoder
	m := e.Begin(ber.Sequence)
	e.Int(ber.Integer, int64(position))
	e.Int(ber.Integer, int64(count))
	e.Int(ber.Enumerated, int64(result))
	if set != nil {
		e.Octets(string(set.id[:]))
	}
	e.End(m)
	s.controls = append(s.controls, responseControl{oidVLVResponse, string(e.Buf)})
}

// vlv gives the part of a sorted result that a client shows.
func (s *search) vlv() error {
	r := s.ctl.vlv
	refused := func(result code, text string) error {
		s.vlvDone(0, 0, result, nil)
		return refuse(result, "%s", text)
	}
	if s.ctl.sort == nil {
		return refused(codeSortControlMissing, "a list view needs the sort control")
	}
	if s.ctl.paged != nil {
		return refused(codeUnwilling, "a list view has no pages")
	}
	if why, attribute := s.checkSort(); why != codeSuccess {
		s.sortDone(why, attribute)
		return refused(codeUnwilling, "the result cannot be sorted: "+why.String())
	}
	var set *resultSet
	if len(r.context) == len(setID{}) {
		set = s.c.server.sets.get(setID([]byte(r.context)), s.binding())
	}
	if set == nil {
		var err error
		if set, err = s.sortedSet(); err != nil {
			if why, no := cannotSort(err); no {
				s.sortDone(why, "")
				return refused(codeUnwilling, "the result cannot be sorted: "+why.String())
			}
			return err
		}
	}
	s.sortDone(codeSuccess, "")
	n := len(set.guids)
	at, err := s.target(n)
	if err != nil {
		s.vlvDone(0, n, codeOffsetRange, set)
		return err
	}
	s.vlvDone(at, n, codeSuccess, set)
	// The target is number at, counted from 1; n+1 is behind the last.
	for i := max(at-r.before, 1); i <= min(at+r.after, n); i++ {
		if _, err := s.fetch(set.guids[i-1]); err != nil {
			return err
		}
	}
	return nil
}

// target is the position that the client means, counted from 1.
func (s *search) target(n int) (int, error) {
	r := s.ctl.vlv
	switch {
	case r.byValue:
		before, err := s.countBefore(r.value)
		return min(before, n) + 1, err
	case r.offset == 0:
		return 0, refuse(codeOffsetRange, "positions are counted from 1")
	case n == 0:
		return 0, nil
	case r.count == 0 || r.offset == 1: // no idea of the size, or the beginning
		return int(min(r.offset, int64(n))), nil
	case r.offset >= r.count:
		return n, nil
	}
	// §6.1: the client's idea of the position, of its idea of the size.
	return max(int(float64(r.offset)/float64(r.count)*float64(n)), 1), nil
}

// countBefore counts the entries that are sorted before a value of the first
// key. Those without the attribute are behind all others, and in a reverse sort
// before (RFC 2891 §2).
func (s *search) countBefore(value string) (int, error) {
	key := s.ctl.sort.keys[0]
	has := tree.Filter{Op: tree.Present, Attribute: key.Attribute}
	from := tree.Filter{Op: tree.GreaterOrEqual, Attribute: key.Attribute, Value: value}
	before := tree.Filter{Op: tree.And, Parts: []tree.Filter{has, not(from)}}
	if key.Reverse {
		behind := tree.Filter{Op: tree.LessOrEqual, Attribute: key.Attribute, Value: value}
		before = tree.Filter{Op: tree.Or, Parts: []tree.Filter{not(has), not(behind)}}
	}
	q := s.q
	q.Filter = &tree.Filter{Op: tree.And, Parts: []tree.Filter{s.filter, before}}
	q.Attributes, q.Ranges = []string{"1.1"}, nil
	n := 0
	err := s.run(&q, func(*tree.Entry) error { n++; return nil })
	return n, err
}

func not(f tree.Filter) tree.Filter {
	return tree.Filter{Op: tree.Not, Parts: []tree.Filter{f}}
}
