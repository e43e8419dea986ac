package pgdb

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"waypost/internal/fault"
)

// ErrCommitUnknown: the connection was lost while the COMMIT was under way, so
// nobody knows whether the change happened. It comes wrapped in an Unavailable
// fault; whoever repeats the work must recognise work already done.
var ErrCommitUnknown = errors.New("connection lost during COMMIT, outcome unknown")

// SQLSTATE codes, PostgreSQL appendix A.
const (
	uniqueViolation      = "23505"
	foreignKeyViolation  = "23503"
	exclusionViolation   = "23P01"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	readOnlyTransaction  = "25006" // the server became a standby
	idleInTransaction    = "25P03"
	lockNotAvailable     = "55P03"
	queryCanceled        = "57014"
	invalidPassword      = "28P01"
	invalidAuthorization = "28000"
	noSuchDatabase       = "3D000"
)

// kinds of fault by SQLSTATE; classes (two characters) are asked after codes.
var kinds = map[string]fault.Kind{
	uniqueViolation:      fault.Exists,
	exclusionViolation:   fault.Conflict,
	foreignKeyViolation:  fault.Conflict,
	serializationFailure: fault.Unavailable,
	deadlockDetected:     fault.Unavailable,
	readOnlyTransaction:  fault.Unavailable,
	idleInTransaction:    fault.Unavailable,
	lockNotAvailable:     fault.Unavailable,
	queryCanceled:        fault.Unavailable,
	"08":                 fault.Unavailable, // connection exception
	"53":                 fault.Unavailable, // out of disk, memory or connections
	"57":                 fault.Unavailable, // shutting down, starting up, crashed
	"58":                 fault.Unavailable, // input/output error of the server
}

var says = map[fault.Kind]string{
	fault.Exists:      "already exists",
	fault.Conflict:    "in conflict with another change",
	fault.Unavailable: "temporarily unavailable",
}

// classify gives err the kind that PostgreSQL or the network told. A fault
// stays as it is, and so does what nobody knows.
func classify(err error) error {
	var f *fault.Error
	if err == nil || errors.As(err, &f) {
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		k, ok := kinds[pg.Code]
		if !ok && len(pg.Code) == 5 {
			k, ok = kinds[pg.Code[:2]]
		}
		if !ok {
			return err
		}
		return fault.From(k, err, "%s", says[k])
	}
	if errors.Is(err, pgx.ErrNoRows) || errors.Is(err, context.Canceled) {
		return err
	}
	if lost(err) {
		return fault.From(fault.Unavailable, err, "%s", says[fault.Unavailable])
	}
	return err
}

// lost tells that the server is away or the connection to it is gone.
func lost(err error) bool {
	var (
		pg      *pgconn.PgError
		connect *pgconn.ConnectError
		netErr  net.Error
	)
	switch {
	case errors.As(err, &pg):
		// 57P01..57P05: the server ended the session; 08: so says a proxy.
		return pg.Code[:min(2, len(pg.Code))] == "08" || len(pg.Code) == 5 && pg.Code[:4] == "57P0" || pg.Code == idleInTransaction
	case errors.As(err, &connect), errors.As(err, &netErr):
		return true
	}
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.EPIPE, syscall.ECONNRESET, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return pgconn.Timeout(err) || pgconn.SafeToRetry(err)
}

// repeatable tells that PostgreSQL sacrificed the transaction to another one,
// so that it is worth another attempt at once.
func repeatable(err error) bool {
	code := Code(err)
	return code == serializationFailure || code == deadlockDetected
}

// Constraint names the constraint that a statement violated, or "".
func Constraint(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.ConstraintName
	}
	return ""
}

// Code is the SQLSTATE of err, or "".
func Code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}
