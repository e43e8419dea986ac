package postgres

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory/access"
	"waypost/directory/schema"
	"waypost/directory/tree"
)

// follow brings what depends on the attributes that were touched in line, and
// asks the schema about the whole.
func (m *modification) follow(ctx context.Context, touched map[string]bool) error {
	o := m.o
	if m.fam == group && touched["groupType"] && o.attrs.get("groupType") != m.before.get("groupType") {
		if err := checkGroupType(o.attrs.get("groupType")); err != nil {
			return err
		}
		if o.builtIn() {
			return tree.Refuse(tree.ResultUnwillingToPerform, "a built-in group stays what it is")
		}
	}
	if err := o.addressRules(m.before, touched); err != nil {
		return err
	}
	if m.fam == person || m.fam == computer {
		if err := m.account(ctx, touched); err != nil {
			return err
		}
	}
	if touched[access.AttributeName] {
		if err := m.entries(); err != nil {
			return err
		}
	}
	if err := o.mailboxRules(func(d string) bool { return m.w.isOurs(ctx, d) }); err != nil {
		return err
	}
	if o.home != 0 && o.mailbox == 0 {
		o.mailbox = m.w.newMailbox()
	}
	if err := m.naming(); err != nil {
		return err
	}
	if o.class == "attributeSchema" || o.class == "classSchema" {
		if _, err := schemaFor(m.w.schema, o.class, o.attrs); err != nil {
			return err
		}
	}
	return m.conforms(ctx, touched)
}

// entries checks access-control entries against the schema.
func (m *modification) entries() error {
	list := m.o.attrs[access.AttributeName]
	if len(list) > access.MaxEntries {
		return tree.Refuse(tree.ResultAdminLimit, "at most %d access-control entries", access.MaxEntries)
	}
	for i, text := range list {
		e, err := access.Parse(text)
		if err == nil {
			e, err = e.Check(m.w.schema)
		}
		if err != nil {
			return tree.Refuse(tree.ResultConstraintViolation, "%s", say(err))
		}
		list[i] = e.String()
	}
	return nil
}

// naming: the value that names the object does not change with its attribute.
func (m *modification) naming() error {
	a, ok := m.w.schema.Attribute(m.o.naming)
	if !ok || m.fam == domain {
		if m.fam == domain && !slices.Equal(m.o.attrs["dc"], m.before["dc"]) {
			return tree.Refuse(tree.ResultNotAllowedOnRDN, "a domain is not renamed")
		}
		return nil
	}
	if indexOf(a, decodeAll(a, m.o.attrs[a.Name]), m.o.rdn) < 0 {
		return tree.Refuse(tree.ResultNotAllowedOnRDN, "%s names the object: rename it", a.Name)
	}
	return nil
}

// conforms asks the schema about what the object is now.
func (m *modification) conforms(ctx context.Context, touched map[string]bool) error {
	if touched["objectClass"] {
		names, err := m.has(ctx)
		if err != nil {
			return err
		}
		for _, name := range names {
			if a, ok := m.w.schema.Attribute(name); ok && !m.shape.Allows(a) {
				return tree.Refuse(tree.ResultObjectClassViolation, "a %s has no %s", m.o.class, a.Name)
			}
		}
	}
	for name := range touched {
		a, _ := m.w.schema.Attribute(name)
		if a.Password() || a.Name == "objectClass" || m.shape.Allows(a) {
			continue
		}
		if l := m.linked[m.number(ctx, a)]; len(m.o.attrs[name]) > 0 || len(m.cold[name]) > 0 || l != nil && len(l.add) > 0 {
			return tree.Refuse(tree.ResultObjectClassViolation, "a %s has no %s", m.o.class, a.Name)
		}
	}
	for _, a := range m.shape.Requires() {
		if a.Automatic || givenAnyway[a.Name] || a.Name == "objectClass" || a.Syntax.DN() {
			continue
		}
		gone := touched[a.Name] && len(m.o.attrs[a.Name]) == 0 && len(m.cold[a.Name]) == 0
		if gone || touched["objectClass"] && len(m.o.attrs[a.Name]) == 0 {
			if v, err := m.current(ctx, a); err != nil || len(v) > 0 {
				if err != nil {
					return err
				}
				continue
			}
			return tree.Refuse(tree.ResultObjectClassViolation, "a %s must have %s", m.o.class, a.Name)
		}
	}
	return nil
}

