package jmap

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
)

// query is what /query and /queryChanges ask (RFC 8620 sections 5.5 and 5.6).
type query struct {
	filter       any
	sort         []comparator
	position     int
	anchor       string
	anchorOffset int
	limit        int
	clamped      bool // limit is ours, not the client's
	total        bool
}

// comparator is one key of a sort.
type comparator struct {
	property string
	desc     bool
	keyword  string
}

// result is the answer of /query.
type result struct {
	state      string
	changeable bool // queryChanges can be calculated
	position   int
	ids        []string
	total      int
}

// delta is the answer of /queryChanges.
type delta struct {
	state   string
	total   int
	removed []string
	added   []added
}

type added struct {
	ID    string `json:"id"`
	Index int    `json:"index"`
}

// collations are the ways to compare text that there are.
var collations = []string{"i;ascii-casemap", "i;unicode-casemap"}

// readQuery reads the arguments that both methods have.
func (c *call) readQuery() (*query, error) {
	q := &query{filter: c.args["filter"]}
	list, ok := c.args["sort"].([]any)
	if !ok && c.args["sort"] != nil {
		return nil, invalidArguments("sort is a list")
	}
	for _, v := range list {
		o, ok := v.(object)
		if !ok {
			return nil, invalidArguments("sort is a list of comparators")
		}
		k := comparator{}
		if k.property, ok = o["property"].(string); !ok {
			return nil, invalidArguments("a comparator names a property")
		}
		if asc, given := o["isAscending"]; given {
			up, ok := asc.(bool)
			if !ok {
				return nil, invalidArguments("isAscending is true or false")
			}
			k.desc = !up
		}
		if v, given := o["keyword"]; given && v != nil {
			if k.keyword, ok = v.(string); !ok {
				return nil, invalidArguments("keyword is a string")
			}
		}
		if v, given := o["collation"]; given && v != nil {
			name, ok := v.(string)
			if !ok {
				return nil, invalidArguments("collation is a string")
			}
			if !slices.Contains(collations, name) {
				return nil, methodFault("unsupportedSort", "there is no collation %q", name)
			}
		}
		q.sort = append(q.sort, k)
	}
	var err error
	q.total, err = c.bool("calculateTotal")
	return q, err
}

// query answers Foo/query, which run finds.
func getQuery(ctx context.Context, c *call, run func(context.Context, *call, *query) (*result, error)) error {
	q, err := c.readQuery()
	if err != nil {
		return err
	}
	if q.position, _, err = c.number("position"); err != nil {
		return err
	}
	if q.anchorOffset, _, err = c.number("anchorOffset"); err != nil {
		return err
	}
	switch a := c.args["anchor"].(type) {
	case nil:
	case string:
		if !isID(a) {
			return invalidArguments("anchor is an id")
		}
		q.anchor = a
	default:
		return invalidArguments("anchor is an id")
	}
	limit, given, err := c.number("limit")
	if err != nil || limit < 0 {
		return invalidArguments("limit is a number from 0 on")
	}
	q.limit = limit
	if !given || limit > maxQuery {
		q.limit, q.clamped = maxQuery, true
	}
	r, err := run(ctx, c, q)
	if err != nil {
		return err
	}
	out := object{
		"accountId": c.account, "queryState": r.state, "canCalculateChanges": r.changeable,
		"position": r.position, "ids": list(r.ids),
	}
	if q.total {
		out["total"] = r.total
	}
	if q.clamped {
		out["limit"] = q.limit
	}
	return c.respond(c.name, out)
}

// getQueryChanges answers Foo/queryChanges, which run finds. upTo is "" for none.
func getQueryChanges(ctx context.Context, c *call, run func(ctx context.Context, c *call, q *query, since, upTo string) (*delta, error)) error {
	q, err := c.readQuery()
	if err != nil {
		return err
	}
	since, ok := c.args["sinceQueryState"].(string)
	if !ok {
		return invalidArguments("sinceQueryState is a state")
	}
	limit, err := c.maxChanges()
	if err != nil {
		return err
	}
	upTo, ok := c.args["upToId"].(string)
	if !ok && c.args["upToId"] != nil {
		return invalidArguments("upToId is an id")
	}
	d, err := run(ctx, c, q, since, upTo)
	if err != nil {
		return err
	}
	if c.args["maxChanges"] != nil && len(d.removed)+len(d.added) > limit {
		return methodFault("tooManyChanges", "")
	}
	if d.added == nil {
		d.added = []added{}
	}
	slices.SortFunc(d.added, func(a, b added) int { return cmp.Compare(a.Index, b.Index) })
	out := object{"accountId": c.account, "oldQueryState": since, "newQueryState": d.state, "removed": list(d.removed), "added": d.added}
	if q.total {
		out["total"] = d.total
	}
	return c.respond(c.name, out)
}

