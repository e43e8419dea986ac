package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
)

// auditFor is how long the audit log is kept.
const auditFor = 2 * 365 * 24 * time.Hour

// Audit implements directory.Accounts.
func (s *Store) Audit(ctx context.Context, as directory.Principal, q directory.AuditQuery) (lines []directory.AuditLine, err error) {
	defer fault.Wrap(&err, "read the audit log")
	if err := s.may(ctx, as, seeAll); err != nil {
		return nil, err
	}
	limit, err := pageLimit(q.Limit, defaultPage)
	if err != nil {
		return nil, err
	}
	where := []string{"true"}
	var args []any
	want := func(clause string, arg any) {
		args = append(args, arg)
		where = append(where, fmt.Sprintf(clause, len(args)))
	}
	like := func(text string) string {
		return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text) + "%"
	}
	switch {
	case q.Object != 0:
		want("object = $%d", q.Object)
	case q.Name != "":
		want("name ILIKE $%d", like(q.Name))
	}
	if q.By != "" {
		want("who_name ILIKE $%d", like(q.By))
	}
	if !q.Since.IsZero() {
		want("at >= $%d", q.Since)
	}
	if q.Before > 0 {
		want("id < $%d", q.Before)
	}
	args = append(args, limit)
	rows, err := s.db.Query(ctx, `
		SELECT id, usn, at, who, who_name, source, operation, object, name, changes FROM directory.audit
		WHERE `+strings.Join(where, " AND ")+fmt.Sprintf(" ORDER BY id DESC LIMIT $%d", len(args)), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (l directory.AuditLine, err error) {
		var raw []byte
		if err := r.Scan(&l.ID, &l.USN, &l.At, &l.By, &l.ByName, &l.From, &l.Operation, &l.Object, &l.Name, &raw); err != nil || raw == nil {
			return l, err
		}
		var c changed
		if err := json.Unmarshal(raw, &c); err != nil {
			return l, err
		}
		l.Changes = make(map[string]directory.AuditChange, len(c))
		for name, v := range c {
			l.Changes[name] = directory.AuditChange{Before: v[0], After: v[1]}
		}
		return l, nil
	})
}
