package jmap

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/store"
	"waypost/store/postgres"
)

// people is a small directory: who signs in, by password or token.
type people struct {
	mu    sync.Mutex
	ended map[directory.ObjectID]context.CancelFunc
}

var everyone = []directory.User{
	{ID: 1, Address: "alice@example.test", Addresses: []string{"alice@example.test", "a.smith@example.test"}, Name: "Alice Smith", Mailbox: 7},
	{ID: 2, Address: "bob@example.test", Addresses: []string{"bob@example.test"}, Name: "Bob Jones", Mailbox: 8},
	{ID: 3, Address: "nobox@example.test", Name: "No Box"},
}

func principal(u directory.User) directory.Principal {
	return directory.Principal{ID: u.ID, Mailbox: u.Mailbox, Address: u.Address, Name: u.Name}
}

func (p *people) SignIn(_ context.Context, c directory.Credentials) (directory.Principal, error) {
	for _, u := range everyone {
		if u.Address == c.Login && c.Password == "secret" {
			return principal(u), nil
		}
	}
	return directory.Principal{}, fault.New(fault.Unauthenticated, "no")
}

func (p *people) Bearer(_ context.Context, token string, _ ...string) (directory.Principal, error) {
	for _, u := range everyone {
		if token == "token-"+u.Address {
			return principal(u), nil
		}
	}
	return directory.Principal{}, fault.New(fault.Unauthenticated, "no")
}

func (p *people) Context(ctx context.Context, who directory.Principal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended[who.ID] = cancel
	return ctx, cancel
}

// end changes an account's epoch.
func (p *people) end(id directory.ObjectID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended[id]()
}

func (p *people) User(_ context.Context, _ directory.Principal, id directory.ObjectID) (directory.User, error) {
	for _, u := range everyone {
		if u.ID == id {
			return u, nil
		}
	}
	return directory.User{}, fault.New(fault.NotFound, "no such user")
}

func (p *people) MaySendAs(_ context.Context, as directory.Principal, address string) (bool, error) {
	for _, u := range everyone {
		for _, a := range u.Addresses {
			if u.ID == as.ID && strings.EqualFold(a, address) {
				return true, nil
			}
		}
	}
	return false, nil
}

// world is a server over a real store.
type world struct {
	*testing.T
	mail   *postgres.Store
	people *people
	server *Server
	http   *httptest.Server
	now    func() time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Name: "jmaptest"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	mail, err := postgres.New(map[string]*pgdb.DB{postgres.DefaultHome: db}, postgres.Options{Quota: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, mail: mail, people: &people{ended: map[directory.ObjectID]context.CancelFunc{}}, now: time.Now}
	w.server = New(mail, w.people, w.people, Options{
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
		Now: func() time.Time { return w.now() },
	})
	w.http = httptest.NewServer(w.server)
	t.Cleanup(w.http.Close)
	t.Cleanup(w.server.Stop)
	return w
}

// user is one person as a client.
type user struct {
	*world
	name    string
	account string
	box     store.MailboxID
}

func (w *world) as(name string) *user {
	for _, u := range everyone {
		if strings.HasPrefix(u.Address, name+"@") {
			return &user{w, u.Address, account(u.Mailbox), u.Mailbox}
		}
	}
	w.Fatal("nobody is called " + name)
	return nil
}

func (u *user) me() directory.Principal {
	for _, p := range everyone {
		if p.Address == u.name {
			return principal(p)
		}
	}
	return directory.Principal{}
}

// do sends a request and gives code, header and body.
func (u *user) do(method, path, kind string, body io.Reader, header ...string) (int, http.Header, []byte) {
	u.Helper()
	if strings.HasPrefix(path, "/") {
		path = u.http.URL + path
	}
	r, err := http.NewRequestWithContext(u.Context(), method, path, body)
	if err != nil {
		u.Fatal(err)
	}
	r.SetBasicAuth(u.name, "secret")
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		u.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		u.Fatal(err)
	}
	return res.StatusCode, res.Header, data
}

