package ldap

import (
	"errors"

	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/services/ldap/ber"
)

// sortRequest is the server-side sort control (RFC 2891).
type sortRequest struct {
	keys     []tree.SortKey
	critical bool
}

// maxSortKeys bounds the keys of one sort.
const maxSortKeys = 8

func (o *op) readSort(v controlValue) error {
	r := &sortRequest{critical: v.critical}
	d := ber.NewDecoder(v.value)
	list := d.Inside(ber.Sequence)
	for list.More() {
		s := list.Inside(ber.Sequence)
		key := tree.SortKey{Attribute: plainName(s.Octets())}
		key.Rule, _ = s.Optional(ber.Context(0))
		key.Reverse = s.OptionalBool(ber.Context(1))
		list.Close(&s)
		if len(r.keys) == maxSortKeys {
			return refuse(codeAdminLimit, "more than %d sort keys", maxSortKeys)
		}
		r.keys = append(r.keys, key)
	}
	if d.Close(&list); d.Err() != nil {
		return d.Err()
	}
	if len(r.keys) == 0 {
		return refuse(codeProtocolError, "no sort key")
	}
	o.ctl.sort = r
	return nil
}

// sortDone adds the response control.
func (s *search) sortDone(result code, attribute string) {
	var e ber.Encoder
	m := e.Begin(ber.Sequence)
	e.Int(ber.Enumerated, int64(result))
	if attribute != "" {
		e.String(ber.Context(0), attribute)
	}
	e.End(m)
	s.controls = append(s.controls, responseControl{oidSortResponse, string(e.Buf)})
}

// checkSort tells why the result cannot be sorted as asked: codeSuccess when it
// can. The keys are then named as the schema spells them.
func (s *search) checkSort() (why code, attribute string) {
	for i := range s.ctl.sort.keys {
		k := &s.ctl.sort.keys[i]
		a, ok := s.c.server.tree.Schema().Attribute(k.Attribute)
		if !ok || a.Secret {
			return codeNoSuchAttribute, k.Attribute
		}
		k.Attribute = a.Name
		if k.Rule == "" {
			if !a.Syntax.Ordered() {
				return codeInappropriateMatching, a.Name
			}
			continue
		}
		if r, ok := schema.LookupRule(k.Rule); !ok || !r.Fits(a.Syntax) {
			return codeInappropriateMatching, a.Name
		}
	}
	if len(s.bases()) > 1 {
		return codeUnwilling, "" // each naming context is a search of its own
	}
	return codeSuccess, ""
}

// cannotSort tells whether a search failed for being sorted.
func cannotSort(err error) (why code, yes bool) {
	var refused *tree.Refusal
	var own *refusal
	switch {
	case err == nil || errors.As(err, &own) || errors.Is(err, errFull):
		return 0, false
	case errors.As(err, &refused):
		switch refused.Code {
		case tree.ResultInappropriateMatching, tree.ResultNoSuchAttribute, tree.ResultUndefinedType, tree.ResultAdminLimit, tree.ResultUnwillingToPerform:
			return code(refused.Code), true
		}
		return 0, false
	}
	return codeAdminLimit, fault.Of(err) == fault.Limit
}

// sorted gives a sorted result, of which a page may be wanted.
func (s *search) sorted() error {
	why, attribute := s.checkSort()
	var err error
	if why == codeSuccess {
		given := s.entries
		if s.ctl.paged != nil {
			err = s.sortedPage()
		} else {
			err = s.sortedWhole()
		}
		var no bool
		if why, no = cannotSort(err); !no || s.entries > given {
			s.sortDone(codeSuccess, "")
			return err
		}
	}
	s.sortDone(why, attribute)
	if s.ctl.sort.critical {
		return refuse(codeCriticalExtension, "the result cannot be sorted: %s", why)
	}
	// RFC 2891 §2: unsorted, and the response control tells so.
	if s.ctl.paged != nil {
		return s.paged()
	}
	return s.whole(s.q)
}

func (s *search) sortedWhole() error {
	q := s.q
	q.Sort = s.ctl.sort.keys
	return s.whole(q)
}

// sortedPage gives one page of a sorted result, whose order is remembered.
func (s *search) sortedPage() error {
	if s.ctl.paged.size == 0 {
		s.pageDone("")
		return nil
	}
	at, err := s.open(s.ctl.paged.cookie)
	if err != nil {
		return err
	}
	size, most, err := s.page(int(at.given))
	if err != nil {
		return err
	}
	var set *resultSet
	if s.ctl.paged.cookie == "" {
		if set, err = s.sortedSet(); err != nil {
			return err
		}
	} else if set = s.c.server.sets.get(at.set, s.binding()); set == nil {
		return errCookie
	}
	i := int(at.given)
	for given := 0; i < len(set.guids); i++ {
		if given == most {
			return errSizeLimit
		}
		if given == size {
			s.pageDone(s.seal(cookie{given: uint32(i), set: set.id}))
			return nil
		}
		there, err := s.fetch(set.guids[i])
		if err != nil {
			return err
		}
		if there {
			given++
		}
	}
	s.c.server.sets.drop(set.id)
	s.pageDone("")
	return s.references()
}
