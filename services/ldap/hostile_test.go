package ldap

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// TestNoLDAP: what is not BER as LDAP has it ends the connection with a notice
// (RFC 4511 §4.1.1), and costs nobody else anything.
func TestNoLDAP(t *testing.T) {
	w := start(t)
	other := w.in(t)
	before := inUse()
	for _, tt := range []struct{ name, hex string }{
		{"a browser", hex.EncodeToString([]byte("GET / HTTP/1.1\r\n\r\n"))},
		{"TLS", "16030100050100000100"},
		{"indefinite length", "3080020101"},
		{"2 GiB", "30847fffffff020101"},
		{"16 EiB", "3088ffffffffffffffff020101"},
		{"length of 100 bytes", "30e4" + strings.Repeat("01", 100)},
		{"just beyond the limit", "3083040001020101"},
		{"no message id", "3003040161"},
		{"an empty message", "3000"},
		{"message id 0", "300c020100600702010304008000"},
		{"message id too large", "301002050080000000600702010304008000"},
		{"negative message id", "300c0201ff600702010304008000"},
		{"no such request", "30050201015f00"},
		{"a response", "300c02010165070a010004000400"},
		{"operation longer than its message", "30050201016020"},
		{"an indefinite length within", "300d020101608002010304008000" + "0000"},
		{"2 GiB within", "3011020101" + "60847fffffff" + "02010304008000" + "0000"},
		{"16 EiB within", "3015020101" + "6088ffffffffffffffff" + "02010304008000" + "0000"},
		{"a number of 16 bytes", "30190210" + strings.Repeat("01", 16) + "600702010304008000"},
		{"bind without a name", "3009020101600402010380"},
		{"bind cut off", "3008020101600302010" + "3"},
		{"search without a filter", hex.EncodeToString([]byte(message(2, element(ber.ApplicationOf(3), octets(""), enumerated(2), enumerated(0), integer(0), integer(0), boolean(false)))))},
		{"a filter longer than the search", hex.EncodeToString([]byte(message(2, element(ber.ApplicationOf(3), octets("DC=example,DC=test"), enumerated(2), enumerated(0), integer(0), integer(0), boolean(false), "\xa3\x40\x04\x02cn\x04\x00", element(ber.Sequence)))))},
	} {
		b, err := hex.DecodeString(tt.hex)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		r := dialRaw(t, w.addr)
		if strings.Contains(tt.name, "filter") {
			r.bind()
		}
		r.send(string(b))
		x, err := r.receive()
		if err != nil {
			t.Errorf("%s: %v, want a notice", tt.name, err)
			continue
		}
		// A search's content may also be answered.
		if x.code != codeProtocolError {
			t.Errorf("%s: %v (%s)", tt.name, x.code, x.text)
		}
		if x.id == 0 {
			if _, err := r.receive(); err == nil {
				t.Errorf("%s: the connection goes on", tt.name)
			}
		}
	}
	if _, err := other.WhoAmI(nil); err != nil {
		t.Errorf("somebody else's connection: %v", err)
	}
	if grown := inUse() - before; grown > 8<<20 {
		t.Errorf("%d KiB are used for it", grown>>10)
	}
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// TestHugeRequests: what is BER and asks for too much gets a result, and the
// connection goes on.
func TestHugeRequests(t *testing.T) {
	w := start(t)
	r := dialRaw(t, w.addr)
	r.bind()
	deep := func(n int, tag ber.Tag) string {
		f := anyObject
		for range n {
			f = element(tag, f)
		}
		return f
	}
	var wide strings.Builder
	for range 100_000 {
		wide.WriteString(equal("cn", "x"))
	}
	var values strings.Builder
	for range 100_000 {
		values.WriteString(octets("member"))
	}
	var parts strings.Builder
	for range 100_000 {
		parts.WriteString(element(ber.Context(1), "x"))
	}
	var attributes []string
	for range 10_000 {
		attributes = append(attributes, "cn")
	}
	const base = "DC=example,DC=test"
	for i, tt := range []struct {
		name, op string
		want     code
	}{
		{"as deep as allowed", searchOp(base, 2, deep(tree.MaxFilterDepth, tagAnd), "1.1"), codeSuccess},
		{"a level deeper", searchOp(base, 2, deep(tree.MaxFilterDepth+1, tagAnd), "1.1"), codeAdminLimit},
		{"nested 10,000 deep", searchOp(base, 2, deep(10_000, tagNot), "1.1"), codeAdminLimit},
		{"100,000 alternatives", searchOp(base, 2, element(tagOr, wide.String()), "1.1"), codeAdminLimit},
		{"100,000 parts of a substring", searchOp(base, 2, element(tagSubstrings, octets("cn"), element(ber.Sequence, parts.String())), "1.1"), codeAdminLimit},
		{"10,000 attributes", searchOp(base, 2, anyObject, attributes...), codeAdminLimit},
		{"a value of 1 MiB", searchOp(base, 2, equal("cn", strings.Repeat("x", 1<<20)), "1.1"), codeSuccess},
		{"a name of 1 MiB", searchOp(strings.Repeat("CN=x,", 200_000)+base, 2, anyObject, "1.1"), codeInvalidDN},
		{"100,000 values added", element(ber.ApplicationOf(8), octets("CN=x,OU=Groups,"+base), element(ber.Sequence, element(ber.Sequence, octets("member"), element(ber.Set, values.String())))), codeAdminLimit},
		{"100,000 values modified", element(ber.ApplicationOf(6), octets("OU=Groups,"+base), element(ber.Sequence, element(ber.Sequence, enumerated(0), element(ber.Sequence, octets("member"), element(ber.Set, values.String()))))), codeAdminLimit},
		{"no filter in a not", searchOp(base, 2, element(tagNot), "1.1"), codeProtocolError},
		{"two filters in a not", searchOp(base, 2, element(tagNot, anyObject, anyObject), "1.1"), codeProtocolError},
		{"an unknown filter", searchOp(base, 2, element(ber.ContextOf(12), ""), "1.1"), codeProtocolError},
		{"substrings without any", searchOp(base, 2, element(tagSubstrings, octets("cn"), element(ber.Sequence)), "1.1"), codeProtocolError},
		{"initial at the end", searchOp(base, 2, element(tagSubstrings, octets("cn"), element(ber.Sequence, element(ber.Context(2), "x"), element(ber.Context(0), "x"))), "1.1"), codeProtocolError},
		{"neither rule nor attribute", searchOp(base, 2, element(tagExtensible, element(ber.Context(3), "x")), "1.1"), codeProtocolError},
		{"a negative limit", element(ber.ApplicationOf(3), octets(base), enumerated(2), enumerated(0), integer(-1), integer(0), boolean(false), anyObject, element(ber.Sequence)), codeProtocolError},
	} {
		id := int64(10 + i)
		r.send(message(id, tt.op))
		done, err := r.receive()
		for err == nil && done.tag == ber.ApplicationOf(4) || done.tag == ber.ApplicationOf(19) {
			done, err = r.receive()
		}
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if done.id != id || done.code != tt.want {
			t.Errorf("%s: %v (%s), want %v", tt.name, done.code, done.text, tt.want)
		}
	}
	// Before sign-in a message is 256 KiB at most.
	g := dialRaw(t, w.addr)
	g.send("\x30\x84\x00\x04\x00\x01")
	g.wantNotice("a guest's large message", codeProtocolError)
}

// TestALongMessageCostsWhatArrives: its length is believed when its bytes come.
func TestALongMessageCostsWhatArrives(t *testing.T) {
	w := start(t)
	var all []*raw
	for range 50 {
		r := dialRaw(t, w.addr)
		r.bind()
		all = append(all, r)
	}
	before := inUse()
	for _, r := range all {
		r.send("\x30\x84\x00\x9f\xff\xf0\x02\x01\x02") // 10 MiB, of which nothing comes
	}
	time.Sleep(100 * time.Millisecond)
	if grown := inUse() - before; grown > 4<<20 {
		t.Errorf("50 announced messages use %d KiB", grown>>10)
	}
}

func TestSlowRequest(t *testing.T) {
	w := start(t, func(c *Config) { c.ReadTimeout = 150 * time.Millisecond })
	r := dialRaw(t, w.addr)
	r.bind()
	r.send("\x30\x20\x02")
	r.wantNotice("half a request", codeProtocolError)
	silent := dialRaw(t, w.addr)
	silent.wantNotice("no request at all", codeProtocolError)
}

// TestTrickle: a byte now and then does not make a request last.
func TestTrickle(t *testing.T) {
	w := start(t, func(c *Config) { c.ReadTimeout = 300 * time.Millisecond })
	r := dialRaw(t, w.addr)
	r.bind()
	began := time.Now()
	for _, b := range []byte(message(2, searchOp("DC=example,DC=test", 2, anyObject))) {
		if _, err := r.c.Write([]byte{b}); err != nil {
			break
		}
		time.Sleep(30 * time.Millisecond)
		if time.Since(began) > 600*time.Millisecond {
			break
		}
	}
	r.wantNotice("a request in single bytes", codeProtocolError)
}

// TestFloods: requests that nothing answers, or that are about nothing, cost
// their sender's time alone.
func TestFloods(t *testing.T) {
	w := start(t)
	r := dialRaw(t, w.addr)
	r.bind()
	before := inUse()
	var flood strings.Builder
	for i := range 50_000 {
		flood.WriteString(message(int64(2+i), element(ber.Application(16), "\x7f\xff\xff\xff")))
	}
	r.send(flood.String())
	for i := range 1_000 {
		r.send(message(int64(100_000+i), cancelOp(int64(5_000_000+i))))
		r.want(int64(100_000+i), codeNoSuchOperation)
	}
	r.send(message(200_000, cancelOp(1<<40)))
	r.want(200_000, codeNoSuchOperation)
	r.send(message(200_001, cancelOp(-1)))
	r.want(200_001, codeNoSuchOperation)
	// Its own operations are abandoned as they come.
	w.tree.slow = time.Millisecond
	flood.Reset()
	for i := range 500 {
		id := int64(300_000 + i)
		flood.WriteString(message(id, searchOp("DC=example,DC=test", 2, anyObject, "1.1")) + message(400_000+id, element(ber.Application(16), integer(id)[2:])))
	}
	r.send(flood.String())
	w.tree.slow = 0
	r.send(message(900_000, searchOp("DC=example,DC=test", 2, equal("cn", "ann"), "1.1")))
	for {
		x, err := r.receive()
		if err != nil {
			t.Fatal(err)
		}
		if x.id == 900_000 && x.tag == ber.ApplicationOf(5) {
			break
		}
	}
	if grown := inUse() - before; grown > 4<<20 {
		t.Errorf("%d KiB are used for it", grown>>10)
	}
}

func TestIdle(t *testing.T) {
	w := start(t, func(c *Config) { c.IdleTimeout = 200 * time.Millisecond })
	r := dialRaw(t, w.addr)
	r.bind()
	// Who waits for news is not idle.
	watch := dialRaw(t, w.addr)
	watch.bind()
	watch.send(message(2, searchOp("OU=People,DC=example,DC=test", 1, anyObject, "1.1"), controlOf(oidNotification, true, "")))
	r.wantNotice("an idle connection", codeUnavailable)
	time.Sleep(300 * time.Millisecond)
	w.tree.put("CN=x,OU=People,DC=example,DC=test", "cn", "x", "objectClass", "person")
	if x, err := watch.receive(); err != nil || x.id != 2 {
		t.Errorf("who waits: %+v, %v", x, err)
	}
}

func TestSlowClient(t *testing.T) {
	w := start(t, func(c *Config) { c.WriteTimeout = 200 * time.Millisecond; c.MaxPage = 1 << 20 })
	for i := range 200 {
		w.tree.put("CN="+strconv.Itoa(i)+",OU=People,DC=example,DC=test", "objectClass", "device", "description", strings.Repeat("x", 100_000))
	}
	r := dialRaw(t, w.addr)
	r.bind()
	if tc, ok := r.c.(*net.TCPConn); ok {
		_ = tc.SetReadBuffer(4 << 10)
	}
	before := inUse()
	for i := range 10 {
		r.send(message(int64(2+i), searchOp("OU=People,DC=example,DC=test", 1, equal("objectClass", "device"))))
	}
	time.Sleep(100 * time.Millisecond)
	if grown := inUse() - before; grown > 16<<20 {
		t.Errorf("a client that does not read costs %d KiB", grown>>10)
	}
	if _, err := w.in(t).Search(find("(cn=ann)")); err != nil {
		t.Errorf("another client: %v", err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		w.server.mu.Lock()
		n := w.server.conns
		w.server.mu.Unlock()
		if n <= 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections stay", n)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestClearTextBehindStartTLS(t *testing.T) {
	w := start(t)
	r := dialRaw(t, w.addr)
	begin := message(1, element(ber.ApplicationOf(23), element(ber.Context(0), oidStartTLS)))
	r.send(begin + message(2, bindOp("ann", "secret")))
	if x, err := r.receive(); err != nil || x.id != 1 || x.code != codeOperationsError {
		t.Errorf("%+v, %v", x, err)
	}
	r.wantNotice("then", codeProtocolError)
	if w.accounts.calls != 0 {
		t.Error("the injected bind was taken")
	}
	// Other operations under way.
	w.tree.slow = 50 * time.Millisecond
	r = dialRaw(t, w.addr)
	r.bind()
	r.send(message(2, searchOp("DC=example,DC=test", 2, anyObject, "1.1")))
	time.Sleep(20 * time.Millisecond)
	r.send(message(3, element(ber.ApplicationOf(23), element(ber.Context(0), oidStartTLS))))
	for {
		x, err := r.receive()
		if err != nil {
			t.Fatal(err)
		}
		if x.id == 3 {
			if x.code != codeOperationsError {
				t.Errorf("StartTLS in the middle of a search: %v", x.code)
			}
			break
		}
	}
}

func TestTLSThatIsNone(t *testing.T) {
	w := start(t)
	r := dialRaw(t, w.addr)
	r.send(message(1, element(ber.ApplicationOf(23), element(ber.Context(0), oidStartTLS))))
	r.want(1, codeSuccess)
	r.send(message(2, bindOp("ann", "secret")))
	for {
		if _, err := r.c.Read(make([]byte, 100)); err != nil {
			break
		}
	}
	if w.accounts.calls != 0 {
		t.Error("a bind in clear text was taken")
	}
	c, err := tls.Dial("tcp", w.secure, clientTLS)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestTooManyConnections(t *testing.T) {
	w := start(t, func(c *Config) { c.MaxConns = 3 })
	var all []*raw
	for range 3 {
		r := dialRaw(t, w.addr)
		r.bind()
		all = append(all, r)
	}
	dialRaw(t, w.addr).wantNotice("the fourth", codeBusy)
	_ = all[0].c.Close()
	deadline := time.Now().Add(5 * time.Second)
	for {
		r := dialRaw(t, w.addr)
		r.send(message(1, bindOp("ann", "secret")))
		if x, err := r.receive(); err == nil && x.code == codeSuccess && x.id == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the place of a connection that ended is not free")
		}
	}
}

func TestPanicEndsOneConnection(t *testing.T) {
	w := start(t)
	other := w.in(t)
	r := dialRaw(t, w.addr)
	r.bind()
	w.tree.panic = true
	r.send(message(2, searchOp("DC=example,DC=test", 2, anyObject)))
	r.wantNotice("a panic", codeOther)
	w.tree.panic = false
	if _, err := other.Search(find("(cn=ann)")); err != nil {
		t.Errorf("somebody else's connection: %v", err)
	}
}

// FuzzRequest plays any bytes as a connection.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(message(1, bindOp("ann", "secret")) + message(2, searchOp("DC=example,DC=test", 2, equal("cn", "ann"), "cn", "member;range=0-5"))))
	f.Add([]byte(message(1, bindOp("ann", "secret")) + message(2, element(ber.ApplicationOf(6), octets("CN=ann,OU=People,DC=example,DC=test"), element(ber.Sequence, element(ber.Sequence, enumerated(2), element(ber.Sequence, octets("sn"), element(ber.Set, octets("x")))))))))
	f.Add([]byte(message(1, bindOp("ann", "secret")) + message(2, searchOp("DC=example,DC=test", 2, element(tagAnd, anyObject, element(tagNot, equal("sn", "x")))), controlOf(oidPaged, true, element(ber.Sequence, integer(2), octets(""))))))
	f.Add([]byte(message(1, bindOp("ann", "secret")) + message(2, searchOp("DC=example,DC=test", 2, anyObject), controlOf(oidSortRequest, true, element(ber.Sequence, element(ber.Sequence, octets("cn")))), controlOf(oidVLVRequest, true, vlvValue(1, 1, 2, 0, "", "")))))
	f.Add([]byte(message(1, bindOp("ann", "secret")) + message(2, searchOp("DC=example,DC=test", 2, anyObject), controlOf(oidSync, true, element(ber.Sequence, enumerated(1))))))
	f.Add([]byte(message(1, bindOp("ann", "secret")) + message(2, element(ber.ApplicationOf(12), octets("CN=bob,OU=People,DC=example,DC=test"), octets("CN=x"), boolean(true))) + message(3, "\x42\x00")))
	f.Add([]byte(message(1, element(ber.ApplicationOf(23), element(ber.Context(0), oidWhoAmI))) + message(2, element(ber.ApplicationOf(23), element(ber.Context(0), oidPasswordModify), element(ber.Context(1), element(ber.Sequence, element(ber.Context(0), "ann")))))))
	w := start(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		client, server := net.Pipe()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.server.serveConn(&conns{}, ctx, from2(server, netAddr("127.0.0.1:1")), Door{})
		}()
		go func() { _, _ = io.Copy(io.Discard, client) }()
		_ = client.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, _ = client.Write(b)
		_ = client.Close()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("the connection does not end")
		}
		cancel()
	})
}

