package jmap

import (
	"bufio"
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/store"
)

// TestBlobs: RFC 8620 section 6, ranges of RFC 9110 section 14.
func TestBlobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.as("alice")
	code, _, data := u.do("POST", Prefix+"upload/A7/", "text/plain; charset=utf-8", strings.NewReader("0123456789"))
	o := u.tree(string(data)).(object)
	if code != 201 || o["size"] != int64(10) || o["type"] != "text/plain; charset=utf-8" || o["accountId"] != "A7" {
		t.Fatalf("%d %s", code, data)
	}
	up := o["blobId"].(string)
	id := u.deliver(structured, store.NewMessage{})
	long := u.deliver("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/x\nContent-Transfer-Encoding: base64\n\n"+
		strings.Repeat(strings.Repeat("QUJD", 19)+"\n", 2000)+"QUI=\n--b--\n", store.NewMessage{})
	for _, tt := range []struct {
		path, spec string
		code       int
		body, rng  string
	}{
		{up, "", 200, "0123456789", ""},
		{up, "bytes=2-4", 206, "234", "bytes 2-4/10"},
		{up, "bytes=8-", 206, "89", "bytes 8-9/10"},
		{up, "bytes=-3", 206, "789", "bytes 7-9/10"},
		{up, "bytes=-30", 206, "0123456789", "bytes 0-9/10"},
		{up, "bytes=5-99", 206, "56789", "bytes 5-9/10"},
		{up, "bytes=10-", 416, "", "bytes */10"},
		{up, "bytes=99-100", 416, "", "bytes */10"},
		{up, "bytes=-0", 416, "", "bytes */10"},
		{up, "bytes=4-2", 200, "0123456789", ""},
		{up, "bytes=0-1,3-4", 200, "0123456789", ""},
		{up, "lines=1-2", 200, "0123456789", ""},
		{id + "-2_1_2_2", "", 200, "FFFF", ""},
		{id + "-2_1_2_2", "bytes=1-2", 206, "FF", "bytes 1-2/4"},
		{id + "-2_1_1_1", "", 200, "B caf\xe9\r\nsecond", ""},
		{id + "-2_4_1", "", 200, "inner text", ""},
		{long + "-1", "bytes=113998-", 206, "BCAB", "bytes 113998-114001/114002"},
		{"U" + up[1:] + "0", "", 404, "", ""},
		{"M999", "", 404, "", ""},
		{id + "-9", "", 404, "", ""},
		{id + "-2", "", 404, "", ""},
		{id + "-", "", 404, "", ""},
		{"x", "", 404, "", ""},
		{strings.Repeat("M", 300), "", 404, "", ""},
		{id + strings.Repeat("-1", 3), "", 404, "", ""},
		{id + "-" + strings.Repeat("1_", 200) + "1", "", 404, "", ""},
	} {
		code, h, body := u.do("GET", Prefix+"download/A7/"+tt.path+"/a%20%22name%22.txt?type=text/html", "", nil, "Range", tt.spec)
		if code != tt.code || h.Get("Content-Range") != tt.rng || code < 400 && string(body) != tt.body {
			t.Errorf("%s %q: %d %q %.50q, want %d %q %q", tt.path, tt.spec, code, h.Get("Content-Range"), body, tt.code, tt.rng, tt.body)
		}
		if code < 300 && (h.Get("Content-Type") != "text/html" || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment; filename=") ||
			!strings.Contains(h.Get("Cache-Control"), "immutable") || !strings.HasPrefix(h.Get("Content-Security-Policy"), "sandbox")) {
			t.Errorf("%s: %v", tt.path, h)
		}
	}
	code, h, _ := u.do("HEAD", Prefix+"download/A7/"+up+"/x", "", nil)
	if code != 200 || h.Get("Content-Length") != "10" {
		t.Errorf("HEAD: %d %v", code, h)
	}
	if code, _, _ := u.do("GET", Prefix+"download/A7/"+up+"/x", "", nil, "If-None-Match", `"`+up+`"`); code != 304 {
		t.Errorf("the same again: %d", code)
	}
	// Of others nothing is seen.
	bob := w.as("bob")
	for _, path := range []string{"A7/" + up, "A7/" + id, "A8/" + up, "A8/" + id, "A8/" + id + "-1"} {
		if code, _, _ := bob.do("GET", Prefix+"download/"+path+"/x", "", nil); code != 404 {
			t.Errorf("bob reads %s: %d", path, code)
		}
	}
	if code, _, _ := bob.do("POST", Prefix+"upload/A7/", "text/plain", strings.NewReader("x")); code != 404 {
		t.Errorf("bob uploads to alice: %d", code)
	}
	if code, _, data := u.do("POST", Prefix+"upload/A7/", "", http.NoBody, "Content-Length", "0"); code != 201 {
		t.Errorf("nothing at all: %d %s", code, data)
	}
	// RFC 9404.
	got := u.one("Blob/get", `{"accountId":"ACCOUNT","ids":["`+up+`","U1"],"properties":["data:asText","data:asBase64","digest:sha-256","size"],"offset":2,"length":3}`)
	u.want("data", got["list"], `[{"id":"`+up+`","data:asText":"234","data:asBase64":"MjM0","digest:sha-256":"EUvRUfj7DFhkLSFw2krn18V5dyYKwsyJBTBsq2sqyrw=","size":10,"isTruncated":false}]`)
	u.want("missing", got["notFound"], `["U1"]`)
	got = u.one("Blob/upload", `{"accountId":"ACCOUNT","create":{"a":{"data":[{"data:asText":"ab"},{"data:asBase64":"Y2Q="},{"blobId":"`+up+`","offset":1,"length":2}],"type":"text/plain"},"b":{"data":[{"blobId":"U1"}]},"c":{"data":[{}]}}}`)
	u.want("size", u.at(got, "/created/a/size"), `6`)
	u.want("missing", u.at(got, "/notCreated/b/type"), `"blobNotFound"`)
	u.want("wrong", u.at(got, "/notCreated/c/type"), `"invalidProperties"`)
	u.want("made", u.at(u.one("Blob/get", `{"accountId":"ACCOUNT","ids":["`+u.at(got, "/created/a/id").(string)+`"],"properties":["data"]}`), "/list/0/data:asText"), `"abcd12"`)
	u.want("looked up", u.one("Blob/lookup", `{"accountId":"ACCOUNT","typeNames":["Email"],"ids":["`+id+`-1","`+up+`","U1"]}`)["list"], `[{"id":"`+id+`-1","matchedIds":{"Email":["`+id+`"]}},{"id":"`+up+`","matchedIds":{"Email":[]}}]`)
	u.fails("Blob/lookup", `{"accountId":"ACCOUNT","typeNames":["Foo"],"ids":[]}`, "unknownDataType")
}

