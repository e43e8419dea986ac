package access

import (
	"slices"
	"strings"

	"waypost/internal/fault"
)

// presets are what delegated administration hands out, by the names of
// "waypost delegate --allow". The entries are put on the container.
var presets = []struct {
	name    string
	entries []Entry
}{
	{"reset-password", []Entry{
		{Rights: Reset | Write, Attributes: []string{"lockoutTime", "pwdLastSet"}, Below: true, Classes: []string{"user"}},
	}},
	{"create-users", []Entry{
		{Rights: Create | DeleteChild, Children: []string{"user", "contact"}, This: true, Below: true},
	}},
	{"create-groups", []Entry{
		{Rights: Create | DeleteChild, Children: []string{"group"}, This: true, Below: true},
	}},
	{"manage-members", []Entry{
		{Rights: Members, Below: true, Classes: []string{"group"}},
	}},
	{"edit-users", []Entry{
		{Rights: Write, Attributes: []string{"@person"}, Below: true, Classes: []string{"user", "contact"}},
	}},
	{"full-control", []Entry{
		{Rights: Full, This: true, Below: true},
	}},
}

// Presets are the names that Delegate knows.
func Presets() []string {
	var names []string
	for _, p := range presets {
		names = append(names, p.name)
	}
	return names
}

// Delegate gives the entries that hand the presets named to who. They are put
// on a container and taken back by their text. An unknown name is Invalid.
func Delegate(who Who, names ...string) ([]Entry, error) {
	var entries []Entry
	for _, n := range names {
		found := false
		for _, p := range presets {
			if p.name != n {
				continue
			}
			found = true
			for _, e := range p.entries {
				e.Who = who
				e.Attributes, e.Children, e.Classes = slices.Clone(e.Attributes), slices.Clone(e.Children), slices.Clone(e.Classes)
				entries = append(entries, e)
			}
		}
		if !found {
			return nil, fault.New(fault.Invalid, "nothing called %q can be delegated; there are %s", n, strings.Join(Presets(), ", "))
		}
	}
	return entries, nil
}
