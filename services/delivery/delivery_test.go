package delivery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/services/delivery"
	"waypost/store"
	"waypost/store/postgres"
)

var quiet = slog.New(slog.DiscardHandler)

type body string

func (b body) Reader() io.Reader { return strings.NewReader(string(b)) }
func (b body) Size() int64       { return int64(len(b)) }

func open(t testing.TB) *postgres.Store {
	t.Helper()
	db, err := pgdb.Open(t.Context(), pgtest.New(t, migrations.Mail), pgdb.Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s, err := postgres.New(map[string]*pgdb.DB{postgres.DefaultHome: db}, postgres.Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func target(box int64) directory.Target {
	return directory.Target{ID: directory.ObjectID(box), Mailbox: directory.MailboxID(box), HomeMDB: postgres.DefaultHome, Address: fmt.Sprintf("u%d@example.test", box)}
}

func principal(box int64) directory.Principal {
	p := directory.System("test")
	p.Mailbox, p.HomeMDB = directory.MailboxID(box), postgres.DefaultHome
	return p
}

// inbox reads every message of a mailbox's inbox.
func inbox(t testing.TB, s *postgres.Store, box int64) (list []string) {
	t.Helper()
	ctx, as, id := t.Context(), principal(box), directory.MailboxID(box)
	if _, err := s.Mailbox(ctx, as, id); err != nil {
		t.Fatal(err)
	}
	f, err := s.FolderByRole(ctx, as, id, store.RoleInbox)
	if err != nil {
		t.Fatal(err)
	}
	_, entries, err := s.Entries(ctx, as, id, f.ID, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		c, err := s.Content(ctx, as, id, e.Item)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, c.Size())
		if _, err := c.ReadAt(b, 0); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		list = append(list, string(b))
	}
	return list
}

func TestDeliver(t *testing.T) {
	s := open(t)
	d := delivery.New(s, delivery.Options{Log: quiet})
	env := envelope.Envelope{
		ID: "1.a", From: "x@out.example",
		Hop: &envelope.Hop{Helo: "mail.out.example", From: netip.MustParseAddr("192.0.2.1"), By: "mx.example.test", With: "ESMTP", ID: "1.a", Time: time.Now()},
	}
	large := "Subject: large\r\n\r\n" + strings.Repeat("0123456789\r\n", 100_000)
	for i, m := range []string{"Subject: hello\r\n\r\nbody\r\n", "", "no header at all", large} {
		env.ID = fmt.Sprintf("1.%d", i)
		for range 2 { // the second time changes nothing
			for j, err := range d.Deliver(t.Context(), env, []directory.Target{target(1), target(2), target(1)}, body(m)) {
				if err != nil {
					t.Errorf("message %d, recipient %d: %v", i, j, err)
				}
			}
		}
		for _, box := range []int64{1, 2} {
			got := inbox(t, s, box)
			if len(got) != i+1 {
				t.Fatalf("mailbox %d has %d messages, want %d", box, len(got), i+1)
			}
			if want := string(env.Prefix(target(box).Address)) + m; got[i] != want {
				t.Errorf("mailbox %d: got %.300q, want %.300q", box, got[i], want)
			}
		}
	}
}

func TestDeliverFails(t *testing.T) {
	s := open(t)
	d := delivery.New(s, delivery.Options{Log: quiet, MaxSize: 1000})
	broken := errors.New("broken off")
	small := target(3)
	small.Quota = 10
	for _, tt := range []struct {
		name string
		to   []directory.Target
		body io.Reader
		want []error
	}{
		{"cut off", []directory.Target{target(1), target(2)}, io.MultiReader(strings.NewReader("A: b\r\n"), iotest.ErrReader(broken)), []error{broken, broken}},
		{"too large", []directory.Target{target(1)}, strings.NewReader(strings.Repeat("x", 70_000)), []error{fault.New(fault.TooLarge, "")}},
		{"full", []directory.Target{small, target(2)}, strings.NewReader("Subject: x\r\n\r\n"), []error{fault.New(fault.OverQuota, ""), nil}},
		{"no mailbox", []directory.Target{{}, target(2)}, strings.NewReader("Subject: y\r\n\r\n"), []error{fault.New(fault.NotFound, ""), nil}},
	} {
		errs := d.DeliverFrom(t.Context(), envelope.Envelope{ID: tt.name[:3]}, tt.to, tt.body)
		for i, want := range tt.want {
			if !errors.Is(errs[i], want) && !(want == nil && errs[i] == nil) {
				t.Errorf("%s: recipient %d: %v, want %v", tt.name, i, errs[i], want)
			}
		}
	}
	for box, want := range map[int64]int{1: 0, 2: 2, 3: 0} {
		if got := inbox(t, s, box); len(got) != want {
			t.Errorf("mailbox %d has %d messages, want %d", box, len(got), want)
		}
	}
}

// flaky loses the connection after it has stored, as PostgreSQL may.
type flaky struct {
	*postgres.Store
	mu    sync.Mutex
	fails int
}

func (f *flaky) Add(ctx context.Context, as directory.Principal, box store.MailboxID, m store.NewMessage) (store.Added, error) {
	a, err := f.Store.Add(ctx, as, box, m)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && f.fails > 0 {
		f.fails--
		return store.Added{}, fault.New(fault.Unavailable, "connection lost during COMMIT")
	}
	return a, err
}

func TestUnknownOutcome(t *testing.T) {
	s := open(t)
	d := delivery.New(&flaky{Store: s, fails: 2}, delivery.Options{Log: quiet})
	if errs := d.Deliver(t.Context(), envelope.Envelope{ID: "1"}, []directory.Target{target(1)}, body("Subject: x\r\n\r\n")); errs[0] != nil {
		t.Error(errs[0])
	}
	if got := inbox(t, s, 1); len(got) != 1 {
		t.Errorf("%d messages", len(got))
	}
}

// world is a directory with the mailboxes u1 to u9, the list "staff" of u1 and
// u2, the list "all" of very many, and a transport.
type world struct {
	mu   sync.Mutex
	got  map[string]envelope.Submission
	body map[string]string
	fail int
}

func (w *world) Resolve(_ context.Context, addr string) (directory.Resolution, error) {
	local, domain := envelope.Split(addr)
	var box int64
	switch n, _ := fmt.Sscanf(strings.ToLower(local), "u%d", &box); {
	case domain != "example.test":
		return directory.Resolution{}, nil
	case local == "staff":
		return directory.Resolution{Standing: directory.List, Group: 1}, nil
	case local == "board":
		return directory.Resolution{Standing: directory.List, Group: 3}, nil
	case local == "mixed":
		return directory.Resolution{Standing: directory.List, Group: 4}, nil
	case local == "copied":
		return directory.Resolution{Standing: directory.Person, Target: target(1), Forward: "joe@elsewhere.test"}, nil
	case local == "moderated":
		return directory.Resolution{Standing: directory.List, Group: 5}, nil
	case local == "joe":
		return directory.Resolution{Standing: directory.Outside, Forward: "joe@elsewhere.test"}, nil
	case local == "all":
		return directory.Resolution{Standing: directory.List, Group: 2}, nil
	case n != 1:
		return directory.Resolution{Standing: directory.Unknown}, nil
	}
	return directory.Resolution{Standing: directory.Person, Target: target(box)}, nil
}

func (w *world) Expand(_ context.Context, g directory.ObjectID, p directory.Page) ([]directory.Target, error) {
	switch g {
	case 1, 3, 5:
		return []directory.Target{target(1), target(2)}, nil
	case 4:
		return []directory.Target{target(1), {ID: 90, Forward: "joe@elsewhere.test"}}, nil
	}
	return make([]directory.Target, p.Limit), nil
}

// MaySendTo: list 3 takes messages of u1 alone, who moderates list 5.
func (w *world) MaySendTo(_ context.Context, from directory.Sender, g directory.ObjectID) ([]directory.Target, error) {
	switch {
	case from.Known && from.Address == "u1@example.test":
	case g == 3:
		return nil, directory.ErrNotAllowed
	case g == 5:
		return []directory.Target{target(1)}, nil
	}
	return nil, nil
}

func (w *world) Enqueue(_ context.Context, s envelope.Submission, b envelope.Body) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail > 0 {
		w.fail--
		return fault.New(fault.Unavailable, "transport is away")
	}
	if _, ok := w.got[s.ID]; ok {
		return nil
	}
	m, err := io.ReadAll(b.Reader())
	w.got[s.ID], w.body[s.ID] = s, string(m)
	return err
}

func (w *world) subs() []envelope.Submission {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []envelope.Submission
	for _, s := range w.got {
		list = append(list, s)
	}
	return list
}

func send(t testing.TB, s *postgres.Store, key, content string, to ...string) {
	t.Helper()
	w, err := s.NewBlob(t.Context(), postgres.DefaultHome)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, content)
	b, err := w.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum, _ := mail.Parse(strings.NewReader(content))
	if _, err := s.Mailbox(t.Context(), principal(9), 9); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Send(t.Context(), principal(9), 9, store.Outgoing{
		Key: key, From: "u9@example.test", Recipients: to, Blob: b, Summary: sum, SaveRole: store.RoleSent,
	}); err != nil {
		t.Fatal(err)
	}
}