// filterTree reads a filter: leaf reads a condition, join joins what it gave. A
// filter that is null is the empty AND.
func filterTree[T any](v any, depth int, leaf func(object) (T, error), join func(op string, of []T) T) (none T, err error) {
	if v == nil && depth == 0 {
		return join("AND", nil), nil
	}
	o, ok := v.(object)
	if !ok {
		return none, invalidArguments("a filter is an object")
	}
	op, isOp := o["operator"]
	if !isOp {
		return leaf(o)
	}
	name, _ := op.(string)
	conditions, ok := o["conditions"].([]any)
	if name != "AND" && name != "OR" && name != "NOT" || !ok || len(o) != 2 {
		return none, invalidArguments("an operator is AND, OR or NOT with conditions")
	}
	if depth > 14 {
		return none, methodFault("unsupportedFilter", "the filter is nested too deep")
	}
	var of []T
	for _, c := range conditions {
		t, err := filterTree(c, depth+1, leaf, join)
		if err != nil {
			return none, err
		}
		of = append(of, t)
	}
	return join(name, of), nil
}

// match is a filter over records in memory.
type match func(object) bool

func joinMatches(op string, of []match) match {
	return func(o object) bool {
		for _, m := range of {
			if m(o) != (op == "AND") {
				return op == "OR"
			}
		}
		return op != "OR"
	}
}

// small is a kind of which all records are looked at for a query.
type small struct {
	*kind
	condition func(o object) (match, error)
	sorts     []string
	// compare compares two records by a property.
	compare func(property string, a, b object) int
	// arrange changes what was found and sorted, as further arguments say.
	arrange func(c *call, q *query, m match, all []object) ([]object, bool, error)
}

// find gives all records that match, sorted.
func (k *small) find(ctx context.Context, c *call, q *query) (ids []string, changeable bool, err error) {
	m, err := filterTree(q.filter, 0, k.condition, joinMatches)
	if err != nil {
		return nil, false, err
	}
	for _, s := range q.sort {
		if !slices.Contains(k.sorts, s.property) {
			return nil, false, methodFault("unsupportedSort", "%s is not sorted by %q", k.name, s.property)
		}
	}
	all, err := k.all(ctx, c)
	if err != nil {
		return nil, false, err
	}
	records, err := k.read(ctx, c, all, k.properties)
	if err != nil {
		return nil, false, err
	}
	rows := slices.Collect(maps.Values(records))
	slices.SortFunc(rows, func(a, b object) int { return k.order(q, a, b) })
	changeable = true
	if k.arrange != nil {
		if rows, changeable, err = k.arrange(c, q, m, rows); err != nil {
			return nil, false, err
		}
	}
	for _, r := range rows {
		if m(r) {
			ids = append(ids, r["id"].(string))
		}
	}
	return ids, changeable, nil
}

func (k *small) order(q *query, a, b object) int {
	for _, s := range q.sort {
		n := k.compare(s.property, a, b)
		if s.desc {
			n = -n
		}
		if n != 0 {
			return n
		}
	}
	x, y := a["id"].(string), b["id"].(string)
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
}

func (k *small) query(ctx context.Context, c *call) error {
	return getQuery(ctx, c, func(ctx context.Context, c *call, q *query) (*result, error) {
		state, err := k.state(ctx, c)
		if err != nil {
			return nil, err
		}
		ids, changeable, err := k.find(ctx, c, q)
		if err != nil {
			return nil, err
		}
		r := &result{state: state, changeable: changeable, total: len(ids), position: q.position}
		if q.anchor != "" {
			at := slices.Index(ids, q.anchor)
			if at < 0 {
				return nil, methodFault("anchorNotFound", "")
			}
			r.position = max(0, at+q.anchorOffset)
		} else if r.position < 0 {
			r.position = max(0, len(ids)+r.position)
		}
		from := min(r.position, len(ids))
		r.ids = ids[from:min(len(ids), from+q.limit)]
		return r, nil
	})
}

func (k *small) queryChanges(ctx context.Context, c *call) error {
	return getQueryChanges(ctx, c, func(ctx context.Context, c *call, q *query, since, _ string) (*delta, error) {
		ids, changeable, err := k.find(ctx, c, q)
		if err != nil {
			return nil, err
		}
		ch, err := k.changes(ctx, c, since, maxChanges)
		if err != nil {
			return nil, err
		}
		if !changeable && len(ch.created)+len(ch.updated)+len(ch.destroyed) > 0 || ch.more {
			return nil, methodFault("cannotCalculateChanges", "")
		}
		d := &delta{state: ch.state, total: len(ids), removed: append(slices.Clone(ch.updated), ch.destroyed...)}
		for i, id := range ids {
			if slices.Contains(ch.created, id) || slices.Contains(ch.updated, id) {
				d.added = append(d.added, added{id, i})
			}
		}
		return d, nil
	})
}
