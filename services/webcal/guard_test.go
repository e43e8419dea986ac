package webcal

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"waypost/internal/fault"
)

func TestPublic(t *testing.T) {
	for _, tt := range []struct {
		addr string
		want bool
	}{
		{"93.184.216.34", true},
		{"8.8.8.8", true},
		{"2606:2800:220:1::1", true},
		{"64:ff9b::8.8.8.8", true},
		{"::ffff:8.8.8.8", true},
		{"127.0.0.1", false},
		{"127.255.255.254", false},
		{"0.0.0.0", false},
		{"0.1.2.3", false},
		{"10.0.0.1", false},
		{"172.16.0.1", false},
		{"172.31.255.255", false},
		{"172.32.0.1", true},
		{"192.168.1.1", false},
		{"169.254.169.254", false},
		{"100.64.0.1", false},
		{"100.128.0.1", true},
		{"192.0.2.1", false},
		{"198.18.0.1", false},
		{"224.0.0.1", false},
		{"239.255.255.250", false},
		{"240.0.0.1", false},
		{"255.255.255.255", false},
		{"::", false},
		{"::1", false},
		{"::127.0.0.1", false},
		{"::ffff:127.0.0.1", false},
		{"::ffff:10.0.0.1", false},
		{"::ffff:169.254.169.254", false},
		{"fe80::1", false},
		{"fe80::1%eth0", false},
		{"fc00::1", false},
		{"fd00:ec2::254", false},
		{"ff02::1", false},
		{"64:ff9b::127.0.0.1", false},
		{"64:ff9b::10.0.0.1", false},
		{"64:ff9b:1::8.8.8.8", false},
		{"2002:7f00:1::", false},
		{"2002:a00:1::1", false},
		{"2001:0:7f00:1::", false},
		{"2001:db8::1", false},
		{"3fff::1", false},
		{"100::1", false},
		{"fec0::1", false},
		{"4000::1", false},
	} {
		if got := public(netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.addr, got, tt.want)
		}
	}
	n := &Network{Inside: prefixes("10.1.0.0/16", "fd00::/8"), Ports: []int{8443}}
	for to, want := range map[string]bool{
		"10.1.2.3:80": true, "[::ffff:10.1.2.3]:443": true, "10.2.0.1:80": false, "[fd00::1]:8443": true, "10.1.2.3:22": false,
		"8.8.8.8:443": true, "8.8.8.8:25": false, "127.0.0.1:80": false,
	} {
		if got := n.may(netip.MustParseAddrPort(to)); got != want {
			t.Errorf("%s: %v, want %v", to, got, want)
		}
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"https://a.example/c.ics":        "https://a.example/c.ics",
		" http://a.example/c?x=1#f ":     "http://a.example/c?x=1",
		"webcal://a.example/c":           "https://a.example/c http://a.example/c",
		"webcal://a.example:8080/c":      "http://a.example:8080/c",
		"webcals://a.example/c":          "https://a.example/c",
		"file:///etc/passwd":             "",
		"file://localhost/etc/passwd":    "",
		"ftp://a.example/":               "",
		"gopher://a.example/":            "",
		"javascript:alert(1)":            "",
		"a.example/c.ics":                "",
		"https:a.example":                "",
		"":                               "",
		"http://[::1":                    "",
		"unix:///var/run/docker.sock":    "",
		"https:///nothing":               "",
		"http://a.example/\x00":          "",
		"HTTPS://a.example/upper":        "https://a.example/upper",
		"https://user:pw@a.example/mine": "https://user:pw@a.example/mine",
	} {
		got, err := Address(in)
		if strings.Join(got, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}

const small = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:a\r\nDTSTART:20261124T100000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"

// local opens a server, and a fetcher that may fetch from it.
func local(t *testing.T, h http.HandlerFunc) (*fetcher, string) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return newFetcher(near(t, srv)), srv.URL
}

func near(t *testing.T, srv *httptest.Server) Network {
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, _ := strconv.Atoi(u.Port())
	return Network{Inside: prefixes("127.0.0.1/32"), Ports: []int{port}}
}

func calendar(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/calendar; charset=utf-8")
	_, _ = io.WriteString(w, small)
}

func TestFetchGuard(t *testing.T) {
	hits := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits++
		calendar(w, r)
	}))
	defer srv.Close()
	// Neither this machine by any of its names, nor another port of an outside one.
	port := srv.URL[strings.LastIndex(srv.URL, ":"):]
	shut := newFetcher(Network{Ports: near(t, srv).Ports})
	t.Setenv("HTTP_PROXY", srv.URL) // is not heeded
	t.Setenv("http_proxy", srv.URL)
	for _, a := range []string{
		srv.URL, "http://localhost" + port, "http://[::ffff:127.0.0.1]" + port, "http://0.0.0.0" + port, "http://127.1" + port, "http://2130706433" + port,
		"http://[::1]" + port, "http://169.254.169.254/latest/meta-data/", "http://8.8.8.8:22/", "https://10.0.0.1/",
	} {
		_, err := shut.fetch(t.Context(), a, "", "")
		if err == nil || fault.Of(err) != fault.Denied && fault.Of(err) != fault.Unavailable {
			t.Errorf("%s: %v", a, err)
		}
		if strings.Contains(fault.Say(err), "127.0.0.1") || strings.Contains(fault.Say(err), "refused") {
			t.Errorf("%s tells: %s", a, fault.Say(err))
		}
	}
	if hits > 0 {
		t.Errorf("the server heard %d requests", hits)
	}
	open := newFetcher(near(t, srv))
	if got, err := open.fetch(t.Context(), srv.URL, "", ""); err != nil || string(got.body) != small {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestRebinding: a name that means something else at every look-up is no way in.
func TestRebinding(t *testing.T) {
	var hits atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		calendar(w, r)
	}))
	defer srv.Close()
	var asked atomic.Int32
	answers := [][4]byte{{192, 0, 2, 1}, {127, 0, 0, 1}, {10, 0, 0, 1}}
	resolver := dnsServer(t, func() [4]byte { return answers[int(asked.Add(1)-1)%len(answers)] })
	u, _ := url.Parse(srv.URL)
	f := newFetcher(Network{Ports: near(t, srv).Ports, Resolver: resolver})
	for range 6 {
		_, err := f.fetch(t.Context(), "http://rebind.example:"+u.Port()+"/", "", "")
		if fault.Of(err) != fault.Denied || err == nil {
			t.Errorf("%v", err)
		}
	}
	if hits.Load() > 0 || asked.Load() < 3 {
		t.Errorf("%d requests, %d look-ups", hits.Load(), asked.Load())
	}
}

