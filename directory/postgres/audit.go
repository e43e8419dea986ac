package postgres

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
)

const (
	// auditValue bounds a value in the audit log, in bytes; of a longer one only
	// its size is told.
	auditValue = 1 << 10
	// auditValues bounds the values of one attribute there.
	auditValues = 100
)

// actor is who makes a change, for the audit log.
type actor struct {
	as   directory.Principal
	from string // the client's address
	op   string // what it is
	name string // the object's name, as it was given
}

func (a actor) source() string {
	if a.from == "" && a.as.Is(directory.RoleSystem) {
		return a.as.Name
	}
	return a.from
}

func (a actor) who() (directory.ObjectID, string) {
	if a.as.Address != "" {
		return a.as.ID, a.as.Address
	}
	return a.as.ID, a.as.Name
}

// changed collects what a change did to attributes: before and after.
type changed map[string][2][]string

// diff adds what is different between two states of the stored attributes.
func (c changed) diff(before, after attributes) {
	for name, v := range before {
		if !slices.Equal(v, after[name]) {
			c.add(name, v, after[name])
		}
	}
	for name, v := range after {
		if _, ok := before[name]; !ok {
			c.add(name, nil, v)
		}
	}
}

func (c changed) add(name string, before, after []string) {
	c[name] = [2][]string{shorten(before), shorten(after)}
}

func shorten(values []string) []string {
	short := make([]string, 0, min(len(values), auditValues))
	for i, v := range values {
		if i == auditValues {
			return append(short, fmt.Sprintf("(%d more)", len(values)-i))
		}
		if len(v) > auditValue {
			v = fmt.Sprintf("(%d bytes)", len(v))
		}
		short = append(short, v)
	}
	return short
}

// audit writes a line of the audit log with the statements of b. Nothing that is
// secret is an attribute, so nothing of it comes here.
func (w *writing) audit(b *pgx.Batch, id directory.ObjectID, name string, c changed) {
	auditAs(b, w.by, w.usn, id, name, c)
}

// auditAs is audit for a change of somebody among others. What by says of the
// object goes before name.
func auditAs(b *pgx.Batch, by actor, usn directory.USN, id directory.ObjectID, name string, c changed) {
	if by.name != "" {
		name = by.name
	}
	b.Queue(auditSQL+`VALUES ($8, $1, $2, $3, $4, $5, $6, $7)`, append(auditArgs(by, id, name, c), usn)...)
}

const auditSQL = `INSERT INTO directory.audit (usn, who, who_name, source, operation, object, name, changes) `

func auditArgs(by actor, id directory.ObjectID, name string, c changed) []any {
	var raw []byte
	if len(c) > 0 {
		raw, _ = json.Marshal(c) // strings only
	}
	who, whoName := by.who()
	return []any{int64(who), whoName, by.source(), by.op, int64(id), name, raw}
}
