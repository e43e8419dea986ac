package jmap

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"

	"waypost/internal/fault"
)

// kind is a type of records with its standard methods (RFC 8620 section 5). What
// all types have in common is in this file; a kind says what is its own.
type kind struct {
	name  string
	state func(ctx context.Context, c *call) (string, error)

	properties []string
	// property tells whether a name besides properties is one.
	property func(name string) error
	defaults []string // what /get gives when nothing is named; nil: properties
	// all gives every id; nil where that cannot be asked for.
	all func(ctx context.Context, c *call) ([]string, error)
	// read gives records by id; those that are not there are left out. What it gives
	// has at least the properties asked for.
	read func(ctx context.Context, c *call, ids []string, properties []string) (map[string]object, error)

	changes func(ctx context.Context, c *call, since string, limit int) (*changes, error)

	mutable []string // what an update may change
	unset   object   // what null in a patch stands for, nil unless named here
	create  func(ctx context.Context, c *call, o object) (id string, given object, err error)
	update  func(ctx context.Context, c *call, list []*update)
	destroy func(ctx context.Context, c *call, ids []string) map[string]error
}

// changes is the answer of /changes.
type changes struct {
	created, updated, destroyed []string
	state                       string
	more                        bool
	extra                       object
}

// update is one record to be changed, and what became of it.
type update struct {
	id      string
	now     object         // as read, with the properties that the patch names
	changes map[string]any // new values of properties that differ
	err     error
	given   object // what changed besides; nil for nothing
}

// setError is a SetError (section 5.3).
type setError struct {
	kind       string
	text       string
	properties []string
	extra      object
}

func (e *setError) Error() string { return e.kind + ": " + e.text }

func invalidProperties(text string, properties ...string) error {
	slices.Sort(properties)
	return &setError{kind: "invalidProperties", text: text, properties: properties}
}

// setKinds has the type of SetError of every kind of fault.
var setKinds = map[fault.Kind]string{
	fault.Internal:        "serverFail",
	fault.Invalid:         "invalidProperties",
	fault.Unauthenticated: "forbidden",
	fault.Denied:          "forbidden",
	fault.NotFound:        "notFound",
	fault.Exists:          "invalidProperties",
	fault.Conflict:        "serverUnavailable",
	fault.OverQuota:       "overQuota",
	fault.TooLarge:        "tooLarge",
	fault.Limit:           "tooLarge",
	fault.Resync:          "serverUnavailable",
	fault.Unavailable:     "serverUnavailable",
}

// setProblem gives an error as a SetError object.
func (c *call) setProblem(ctx context.Context, err error) object {
	e, ok := err.(*setError)
	if !ok {
		e = &setError{kind: setKinds[fault.Of(err)], text: fault.Say(err)}
		if e.kind == "serverFail" {
			c.log.ErrorContext(ctx, "change failed", "cmd", c.name, "user", c.who.Address, "err", err)
		}
	}
	o := object{"type": e.kind}
	if e.text != "" {
		o["description"] = e.text
	}
	if e.properties != nil {
		o["properties"] = e.properties
	}
	maps.Copy(o, e.extra)
	return o
}

// get answers Foo/get (section 5.1).
func (k *kind) get(ctx context.Context, c *call) error {
	ids, err := c.idsOrNull("ids")
	if err != nil {
		return err
	}
	properties, err := k.wanted(c)
	if err != nil {
		return err
	}
	if len(ids) > maxObjectsInGet {
		return methodFault("requestTooLarge", "more than %d ids", maxObjectsInGet)
	}
	state, err := k.state(ctx, c) // before the records, so that none is older than it says
	if err != nil {
		return err
	}
	if ids == nil {
		if k.all == nil {
			return methodFault("requestTooLarge", "there are too many to be given at once")
		}
		if ids, err = k.all(ctx, c); err != nil {
			return err
		}
		if len(ids) > maxObjectsInGet {
			return methodFault("requestTooLarge", "more than %d records", maxObjectsInGet)
		}
	}
	ids = distinct(ids)
	found, err := k.read(ctx, c, ids, properties)
	if err != nil {
		return err
	}
	list, missing := []any{}, []string{}
	for _, id := range ids {
		if o, ok := found[id]; ok {
			list = append(list, pick(o, properties))
		} else {
			missing = append(missing, id)
		}
	}
	return c.respond(c.name, object{"accountId": c.account, "state": state, "list": list, "notFound": missing})
}

