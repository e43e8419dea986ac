package dav

import (
	"bytes"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// plainFiles stands between litmus, which knows only files, and an address book:
// a file is a card that holds it. Nothing else is changed.
func plainFiles(dav http.Handler) http.Handler {
	file := regexp.MustCompile(`(?m)^X-FILE:(.*)\r$`)
	uid := regexp.MustCompile(`(?m)^UID:(.*)\r$`)
	fetch := func(r *http.Request, head bool) *httptest.ResponseRecorder {
		q := r.Clone(r.Context())
		q.Method, q.Body, q.ContentLength = http.MethodGet, http.NoBody, 0
		if !head {
			for _, h := range []string{"If-Match", "If-None-Match", "If"} {
				q.Header.Del(h)
			}
		}
		w := httptest.NewRecorder()
		dav.ServeHTTP(w, q)
		return w
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPut:
			body, _ := io.ReadAll(r.Body)
			id := strconv.FormatUint(rand.Uint64(), 36)
			if m := uid.FindStringSubmatch(strings.ReplaceAll(fetch(r, false).Body.String(), "\r\n ", "")); m != nil {
				id = m[1]
			}
			b := card(id, "FN:File\nN:File;;;;\nX-FILE:"+base64.StdEncoding.EncodeToString(body))
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(b)), int64(len(b))
			r.Header.Set("Content-Type", "text/vcard")
		case http.MethodGet:
			got := fetch(r, true)
			b := got.Body.Bytes()
			if m := file.FindSubmatch(bytes.ReplaceAll(b, []byte("\r\n "), nil)); m != nil {
				b, _ = base64.StdEncoding.DecodeString(string(m[1]))
			}
			for name, v := range got.Header() {
				w.Header()[name] = v
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(b)))
			w.WriteHeader(got.Code)
			_, _ = w.Write(b)
			return
		}
		dav.ServeHTTP(w, r)
	})
}

// refused are the tests of litmus that want what calendars and address books are
// not: collections in collections (RFC 6352 section 5.2), two objects of one UID
// (section 6.3.2), and properties of objects.
var refused = map[string]string{
	"delete_fragment": "a collection in a collection",
	"mkcol":           "a collection in a collection",
	"copy_init":       "a collection in a collection",
	"copy_coll":       "a collection in a collection",
	"copy_shallow":    "a collection in a collection",
	"move":            "a collection in a collection",
	"move_coll":       "a collection in a collection",
	"propset":         "a property of an object",
	"propmanyns":      "a property of an object",
	"propget":         "a property of an object",
}

func TestLitmus(t *testing.T) {
	litmus := program(t, "litmus")
	s := newSite(t, Options{})
	srv := httptest.NewServer(plainFiles(s.h))
	t.Cleanup(srv.Close)
	d := newDesk(t)
	line := regexp.MustCompile(`\d+\. (\w+)\.+ (pass|FAIL|SKIPPED)(.*)`)
	out, _ := d.try("/bin/sh", "-c", `TESTS="basic http copymove props" `+litmus+` -k `+srv.URL+bookHome+` alice@example.test secret`)
	passed := 0
	for _, m := range line.FindAllStringSubmatch(out, -1) {
		why, known := refused[m[1]]
		switch {
		case m[2] == "pass":
			passed++
			if known {
				t.Errorf("%s passes, which was to be refused: %s", m[1], why)
			}
		case m[2] == "FAIL" && !known:
			t.Errorf("%s: %s", m[1], m[3])
		}
	}
	if passed < 28 {
		t.Errorf("only %d passed:\n%s", passed, out)
	}
}
