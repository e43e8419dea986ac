package imap

import (
	"context"
	"slices"
	"strings"
)

// states are the states of a connection (RFC 9051 section 3), as a set.
type states uint8

const (
	notAuthenticated states = 1 << iota
	authenticated
	selected
	loggedOut

	anyState = notAuthenticated | authenticated | selected
	signedIn = authenticated | selected
)

// command is a row of the table of commands.
type command struct {
	run func(*conn, context.Context) error
	in  states
	// caps are the capabilities that this command is all or the main part of.
	caps string
	// quiet marks the commands during which sequence numbers must not change:
	// no EXPUNGE may be sent (RFC 9051 section 7.5.1).
	quiet bool
	// fresh makes the view follow the store after the command even if nobody
	// said that anything changed.
	fresh bool
}

// commands is every command there is. Dispatch, CAPABILITY and the tests walk it.
var commands = map[string]command{
	// RFC 9051 section 6.1: any state
	"CAPABILITY": {run: (*conn).capability, in: anyState},
	"NOOP":       {run: (*conn).noop, in: anyState, fresh: true},
	"LOGOUT":     {run: (*conn).logout, in: anyState},
	"ID":         {run: (*conn).id, in: anyState, caps: "ID"}, // RFC 2971

	// RFC 9051 section 6.2: not authenticated
	"STARTTLS":     {run: (*conn).startTLS, in: notAuthenticated},
	"LOGIN":        {run: (*conn).login, in: notAuthenticated},
	"AUTHENTICATE": {run: (*conn).authenticate, in: notAuthenticated, caps: "SASL-IR"}, // RFC 4959

	// RFC 9051 section 6.3: authenticated
	"ENABLE":      {run: (*conn).enable, in: signedIn, caps: "ENABLE UTF8=ACCEPT"}, // RFC 5161, RFC 6855
	"SELECT":      {run: (*conn).selectFolder, in: signedIn},
	"EXAMINE":     {run: (*conn).examine, in: signedIn},
	"CREATE":      {run: (*conn).create, in: signedIn, caps: "CREATE-SPECIAL-USE"}, // RFC 6154
	"DELETE":      {run: (*conn).deleteFolder, in: signedIn},
	"RENAME":      {run: (*conn).rename, in: signedIn},
	"SUBSCRIBE":   {run: (*conn).subscribe, in: signedIn},
	"UNSUBSCRIBE": {run: (*conn).unsubscribe, in: signedIn},
	"LIST":        {run: (*conn).list, in: signedIn, caps: "LIST-EXTENDED LIST-STATUS SPECIAL-USE CHILDREN"}, // RFC 5258, 5819, 6154, 3348
	"LSUB":        {run: (*conn).lsub, in: signedIn},                                                         // RFC 3501 section 6.3.9
	"NAMESPACE":   {run: (*conn).namespace, in: signedIn, caps: "NAMESPACE"},                                 // RFC 2342
	"STATUS":      {run: (*conn).status, in: signedIn, caps: "STATUS=SIZE"},                                  // RFC 8438
	"APPEND":      {run: (*conn).append, in: signedIn, caps: "LITERAL- APPENDLIMIT"},                         // RFC 7888, 7889
	"IDLE":        {run: (*conn).idle, in: signedIn, caps: "IDLE", fresh: true},                              // RFC 2177

	// RFC 9051 section 6.4: selected
	"CHECK":    {run: (*conn).check, in: selected, fresh: true}, // RFC 3501 section 6.4.1
	"CLOSE":    {run: (*conn).closeFolder, in: selected},
	"UNSELECT": {run: (*conn).unselect, in: selected, caps: "UNSELECT"}, // RFC 3691
	"EXPUNGE":  {run: (*conn).expunge, in: selected, fresh: true},
	"SEARCH":   {run: (*conn).search, in: selected, quiet: true, caps: "ESEARCH SEARCHRES WITHIN"}, // RFC 4731, 5182, 5032
	"FETCH":    {run: (*conn).fetch, in: selected, quiet: true, caps: "BINARY CONDSTORE OBJECTID PREVIEW"},
	"STORE":    {run: (*conn).store, in: selected, quiet: true},
	"COPY":     {run: (*conn).copyMessages, in: selected},
	"MOVE":     {run: (*conn).moveMessages, in: selected, caps: "MOVE", fresh: true}, // RFC 6851

	"UID EXPUNGE": {run: (*conn).uidExpunge, in: selected, caps: "UIDPLUS", fresh: true}, // RFC 4315
	"UID SEARCH":  {run: (*conn).uidSearch, in: selected},
	"UID FETCH":   {run: (*conn).uidFetch, in: selected},
	"UID STORE":   {run: (*conn).uidStore, in: selected},
	"UID COPY":    {run: (*conn).uidCopy, in: selected},
	"UID MOVE":    {run: (*conn).uidMove, in: selected, fresh: true},
}

// renderCapabilities makes the capability lists from the table of commands.
func (s *Server) renderCapabilities() {
	var before, all []string
	for _, cmd := range commands {
		words := strings.Fields(cmd.caps)
		all = append(all, words...)
		if cmd.in&notAuthenticated != 0 {
			before = append(before, words...)
		}
	}
	before = append(before, "LITERAL-", "ENABLE") // what a client wants to know before it signs in
	slices.Sort(all)
	slices.Sort(before)
	const head = "IMAP4rev2 IMAP4rev1"
	auth := " AUTH=PLAIN AUTH=LOGIN"
	if s.bearers() != nil {
		auth += " AUTH=OAUTHBEARER AUTH=XOAUTH2"
	}
	guest := head + " " + strings.Join(before, " ")
	s.capsTLS = guest + auth
	s.capsPlain, s.capsDisabled = guest+auth, guest+" LOGINDISABLED"
	if s.cfg.TLS != nil {
		s.capsPlain += " STARTTLS"
		s.capsDisabled += " STARTTLS"
	}
	s.capsSignedIn = head + " " + strings.Join(slices.Compact(all), " ")
}

// capabilities is the list for the connection as it is.
func (c *conn) capabilities() string {
	switch {
	case c.signedIn():
		return c.server.capsSignedIn
	case c.secure:
		return c.server.capsTLS
	case c.maySignIn():
		return c.server.capsPlain
	}
	return c.server.capsDisabled
}

// maySignIn tells whether a password may be sent on this connection (RFC 9051
// section 11.1: not in clear text over a network).
func (c *conn) maySignIn() bool {
	return c.secure || c.server.cfg.PlainSignIn || c.from.IsLoopback()
}