// TestOthers: no method gives or changes anything of somebody else's.
func TestOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.as("alice"), w.as("bob")
	id := alice.deliver(simple("secret", "\nx"), store.NewMessage{})
	up := alice.upload("message/rfc822", "Subject: x\r\n\r\nx")
	for name, m := range methods {
		if m.free {
			continue
		}
		args := object{"accountId": "A7"}
		if slices.Contains(m.args, "fromAccountId") {
			from := object{"accountId": "A8", "fromAccountId": "A7", "create": object{"k": object{"id": id}}}
			if name == "Blob/copy" {
				from = object{"accountId": "A8", "fromAccountId": "A7", "blobIds": []string{up}}
			}
			bob.fails(name, text(from), "fromAccountNotFound")
		}
		bob.fails(name, text(args), "accountNotFound")
	}
	// Ids of hers in his own account name nothing of hers.
	for _, tt := range []struct{ name, args, path, want string }{
		{"Email/get", `{"accountId":"ACCOUNT","ids":["` + id + `"]}`, "/notFound", `["` + id + `"]`},
		{"Thread/get", `{"accountId":"ACCOUNT","ids":["T` + id[1:] + `"]}`, "/notFound", `["T` + id[1:] + `"]`},
		{"Email/set", `{"accountId":"ACCOUNT","update":{"` + id + `":{"keywords":{}}}}`, "/notUpdated/" + id + "/type", `"notFound"`},
		{"Email/set", `{"accountId":"ACCOUNT","destroy":["` + id + `"]}`, "/notDestroyed/" + id + "/type", `"notFound"`},
		{"Email/parse", `{"accountId":"ACCOUNT","blobIds":["` + up + `","` + id + `"]}`, "/notFound", `["` + up + `","` + id + `"]`},
		{"Email/import", `{"accountId":"ACCOUNT","emails":{"k":{"blobId":"` + up + `","mailboxIds":{"F1":true}}}}`, "/notCreated/k/properties", `["blobId"]`},
		{"SearchSnippet/get", `{"accountId":"ACCOUNT","filter":null,"emailIds":["` + id + `"]}`, "/notFound", `["` + id + `"]`},
		{"EmailSubmission/set", `{"accountId":"ACCOUNT","create":{"k":{"identityId":"` + givenID("bob@example.test") + `","emailId":"` + id + `"}}}`, "/notCreated/k/properties", `["emailId"]`},
		{"EmailSubmission/set", `{"accountId":"ACCOUNT","create":{"k":{"identityId":"` + givenID("alice@example.test") + `","emailId":"` + id + `"}}}`, "/notCreated/k/properties", `["identityId"]`},
		{"Blob/get", `{"accountId":"ACCOUNT","ids":["` + up + `"]}`, "/notFound", `["` + up + `"]`},
		{"Email/query", `{"accountId":"ACCOUNT","filter":{"text":"secret"}}`, "/ids", `[]`},
	} {
		bob.want(tt.name, bob.at(bob.one(tt.name, tt.args), tt.path), tt.want)
	}
	alice.want("it is as it was", alice.at(alice.one("Email/get", `{"accountId":"ACCOUNT","ids":["`+id+`"],"properties":["subject"]}`), "/list/*/subject"), `["secret"]`)
}

