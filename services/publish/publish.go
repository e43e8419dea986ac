// Package publish is the door at which calendars and address books are read by who
// knows their secret address, without signing in.
//
// Its law:
//
//   - The address is the right. Whatever is wrong with one, the answer is the same;
//     who tries many is held back; a secret is never logged.
//   - What is given away is decided here, by the publication's detail (reduce.go).
//   - Who has the newest version is told so without anything being read but the
//     folder's number of change. Everything else is written as it is found.
package publish

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/objectfile"
	"waypost/internal/vcard"
	"waypost/store"
)

// Prefix is the folder of addresses that the door answers.
const Prefix = "/feeds/"

// Path is where a secret opens a folder of a class.
func Path(class store.Class, secret string) string {
	if class == store.ClassContacts {
		return Prefix + "contacts/" + secret + ".vcf"
	}
	return Prefix + "calendar/" + secret + ".ics"
}

// Store is what the door asks of the mailbox store.
type Store interface {
	Published(ctx context.Context, secret string) (store.Publication, error)
	Folder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID) (store.Folder, error)
	FolderProps(ctx context.Context, as directory.Principal, box store.MailboxID, folders []store.FolderID) ([]store.FolderProps, error)
	ObjectList(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, after store.ItemID, limit int) ([]*store.Object, error)
	Objects(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]*store.Object, error)
}

// People knows whose accounts are enabled.
type People interface {
	User(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.User, error)
}

// Options are the door's settings.
type Options struct {
	Log        *slog.Logger
	ClientAddr func(*http.Request) netip.Addr
	Now        func() time.Time
}

// Limits of one minute, and of what is written at once.
const (
	perSecret  = 30 // readings of one secret
	perAddress = 30 // wrong addresses of one client
	atOnce     = 4
	page       = 100
	writeTime  = 2 * time.Minute // for one page
)

// Server is the door.
type Server struct {
	store   Store
	people  People
	opt     Options
	wrong   *limiter
	reading *limiter
	busy    chan struct{}
}

// New makes the door.
func New(mail Store, people People, opt Options) *Server {
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Server{mail, people, opt, newLimiter(perAddress), newLimiter(perSecret), make(chan struct{}, atOnce)}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := s.opt.Now()
	h := w.Header()
	h.Set("Cache-Control", "private, no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Robots-Tag", "noindex")
	p, code, err := s.serve(w, r)
	if err != nil && code == 0 {
		s.opt.Log.ErrorContext(r.Context(), "command", "proto", "feeds", "cmd", r.Method, "publication", p.ID, "mailbox", p.Mailbox, "err", err)
		panic(http.ErrAbortHandler) // half of it is out: nobody takes it for the whole
	}
	switch code {
	case http.StatusOK, http.StatusNotModified:
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", "60")
		fallthrough
	default:
		h.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, http.StatusText(code)+"\n")
		}
	}
	s.opt.Log.InfoContext(r.Context(), "command", "proto", "feeds", "cmd", r.Method, "publication", p.ID, "mailbox", p.Mailbox,
		"dur", s.opt.Now().Sub(begun), "result", code, "err", err)
}

// secretIn reads the secret from an address.
func secretIn(path string) (secret string, class store.Class) {
	for class, parts := range map[store.Class][2]string{
		store.ClassCalendar: {Prefix + "calendar/", ".ics"}, store.ClassContacts: {Prefix + "contacts/", ".vcf"},
	} {
		if rest, ok := strings.CutPrefix(path, parts[0]); ok {
			if secret, ok := strings.CutSuffix(rest, parts[1]); ok && len(secret) >= 20 && len(secret) <= 100 && !strings.Contains(secret, "/") {
				return secret, class
			}
		}
	}
	return "", ""
}

