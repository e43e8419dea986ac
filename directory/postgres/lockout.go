package postgres

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
)

// lockNews is a lock-out that has begun, or one that a right password ended.
// It is written down behind the sign-in's back: the sign-in must take as long
// for a name that somebody has as for one that nobody has.
type lockNews struct {
	kind     string // as in directory.lockout
	id       directory.ObjectID
	client   string
	door     string
	hard     time.Duration // shut, by a policy; 0: slowed down
	failures int
	over     bool
}

// maxNews bounds the lock-outs that wait to be written down. More are lost, to
// the log of changes only: the lock-out itself is in its table.
const maxNews = 1024

func (s *Store) note(n lockNews) {
	select {
	case s.news <- n:
	default:
		s.log.Warn("a lock-out is not in the audit log", slog.Int64("id", int64(n.id)), slog.String("from", n.client))
	}
}

// noteLocks writes lock-outs down until ctx ends, and those left then.
func (s *Store) noteLocks(ctx context.Context) {
	for {
		select {
		case n := <-s.news:
			s.noteLock(ctx, n)
		case <-ctx.Done():
			left, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			for {
				select {
				case n := <-s.news:
					s.noteLock(left, n)
				default:
					return
				}
			}
		}
	}
}

func (s *Store) noteLock(ctx context.Context, n lockNews) {
	by := actor{as: directory.System("sign-in"), from: n.client, op: "lock out"}
	if n.over {
		by.op = "end lock-out"
	}
	what := changed{}
	if n.failures > 0 {
		what.add("failed sign-ins", nil, []string{strconv.Itoa(n.failures)})
	}
	if n.door != "" {
		what.add("door", nil, []string{n.door})
	}
	var err error
	switch {
	case n.id != 0 && n.kind == "account" && (n.hard > 0 || n.over):
		err = s.write(ctx, by, func(ctx context.Context, w *writing) error {
			o, err := w.readUser(ctx, n.id)
			if err != nil {
				return err
			}
			delete(o.attrs, "lockoutTime")
			if !n.over {
				o.attrs.set("lockoutTime", fileTime(time.Now()))
			}
			o.also = what
			return w.save(ctx, o, false)
		})
	case n.id != 0 || n.kind == "client":
		name := "client " + n.client
		if n.kind != "client" {
			if dn, ok := s.index.Load().Name(n.id); ok {
				name = dn
			}
		} else {
			n.id = 0
		}
		if n.kind == "factor" {
			by.op = "lock out of the second factor"
		}
		err = s.logOnly(ctx, by, n.id, name, what)
	}
	if err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "a lock-out is not in the audit log", slog.Int64("id", int64(n.id)), slog.String("from", n.client), slog.Any("fault", err))
	}
}

// logOnly writes a line of the audit log about what changed no object.
func (s *Store) logOnly(ctx context.Context, by actor, id directory.ObjectID, name string, c changed) error {
	b := &pgx.Batch{}
	b.Queue(auditSQL+`SELECT usn, $1::bigint, $2::text, $3::text, $4::text, $5::bigint, $6::text, $7::jsonb FROM directory.forest`, auditArgs(by, id, name, c)...)
	return s.db.Batch(ctx, b)
}

// endsEvery is how late the end of an account may end what was granted to it.
const endsEvery = 20 * time.Second

// endAccounts ends what was granted to accounts that have expired meanwhile. New
// sign-ins are refused from the very moment on.
func (s *Store) endAccounts(ctx context.Context) error {
	rows, err := s.db.Query(ctx, `
		SELECT object FROM directory.account WHERE expires <= now() AND ended IS DISTINCT FROM expires ORDER BY object LIMIT 1000`)
	if err != nil {
		return err
	}
	ids, err := collectIDs(rows)
	if err != nil {
		return err
	}
	for _, id := range ids {
		by := actor{as: directory.System("directory"), op: "account expired"}
		err := s.write(ctx, by, func(ctx context.Context, w *writing) error {
			var due bool
			err := w.QueryRow(ctx, `
				WITH hit AS (UPDATE directory.account SET ended = expires
					WHERE object = $1 AND expires <= now() AND ended IS DISTINCT FROM expires RETURNING 1)
				SELECT EXISTS (SELECT FROM hit)`, id).Scan(&due)
			if err != nil || !due {
				return err // another process was first
			}
			o, err := w.readUser(ctx, id)
			if err != nil || o.account == nil {
				return err
			}
			if err := w.newEpoch(ctx, o, o.account.enabled); err != nil {
				return err
			}
			return w.save(ctx, o, false)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
