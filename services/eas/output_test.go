package eas

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
)

var nothing = slog.New(slog.DiscardHandler)

// serveOne gives a server whose only command, Settings at any version, runs fn.
func serveOne(t *testing.T, log *slog.Logger, fn func(ctx context.Context, r *request) error) *Server {
	t.Helper()
	_, s := newTestServer(t, Options{Log: log})
	for i := range s.commands {
		if s.commands[i].name == "Settings" {
			s.commands[i].run, s.commands[i].since = fn, wbxml.V25
		}
	}
	return s
}

func ask(t *testing.T, s *Server, headers ...string) *http.Response {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	req := newRequest(t, t.Context(), srv.URL, "d", "Settings", "<Settings:Settings/>")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Transport{DisableCompression: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestGzip(t *testing.T) {
	long := strings.Repeat("text ", 20_000)
	for _, tt := range []struct {
		accept, text string
		zipped       bool
	}{
		{"gzip, deflate", long, true},
		{"deflate, GZIP;q=0.5", long[:2000], true},
		{"gzip", "short", false},
		{"gzip;q=0", long, false},
		{"", long, false},
	} {
		s := serveOne(t, nothing, func(_ context.Context, r *request) error {
			return r.reply(wbxml.New(wbxml.SettingsSettings, wbxml.NewText(wbxml.SettingsReplyMessage, tt.text)))
		})
		resp := ask(t, s, "Accept-Encoding", tt.accept)
		var in io.Reader = resp.Body
		if zipped := resp.Header.Get("Content-Encoding") == "gzip"; zipped != tt.zipped {
			t.Errorf("%q, %d bytes: zipped %v", tt.accept, len(tt.text), zipped)
		} else if zipped {
			z, err := gzip.NewReader(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			in = z
		}
		n, err := decodeDocument(body(t, in))
		if err != nil || n.Get(wbxml.SettingsReplyMessage) != tt.text {
			t.Errorf("%q: %v", tt.accept, err)
		}
	}
}

func TestMultipart(t *testing.T) {
	s := serveOne(t, nothing, func(_ context.Context, r *request) error {
		parts := []part{}
		for _, p := range []string{"first", strings.Repeat("second", 10_000)} {
			parts = append(parts, part{int64(len(p)), func() (io.Reader, error) { return strings.NewReader(p), nil }})
		}
		return r.replyMultipart(wbxml.New(wbxml.SettingsSettings), parts)
	})
	resp := ask(t, s)
	if got := resp.Header.Get("Content-Type"); got != typeMultipart {
		t.Errorf("type %q", got)
	}
	b := body(t, resp.Body)
	if n := binary.LittleEndian.Uint32(b); n != 3 {
		t.Fatalf("%d parts", n)
	}
	var got []string
	for i := range 3 {
		from, size := binary.LittleEndian.Uint32(b[4+8*i:]), binary.LittleEndian.Uint32(b[8+8*i:])
		got = append(got, string(b[from:from+size]))
	}
	if _, err := decodeDocument([]byte(got[0])); err != nil {
		t.Error(err)
	}
	if got[1] != "first" || got[2] != strings.Repeat("second", 10_000) {
		t.Errorf("parts %q, %d bytes", got[1], len(got[2]))
	}
}

// TestFailureInTheMiddle: an error is told while that is possible; afterwards
// the connection is cut.
func TestFailureInTheMiddle(t *testing.T) {
	for _, tt := range []struct {
		size  int
		whole bool
	}{{100, true}, {20_000, true}, {100_000, false}} {
		s := serveOne(t, nothing, func(_ context.Context, r *request) error {
			return r.stream(func(e *wbxml.Encoder) error {
				e.Start(wbxml.SettingsSettings)
				e.Text(wbxml.SettingsReplyMessage, strings.Repeat("x", tt.size))
				return fault.From(fault.OverQuota, errors.New("disk"), "full")
			})
		})
		resp := ask(t, s)
		b, err := io.ReadAll(resp.Body)
		if tt.whole {
			n, derr := decodeDocument(b)
			if err != nil || derr != nil || n.Get(wbxml.SettingsStatus) != "113" {
				t.Errorf("%d bytes: %v, %v, %x", tt.size, err, derr, b)
			}
		} else if err == nil {
			t.Errorf("%d bytes: half an answer looked whole", tt.size)
		}
	}
}

func TestPanicEndsOneRequestAndIsLogged(t *testing.T) {
	var log bytes.Buffer
	s := serveOne(t, slog.New(slog.NewTextHandler(&log, nil)), func(context.Context, *request) error { panic("boom") })
	w := post(t, s, "d", "Settings", "<Settings:Settings/>")
	n, err := decodeDocument(w.Body.Bytes())
	if err != nil || n.Get(wbxml.SettingsStatus) != "110" {
		t.Errorf("%v, %v", n, err)
	}
	if got := log.String(); !strings.Contains(got, "output_test.go") || !strings.Contains(got, "boom") {
		t.Errorf("log has no stack: %s", got)
	}
}

func TestOneLineARequest(t *testing.T) {
	var log bytes.Buffer
	_, s := newTestServer(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	post(t, s, "d", "FolderSync", `<FolderHierarchy:FolderSync><SyncKey>7</SyncKey></FolderHierarchy:FolderSync>`)
	got := log.String()
	if strings.Count(got, "\n") != 1 {
		t.Errorf("log:\n%s", got)
	}
	for _, want := range []string{"proto=eas", "cmd=FolderSync", "user=ann@example.test", "device=d", "version=14.1", "dur=", "result=9"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

// TestEveryRefusal turns each fault into an answer, at an old and a new version.
func TestEveryRefusal(t *testing.T) {
	for _, k := range fault.Kinds() {
		s := serveOne(t, nothing, func(context.Context, *request) error { return fault.New(k, "told") })
		resp := ask(t, s, "MS-ASProtocolVersion", "12.1")
		if resp.StatusCode != faults[k].code {
			t.Errorf("%v at 12.1: HTTP %d, want %d", k, resp.StatusCode, faults[k].code)
		}
		resp = ask(t, s)
		if k == fault.Unauthenticated {
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%v: HTTP %d", k, resp.StatusCode)
			}
			continue
		}
		n, err := decodeDocument(body(t, resp.Body))
		if err != nil {
			t.Fatal(err)
		}
		if v, err := n.Int(wbxml.SettingsStatus, 0); err != nil || v != faults[k].status || resp.StatusCode != 200 {
			t.Errorf("%v at 14.1: HTTP %d, status %d, %v", k, resp.StatusCode, v, err)
		}
	}
}

func TestTooLargeBody(t *testing.T) {
	_, s := newTestServer(t, Options{})
	for _, declared := range []bool{true, false} {
		req := httptest.NewRequest(http.MethodPost, Path+"?Cmd=FolderSync&DeviceId=d", nil)
		big := append([]byte{3, 1, 0x6A, 0, 0, 7, 0x56, 0x4C, 3}, bytes.Repeat([]byte{'x'}, smallBody)...)
		req.Body = io.NopCloser(bytes.NewReader(big))
		if req.ContentLength = -1; declared {
			req.ContentLength = int64(len(big))
		}
		req.SetBasicAuth("ann", "secret")
		req.Header.Set("MS-ASProtocolVersion", "12.1")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		if w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("declared %v: code %d", declared, w.Code)
		}
	}
}

// TestCommandsTable: codes and names are the standard's, and unique.
func TestCommandsTable(t *testing.T) {
	_, s := newTestServer(t, Options{})
	standard := map[string]int{
		"Sync": 0, "SendMail": 1, "SmartForward": 2, "SmartReply": 3, "GetAttachment": 4, "GetHierarchy": 5, "FolderSync": 9,
		"FolderCreate": 10, "FolderDelete": 11, "FolderUpdate": 12, "MoveItems": 13, "GetItemEstimate": 14, "MeetingResponse": 15,
		"Search": 16, "Settings": 17, "Ping": 18, "ItemOperations": 19, "Provision": 20, "ResolveRecipients": 21, "ValidateCert": 22, "Find": 23,
	}
	seen := map[string]bool{}
	for _, c := range s.commands {
		if code, ok := standard[c.name]; !ok || code != c.code || seen[c.name] {
			t.Errorf("%s has code %d, want %d", c.name, c.code, code)
		}
		seen[c.name] = true
		if c.run == nil || c.since == 0 || c.until < c.since {
			t.Errorf("%s: row is incomplete", c.name)
		}
		if c.until >= wbxml.V140 && (!c.root.Known() || !c.status.Known()) {
			t.Errorf("%s: a refusal at 14.0 has no element", c.name)
		}
	}
}
