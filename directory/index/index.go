// Package index is the whole directory in memory, compact and searchable. It
// knows no SQL and no sockets: directory/postgres loads it, applies each change
// to it and asks it.
package index

import (
	"context"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

// Index is the directory in memory. Its methods are safe for concurrent use;
// one Apply at a time.
type Index struct{}

// New makes an empty index. cold may be nil when no object has cold attributes.
func New(s *schema.Schema, cold Cold) *Index { return &Index{} }

// Schema is the schema of now.
func (x *Index) Schema() *schema.Schema { return nil }

// SetSchema replaces the schema by one that was extended from it.
func (x *Index) SetSchema(s *schema.Schema) {}

// USN is the newest change that was applied.
func (x *Index) USN() directory.USN { return 0 }

// Len is the number of objects, tombstones among them.
func (x *Index) Len() int { return 0 }

// Loader fills an empty index. Nothing is found before Done.
type Loader struct{}

// Load begins to fill the index, which must be empty.
func (x *Index) Load() *Loader { return &Loader{} }

// Add takes objects in any order; several goroutines may call it at the same
// time, best with some hundred objects each. Everything is copied. A fault
// (Invalid) names the object.
func (l *Loader) Add(objects []Object) error { return fault.New(fault.Unavailable, "not loaded") }

// Done makes the indexes; usn is the directory's at the time of the snapshot
// that was loaded.
func (l *Loader) Done(usn directory.USN) error { return fault.New(fault.Unavailable, "not loaded") }

// Apply brings in what changed up to usn: objects as they are now, and those
// that are gone for good. Objects above come before those below. A reader sees
// an object before or after, never half; on return all readers see all of it.
func (x *Index) Apply(usn directory.USN, changed []Object, gone []directory.ObjectID) error {
	return fault.New(fault.Unavailable, "not loaded")
}

// Resolve finds the object of a name, also <GUID=>, <SID=> and <WKGUID=,>.
// When nobody has it, matched is the nearest name above that is there.
func (x *Index) Resolve(dn tree.DN) (id directory.ObjectID, matched tree.DN, ok bool) {
	return 0, nil, false
}

// DN gives an object's name now.
func (x *Index) DN(id directory.ObjectID) (tree.DN, bool) { return nil, false }

// Name is DN as RFC 4514 text.
func (x *Index) Name(id directory.ObjectID) (string, bool) { return "", false }

// Place gives where an object is; the Chain is the caller's.
func (x *Index) Place(id directory.ObjectID) (Place, bool) { return Place{}, false }

// Contexts are the heads of naming contexts (domains, configuration, schema)
// in order of ID.
func (x *Index) Contexts() []directory.ObjectID { return nil }

// Children gives at most limit objects directly below, in order of ID after
// the one named; 0 is no limit.
func (x *Index) Children(id, after directory.ObjectID, limit int) []directory.ObjectID { return nil }

// Linked gives the values of an attribute of DN syntax, forward or back, in
// order of ID.
func (x *Index) Linked(id directory.ObjectID, attribute string) []directory.ObjectID { return nil }

// Members gives a group's members, with all that are members of those; the
// group itself is not among them, cycles are tolerated. In order of ID.
func (x *Index) Members(id directory.ObjectID) []directory.ObjectID { return nil }

// Groups gives the groups that an object is in, directly or by others, and its
// primary group with those that is in. In order of ID.
func (x *Index) Groups(id directory.ObjectID) []directory.ObjectID { return nil }

// Find gives the objects with the value, tombstones among them, in order of ID.
func (x *Index) Find(attribute, value string) []directory.ObjectID { return nil }

// Get shows one object as a Base search of it with everything matching would.
func (x *Index) Get(ctx context.Context, id directory.ObjectID, q *tree.Query, sight Sight) (*tree.Entry, error) {
	return nil, fault.New(fault.Unavailable, "not loaded")
}

// Matches tells whether the object is in the search: its scope, its filter,
// what the reader may see.
func (x *Index) Matches(id directory.ObjectID, q *tree.Query, sight Sight) (bool, error) {
	return false, fault.New(fault.Unavailable, "not loaded")
}

// Search calls fn with what the query finds and the reader may see, in order
// of ID or of q.Sort, without a lock held. Errors are *tree.Refusal, ctx's and
// fn's own. A search stays in the naming context of its base unless q.Global.
func (x *Index) Search(ctx context.Context, q *tree.Query, sight Sight, fn func(*tree.Entry) error) error {
	return fault.New(fault.Unavailable, "not loaded")
}