func TestMover(t *testing.T) {
	s := open(t)
	w := &world{got: map[string]envelope.Submission{}, body: map[string]string{}}
	m := delivery.NewMover(s, w, delivery.New(s, delivery.Options{Log: quiet}), w, delivery.MoverOptions{Hostname: "store.example.test", Log: quiet})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	const content = "From: u9@example.test\r\nSubject: hello\r\n\r\nbody\r\n"
	begun := time.Now()
	send(t, s, "k1", content, "u1@example.test", "staff@example.test", "U1@example.test", "x@out.example", "x@out.example", "nobody@example.test", "all@example.test", "not an address")
	var got []string
	for len(got) == 0 && time.Since(begun) < 10*time.Second {
		got = inbox(t, s, 1)
	}
	t.Logf("delivered after %v", time.Since(begun))
	wait(t, func() bool { return len(w.subs()) == 1 })
	if len(got) != 1 || !strings.HasPrefix(got[0], "Return-Path: <u9@example.test>\r\nReceived: by store.example.test (Waypost) id o:default:") || !strings.HasSuffix(got[0], content) {
		t.Errorf("u1 has %q", got)
	}
	if got := inbox(t, s, 2); len(got) != 1 {
		t.Errorf("u2 has %q", got)
	}
	sub := w.subs()[0]
	want := []string{"x@out.example", "nobody@example.test", "all@example.test", `"not an address"@address.invalid`}
	if !slices.Equal(sub.To, want) || !sub.Trusted || sub.From != "u9@example.test" || w.body[sub.ID] != content {
		t.Errorf("handed over: %+v", sub)
	}
	wait(t, func() bool {
		list, err := s.NextOutbox(context.Background(), postgres.DefaultHome, 10)
		return err == nil && len(list) == 0
	})
}

