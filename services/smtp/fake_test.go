package smtp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
)

var quiet = slog.New(slog.DiscardHandler)

// world is a directory, mailboxes and a queue in memory. The local part of an
// address says how it behaves: "full" is over quota, "away" is unavailable,
// "gone" is refused at delivery, "brokendir" fails to resolve.
type world struct {
	mu     sync.Mutex
	boxes  map[string][]string // address -> messages with prefix
	ids    map[string]bool     // id and address of each delivery
	queue  []queued
	broken bool // the queue fails
	ended  context.CancelFunc
}

type queued struct {
	envelope.Submission
	body string
}

var people = []string{"alice", "bob", "full", "away", "gone", "boss"}

func (w *world) Resolve(_ context.Context, addr string) (directory.Resolution, error) {
	local, domain := envelope.Split(strings.ToLower(addr))
	local, _, _ = strings.Cut(local, "+")
	switch {
	case domain != "example.test":
		return directory.Resolution{Standing: directory.Foreign}, nil
	case local == "brokendir":
		return directory.Resolution{}, fault.New(fault.Unavailable, "directory is away")
	case local == "staff":
		return directory.Resolution{Standing: directory.List, Group: 7}, nil
	case local == "board":
		return directory.Resolution{Standing: directory.List, Group: 9}, nil
	case local == "mixed":
		return directory.Resolution{Standing: directory.List, Group: 10}, nil
	case local == "copied":
		return directory.Resolution{Standing: directory.Person, Target: target(0), Forward: "bob@example.test"}, nil
	case local == "moderated":
		return directory.Resolution{Standing: directory.List, Group: 11}, nil
	case local == "joe":
		return directory.Resolution{Standing: directory.Outside, Target: directory.Target{ID: 90}, Forward: "joe@elsewhere.test"}, nil
	case local == "everybody":
		return directory.Resolution{Standing: directory.List, Group: 8}, nil
	}
	i := slices.Index(people, local)
	if i < 0 {
		return directory.Resolution{Standing: directory.Unknown}, nil
	}
	return directory.Resolution{Standing: directory.Person, Target: target(i)}, nil
}

func target(i int) directory.Target {
	return directory.Target{ID: directory.ObjectID(i + 1), Mailbox: directory.MailboxID(i + 1), HomeMDB: "m1", Address: people[i] + "@example.test"}
}

func (w *world) Expand(_ context.Context, group directory.ObjectID, p directory.Page) ([]directory.Target, error) {
	switch group {
	case 7, 9, 11:
		return []directory.Target{target(0), target(1)}, nil
	case 10:
		return []directory.Target{target(0), {ID: 90, Address: "joe@elsewhere.test", Forward: "joe@elsewhere.test"}}, nil
	}
	var some []directory.Target
	for id := p.After + 1; id <= 1000 && len(some) < p.Limit; id++ {
		some = append(some, directory.Target{ID: id, Mailbox: directory.MailboxID(id), Address: "x@example.test"})
	}
	return some, nil
}

// MaySendTo: group 9 takes messages of alice, signed in, alone; she moderates 11.
func (w *world) MaySendTo(_ context.Context, from directory.Sender, group directory.ObjectID) ([]directory.Target, error) {
	if group == 9 && !(from.Known && from.Address == "alice@example.test") {
		return nil, directory.ErrNotAllowed
	}
	if group == 11 && !(from.Known && from.Address == "alice@example.test") {
		return []directory.Target{target(0)}, nil
	}
	return nil, nil
}

// Expects: the queue waits for one decision.
func (w *world) Expects(_ context.Context, address string) (bool, error) {
	return address == "approve-token@example.test", nil
}

func (w *world) MaySendAs(_ context.Context, as directory.Principal, address string) (bool, error) {
	return strings.EqualFold(as.Address, address) || as.Address == "boss@example.test" && strings.EqualFold(address, "staff@example.test"), nil
}

func (w *world) SignIn(_ context.Context, c directory.Credentials) (directory.Principal, error) {
	name, _, _ := strings.Cut(c.Login, "@")
	switch i := slices.Index(people, name); {
	case c.Password == "slow":
		return directory.Principal{}, fault.New(fault.Limit, "slow down")
	case i < 0 || c.Password != "secret":
		return directory.Principal{}, fault.New(fault.Unauthenticated, "wrong")
	default:
		return directory.Principal{ID: directory.ObjectID(i + 1), Mailbox: directory.MailboxID(i + 1), Address: people[i] + "@example.test"}, nil
	}
}

func (w *world) Context(ctx context.Context, _ directory.Principal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	w.mu.Lock()
	w.ended = cancel
	w.mu.Unlock()
	return ctx, cancel
}

func (w *world) Deliver(_ context.Context, env envelope.Envelope, to []directory.Target, body envelope.Body) []error {
	b, err := io.ReadAll(body.Reader())
	if int64(len(b)) != body.Size() {
		err = errors.New("size is wrong")
	}
	errs := make([]error, len(to))
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, t := range to {
		switch errs[i] = err; t.Address {
		case "full@example.test":
			errs[i] = fault.New(fault.OverQuota, "mailbox full")
		case "away@example.test":
			errs[i] = fault.New(fault.Unavailable, "database is away")
		case "gone@example.test":
			errs[i] = fault.New(fault.NotFound, "no mailbox")
		default:
			if key := env.ID + t.Address; !w.ids[key] {
				w.ids[key] = true
				w.boxes[t.Address] = append(w.boxes[t.Address], string(env.Prefix(t.Address))+string(b))
			}
		}
	}
	return errs
}

func (w *world) Enqueue(_ context.Context, s envelope.Submission, body envelope.Body) error {
	b, err := io.ReadAll(body.Reader())
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken {
		return fault.New(fault.Unavailable, "queue is away")
	}
	for _, q := range w.queue {
		if q.ID == s.ID {
			return nil
		}
	}
	s.Trace = s.Headers("")
	w.queue = append(w.queue, queued{s, string(b)})
	return err
}

func (w *world) box(addr string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.boxes[addr])
}

func (w *world) queued() []queued {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.queue)
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// open starts the doors of a transport and gives their addresses by name.
func open(t testing.TB, change func(*Options)) (*world, map[string]string) {
	t.Helper()
	w := &world{boxes: map[string][]string{}, ids: map[string]bool{}}
	o := Options{
		Hostname: "mx.example.test", Domain: "example.test", Postmaster: "boss@example.test", LoopbackPeers: true,
		TLS:    &tls.Config{Certificates: []tls.Certificate{certificate(t)}},
		Tarpit: time.Millisecond, MaxSize: 1 << 20, Log: quiet, Spool: t.TempDir(),
	}
	if change != nil {
		change(&o)
	}
	s := New(w, w, w, w, o)
	ctx, cancel := context.WithCancel(context.Background())
	addrs := map[string]string{}
	var wg sync.WaitGroup
	for name, serve := range map[string]func(context.Context, net.Listener) error{
		"mx": s.ServeMX, "submission": s.ServeSubmission, "submissions": s.ServeSubmissions, "peer": s.ServePeer,
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs[name] = l.Addr().String()
		wg.Go(func() {
			if err := serve(ctx, l); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
	return w, addrs
}