// stream opens an event source and gives its events as they come.
func (u *user) stream(query string, header ...string) (events chan string, close func()) {
	u.Helper()
	ctx, cancel := context.WithCancel(u.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", u.http.URL+Prefix+"eventsource?"+query, nil)
	if err != nil {
		u.Fatal(err)
	}
	r.SetBasicAuth(u.name, "secret")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		u.Fatalf("%v %v", res, err)
	}
	events = make(chan string, 100)
	go func() {
		defer res.Body.Close()
		event := ""
		for s := bufio.NewScanner(res.Body); s.Scan(); {
			if line := s.Text(); line != "" {
				event += line + "\n"
				continue
			}
			if event != ":\n" {
				events <- event
			}
			event = ""
		}
		events <- "end"
	}()
	return events, cancel
}

func (u *user) next(events chan string) string {
	u.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(20 * time.Second):
		u.Fatal("no event came")
		return ""
	}
}

// TestEvents: RFC 8620 section 7.3.
func TestEvents(t *testing.T) {
	t.Parallel()
	u := newWorld(t).as("alice")
	u.deliver(simple("first", "\nx"), store.NewMessage{})
	all, stop := u.stream("types=*&closeafter=no&ping=0")
	defer stop()
	once, _ := u.stream("types=Email,Foo&closeafter=state&ping=0")
	pinged, stopPing := u.stream("types=Email&closeafter=no&ping=1")
	e := u.next(pinged)
	stopPing()
	if e != "event: ping\ndata: {\"interval\":1}\n" {
		t.Errorf("ping %q", e)
	}
	u.deliver(simple("second", "\nx"), store.NewMessage{})
	state := u.one("Email/get", `{"accountId":"ACCOUNT","ids":[]}`)["state"].(string)
	e = u.next(all)
	want := `data: {"@type":"StateChange","changed":{"A7":{"Email":"` + state + `","Mailbox":"` + state + `","Thread":"` + state + `"}}}`
	if !strings.HasPrefix(e, "event: state\nid: ") || !strings.Contains(e, want) {
		t.Errorf("event %q, want %s", e, want)
	}
	if e := u.next(once); !strings.Contains(e, `{"A7":{"Email":"`+state+`"}}`) {
		t.Errorf("only what was asked for: %q", e)
	}
	if e := u.next(once); e != "end" {
		t.Errorf("after the state: %q", e)
	}
	// Who comes back hears at once what was missed.
	missed, stopMissed := u.stream("types=Email&closeafter=no&ping=0", "Last-Event-ID", "1")
	if e := u.next(missed); !strings.Contains(e, state) {
		t.Errorf("missed %q", e)
	}
	stopMissed()
	for _, q := range []string{"", "types=*&closeafter=no", "types=*&closeafter=x&ping=0", "types=*&closeafter=no&ping=-1", "types=&closeafter=no&ping=0"} {
		if code, _, _ := u.do("GET", Prefix+"eventsource?"+q, "", nil); code != 400 {
			t.Errorf("%q: %d", q, code)
		}
	}
	// The account changes: what was opened before ends.
	gone, _ := u.stream("types=*&closeafter=no&ping=0")
	u.people.end(1)
	if e := u.next(gone); e != "end" {
		t.Errorf("after the account changed: %q", e)
	}
	// How fast: from the commit to the client, in one process.
	var took []time.Duration
	for range 11 {
		begun := time.Now()
		u.deliver(simple("timed", "\nx"), store.NewMessage{})
		u.next(all)
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	t.Logf("delivery and push: median %v", took[5])
	u.server.Stop()
	if e := u.next(all); e != "end" {
		t.Errorf("after the server ended: %q", e)
	}
}