// wanted reads the argument properties.
func (k *kind) wanted(c *call) ([]string, error) {
	properties, err := c.stringsOrNull("properties")
	if err != nil {
		return nil, err
	}
	if properties == nil {
		if k.defaults != nil {
			return k.defaults, nil
		}
		return k.properties, nil
	}
	for _, p := range properties {
		if err := k.check(p); err != nil {
			return nil, err
		}
	}
	return distinct(append([]string{"id"}, properties...)), nil
}

func (k *kind) check(name string) error {
	switch {
	case slices.Contains(k.properties, name):
		return nil
	case k.property != nil:
		return k.property(name)
	}
	return invalidArguments("%s has no property %q", k.name, name)
}

func pick(o object, properties []string) object {
	out := make(object, len(properties))
	for _, p := range properties {
		if v, ok := o[p]; ok {
			out[p] = v
		}
	}
	return out
}

func distinct(list []string) []string {
	seen := make(map[string]bool, len(list))
	out := make([]string, 0, len(list))
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// getChanges answers Foo/changes (section 5.2).
func (k *kind) getChanges(ctx context.Context, c *call) error {
	since, ok := c.args["sinceState"].(string)
	if !ok {
		return invalidArguments("sinceState is a state")
	}
	limit, err := c.maxChanges()
	if err != nil {
		return err
	}
	ch, err := k.changes(ctx, c, since, min(limit, maxChanges))
	if err != nil {
		return err
	}
	out := object{
		"accountId": c.account, "oldState": since, "newState": ch.state, "hasMoreChanges": ch.more,
		"created": list(ch.created), "updated": list(ch.updated), "destroyed": list(ch.destroyed),
	}
	maps.Copy(out, ch.extra)
	return c.respond(c.name, out)
}

// maxChanges reads the argument of that name.
func (c *call) maxChanges() (int, error) {
	n, ok, err := c.number("maxChanges")
	if err != nil || ok && n < 1 {
		return 0, invalidArguments("maxChanges is a positive number")
	}
	if !ok {
		return maxChanges, nil
	}
	return n, nil
}

// list is never null.
func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

// set answers Foo/set (section 5.3).
func (k *kind) set(ctx context.Context, c *call) error {
	create, err := c.mapOrNull("create")
	if err != nil {
		return err
	}
	patches, err := c.mapOrNull("update")
	if err != nil {
		return err
	}
	destroy, err := c.idsOrNull("destroy")
	if err != nil {
		return err
	}
	if len(create)+len(patches)+len(destroy) > maxObjectsInSet {
		return methodFault("requestTooLarge", "more than %d objects", maxObjectsInSet)
	}
	old, err := k.inState(ctx, c)
	if err != nil {
		return err
	}
	out := object{"accountId": c.account, "oldState": old}
	created, notCreated := object{}, object{}
	k.createAll(ctx, c, create, created, notCreated)
	updated, notUpdated := object{}, object{}
	k.updateAll(ctx, c, patches, destroy, updated, notUpdated)
	destroyed, notDestroyed := []string{}, object{}
	k.destroyAll(ctx, c, destroy, &destroyed, notDestroyed)
	if out["newState"], err = k.state(ctx, c); err != nil {
		return err
	}
	for name, m := range map[string]object{
		"created": created, "notCreated": notCreated, "updated": updated, "notUpdated": notUpdated, "notDestroyed": notDestroyed,
	} {
		out[name] = nil
		if len(m) > 0 {
			out[name] = m
		}
	}
	out["destroyed"] = nil
	if len(destroyed) > 0 {
		out["destroyed"] = destroyed
	}
	return c.respond(k.name+"/set", out)
}

// inState checks ifInState and gives the state before.
func (k *kind) inState(ctx context.Context, c *call) (string, error) {
	want, isText := c.args["ifInState"].(string)
	if !isText && c.args["ifInState"] != nil {
		return "", invalidArguments("ifInState is a state")
	}
	state, err := k.state(ctx, c)
	if err == nil && isText && want != state {
		return "", methodFault("stateMismatch", "")
	}
	return state, err
}

// errLater is told by a create that refers to one of the same call which is not
// made yet.
var errLater = &setError{kind: "invalidProperties", text: "it refers to a record that was not created"}

// createAll creates records, those that others refer to first.
func (k *kind) createAll(ctx context.Context, c *call, create, created, failed object) {
	waiting := slices.Sorted(maps.Keys(create))
	for len(waiting) > 0 {
		var later []string
		for _, key := range waiting {
			o, ok := create[key].(object)
			switch {
			case !isID(key) || !ok:
				failed[key] = c.setProblem(ctx, invalidProperties("a record is an object under a creation id"))
				continue
			case k.create == nil:
				failed[key] = c.setProblem(ctx, &setError{kind: "singleton"})
				continue
			}
			c.creating = key
			id, given, err := k.create(ctx, c, o)
			if err == errLater {
				later = append(later, key)
				continue
			}
			if err != nil {
				failed[key] = c.setProblem(ctx, err)
				continue
			}
			c.created[key] = id
			created[key] = given
		}
		if len(later) == len(waiting) {
			for _, key := range later { // in circles, or of what failed
				failed[key] = c.setProblem(ctx, errLater)
			}
			return
		}
		waiting = later
	}
}

// updateAll applies patches.
func (k *kind) updateAll(ctx context.Context, c *call, patches object, destroy []string, updated, failed object) {
	var todo []*update
	var ids, properties []string
	keys := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(patches)) {
		patch, ok := patches[key].(object)
		id := key
		if strings.HasPrefix(key, "#") {
			id = c.created[key[1:]]
		}
		switch {
		case !ok:
			failed[key] = c.setProblem(ctx, &setError{kind: "invalidPatch", text: "a patch is an object"})
			continue
		case slices.Contains(destroy, key):
			failed[key] = c.setProblem(ctx, &setError{kind: "willDestroy"})
			continue
		case k.update == nil:
			failed[key] = c.setProblem(ctx, &setError{kind: "forbidden"})
			continue
		}
		for path := range patch {
			if name, err := unescape(strings.SplitN(path, "/", 2)[0]); err == nil && k.check(name) == nil {
				properties = append(properties, name)
			}
		}
		if _, twice := keys[id]; twice {
			failed[key] = c.setProblem(ctx, &setError{kind: "invalidPatch", text: "it is changed twice"})
			continue
		}
		keys[id] = key
		ids = append(ids, id)
		todo = append(todo, &update{id: id})
	}
	if len(todo) == 0 {
		return
	}
	found, err := k.read(ctx, c, ids, distinct(append(properties, k.mutable...)))
	var list []*update
	for _, u := range todo {
		var there bool
		u.now, there = found[u.id]
		switch {
		case err != nil:
			u.err = err
		case !there:
			u.err = &setError{kind: "notFound"}
		default:
			u.changes, u.err = k.patch(u.now, patches[keys[u.id]].(object))
		}
		if u.err == nil && len(u.changes) > 0 {
			list = append(list, u)
		}
	}
	if len(list) > 0 {
		k.update(ctx, c, list)
	}
	for _, u := range todo {
		switch {
		case u.err != nil:
			failed[keys[u.id]] = c.setProblem(ctx, u.err)
		case u.given == nil:
			updated[keys[u.id]] = nil
		default:
			updated[keys[u.id]] = u.given
		}
	}
}