// tree reads JSON of a test, in which ACCOUNT is the user's account.
func (u *user) tree(text string) any {
	u.Helper()
	v, err := decodeJSON([]byte(strings.ReplaceAll(text, "ACCOUNT", u.account)))
	if err != nil {
		u.Fatalf("%v in %s", err, text)
	}
	return v
}

const usingAll = `["` + capCore + `","` + capMail + `","` + capSubmission + `","` + capVacation + `","` + capBlob + `"]`

// response is one method response.
type response struct {
	name string
	args object
	id   string
}

// run makes method calls, written as JSON, and gives the responses.
func (u *user) run(calls string) []response {
	u.Helper()
	calls = strings.ReplaceAll(calls, "ACCOUNT", u.account)
	code, _, data := u.do("POST", Prefix+"api", "application/json", strings.NewReader(`{"using":`+usingAll+`,"methodCalls":[`+calls+`]}`))
	if code != 200 {
		u.Fatalf("%d %s for %s", code, data, calls)
	}
	o := u.tree(string(data)).(object)
	var list []response
	for _, v := range o["methodResponses"].([]any) {
		t := v.([]any)
		list = append(list, response{t[0].(string), t[1].(object), t[2].(string)})
	}
	return list
}

// one makes one method call, which must succeed.
func (u *user) one(name, args string) object {
	u.Helper()
	r := u.run(fmt.Sprintf(`[%q,%s,"c"]`, name, args))
	if r[0].name != name {
		u.Fatalf("%s %s: %v %v", name, args, r[0].name, r[0].args)
	}
	return r[0].args
}

// fails makes one method call, which must fail in a way.
func (u *user) fails(name, args, kind string) {
	u.Helper()
	r := u.run(fmt.Sprintf(`[%q,%s,"c"]`, name, args))
	if r[0].name != "error" || r[0].args["type"] != kind {
		u.Errorf("%s %s: %v %v, want %s", name, args, r[0].name, r[0].args, kind)
	}
}

// text writes a value as JSON with sorted names.
func text(v any) string {
	data, err := encodeJSON(v)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// want compares a value with JSON.
func (u *user) want(what string, got any, want string) {
	u.Helper()
	if w := u.tree(want); !equal(got, w) {
		u.Errorf("%s:\n got %s\nwant %s", what, text(got), text(w))
	}
}

// at gives a value by JSON pointer, with *.
func (u *user) at(v any, path string) any {
	u.Helper()
	tokens, err := pointer(path)
	if err != nil {
		u.Fatal(err)
	}
	budget := maxValues
	got, err := follow(plain(v), tokens, &budget)
	if err != nil {
		u.Fatalf("%s in %s: %v", path, text(v), err)
	}
	return got
}

// deliver puts a message into a mailbox as delivery does.
func (u *user) deliver(raw string, m store.NewMessage) string {
	u.Helper()
	c := &call{request: &request{door: &door{Server: u.server, who: u.me()}}}
	var err error
	if m.Blob, m.Summary, err = c.copyToBlob(u.Context(), func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader([]byte(strings.ReplaceAll(raw, "\n", "\r\n"))))
		return err
	}); err != nil {
		u.Fatal(err)
	}
	a, err := u.mail.Add(u.Context(), u.me(), u.box, m)
	if err != nil {
		u.Fatal(err)
	}
	return a.Entry.Item.String()
}

// simple is a small message.
func simple(subject, body string, fields ...string) string {
	return "From: Ann <ann@example.org>\nTo: Alice <alice@example.test>\nSubject: " + subject +
		"\nDate: Mon, 02 Nov 2026 10:00:00 +0100\n" + strings.Join(append(fields, "\n"), "\n") + body + "\n"
}

// upload brings content and gives its blobId.
func (u *user) upload(kind, data string) string {
	u.Helper()
	code, _, body := u.do("POST", Prefix+"upload/"+u.account+"/", kind, strings.NewReader(data))
	if code != 201 {
		u.Fatalf("upload: %d %s", code, body)
	}
	return u.at(u.tree(string(body)), "/blobId").(string)
}
