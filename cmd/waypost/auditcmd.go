package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/config"
	"waypost/internal/fault"
)

type auditCmd struct {
	List struct {
		Object string `help:"What was changed: an address, account, or a part of its name." placeholder:"NAME"`
		By     string `help:"Who changed it: a part of the address or name." placeholder:"NAME"`
		Since  string `help:"Changes of the last 2h or 7d, or since a date." placeholder:"TIME"`
		Limit  int    `help:"How many lines, newest first." default:"100"`
	} `cmd:"" help:"Who changed what in the directory, when and from where, before and after."`
}

func (a *app) auditList(ctx context.Context, c *cli) error {
	in := c.Audit.List
	q := directory.AuditQuery{By: in.By, Name: in.Object}
	if in.Object != "" {
		u, err := a.dir.UserByAddress(ctx, operator(), in.Object)
		switch {
		case err == nil:
			q.Object, q.Name = u.ID, ""
		case fault.Of(err) != fault.NotFound && fault.Of(err) != fault.Invalid:
			return err
		}
	}
	if in.Since != "" {
		var d config.Duration
		if err := d.UnmarshalText([]byte(in.Since)); err == nil {
			q.Since = time.Now().Add(-d.D())
		} else if q.Since, err = readWhen(in.Since); err != nil {
			return err
		}
	}
	if in.Limit < 1 {
		return fault.New(fault.Invalid, "--limit is 1 or more")
	}
	var all []directory.AuditLine
	for len(all) < in.Limit {
		q.Limit = min(in.Limit-len(all), 1000)
		page, err := a.dir.Audit(ctx, operator(), q)
		if err != nil {
			return err
		}
		all = append(all, page...)
		if len(page) < q.Limit {
			break
		}
		q.Before = page[len(page)-1].ID
	}
	rows := make([][]any, len(all))
	for i, l := range all {
		rows[i] = []any{when(l.At), l.ByName, l.From, l.Operation, l.Name, strings.Join(changeLines(l.Changes), "\n")}
	}
	return a.out.list(all, []any{"When", "Who", "From", "What", "Object", "Before and after"}, rows)
}

// changeLines tells changes to people, one a line.
func changeLines(changes map[string]directory.AuditChange) []string {
	side := func(values []string) string {
		if len(values) == 0 {
			return "-"
		}
		return shorten(strings.Join(values, ", "), 60)
	}
	var lines []string
	for name, c := range changes {
		lines = append(lines, fmt.Sprintf("%s: %s -> %s", name, side(c.Before), side(c.After)))
	}
	slices.Sort(lines)
	return lines
}