// serve answers, and gives the code of an answer that has no body yet; 0 with an
// error when half of one is out.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) (p store.Publication, code int, err error) {
	ctx := r.Context()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return p, http.StatusMethodNotAllowed, nil
	}
	client, now := s.opt.ClientAddr(r), s.opt.Now()
	if s.wrong.full(client, now) {
		return p, http.StatusTooManyRequests, nil
	}
	secret, class := secretIn(r.URL.Path)
	none := func(err error) (store.Publication, int, error) {
		if k := fault.Of(err); err != nil && k != fault.NotFound && k != fault.Denied {
			return p, http.StatusServiceUnavailable, err
		}
		s.wrong.count(client, now)
		return p, http.StatusNotFound, nil
	}
	// A secret that cannot be one is looked for too, so that time tells nothing.
	if p, err = s.store.Published(ctx, secret); err != nil {
		return none(err)
	}
	u, err := s.people.User(ctx, directory.System("feeds"), p.Owner)
	if err != nil || !u.Enabled && u.Kind == directory.KindUser {
		return none(err)
	}
	as := directory.System("feeds")
	as.Mailbox, as.HomeMDB = p.Mailbox, p.Home
	f, err := s.store.Folder(ctx, as, p.Mailbox, p.Folder)
	if err != nil || f.Class != class {
		return none(err)
	}
	out := &writing{s: s, w: w, ctx: ctx, as: as, p: p, f: f, secret: secret, from: now.AddDate(-1, 0, 0), to: now.AddDate(2, 0, 0)}
	h := w.Header()
	h.Set("ETag", out.etag(now))
	if matches(r.Header.Values("If-None-Match"), h.Get("ETag")) {
		w.WriteHeader(http.StatusNotModified)
		return p, http.StatusNotModified, nil
	}
	if s.reading.count(netip.Addr{}, now, fmt.Sprint(p.Mailbox, p.ID)) {
		h.Del("ETag")
		return p, http.StatusTooManyRequests, nil
	}
	h.Set("Content-Type", "text/calendar; charset=utf-8")
	if class == store.ClassContacts {
		h.Set("Content-Type", "text/vcard; charset=utf-8")
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return p, http.StatusOK, nil
	}
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	case <-ctx.Done():
		return p, http.StatusServiceUnavailable, ctx.Err()
	}
	if err := out.write(); err != nil {
		return p, 0, err
	}
	return p, http.StatusOK, nil
}

// matches tells whether an If-None-Match names a tag (RFC 9110 section 13.1.2).
func matches(lines []string, tag string) bool {
	for _, line := range lines {
		for one := range strings.SplitSeq(line, ",") {
			if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// writing is one answer.
type writing struct {
	s        *Server
	w        http.ResponseWriter
	ctx      context.Context
	as       directory.Principal
	p        store.Publication
	f        store.Folder
	secret   string
	from, to time.Time
}

// etag changes with what is in the folder, what it is called, and the day when only
// a window of time is given.
func (x *writing) etag(now time.Time) string {
	day := ""
	if !x.p.All && x.f.Class == store.ClassCalendar {
		day = now.UTC().Format("-20060102")
	}
	return fmt.Sprintf(`"%d-%d-%d%s"`, x.p.ID, x.f.HighestSeq, x.f.Changed, day)
}

func (x *writing) write() error {
	out := bufio.NewWriterSize(x.w, 64<<10)
	add, end := x.card(out), func() error { return nil }
	if x.f.Class == store.ClassCalendar {
		props, err := x.s.store.FolderProps(x.ctx, x.as, x.p.Mailbox, []store.FolderID{x.f.ID})
		if err != nil {
			return err
		}
		cal, err := objectfile.NewCalendar(out, objectfile.About{Name: x.f.Name, Color: props[0].Color, Zone: props[0].Zone})
		if err != nil {
			return err
		}
		cut := reducer{detail: x.p.Detail, key: []byte(x.secret)}
		add, end = func(o *store.Object) error {
			text, err := cut.reduce(o.Text)
			if err != nil || text == nil {
				return nil // what cannot be read is not given away
			}
			return cal.Add(text)
		}, cal.Close
	}
	control := http.NewResponseController(x.w)
	for after := store.ItemID(0); ; {
		_ = control.SetWriteDeadline(time.Now().Add(writeTime))
		list, err := x.s.store.ObjectList(x.ctx, x.as, x.p.Mailbox, x.f.ID, after, page)
		if err != nil {
			return err
		}
		var items []store.ItemID
		for _, o := range list {
			if after = o.Item; x.shown(o) {
				items = append(items, o.Item)
			}
		}
		if err := store.EachObject(items, func(page []store.ItemID) ([]*store.Object, error) {
			return x.s.store.Objects(x.ctx, x.as, x.p.Mailbox, page)
		}, add); err != nil {
			return err
		}
		if len(list) < page {
			break
		}
	}
	if err := end(); err != nil {
		return err
	}
	return out.Flush()
}

// shown tells whether an object is in the time that is given.
func (x *writing) shown(o *store.Object) bool {
	return x.p.All || x.f.Class != store.ClassCalendar ||
		!o.Starts.IsZero() && o.Starts.Before(x.to) && (o.Ends.IsZero() || !o.Ends.Before(x.from))
}

// card writes a contact as 3.0, which everybody reads.
func (x *writing) card(out io.Writer) func(o *store.Object) error {
	return func(o *store.Object) error {
		cards, _, err := vcard.Parse(o.Text, vcard.Object)
		if err != nil || len(cards) != 1 || private(cards[0].Text("CLASS")) {
			return nil
		}
		_, err = out.Write(cards[0].To("3.0").Append(nil))
		return err
	}
}