func (k *kind) destroyAll(ctx context.Context, c *call, destroy []string, destroyed *[]string, failed object) {
	var ids []string
	keys := map[string]string{}
	for _, key := range distinct(destroy) {
		id := key
		if strings.HasPrefix(key, "#") {
			id = c.created[key[1:]]
		}
		if k.destroy == nil {
			failed[key] = c.setProblem(ctx, &setError{kind: "singleton"})
			continue
		}
		ids = append(ids, id)
		keys[id] = key
	}
	if len(ids) == 0 {
		return
	}
	errs := k.destroy(ctx, c, ids)
	for _, id := range ids {
		if err := errs[id]; err != nil {
			failed[keys[id]] = c.setProblem(ctx, err)
		} else {
			*destroyed = append(*destroyed, keys[id])
		}
	}
}

// patch applies a PatchObject (section 5.3) to a record, and gives the properties
// that have other values then. Those must be ones that may be changed.
func (k *kind) patch(now, patch object) (map[string]any, error) {
	bad := func(path, text string) error {
		return &setError{kind: "invalidPatch", text: path + ": " + text}
	}
	paths := slices.Sorted(maps.Keys(patch))
	for i, p := range paths {
		for _, q := range paths[i+1:] {
			if strings.HasPrefix(q, p+"/") {
				return nil, bad(q, "another patch is of what it is in")
			}
		}
	}
	next := object{}
	var unknown []string
	for _, path := range paths {
		tokens, err := pointer("/" + path)
		if err != nil {
			return nil, bad(path, err.Error())
		}
		top := tokens[0]
		if k.check(top) != nil {
			unknown = append(unknown, top)
			continue
		}
		if _, begun := next[top]; !begun {
			next[top] = copyOf(now[top])
		}
		value := patch[path]
		if len(tokens) == 1 {
			if value == nil {
				value = k.unset[top]
			}
			next[top] = value
			continue
		}
		at := next[top]
		for _, t := range tokens[1 : len(tokens)-1] {
			o, ok := at.(object)
			if !ok {
				return nil, bad(path, "there is no such object")
			}
			if at, ok = o[t]; !ok {
				return nil, bad(path, "there is no such object")
			}
		}
		o, ok := at.(object)
		if !ok {
			return nil, bad(path, "there is no such object")
		}
		if value == nil {
			delete(o, tokens[len(tokens)-1])
		} else {
			o[tokens[len(tokens)-1]] = value
		}
	}
	changed := map[string]any{}
	for p, v := range next {
		if equal(v, now[p]) {
			continue
		}
		if !slices.Contains(k.mutable, p) {
			unknown = append(unknown, p)
		}
		changed[p] = v
	}
	if len(unknown) > 0 {
		return nil, invalidProperties("these cannot be changed", unknown...)
	}
	return changed, nil
}

