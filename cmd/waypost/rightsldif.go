package main

import (
	"context"
	"strconv"
	"strings"

	"waypost/directory"
	"waypost/directory/access"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/internal/ldif"
)

// Access-control entries name people and groups by number, which means nothing in
// another directory. In LDIF the number is a name in quotation marks:
//
//	allow "CN=Help Desk,DC=example,DC=org" reset-password on below(user)

// exportedRights is a change that gives an entry the rights that it has here; nil
// when there are none. It stands behind all entries, so that whom it names is
// there. Rights of who is gone are left out.
func (a *app) exportedRights(e *tree.Entry) *ldif.Record {
	var values []string
	for _, text := range e.Get(access.AttributeName) {
		x, err := access.Parse(text)
		if err != nil {
			continue
		}
		if x.Who > 0 {
			dn, ok := a.tree().Resolve(directory.ObjectID(x.Who))
			if !ok {
				continue
			}
			name := `"` + strings.ReplaceAll(dn.String(), `\"`, `\22`) + `"` // RFC 4514 section 2.4
			text = strings.Replace(text, x.Who.String(), name, 1)
		}
		values = append(values, text)
	}
	if len(values) == 0 {
		return nil
	}
	return &ldif.Record{DN: e.DN, Change: ldif.Modify, Mods: []ldif.Mod{{Op: ldif.ModReplace, Name: access.AttributeName, Values: values}}}
}

// localRights puts numbers in place of the names.
func (m *importer) localRights(ctx context.Context, values []string) ([]string, error) {
	out := make([]string, len(values))
	for i, text := range values {
		out[i] = text
		before, rest, quoted := strings.Cut(text, `"`)
		name, after, closed := strings.Cut(rest, `"`)
		if !quoted || !closed {
			continue
		}
		dn, err := tree.ParseDN(name)
		if err != nil {
			return nil, err
		}
		var id directory.ObjectID
		err = m.dir.Search(ctx, m.as, &tree.Query{Base: dn, Scope: tree.Base, Attributes: []string{"1.1"}}, func(e *tree.Entry) error {
			id = e.ID
			return nil
		})
		if err == nil && id == 0 {
			err = fault.New(fault.NotFound, "no such object")
		}
		if err != nil {
			return nil, fault.From(fault.Invalid, err, "rights of %s, who is not there", name)
		}
		out[i] = before + "#" + strconv.FormatInt(int64(id), 10) + after
	}
	return out, nil
}
