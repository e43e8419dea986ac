package access

import (
	"slices"
	"strconv"
	"strings"

	"waypost/directory/schema"
	"waypost/internal/fault"
)

// The text of an entry, as it is stored and shown, is words between spaces:
//
//	allow|deny WHO RIGHT,… [attributes(NAME,…)] [children(CLASS,…)] on this|below|all[(CLASS,…)]
//
// WHO is everyone, authenticated, self, owner or the object's number behind a
// hash sign. A RIGHT is one of the names in rightNames; full is all of them. Examples:
//
//	allow authenticated read on all
//	allow #4711 reset-password,write attributes(lockoutTime) on below(user)
//	deny #12 read attributes(homePhone,mobile) on all

var whoNames = map[string]Who{"everyone": Everyone, "authenticated": Authenticated, "self": Self, "owner": Owner}

// rightNames in the order in which they are written.
var rightNames = []struct {
	name  string
	right Right
}{
	{"full", Full},
	{"read", Read},
	{"write", Write},
	{"create", Create},
	{"delete-child", DeleteChild},
	{"delete", Delete},
	{"reset-password", Reset},
	{"manage-members", Members},
	{"confidential", Secrets},
	{"permissions", Control},
}

// MaxEntryBytes bounds the text of an entry, MaxEntries how many one object has.
const (
	MaxEntryBytes = 8 << 10
	MaxEntries    = 200
)

// String writes the rights with commas between them, as in an entry.
func (r Right) String() string {
	var names []string
	for _, n := range rightNames {
		if n.right&^r == 0 {
			names = append(names, n.name)
			r &^= n.right
		}
	}
	return strings.Join(names, ",")
}

// String writes the name or "#" and the number.
func (w Who) String() string {
	for name, who := range whoNames {
		if who == w {
			return name
		}
	}
	return "#" + strconv.FormatInt(int64(w), 10)
}

// String writes the entry; Parse reads it back.
func (e Entry) String() string {
	words := []string{"allow", e.Who.String(), e.Rights.String()}
	if e.Deny {
		words[0] = "deny"
	}
	if len(e.Attributes) > 0 {
		words = append(words, "attributes("+strings.Join(e.Attributes, ",")+")")
	}
	if len(e.Children) > 0 {
		words = append(words, "children("+strings.Join(e.Children, ",")+")")
	}
	where := "this"
	if e.Below {
		where = "below"
		if e.This {
			where = "all"
		}
	}
	if len(e.Classes) > 0 {
		where += "(" + strings.Join(e.Classes, ",") + ")"
	}
	return strings.Join(append(words, "on", where), " ")
}

// Parse reads the text of an entry. It does not know the schema; Check does.
// Faults are Invalid.
func Parse(text string) (e Entry, err error) {
	if len(text) > MaxEntryBytes {
		return e, fault.New(fault.Invalid, "an access-control entry has at most %d bytes", MaxEntryBytes)
	}
	words := strings.Fields(text)
	wrong := func(what string) (Entry, error) {
		return Entry{}, fault.New(fault.Invalid, "access-control entry: %s", what)
	}
	if len(words) < 5 {
		return wrong("too few words; it reads: allow|deny WHO RIGHTS [attributes(…)] [children(…)] on this|below|all[(CLASS,…)]")
	}
	switch words[0] {
	case "allow":
	case "deny":
		e.Deny = true
	default:
		return wrong("it begins with allow or deny")
	}
	if id, ok := strings.CutPrefix(words[1], "#"); ok {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || n <= 0 {
			return wrong("a number of an object is wanted behind the hash sign")
		}
		e.Who = Who(n)
	} else if e.Who, ok = whoNames[words[1]]; !ok {
		return wrong("it is about everyone, authenticated, self, owner or #NUMBER")
	}
	for name := range strings.SplitSeq(words[2], ",") {
		i := slices.IndexFunc(rightNames, func(n struct {
			name  string
			right Right
		},
		) bool {
			return n.name == name
		})
		if i < 0 {
			return wrong("no right " + strconv.Quote(name))
		}
		e.Rights |= rightNames[i].right
	}
	rest := words[3:]
	for _, list := range []struct {
		name string
		into *[]string
	}{{"attributes", &e.Attributes}, {"children", &e.Children}} {
		if name, names, ok := listOf(rest[0]); ok && name == list.name {
			if names == nil {
				return wrong("names are wanted in " + list.name + "(…)")
			}
			*list.into, rest = names, rest[1:]
		}
		if len(rest) == 0 {
			break
		}
	}
	if len(rest) != 2 || rest[0] != "on" {
		return wrong("it ends with on this, on below or on all")
	}
	where, classes, ok := listOf(rest[1])
	if !ok {
		where = rest[1]
	} else if classes == nil {
		return wrong("classes are wanted in " + where + "(…)")
	}
	e.Classes = classes
	switch where {
	case "this":
		e.This = true
	case "below":
		e.Below = true
	case "all":
		e.This, e.Below = true, true
	default:
		return wrong("it ends with on this, on below or on all")
	}
	return e, nil
}

// listOf reads "word(name,…)"; names is nil when they are wrong.
func listOf(word string) (name string, names []string, ok bool) {
	name, inner, ok := strings.Cut(word, "(")
	if !ok {
		return "", nil, false
	}
	inner, closed := strings.CutSuffix(inner, ")")
	if !closed {
		return name, nil, true
	}
	for n := range strings.SplitSeq(inner, ",") {
		if n == "" || strings.ContainsAny(n, "()") {
			return name, nil, true
		}
		names = append(names, n)
	}
	return name, names, true
}

// Check tells whether the schema knows what the entry names, and gives it with
// the schema's spelling. Faults are Invalid.
func (e Entry) Check(s *schema.Schema) (Entry, error) {
	if e.Rights == 0 || !e.This && !e.Below {
		return e, fault.New(fault.Invalid, "access-control entry: it is about nothing")
	}
	if len(e.Attributes) > 0 && e.Rights&(Read|Write) == 0 {
		return e, fault.New(fault.Invalid, "access-control entry: attributes are for read and write")
	}
	if len(e.Children) > 0 && e.Rights&(Create|DeleteChild) == 0 {
		return e, fault.New(fault.Invalid, "access-control entry: children are for create and delete-child")
	}
	e.Attributes, e.Children, e.Classes = slices.Clone(e.Attributes), slices.Clone(e.Children), slices.Clone(e.Classes)
	for i, n := range e.Attributes {
		if _, ok := sets[n]; ok {
			continue
		}
		a, ok := s.Attribute(n)
		if !ok {
			return e, fault.New(fault.Invalid, "access-control entry: no attribute %q", n)
		}
		e.Attributes[i] = a.Name
	}
	for _, list := range [][]string{e.Children, e.Classes} {
		for i, n := range list {
			c, ok := s.Class(n)
			if !ok {
				return e, fault.New(fault.Invalid, "access-control entry: no class %q", n)
			}
			list[i] = c.Name
		}
	}
	return e, nil
}
