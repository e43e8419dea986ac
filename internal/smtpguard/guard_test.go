package smtpguard

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"waypost/internal/fault"
)

// box keeps what its sessions accepted.
type box struct {
	mu   sync.Mutex
	got  []string
	from []string
}

func (b *box) messages() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.got...)
}

type session struct {
	b *box
	c *Conn
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }
func (s *session) Mail(string, *gosmtp.MailOptions) error {
	if s.c.Path() == "panic@x.example" {
		panic("as asked")
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.from = append(s.b.from, s.c.Path())
	return nil
}

func (s *session) Rcpt(string, *gosmtp.RcptOptions) error {
	if strings.HasPrefix(s.c.Path(), "no") {
		return Errorf(550, [3]int{5, 1, 1}, "No such user")
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.from = append(s.b.from, s.c.Path())
	return nil
}

func (s *session) Data(r io.Reader) error {
	m, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if bytes.Contains(m, []byte("PANIC")) {
		panic("as asked")
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.got = append(s.b.got, string(m))
	return nil
}
func (s *session) AuthMechanisms() []string { return []string{"PLAIN"} }
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, pass string) error {
		if pass != "right" {
			return gosmtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func serve(t testing.TB, o Options) (addr string, b *box) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b = &box{}
	o.Hostname = "mx.example.test"
	if o.Session == nil {
		o.Session = func(c *Conn) (gosmtp.Session, error) { return &session{b, c}, nil }
	}
	if o.Log == nil {
		o.Log = quiet()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, o) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Serve does not return")
		}
	})
	return l.Addr().String(), b
}

type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t, c, bufio.NewReader(c)}
}

// reply reads one reply, lines joined with "|".
func (c *client) reply() string {
	c.t.Helper()
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(append(lines, "<"+errText(err)+">"), "|")
		}
		lines = append(lines, strings.TrimRight(line, "\r\n"))
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "|")
		}
	}
}

func errText(err error) string {
	if errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset by peer") {
		return "closed"
	}
	return err.Error()
}