// has are the attributes that the object has, wherever their values lie.
func (m *modification) has(ctx context.Context) (names []string, err error) {
	refs := map[int32]string{}
	b := &pgx.Batch{}
	b.Queue(`SELECT DISTINCT attribute FROM directory.cold WHERE object = $1`, m.o.id).Query(func(rows pgx.Rows) error {
		var name string
		_, err := pgx.ForEachRow(rows, []any{&name}, func() error {
			if !m.dirty[name] || len(m.cold[name]) > 0 {
				names = append(names, name)
			}
			return nil
		})
		return err
	})
	b.Queue(`SELECT id, attribute FROM directory.reference`).Query(func(rows pgx.Rows) error {
		var id int32
		var name string
		_, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error { refs[id] = name; return nil })
		return err
	})
	b.Queue(`SELECT DISTINCT attribute FROM directory.link WHERE source = $1`, m.o.id).Query(func(rows pgx.Rows) error {
		var id int32
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
			l := m.linked[id]
			if a, ok := linkAttribute(m.w.schema, id, refs); ok && (l == nil || !l.clear) && id != linkHome {
				names = append(names, a.Name)
			}
			return nil
		})
		return err
	})
	if err := m.w.Batch(ctx, b); err != nil {
		return nil, err
	}
	for name := range m.o.attrs {
		names = append(names, name)
	}
	if m.o.home != 0 {
		names = append(names, "homeMDB")
	}
	return names, nil
}

func (m *modification) number(ctx context.Context, a *schema.Attribute) int32 {
	if !a.Syntax.DN() {
		return -1
	}
	id, err := m.w.linkNumber(ctx, a)
	if err != nil {
		return -1
	}
	return id
}

// account reads what the attributes say of the account now.
func (m *modification) account(ctx context.Context, touched map[string]bool) error {
	o := m.o
	base := controlNormal
	if m.fam == computer {
		base = controlMachine
	}
	control := base
	if n, err := strconv.Atoi(o.attrs.get("userAccountControl")); err == nil {
		if control, err = cleanControl(n, base); err != nil {
			return err
		}
	}
	o.attrs.set("userAccountControl", strconv.Itoa(control))
	if o.account != nil {
		o.account.enabled = control&controlDisabled == 0
	} else if m.fam == person && control&controlDisabled == 0 && touched["userAccountControl"] {
		return tree.Refuse(tree.ResultUnwillingToPerform, "nobody signs in to a room")
	}
	if touched["accountExpires"] {
		at, err := readExpires(o.attrs.get("accountExpires"))
		if err != nil {
			return err
		}
		if o.account != nil {
			m.extra = append(m.extra, func(b *pgx.Batch) {
				b.Queue(`UPDATE directory.account SET expires = $2 WHERE object = $1`, o.id, at)
			})
		}
	}
	if touched["pwdLastSet"] {
		switch o.attrs.get("pwdLastSet") {
		case "0":
			m.must = true
		case "-1":
			o.attrs.set("pwdLastSet", fileTime(time.Now()))
		default:
			return tree.Refuse(tree.ResultConstraintViolation, "pwdLastSet is 0 or -1")
		}
		m.extra = append(m.extra, func(b *pgx.Batch) {
			b.Queue(`UPDATE directory.account SET must_change = $2 WHERE object = $1`, o.id, m.must)
		})
	}
	if touched["lockoutTime"] {
		if v := o.attrs.get("lockoutTime"); v != "" && v != "0" {
			return tree.Refuse(tree.ResultConstraintViolation, "lockoutTime is 0")
		}
		delete(o.attrs, "lockoutTime")
		m.extra = append(m.extra, func(b *pgx.Batch) {
			b.Queue(`DELETE FROM directory.lockout WHERE kind = 'account' AND key = $1`, lockKey(o.id, ""))
		})
	}
	if touched["primaryGroupID"] {
		if err := m.primaryGroup(ctx); err != nil {
			return err
		}
	}
	if m.pw != nil {
		if err := m.password(ctx); err != nil {
			return err
		}
	}
	// Losing a name, a role or the right to sign in ends what was granted.
	o.settle(m.fam)
	d, err := o.derive(m.w.schema)
	if err != nil {
		return tree.Refuse(tree.ResultConstraintViolation, "%s", say(err))
	}
	lost := slices.ContainsFunc(o.keys, func(k nameKey) bool { return k.kind <= nameAccount && !slices.Contains(d.keys, k) })
	enabled := o.account != nil && o.account.enabled
	m.epoch = lost || enabled != m.wasOn || m.must || touched["accountExpires"] || !slices.Equal(o.attrs["waypostRoles"], m.before["waypostRoles"])
	return nil
}
