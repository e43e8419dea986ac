package dav

import (
	"context"
	"encoding/xml"
	"net/http"

	"waypost/internal/fault"
)

// reports are the reports that exist, and where (RFC 3253 section 3.6).
var reports map[xml.Name]struct {
	on  kind
	run func(s *Server, ctx context.Context, r *request, res *resource, n *node) error
}

func init() { // the table names methods that read it
	type row = struct {
		on  kind
		run func(s *Server, ctx context.Context, r *request, res *resource, n *node) error
	}
	reports = map[xml.Name]row{
		calName("calendar-query"):                     {isCalendar, (*Server).calendarQuery},
		calName("calendar-multiget"):                  {isCalendar, (*Server).multiget},
		calName("free-busy-query"):                    {isCalendar | isCalendarHome, (*Server).freeBusyQuery},
		cardName("addressbook-query"):                 {anyBook, (*Server).addressbookQuery},
		cardName("addressbook-multiget"):              {anyBook, (*Server).multiget},
		davName("sync-collection"):                    {kept, (*Server).syncCollection},
		davName("expand-property"):                    {anything, (*Server).expandProperty},
		davName("principal-property-search"):          {isRoot | isPrincipals, (*Server).principalSearch},
		davName("principal-search-property-set"):      {isRoot | isPrincipals | isPrincipal, (*Server).searchable},
		davName("principal-match"):                    {isRoot | isPrincipals, (*Server).principalMatch},
		serverName("calendarserver-principal-search"): {isRoot | isPrincipals, (*Server).appleSearch},
	}
}

// report answers one of the table.
func (s *Server) report(ctx context.Context, r *request) error {
	n, err := r.body()
	if err != nil {
		return err
	}
	if n == nil {
		return fault.New(fault.Invalid, "which report?")
	}
	switch n.name { // those that need to know no more of a folder than which it is
	case calName("calendar-query"), calName("calendar-multiget"), cardName("addressbook-multiget"):
		r.trusting = true
	}
	res, err := s.lookup(ctx, r, r.http.URL.EscapedPath())
	if err != nil {
		return err
	}
	if !res.exists() {
		return errNothing(res.href)
	}
	rep, ok := reports[n.name]
	if !ok || rep.on&res.kind == 0 {
		return failed(http.StatusForbidden, davName("supported-report"), "") // RFC 3253 section 3.6
	}
	return rep.run(s, ctx, r, res, n)
}

func writeReports(x *xmlWriter, res *resource) {
	for _, name := range sortedNames(reports) {
		if reports[name].on&res.kind == 0 {
			continue
		}
		x.open(davName("supported-report"))
		x.open(davName("report"))
		x.empty(name)
		x.close(davName("report"))
		x.close(davName("supported-report"))
	}
}
