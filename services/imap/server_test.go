package imap

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/wiretest"
	"waypost/store"
)

// memAccounts knows ann and bob, whose password is "secret".
type memAccounts struct {
	// base is added to the numbers of mailboxes, so that tests can share a store.
	base store.MailboxID

	mu   sync.Mutex
	void map[directory.ObjectID]context.CancelFunc
	live map[directory.ObjectID]context.Context
}

func newMemAccounts() *memAccounts {
	return &memAccounts{void: map[directory.ObjectID]context.CancelFunc{}, live: map[directory.ObjectID]context.Context{}}
}

var people = map[string]directory.Principal{
	"ann": {ID: 1, Mailbox: 11, Address: "ann@example.test", Name: "Ann"},
	"bob": {ID: 2, Mailbox: 12, Address: "bob@example.test", Name: "Bob"},
	"eve": {ID: 3, Address: "eve@example.test", Name: "Eve"}, // has no mailbox
}

func (a *memAccounts) person(login string) (directory.Principal, bool) {
	p, ok := people[login]
	if p.Mailbox != 0 {
		p.Mailbox += a.base
	}
	return p, ok
}

func (a *memAccounts) SignIn(_ context.Context, c directory.Credentials) (directory.Principal, error) {
	p, ok := a.person(c.Login)
	if !ok || c.Password != "secret" {
		return directory.Principal{}, fault.New(fault.Unauthenticated, "Wrong name or password")
	}
	return p, nil
}

func (a *memAccounts) Context(ctx context.Context, p directory.Principal) (context.Context, context.CancelFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.live[p.ID] == nil {
		a.live[p.ID], a.void[p.ID] = context.WithCancel(context.Background())
	}
	live, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(a.live[p.ID], cancel)
	return live, func() { stop(); cancel() }
}

// revoke ends an account's sign-ins.
func (a *memAccounts) revoke(p directory.Principal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cancel := a.void[p.ID]; cancel != nil {
		cancel()
	}
	delete(a.live, p.ID)
	delete(a.void, p.ID)
}

var testTLS = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})

// door is a running server for a test.
type door struct {
	*Server
	store    *memStore
	accounts *memAccounts
	addr     string
	stop     context.CancelFunc
	ended    chan error
}

func testConfig() Config {
	return Config{
		TLS: testTLS(), FailureDelay: time.Millisecond, Grace: 2 * time.Second,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// farListener makes its connections look as if they came from a network.
type farListener struct{ net.Listener }

type farConn struct{ net.Conn }

func (l farListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return farConn{nc}, nil
}

func (farConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4000}
}

func open(t testing.TB, cfg Config, mail Mailboxes, s *memStore, wrap func(net.Listener) net.Listener) *door {
	t.Helper()
	d := &door{store: s, accounts: newMemAccounts(), ended: make(chan error, 1)}
	var err error
	if d.Server, err = New(cfg, mail, d.accounts); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.addr = l.Addr().String()
	if wrap != nil {
		l = wrap(l)
	}
	var ctx context.Context
	ctx, d.stop = context.WithCancel(context.Background())
	go func() { d.ended <- d.Serve(ctx, l) }()
	t.Cleanup(func() {
		d.stop()
		select {
		case err := <-d.ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve does not return")
		}
	})
	return d
}

func openMem(t testing.TB) *door {
	t.Helper()
	s := newMemStore()
	return open(t, testConfig(), s, s, nil)
}

func (d *door) dial(t testing.TB) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// peer speaks with a door of its own for each conversation. The connection
// "far" comes from a network, "mta" is no connection: what it sends is
// delivered to ann.
func peer(t *testing.T) wiretest.Peer {
	s := newMemStore()
	cfg := testConfig()
	cfg.MaxAppend = 1 << 20
	near := open(t, cfg, s, s, nil)
	far := open(t, cfg, s, s, func(l net.Listener) net.Listener { return farListener{l} })
	for _, text := range seedMail {
		s.deliver(t, people["bob"], text)
	}
	return wiretest.Peer{
		Dial: func(t testing.TB, name string) net.Conn {
			switch name {
			case "far":
				return far.dial(t)
			case "mta":
				return deliverer(t, s, people["ann"], s)
			}
			return near.dial(t)
		},
		TLS: func(nc net.Conn) net.Conn { return tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) },
	}
}

// deliverer delivers a small message to somebody with each line as its subject.
func deliverer(t testing.TB, m Mailboxes, to directory.Principal, s *memStore) net.Conn {
	here, there := net.Pipe()
	go func() {
		defer there.Close() //nolint:errcheck // a test's pipe
		buf := make([]byte, 4096)
		for {
			n, err := there.Read(buf)
			if err != nil {
				return
			}
			switch line := string(buf[:n]); line {
			case "FORGET\r\n":
				s.forget(people["ann"].Mailbox, "Inbox")
			default:
				deliverTo(t, m, to, "From: mta@example.test\r\nSubject: "+line+"\r\nHello\r\n")
			}
			if _, err := there.Write([]byte("done\r\n")); err != nil {
				return
			}
		}
	}()
	return here
}

// seedMail is what lies in bob's inbox at the beginning of a conversation.
var seedMail = []string{
	"From: Fred Foobar <foobar@Blurdybloop.example>\r\nTo: mooch@owatagu.siam.edu.example\r\nSubject: afternoon meeting\r\n" +
		"Date: Mon, 7 Feb 1994 21:52:25 -0800 (PST)\r\nMessage-Id: <B27397-0100000@Blurdybloop.example>\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\nHello Joe, do you think we can meet at 3:30 tomorrow?\r\n\r\n",
	"From: =?utf-8?q?J=C3=BCrgen?= <j@example.test>\r\nTo: Ann <ann@example.test>, bob@example.test\r\nCc: list: a@b.example, c@d.example;\r\n" +
		"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= aus Wien\r\nDate: Tue, 3 Nov 2026 09:00:00 +0100\r\nMessage-ID: <2@example.test>\r\nIn-Reply-To: <1@example.test>\r\n" +
		"X-Colour: blue\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b1\"\r\n\r\npreamble\r\n--b1\r\n" +
		"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nSch=F6ne Gr=FC=DFe\r\n--b1\r\n" +
		"Content-Type: application/octet-stream; name=\"zero.bin\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"zero.bin\"\r\n\r\nAAECAw==\r\n--b1\r\n" +
		"Content-Type: message/rfc822\r\n\r\nFrom: in@example.test\r\nSubject: inner\r\nContent-Type: multipart/alternative; boundary=b2\r\n\r\n--b2\r\n\r\nplain\r\n--b2\r\nContent-Type: text/html\r\n\r\n<b>html</b>\r\n--b2--\r\n\r\n--b1\r\n" +
		"Content-Type: application/x-odd\r\nContent-Transfer-Encoding: x-odd\r\n\r\nodd\r\n--b1--\r\n",
	"Subject: no sender\r\n\r\nshort\r\n",
}

func TestConversations(t *testing.T) { wiretest.Run(t, "testdata/*.txt", peer) }