// Lists with restrictions and members elsewhere.
func TestMoverLists(t *testing.T) {
	s := open(t)
	w := &world{got: map[string]envelope.Submission{}, body: map[string]string{}}
	m := delivery.NewMover(s, w, delivery.New(s, delivery.Options{Log: quiet}), w, delivery.MoverOptions{Hostname: "store.example.test", Log: quiet})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	// Sent by u9, who may not send to the board: the transport tells him.
	send(t, s, "k1", "From: u9@example.test\r\n\r\nbody\r\n", "mixed@example.test", "board@example.test", "moderated@example.test", "copied@example.test", "joe@example.test")
	wait(t, func() bool { return len(w.subs()) == 1 })
	want := []string{"joe@elsewhere.test", "board@example.test", "moderated@example.test", "copied@example.test", "joe@example.test"}
	if sub := w.subs()[0]; !slices.Equal(sub.To, want) {
		t.Errorf("handed over to %q, want %q", sub.To, want)
	}
	if got := inbox(t, s, 1); len(got) != 1 {
		t.Errorf("u1 has %q", got)
	}
	if got := inbox(t, s, 2); len(got) != 0 {
		t.Errorf("u2 has %q", got)
	}
}

func wait(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

// box is an outbox of one entry, which stays until it is done.
type box struct {
	mu    sync.Mutex
	done  bool
	loses int // DoneOutbox fails so often
	ready chan struct{}
}

func (b *box) Homes() []string              { return []string{"m 1"} }
func (b *box) OutboxReady() <-chan struct{} { return b.ready }
func (b *box) NextOutbox(context.Context, string, int) ([]store.OutboxEntry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done {
		return nil, nil
	}
	return []store.OutboxEntry{{ID: 7, From: "u9@example.test", Recipients: []string{"u1@example.test", "x@out.example"}, Created: time.Unix(1e9, 0)}}, nil
}

func (b *box) OutboxContent(context.Context, string, int64) (store.Content, error) {
	return bytes.NewReader([]byte("Subject: x\r\n\r\n")), nil
}

func (b *box) DoneOutbox(context.Context, string, int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.loses > 0 {
		b.loses--
		return fault.New(fault.Unavailable, "gone")
	}
	b.done = true
	return nil
}

// Whatever breaks on the way, the message arrives once.
func TestMoverRepeats(t *testing.T) {
	s := open(t)
	w := &world{got: map[string]envelope.Submission{}, body: map[string]string{}, fail: 2}
	b := &box{loses: 2}
	m := delivery.NewMover(b, w, delivery.New(s, delivery.Options{Log: quiet}), w, delivery.MoverOptions{Log: quiet, Poll: time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	wait(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.done })
	cancel()
	<-done
	if got := inbox(t, s, 1); len(got) != 1 {
		t.Errorf("u1 has %q", got)
	}
	if subs := w.subs(); len(subs) != 1 || !envelope.ValidID(subs[0].ID) {
		t.Errorf("handed over: %+v", subs)
	}
}

// calendars answers as told, one after the other.
type calendars struct {
	mu      sync.Mutex
	answers []error
	items   []store.ItemID
}

func (c *calendars) Delivered(_ context.Context, _ directory.Target, _ envelope.Envelope, item store.ItemID, _ store.NewMessage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.items = append(c.items, item)
	err := c.answers[0]
	c.answers = c.answers[1:]
	if err != nil && err.Error() == "panic" {
		panic(err)
	}
	return err
}

// Whatever becomes of its calendar, the mail is there, once; and the calendar is
// asked again until it has had its part.
func TestCalendars(t *testing.T) {
	s := open(t)
	away := fault.New(fault.Unavailable, "away")
	for i, tt := range []struct {
		answers []error
		want    bool // the delivery is answered with yes
		calls   int
	}{
		{[]error{nil}, true, 1},
		{[]error{away, away, nil}, true, 3},
		{[]error{away, away, away, away}, false, 4},
		{[]error{errors.New("bad calendar")}, true, 1},
		{[]error{errors.New("panic")}, true, 1},
	} {
		c := &calendars{answers: tt.answers}
		d := delivery.New(s, delivery.Options{Log: quiet, Calendars: c})
		box := int64(10 + i)
		errs := d.Deliver(t.Context(), envelope.Envelope{ID: fmt.Sprint(i)}, []directory.Target{target(box)}, body("Subject: x\r\n\r\n"))
		if (errs[0] == nil) != tt.want || len(c.items) != tt.calls {
			t.Errorf("%d: %v after %d calls", i, errs[0], len(c.items))
		}
		c.answers = []error{nil} // the delivery is repeated
		if errs := d.Deliver(t.Context(), envelope.Envelope{ID: fmt.Sprint(i)}, []directory.Target{target(box)}, body("Subject: x\r\n\r\n")); errs[0] != nil {
			t.Errorf("%d again: %v", i, errs[0])
		}
		for _, item := range c.items {
			if item == 0 || item != c.items[0] {
				t.Errorf("%d: told of items %v", i, c.items)
			}
		}
		if got := inbox(t, s, box); len(got) != 1 {
			t.Errorf("%d: %d messages", i, len(got))
		}
	}
}
