package index

import (
	"context"
	"slices"
	"strings"

	"waypost/directory/schema"
	"waypost/directory/tree"
)

// MaxSorted is how many entries a search with an order may find.
const MaxSorted = 300_000

// row is an entry to be sorted.
type row struct {
	id   uint32
	keys []string // "" for none
}

// sorted finds everything, brings it into order and shows it.
func (s *search) sorted(ctx context.Context, fn func(*tree.Entry) error) error {
	x, q := s.x, s.q
	order, err := s.order()
	if err != nil {
		return err
	}
	var rows []row
	x.mu.RLock()
	s.aim()
	for {
		s.scope.fresh()
		for _, id := range s.candidates() {
			if s.meets(id) {
				rows = append(rows, row{id, order.keys(&s.subject)})
			}
		}
		end := s.done
		x.mu.RUnlock()
		if len(rows) > MaxSorted {
			return tree.Refuse(tree.ResultAdminLimit, "more than %d entries to sort", MaxSorted)
		}
		if err := inTime(ctx, q); err != nil {
			return err
		}
		if end {
			break
		}
		x.mu.RLock()
	}
	slices.SortFunc(rows, order.compare)
	over := q.Limit > 0 && len(rows) > q.Limit
	if over {
		rows = rows[:q.Limit]
	}
	for len(rows) > 0 {
		n := min(len(rows), turnEntries)
		var t turn
		var b batch
		x.mu.RLock()
		s.scope.fresh()
		for _, r := range rows[:n] {
			if s.meets(r.id) { // it may have changed since
				s.take(&t, &b)
			}
		}
		x.mu.RUnlock()
		rows = rows[n:]
		if err := x.warm(ctx, &t); err != nil {
			return err
		}
		for _, entry := range t.entries {
			if err := fn(entry); err != nil {
				return err
			}
		}
		if err := inTime(ctx, q); err != nil {
			return err
		}
	}
	if over {
		return tree.Refuse(tree.ResultSizeLimit, "more than %d entries", q.Limit)
	}
	return nil
}

// order is Query.Sort made ready.
type order []orderKey

type orderKey struct {
	a       *attribute
	rule    *schema.Rule
	reverse bool
}

func (s *search) order() (order, error) {
	s.x.mu.RLock()
	defer s.x.mu.RUnlock()
	var o order
	for _, k := range s.q.Sort {
		a, ok := s.x.schema.Attribute(k.Attribute)
		if !ok || a.Secret {
			return nil, tree.Refuse(tree.ResultNoSuchAttribute, "no attribute %q to sort by", k.Attribute)
		}
		key := orderKey{a: &s.x.info[a.Number], reverse: k.Reverse}
		if k.Rule != "" {
			if key.rule, ok = schema.LookupRule(k.Rule); !ok || !key.rule.Fits(a.Syntax) {
				return nil, tree.Refuse(tree.ResultInappropriateMatching, "%s cannot be sorted by %q", a.Name, k.Rule)
			}
		} else if !a.Syntax.Ordered() {
			return nil, tree.Refuse(tree.ResultInappropriateMatching, "%s has no order", a.Name)
		}
		o = append(o, key)
	}
	return o, nil
}

// keys gives what the subject is sorted by: the lowest value of each attribute
// (RFC 2891 §2.2), marked by a byte before it as there.
func (o order) keys(e *subject) []string {
	keys := make([]string, len(o))
	for i, k := range o {
		if !e.reads(k.a) {
			continue
		}
		for _, v := range e.values(k.a) {
			key, ok := "", false
			if k.rule != nil {
				key, ok = k.rule.Key(v)
			} else {
				key, ok = k.a.Syntax.Order(v)
			}
			if key = "=" + key; ok && (keys[i] == "" || key < keys[i]) {
				keys[i] = key
			}
		}
	}
	return keys
}

// compare orders rows; who has no value is behind all that have one (RFC 2891
// §2.2), and what is alike comes in order of ID.
func (o order) compare(a, b row) int {
	for i, k := range o {
		c := 0
		switch x, y := a.keys[i], b.keys[i]; {
		case x == y:
			continue
		case x == "":
			c = 1
		case y == "":
			c = -1
		default:
			c = strings.Compare(x, y)
		}
		if k.reverse {
			c = -c
		}
		return c
	}
	return comparePairs(uint64(a.id), uint64(b.id))
}