// FuzzFilter reads filters that the strings of RFC 4515 are made to as well.
func FuzzFilter(f *testing.F) {
	f.Add(element(tagAnd, anyObject, element(tagNot, equal("sn", "x"))))
	f.Add(element(tagSubstrings, octets("cn"), element(ber.Sequence, element(ber.Context(0), "a"), element(ber.Context(1), "b"), element(ber.Context(2), "c"))))
	f.Add(element(tagExtensible, element(ber.Context(1), "caseIgnoreMatch"), element(ber.Context(2), "cn"), element(ber.Context(3), "x"), "\x84\x01\xff"))
	f.Add(element(tagOr) + element(tagAnd))
	f.Fuzz(func(t *testing.T, s string) {
		d := ber.NewDecoder(s)
		filter, err := readFilter(&d)
		if err != nil {
			return
		}
		if n, depth := filterSize(&filter); n > tree.MaxFilterParts || depth > tree.MaxFilterDepth+1 {
			t.Fatalf("%d parts, %d deep", n, depth)
		}
	})
}

func filterSize(f *tree.Filter) (n, depth int) {
	n = 1 + len(f.Any)
	for i := range f.Parts {
		m, d := filterSize(&f.Parts[i])
		n, depth = n+m, max(depth, d)
	}
	return n, depth + 1
}