// talk plays a conversation: "C: " lines are sent, "S: " lines are expected as
// beginnings of replies. "C! " sends without CRLF, with \r, \n and \0 meant so.
func (c *client) talk(script string) {
	c.t.Helper()
	for i, line := range strings.Split(strings.TrimSpace(script), "\n") {
		line = strings.TrimSpace(line)
		switch kind, text, _ := strings.Cut(line, " "); kind {
		case "C:":
			io.WriteString(c, text+"\r\n")
		case "C!":
			io.WriteString(c, strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\0`, "\x00").Replace(text))
		case "S:":
			if got := c.reply(); !strings.HasPrefix(got, text) {
				c.t.Fatalf("line %d: want %q, got %q", i+1, text, got)
			}
		case "":
		default:
			c.t.Fatalf("line %d: %q", i+1, line)
		}
	}
}

const envelopeScript = `
	S: 220 mx.example.test ESMTP
	C: EHLO client.example
	S: 250-
	C: MAIL FROM:<a@b.example>
	S: 250 2.0.0
	C: RCPT TO:<c@example.test>
	S: 250 2.0.0
	`

func TestConversations(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		got          []string
	}{
		{"RFC 5321 appendix D.1", `
			S: 220
			C: EHLO bar.com
			S: 250-
			C: MAIL FROM:<Smith@bar.com>
			S: 250
			C: RCPT TO:<Jones@foo.com>
			S: 250
			C: RCPT TO:<noGreen@foo.com>
			S: 550 5.1.1
			C: RCPT TO:<Brown@foo.com>
			S: 250
			C: DATA
			S: 354
			C: Blah blah blah...
			C: ..leading dot
			C: .
			S: 250
			C: QUIT
			S: 221
			S: <closed>`, []string{"Blah blah blah...\r\n.leading dot\r\n"}},
		{"RFC 5321 appendix D.2, aborted", `
			S: 220
			C: EHLO bar.com
			S: 250-
			C: MAIL FROM:<Smith@bar.com>
			S: 250
			C: RCPT TO:<Jones@foo.com>
			S: 250
			C: RSET
			S: 250
			C: RCPT TO:<Jones@foo.com>
			S: 503 5.5.1
			C: QUIT
			S: 221
			S: <closed>`, nil},
		{"RFC 2920 section 3.3, pipelined", `
			S: 220
			C: EHLO dbc.mtview.ca.us
			S: 250-
			C! MAIL FROM:<mrose@dbc.mtview.ca.us>\r\nRCPT TO:<ned@x.com>\r\nRCPT TO:<dan@x.com>\r\nDATA\r\n
			S: 250
			S: 250
			S: 250
			S: 354
			C! hello\r\n.\r\nQUIT\r\n
			S: 250
			S: 221`, []string{"hello\r\n"}},
		{"RFC 3030 section 4.1, chunks", envelopeScript + `
			C: BDAT 7 LAST
			C! Hi!\r\n..
			S: 250
			C: MAIL FROM:<a@b.example>
			S: 250
			C: RCPT TO:<c@example.test>
			S: 250
			C! BDAT 6\r\nHello\rBDAT 4\r\n\nA\r\nBDAT 0 LAST\r\n
			S: 250
			S: 250
			S: 250
			C: QUIT
			S: 221`, []string{"Hi!\r\n..", "Hello\r\nA\r\n"}},
		{"a malformed chunk ends it", envelopeScript + `
			C! BDAT 1x LAST\r\nRSET\r\nNOOP\r\n
			S: 501 5.5.4
			S: <closed>`, nil},
		{"a chunk without transaction is skipped", `
			S: 220
			C: EHLO x
			S: 250-
			C! BDAT 6 LAST\r\nNOOP\r\nVRFY x\r\n
			S: 503 5.5.1
			S: 252`, nil},
		{"a chunk with a strange word is skipped", envelopeScript + `
			C! BDAT 6 LOST\r\nRSET\r\nNOOP\r\n
			S: 501 5.5.4
			S: 250
			C: DATA
			S: 354`, nil},
		{"a chunk without size", envelopeScript + `
			C: BDAT
			S: 501 5.5.4
			S: <closed>`, nil},
		{"a negative chunk", envelopeScript + `
			C: BDAT -1
			S: 501 5.5.4
			S: <closed>`, nil},
		{"a huge chunk", envelopeScript + `
			C: BDAT 5000000000 LAST
			S: 552 5.3.4
			S: <closed>`, nil},
		{"RSET between chunks", envelopeScript + `
			C! BDAT 4\r\nabcdRSET\r\nNOOP\r\n
			S: 250
			S: 250
			S: 250
			C: MAIL FROM:<a@b.example>
			S: 250`, nil},
		{"MAIL and DATA between chunks", envelopeScript + `
			C! BDAT 4\r\nabcdMAIL FROM:<a@b.c>\r\n
			S: 250
			S: 503
			C: DATA
			S: 503
			C! BDAT 2 LAST\r\n\r\n
			S: 250`, []string{"abcd\r\n"}},
		{"a connection lost within a chunk delivers nothing", envelopeScript + `
			C! BDAT 400 LAST\r\nabcd`, nil},
		{"bare CR over two chunks", envelopeScript + `
			C! BDAT 4\r\nabc\rBDAT 4 LAST\r\nabcd
			S: 250
			S: 554 5.5.2
			S: <closed>`, nil},
		{"bare CR at the end of the last chunk", envelopeScript + `
			C! BDAT 4 LAST\r\nabc\rNOOP\r\n
			S: 554 5.5.2
			S: <closed>`, nil},
		{"bare CR before an empty last chunk", envelopeScript + `
			C! BDAT 4\r\nabc\rBDAT 0 LAST\r\nNOOP\r\n
			S: 250
			S: 554 5.5.2
			S: <closed>`, nil},
		{"bare LF in a chunk", envelopeScript + `
			C! BDAT 8 LAST\r\nab\n.\r\nabNOOP\r\n
			S: 554 5.5.2
			S: <closed>`, nil},
		{"postmaster without domain", `
			S: 220
			C: EHLO x
			S: 250-
			C: MAIL FROM:<>
			S: 250
			C: RCPT TO:<Postmaster>
			S: 250
			C: RCPT TO:<nobody>
			S: 501 5.1.3`, nil},
		{"SIZE above 32 bits", `
			S: 220
			C: EHLO x
			S: 250-
			C: MAIL FROM:<a@b.c> SIZE=5000000000
			S: 552 5.3.4
			C: MAIL FROM:<a@b.c> SIZE=-1
			S: 501 5.5.4
			C: MAIL FROM:<a@b.c> SIZE=1000 BODY=8BITMIME
			S: 250`, nil},
		{"parameters that do not exist", `
			S: 220
			C: EHLO x
			S: 250-
			C: MAIL FROM:<a@b.c> BY=120;R
			S: 555 5.5.4
			C: MAIL FROM:<a@b.c> BODY=BINARYMIME
			S: 555 5.5.4
			C: MAIL FROM:<a@b.c> XID=stolen
			S: 555 5.5.4
			C: MAIL FROM:<a@b.c> RET=HDRS
			S: 555 5.5.4
			C: MAIL FROM:<a@b.c>
			S: 250
			C: RCPT TO:<c@d.e> NOTIFY=NEVER
			S: 555 5.5.4`, nil},
		{"SMTPUTF8 must be asked for", `
			S: 220
			C: EHLO x
			S: 250-
			C: MAIL FROM:<ü@b.c>
			S: 553 5.6.7
			C: MAIL FROM:<ü@b.c> SMTPUTF8
			S: 250
			C: RCPT TO:<ä@d.e>
			S: 250`, nil},
		{"sequence", `
			S: 220
			C: MAIL FROM:<a@b.c>
			S: 503
			C: EHLO
			S: 501
			C: LHLO x
			S: 500
			C: HELO x
			S: 250
			C: RCPT TO:<a@b.c>
			S: 503
			C: DATA
			S: 503
			C: MAIL FROM:<a@b.c>
			S: 250
			C: MAIL FROM:<a@b.c>
			S: 503
			C: DATA
			S: 503
			C: AUTH PLAIN
			S: 503`, nil},
		{"errors are limited", strings.Repeat("C: XEXCH50 1\nS: 500 5.5.2\n", 0) + `
			S: 220
			` + strings.Repeat("C: X-LINK2STATE LAST CHUNK={0}\nS: 500 5.5.2\n", 10) + `
			S: 421 4.7.0
			S: <closed>`, nil},
		{"a browser", `
			S: 220
			C! POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<a@b.c>\r\n
			S: 500
			S: <closed>`, nil},
		{"control characters and bare LF in commands", `
			S: 220
			C! NO\0OP\r\n
			S: 500
			C! NOOP a\0b\r\n
			S: 500
			C! NOOP\n
			S: 500
			C! NOOP a\rQUIT\r\n
			S: 500
			C: noop
			S: 250
			C: RSET 
			S: 250`, nil},
		{"sign-in", `
			S: 220
			C: EHLO x
			S: 250-
			C: AUTH PLAIN !!!
			S: 501 5.5.2
			C: AUTH PLAIN
			S: 334
			C: *
			S: 501
			C: AUTH PLAIN
			S: 334
			C: not base64
			S: 501
			C: AUTH PLAIN AGEAd3Jvbmc=
			S: 535 5.7.8
			C: AUTH PLAIN
			S: 334
			C: AGEAcmlnaHQ=
			S: 235
			C: AUTH PLAIN AGEAcmlnaHQ=
			S: 503
			C: QUIT
			S: 221`, nil},
		{"failed sign-ins are limited", `
			S: 220
			C: EHLO x
			S: 250-
			C: AUTH PLAIN AGEAd3Jvbmc=
			S: 535 5.7.8
			C: AUTH PLAIN AGEAd3Jvbmc=
			S: 535 5.7.8
			C: AUTH PLAIN AGEAd3Jvbmc=
			S: 535 5.7.8
			S: 421 4.7.0
			S: <closed>`, nil},
		{"STARTTLS without certificate", `
			S: 220
			C: EHLO x
			S: 250-
			C: STARTTLS
			S: 502`, nil},
		{"a message sent before the 354", `
			S: 220
			C: EHLO x
			S: 250-
			C! MAIL FROM:<a@b.c>\r\nRCPT TO:<c@d.e>\r\nDATA\r\nhello\r\n.\r\n
			S: 250
			S: 250
			S: 554 5.5.0
			S: <closed>`, nil},
		{"a panic at MAIL", `
			S: 220
			C: EHLO x
			S: 250-
			C: MAIL FROM:<panic@x.example>
			S: 421
			S: <closed>`, nil},
		{"a panic at DATA", envelopeScript + `
			C: DATA
			S: 354
			C: PANIC
			C: .
			S: 421
			S: <closed>`, nil},
		{"a panic at BDAT", envelopeScript + `
			C: BDAT 7 LAST
			C: PANIC
			S: 421
			S: <closed>`, nil},
		{"a long line in a command", `
			S: 220
			C: NOOP ` + strings.Repeat("x", 3000) + `
			S: 500
			C: NOOP ` + strings.Repeat("x", 30000) + `
			S: 500
			S: <closed>`, nil},
		{"a long line in a message", envelopeScript + `
			C: DATA
			S: 354
			C: ` + strings.Repeat("x", 30000) + `
			C: .
			S: 250`, []string{strings.Repeat("x", 30000) + "\r\n"}},
		{"too big a message", envelopeScript + `
			C: DATA
			S: 354
			C: ` + strings.Repeat("x", 110000) + `
			C: .
			S: 552 5.3.4
			C: NOOP
			S: 250`, nil},
		{"too big a chunk", envelopeScript + `
			C: BDAT 110002
			C: ` + strings.Repeat("x", 110000) + `
			S: 552 5.3.4
			C: NOOP
			S: 250`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr, b := serve(t, Options{Proto: "smtp", MaxSize: 100_000})
			c := dial(t, addr)
			c.talk(tt.script)
			c.Close()
			time.Sleep(5 * time.Millisecond)
			if got := b.messages(); fmt.Sprint(got) != fmt.Sprint(tt.got) {
				t.Errorf("messages %.200q, want %.200q", got, tt.got)
			}
			// The server lives on.
			dial(t, addr).talk("S: 220\nC: NOOP\nS: 250")
		})
	}
}

// Every sequence that some server takes for the end of data: none is passed,
// whole or cut into segments, in DATA or in BDAT.
func TestSmuggling(t *testing.T) {
	addr, b := serve(t, Options{Proto: "smtp"})
	const smuggled = "MAIL FROM:<evil@b.example>\r\nRCPT TO:<c@example.test>\r\nDATA\r\nevil\r\n.\r\n"
	for _, seq := range []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r", "\r\n.\r\r\n",
		"\r\n\x00.\n", "\n\n.\r\n", "\r\r\n.\r\n", "\n..\n", "\n..\r\n", "\r\n..\n", "\r..\r\n",
		"\r\n.\n\r\n", "\n.\n\n", "x\ry", "x\ny", "\r\n.x\n", "\r\n.\ry",
	} {
		for _, cut := range []bool{false, true} {
			for _, bdat := range []bool{false, true} {
				c := dial(t, addr)
				c.talk(envelopeScript)
				body := "Subject: x\r\n\r\nhello" + seq + smuggled
				if bdat {
					body = fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body)
				} else {
					c.talk("C: DATA\nS: 354")
				}
				if cut {
					c.Conn.(*net.TCPConn).SetNoDelay(true)
					for i := range len(body) {
						if _, err := c.Write([]byte(body[i : i+1])); err != nil {
							break
						}
						if i > 15 && i < 25 {
							time.Sleep(time.Millisecond)
						}
					}
				} else {
					io.WriteString(c, body)
				}
				if got := c.reply(); !strings.HasPrefix(got, "554 5.5.2") && got != "<closed>" {
					t.Errorf("%q (cut %v, bdat %v): %s", seq, cut, bdat, got)
				}
				if got := c.reply(); got != "<closed>" {
					t.Errorf("%q (cut %v, bdat %v): then %s", seq, cut, bdat, got)
				}
			}
		}
	}
	if got := b.messages(); len(got) != 0 {
		t.Errorf("got through: %q", got)
	}
	// A NUL is content, dots are stuffed.
	c := dial(t, addr)
	c.talk(envelopeScript + "C: DATA\nS: 354\n" + `C! \r\n\0.\r\n..\r\n.x\r\n.\r\n` + "\nS: 250")
	if got, want := b.messages(), "\r\n\x00.\r\n.\r\nx\r\n"; len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestQuotedPaths(t *testing.T) {
	addr, b := serve(t, Options{Proto: "smtp"})
	dial(t, addr).talk(`
		S: 220
		C: EHLO x
		S: 250-
		C: MAIL FROM:<"a b"@e.example>
		S: 250
		C: RCPT TO:<@relay.example:"c@d\"e"@f.example>
		S: 250`)
	if got, want := fmt.Sprintf("%q", b.from), fmt.Sprintf("%q", []string{`"a b"@e.example`, `"c@d\"e"@f.example`}); got != want {
		t.Errorf("paths %s, want %s", got, want)
	}
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.test"}, NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestStartTLS(t *testing.T) {
	cert := certificate(t)
	addr, b := serve(t, Options{Proto: "smtp", TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})

	// Commands sent in clear behind STARTTLS are refused, whatever they are.
	dial(t, addr).talk(`
		S: 220
		C: EHLO x
		S: 250-Hello x|250-PIPELINING
		C! STARTTLS\r\nMAIL FROM:<evil@b.example>\r\n
		S: 554 5.5.0
		S: <closed>`)

	c := dial(t, addr)
	c.talk(`
		S: 220
		C: EHLO x`)
	if got := c.reply(); !strings.Contains(got, "|250-STARTTLS|") {
		t.Errorf("EHLO: %s", got)
	}
	c.talk(`
		C: STARTTLS
		S: 220 2.0.0`)
	tc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	c.Conn, c.r = tc, bufio.NewReader(tc)
	// Nothing of the clear conversation counts.
	c.talk(`
		C: MAIL FROM:<a@b.example>
		S: 503 5.5.1
		C: EHLO x`)
	if got := c.reply(); strings.Contains(got, "STARTTLS") {
		t.Errorf("EHLO under TLS: %s", got)
	}
	c.talk(`
		C: STARTTLS
		S: 503
		C: MAIL FROM:<a@b.example>
		S: 250
		C: RCPT TO:<c@example.test>
		S: 250
		C: DATA
		S: 354
		C: hello
		C: .
		S: 250
		C: QUIT
		S: 221`)
	if got := b.messages(); len(got) != 1 {
		t.Errorf("messages %q", got)
	}
}

func TestPeerParameters(t *testing.T) {
	var got Params
	o := Options{Proto: "lmtp", LMTP: true, TrustLoopback: true}
	b := &box{}
	o.Session = func(c *Conn) (gosmtp.Session, error) {
		return &spy{session{b, c}, func() { got = c.Params() }}, nil
	}
	addr, _ := serve(t, o)
	dial(t, addr).talk(`
		S: 220
		C: EHLO x
		S: 500
		C: LHLO x
		S: 250-
		C: MAIL FROM:<a@b.example> XID=1.abc XTRACE=12 SIZE=77
		S: 250`)
	if want := (Params{Size: 77, ID: "1.abc", Trace: 12}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

type spy struct {
	session
	see func()
}

func (s *spy) Mail(string, *gosmtp.MailOptions) error { s.see(); return nil }

func TestMutualTLS(t *testing.T) {
	cert := certificate(t)
	pool := x509.NewCertPool()
	leaf, _ := x509.ParseCertificate(cert.Certificate[0])
	pool.AddCert(leaf)
	addr, _ := serve(t, Options{
		Proto: "lmtp", LMTP: true, Implicit: true,
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool},
	})
	for _, tt := range []struct {
		certs []tls.Certificate
		want  string
	}{{nil, "555"}, {[]tls.Certificate{cert}, "250"}} {
		tc, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, ServerName: "mx.example.test", Certificates: tt.certs})
		if err != nil {
			t.Fatal(err)
		}
		c := &client{t, tc, bufio.NewReader(tc)}
		c.talk("S: 220\nC: LHLO x\nS: 250-\nC: MAIL FROM:<> XID=1\nS: " + tt.want)
		tc.Close()
	}
}

func TestShutdown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &box{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, l, Options{
			Proto: "smtp", Hostname: "mx.example.test", Log: quiet(), Grace: 5 * time.Second,
			Session: func(c *Conn) (gosmtp.Session, error) { return &session{b, c}, nil },
		})
	}()
	idle, busy := dial(t, l.Addr().String()), dial(t, l.Addr().String())
	idle.talk("S: 220")
	busy.talk(envelopeScript + "C: DATA\nS: 354\nC: hello")
	time.Sleep(20 * time.Millisecond)
	cancel()
	idle.talk("S: 421 4.3.2\nS: <closed>")
	busy.talk("C: .\nS: 250\nS: 421 4.3.2\nS: <closed>")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := b.messages(); len(got) != 1 {
		t.Errorf("messages %q", got)
	}
}

func TestLimits(t *testing.T) {
	addr, _ := serve(t, Options{Proto: "smtp", MaxConns: 2, Idle: 50 * time.Millisecond})
	a, b := dial(t, addr), dial(t, addr)
	a.talk("S: 220")
	b.talk("S: 220")
	dial(t, addr).talk("S: 421 4.3.2\nS: <closed>")
	a.talk("S: 421 4.4.2\nS: <closed>")
}

func TestRepliesAreTotal(t *testing.T) {
	for _, k := range fault.Kinds() {
		r, ok := replies[k]
		if !ok || r.Code < 400 || r.Code/100 != r.EnhancedCode[0] {
			t.Errorf("%v: reply %+v", k, r)
		}
	}
	r := Reply(fault.New(fault.OverQuota, "mailbox of %s is full\r\n250 ok", "ü"))
	if r.Code != 452 || strings.ContainsAny(r.Message, "\r\nü") {
		t.Errorf("reply %+v", r)
	}
}

// Arbitrary bytes end in finite time, without a panic that reaches the process,
// and whatever message comes through has no bare CR or LF.
func FuzzServer(f *testing.F) {
	const head = "EHLO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<c@d.e>\r\n"
	for _, s := range []string{
		head + "DATA\r\n", head + "BDAT 5 LAST\r\nhello", head + "BDAT 3\r\nheyBDAT 2 LAST\r\n\r\n",
		head + "BDAT 3\r\nheyRSET\r\nQUIT\r\n", "AUTH PLAIN\r\nAGEAcmlnaHQ=\r\n", "STARTTLS\r\n", "EHLO x\r\nAUTH PLAIN\r\n*\r\n",
		"HELO\r\nHELP\r\nVRFY x\r\nEXPN y\r\nNOOP\r\n", "EHLO x\r\nMAIL FROM:<\"a\\\"b\"@c.d> SIZE=99 SMTPUTF8\r\n",
	} {
		f.Add([]byte(s), []byte("Subject: x\r\n\r\n.\r\n"))
		f.Add([]byte(s), []byte("\n.\n"))
	}
	addr, b := serve(f, Options{Proto: "smtp", MaxSize: 4096, Idle: 200 * time.Millisecond, DataIdle: 200 * time.Millisecond, MaxPerAddress: 100})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Skip(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		r := bufio.NewReader(c)
		if line, _ := r.ReadString('\n'); !strings.HasPrefix(line, "220") {
			t.Skip(line)
		}
		c.Write(first)
		time.Sleep(time.Millisecond)
		c.Write(second)
		c.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, r); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Fatalf("hangs: %v", err)
		}
		for _, m := range b.messages() {
			if strings.Contains(strings.ReplaceAll(m, "\r\n", ""), "\n") || strings.Contains(strings.ReplaceAll(m, "\r\n", ""), "\r") {
				t.Fatalf("message with bare CR or LF: %q", m)
			}
		}
		b.mu.Lock()
		b.got = nil
		b.mu.Unlock()
	})
}
