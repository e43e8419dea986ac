package postgres

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/schema"
	"waypost/directory/tree"
)

// Attributes that follow from an account and its policy (MS-ADTS 3.1.1.4.5.31,
// .17, .36). They are made for who names them, and cannot be searched for.
const (
	controlComputed = "msDS-User-Account-Control-Computed"
	expiryComputed  = "msDS-UserPasswordExpiryTimeComputed"
	resultantPolicy = "msDS-ResultantPSO"
)

// computing gives a function that adds such attributes to an entry; nil when
// nobody asks for any.
func (s *Store) computing(ctx context.Context, q *tree.Query, sight index.Sight) func(*tree.Entry) {
	sch := s.Schema()
	var wanted []*schema.Attribute
	for _, name := range q.Attributes {
		a, ok := sch.Attribute(name)
		if ok && (a.Name == controlComputed || a.Name == expiryComputed || a.Name == resultantPolicy) && !slices.Contains(wanted, a) {
			wanted = append(wanted, a)
		}
	}
	if len(wanted) == 0 || q.Global {
		return nil
	}
	return func(e *tree.Entry) {
		v := s.view.get(e.ID)
		if v == nil || v.family != person || v.epoch == 0 {
			return
		}
		x := s.index.Load()
		var view index.View
		if sight != nil {
			place, ok := x.Place(e.ID)
			if !ok {
				return
			}
			if view = sight.See(&place); view == nil {
				return
			}
		}
		state, err := x.Get(ctx, e.ID, &tree.Query{Attributes: []string{"pwdLastSet", "lockoutTime", "userAccountControl"}}, nil)
		if err != nil {
			return
		}
		p := s.policyOf(ctx, e.ID, 0)
		for _, a := range wanted {
			if view != nil && !view.Reads(a) {
				continue
			}
			if value := s.compute(a.Name, p, state); value != "" {
				made := tree.Attribute{Name: a.Name}
				if !q.TypesOnly {
					made.Values = []string{value}
				}
				e.Attributes = append(e.Attributes, made)
			}
		}
	}
}

func (s *Store) compute(name string, p directory.Policy, e *tree.Entry) string {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(strings.Join(e.Get(name), ""), 10, 64)
		return n
	}
	set, must := number("pwdLastSet"), len(e.Get("pwdLastSet")) > 0 && number("pwdLastSet") == 0
	ends := passwordEnds(p, timeOfFile(set), number("userAccountControl")&0x10000 != 0)
	switch name {
	case resultantPolicy:
		if p.ID != 0 {
			if dn, ok := s.index.Load().Name(p.ID); ok {
				return dn
			}
		}
	case expiryComputed:
		switch {
		case must:
			return "0"
		case set == 0 || ends.IsZero():
			return strconv.FormatInt(math.MaxInt64, 10)
		}
		return fileTime(ends)
	case controlComputed:
		bits := int64(0)
		if at := number("lockoutTime"); at != 0 {
			if l := law(p); l == nil || time.Since(timeOfFile(at)) < l.Hard {
				bits |= 0x10
			}
		}
		if must || set != 0 && !ends.IsZero() && ends.Before(time.Now()) {
			bits |= 0x800000
		}
		return strconv.FormatInt(bits, 10)
	}
	return ""
}