// dnsServer answers every question about an IPv4 address.
func dnsServer(t *testing.T, answer func() [4]byte) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Additionals = true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AResource{A: answer()},
				}}
			}
			out, _ := m.Pack()
			_, _ = conn.WriteTo(out, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestRedirects(t *testing.T) {
	var to atomic.Value
	f, base := local(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/":
			w.Header().Set("Location", to.Load().(string))
			w.WriteHeader(http.StatusFound)
		case strings.HasPrefix(r.URL.Path, "/hop/"):
			n, _ := strconv.Atoi(r.URL.Path[5:])
			if n == 0 {
				calendar(w, r)
				return
			}
			http.Redirect(w, r, fmt.Sprintf("/hop/%d", n-1), http.StatusMovedPermanently)
		}
	})
	for target, good := range map[string]bool{
		base + "/hop/0": true, base + "/hop/4": true, base + "/hop/5": false, base + "/": false,
		"http://10.0.0.1/": false, "http://169.254.169.254/latest/": false, "http://[::1]:80/": false, "file:///etc/passwd": false,
		"ftp://a.example/": false, "http://127.0.0.1:22/": false, "//10.0.0.1/x": false, "http://127.0.0.2/": false,
	} {
		to.Store(target)
		got, err := f.fetch(t.Context(), base+"/", "", "")
		if good != (err == nil) || good && string(got.body) != small {
			t.Errorf("%s: %+v, %v", target, got, err)
		}
	}
	// A secret that was asked for by https is not told to who reads http.
	via := &http.Request{URL: &url.URL{Scheme: "https", Host: "a.example"}}
	if follow(&http.Request{URL: &url.URL{Scheme: "http", Host: "a.example"}, Header: http.Header{}}, []*http.Request{via}) == nil {
		t.Error("from https to http")
	}
}

func TestHostileServers(t *testing.T) {
	bomb := func() []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, "BEGIN:VCALENDAR\r\n")
		chunk := bytes.Repeat([]byte("X:0000000000000000\r\n"), 50_000)
		for range 200 { // 200 MB
			_, _ = z.Write(chunk)
		}
		_ = z.Close()
		return b.Bytes()
	}()
	f, base := local(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/endless":
			w.Header().Set("Content-Type", "text/calendar")
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, "BEGIN:VCALENDAR\r\n"+strings.Repeat("X-A:b\r\n", 10_000)); err != nil {
					return
				}
			}
		case "/bomb":
			w.Header().Set("Content-Type", "text/calendar")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		case "/slow":
			w.WriteHeader(http.StatusOK)
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, "B")
				w.(http.Flusher).Flush()
				time.Sleep(20 * time.Millisecond)
			}
		case "/silent":
			<-r.Context().Done()
		case "/page":
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>BEGIN:VCALENDAR sign in</html>")
		case "/text":
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, "hello")
		case "/head":
			w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
		case "/short":
			w.Header().Set("Content-Length", "100000")
			_, _ = io.WriteString(w, small)
		case "/unasked":
			w.WriteHeader(http.StatusNotModified)
		case "/gone":
			http.NotFound(w, r)
		case "/badzip":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, small)
		}
	})
	f.body, f.within = 1<<20, time.Second
	for path, want := range map[string]fault.Kind{
		"/endless": fault.TooLarge, "/bomb": fault.TooLarge, "/slow": fault.Unavailable, "/silent": fault.Unavailable, "/page": fault.Invalid,
		"/text": fault.Invalid, "/head": fault.Unavailable, "/short": fault.Unavailable, "/unasked": fault.Unavailable, "/gone": fault.Unavailable, "/badzip": fault.Unavailable,
	} {
		begun := time.Now()
		_, err := f.fetch(t.Context(), base+path, "", "")
		if fault.Of(err) != want || err == nil || time.Since(begun) > 5*time.Second {
			t.Errorf("%s: %v after %v", path, err, time.Since(begun))
		}
	}
}

func TestConditional(t *testing.T) {
	f, base := local(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == `"1"` || r.Header.Get("If-Modified-Since") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Last-Modified", "Tue, 24 Nov 2026 10:00:00 GMT")
		calendar(w, r)
	})
	got, err := f.fetch(t.Context(), base, "", "")
	if err != nil || got.etag != `"1"` || got.modified == "" {
		t.Fatalf("%+v, %v", got, err)
	}
	again, err := f.fetch(t.Context(), base, got.etag, "")
	if err != nil || again.body != nil || again.etag != got.etag {
		t.Errorf("%+v, %v", again, err)
	}
}
