package postgres

import (
	"context"
	"slices"
	"strings"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/tree"
)

// showIn names the address lists that an object is in. Active Directory has a
// service that writes it into every object whenever a filter or an object
// changes. Here it is stored only where somebody wrote it; whom a list finds is
// worked out for who names the attribute, in what is wanted or in a filter.
const showIn = "showInAddressBook"

// shownList is an address list as showIn names it.
type shownList struct {
	dn     string
	key    string // of the DN
	filter *tree.Filter
	base   tree.DN // nil: everywhere
}

func (s *Store) shownLists(ctx context.Context) (lists []shownList) {
	x := s.index.Load()
	for _, id := range x.Find("objectClass", classAddressList) {
		dn, ok := x.DN(id)
		if !ok {
			continue
		}
		e, err := x.Get(ctx, id, &tree.Query{Attributes: []string{"purportedSearch"}}, nil)
		if err != nil || e.Deleted || len(e.Get("purportedSearch")) == 0 {
			continue
		}
		l := shownList{dn: dn.String(), key: dn.Key()}
		if l.filter, err = tree.ParseFilter(e.Get("purportedSearch")[0]); err != nil {
			continue
		}
		for _, b := range x.Linked(id, "msExchSearchBase") {
			l.base, _ = x.DN(b)
		}
		lists = append(lists, l)
	}
	return lists
}

// findsLists gives the query with a filter that finds whom lists find wherever it
// asks for showIn; the query itself when it does not. Lists that look below a
// base are found only in what is stored: a filter has no place for a base.
func (s *Store) findsLists(ctx context.Context, q *tree.Query) *tree.Query {
	if q.Filter == nil || !asks(q.Filter) {
		return q
	}
	more := *q
	f := widened(*q.Filter, s.shownLists(ctx))
	more.Filter = &f
	return &more
}

// asks tells whether a filter asks for showIn by value, or whether there is one.
func asks(f *tree.Filter) bool {
	if len(f.Parts) > 0 {
		return slices.ContainsFunc(f.Parts, func(p tree.Filter) bool { return asks(&p) })
	}
	return strings.EqualFold(f.Attribute, showIn) && (f.Op == tree.Equal || f.Op == tree.Present)
}

func widened(f tree.Filter, lists []shownList) tree.Filter {
	if len(f.Parts) > 0 {
		parts := make([]tree.Filter, len(f.Parts))
		for i, p := range f.Parts {
			parts[i] = widened(p, lists)
		}
		f.Parts = parts
		return f
	}
	if !asks(&f) {
		return f
	}
	key := ""
	if f.Op == tree.Equal {
		dn, err := tree.ParseDN(f.Value)
		if err != nil {
			return f
		}
		key = dn.Key()
	}
	either := tree.Filter{Op: tree.Or, Parts: []tree.Filter{f}}
	for _, l := range lists {
		if l.base == nil && (key == "" || key == l.key) {
			hidden := tree.Filter{Op: tree.Equal, Attribute: "msExchHideFromAddressLists", Value: "TRUE"}
			shown := tree.Filter{Op: tree.Not, Parts: []tree.Filter{{Op: tree.And, Parts: []tree.Filter{
				{Op: tree.Present, Attribute: hidden.Attribute}, hidden, // without one it is false, not undefined
			}}}}
			either.Parts = append(either.Parts, tree.Filter{Op: tree.And, Parts: []tree.Filter{*l.filter, shown}})
		}
	}
	return either
}

// showsLists gives a function that adds showIn to an entry; nil when nobody asks
// for it by its name.
func (s *Store) showsLists(ctx context.Context, q *tree.Query, sight index.Sight) func(*tree.Entry) {
	if !slices.ContainsFunc(q.Attributes, func(name string) bool { return strings.EqualFold(name, showIn) }) {
		return nil
	}
	a, ok := s.Schema().Attribute(showIn)
	if !ok {
		return nil
	}
	lists := s.shownLists(ctx)
	return func(e *tree.Entry) {
		v := s.view.get(e.ID)
		if v == nil || !v.listed() {
			return
		}
		x := s.index.Load()
		if sight != nil {
			place, ok := x.Place(e.ID)
			if !ok {
				return
			}
			if view := sight.See(&place); view == nil || !view.Reads(a) {
				return
			}
		}
		stored := e.Get(showIn)
		values := slices.Clone(stored)
		for _, l := range lists {
			if !slices.Contains(stored, l.dn) && s.isIn(x, e.ID, &l) {
				values = append(values, l.dn)
			}
		}
		if len(values) == len(stored) {
			return
		}
		if q.TypesOnly {
			values = nil
		}
		if i := slices.IndexFunc(e.Attributes, func(at tree.Attribute) bool { return at.Name == showIn }); i >= 0 {
			e.Attributes[i].Values = values
			return
		}
		e.Attributes = append(e.Attributes, tree.Attribute{Name: showIn, Values: values})
	}
}

// isIn tells whether a list finds an object: one look at it, not a search.
func (s *Store) isIn(x *index.Index, id directory.ObjectID, l *shownList) bool {
	q := &tree.Query{Base: l.base, Scope: tree.Sub, Filter: l.filter}
	if l.base == nil {
		dn, ok := x.DN(id)
		if !ok {
			return false
		}
		q.Base, q.Scope = dn, tree.Base
	}
	ok, err := x.Matches(id, q, nil)
	return err == nil && ok
}