// copyOf copies objects deeply, so that a patch leaves what was read alone.
func copyOf(v any) any {
	switch v := plain(v).(type) {
	case object:
		o := make(object, len(v))
		for k, e := range v {
			o[k] = copyOf(e)
		}
		return o
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = copyOf(e)
		}
		return l
	default:
		return v
	}
}

// equal compares values as JSON.
func equal(a, b any) bool { return reflect.DeepEqual(plain(a), plain(b)) }

// plain gives a value of ours in the types that the decoder gives.
func plain(v any) any {
	switch v.(type) {
	case nil, bool, int64, float64, string:
		return v
	}
	data, err := encodeJSON(v)
	if err != nil {
		return v
	}
	tree, err := decodeJSON(data)
	if err != nil {
		return v
	}
	return tree
}

// reference gives the id that a property names: itself, or that of a record created
// earlier in the request.
func (c *call) reference(id string) (string, error) {
	if !strings.HasPrefix(id, "#") {
		return id, nil
	}
	if made, ok := c.created[id[1:]]; ok {
		return made, nil
	}
	if create, ok := c.args["create"].(object); ok {
		if _, ok := create[id[1:]]; ok {
			return "", errLater
		}
	}
	return "", invalidProperties("there is no record " + id)
}

// Arguments.

func (c *call) stringsOrNull(name string) ([]string, error) {
	return stringList(c.args[name], name)
}

func stringList(v any, name string) ([]string, error) {
	if v == nil {
		return nil, nil
	}
	l, ok := v.([]any)
	if !ok {
		return nil, invalidArguments("%s is a list", name)
	}
	out := make([]string, len(l))
	for i, e := range l {
		if out[i], ok = e.(string); !ok {
			return nil, invalidArguments("%s is a list of strings", name)
		}
	}
	return out, nil
}

// idsOrNull reads a list of ids, which may name creation ids.
func (c *call) idsOrNull(name string) ([]string, error) {
	l, err := c.stringsOrNull(name)
	for _, id := range l {
		if !isID(strings.TrimPrefix(id, "#")) {
			return nil, invalidArguments("%q is no id", id)
		}
	}
	return l, err
}

func (c *call) mapOrNull(name string) (object, error) {
	if c.args[name] == nil {
		return nil, nil
	}
	o, ok := c.args[name].(object)
	if !ok {
		return nil, invalidArguments("%s is an object", name)
	}
	return o, nil
}

// number reads a whole number; ok is false when there is none.
func (c *call) number(name string) (n int, ok bool, err error) {
	switch v := c.args[name].(type) {
	case nil:
		return 0, false, nil
	case int64:
		if v > -1<<53 && v < 1<<53 {
			return int(v), true, nil
		}
	}
	return 0, false, invalidArguments("%s is a whole number", name)
}

func (c *call) bool(name string) (bool, error) {
	if c.args[name] == nil {
		return false, nil
	}
	b, ok := c.args[name].(bool)
	if !ok {
		return false, invalidArguments("%s is true or false", name)
	}
	return b, nil
}
