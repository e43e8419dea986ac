package jmap

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"waypost/internal/fault"
)

// TestSession: RFC 8620 section 2.
func TestSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.as("alice")
	for _, path := range []string{WellKnown, Prefix + "session"} {
		code, h, data := u.do("GET", path, "", nil)
		if code != 200 || !strings.Contains(h.Get("Cache-Control"), "no-store") {
			t.Fatalf("%d %v %s", code, h, data)
		}
		s := u.tree(string(data)).(object)
		u.want("accounts", u.at(s, "/accounts/A7/isPersonal"), `true`)
		u.want("username", s["username"], `"alice@example.test"`)
		u.want("primary", u.at(s, "/primaryAccounts"), `{"urn:ietf:params:jmap:mail":"A7","urn:ietf:params:jmap:submission":"A7","urn:ietf:params:jmap:vacationresponse":"A7","urn:ietf:params:jmap:blob":"A7"}`)
		u.want("core", u.at(s, "/capabilities/urn:ietf:params:jmap:core/maxCallsInRequest"), `64`)
		u.want("account", u.at(s, "/accounts/A7/accountCapabilities/urn:ietf:params:jmap:mail/maxMailboxesPerEmail"), `1`)
		for _, v := range []string{"{accountId}", "{blobId}", "{type}", "{name}"} {
			if !strings.Contains(s["downloadUrl"].(string), v) {
				t.Errorf("downloadUrl has no %s", v)
			}
		}
		if !strings.HasPrefix(s["apiUrl"].(string), w.http.URL) {
			t.Errorf("apiUrl %v", s["apiUrl"])
		}
		_, _, out := u.do("POST", s["apiUrl"].(string), "application/json", strings.NewReader(`{"using":[],"methodCalls":[]}`))
		u.want("state", u.at(u.tree(string(out)), "/sessionState"), text(s["state"]))
	}
	// Who has no mailbox has no account.
	_, _, data := w.as("nobox").do("GET", WellKnown, "", nil)
	u.want("no account", u.at(u.tree(string(data)), "/accounts"), `{}`)
}

// TestSignIn: Basic, Bearer, and neither.
func TestSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, tt := range []struct {
		header string
		code   int
	}{
		{"Bearer token-alice@example.test", 200},
		{"bearer token-alice@example.test", 200},
		{"Bearer token-mallory@example.test", 401},
		{"Bearer", 401},
		{"Basic !!!", 401},
		{"", 401},
	} {
		r, _ := http.NewRequestWithContext(t.Context(), "GET", w.http.URL+WellKnown, nil)
		r.Header.Set("Authorization", tt.header)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != tt.code || tt.code == 401 && len(res.Header.Values("WWW-Authenticate")) != 2 {
			t.Errorf("%q: %d %v, want %d", tt.header, res.StatusCode, res.Header, tt.code)
		}
	}
}

// TestRequest: RFC 8620 sections 3.3 to 3.6.1.
func TestRequest(t *testing.T) {
	t.Parallel()
	u := newWorld(t).as("alice")
	many := strings.Repeat(`["Core/echo",{},"c"],`, maxCallsInRequest+1)
	for _, tt := range []struct {
		name, kind, body, want, limit string
	}{
		{"no JSON", "application/json", `{"using":[`, "notJSON", ""},
		{"other type", "text/plain", `{"using":[],"methodCalls":[]}`, "notJSON", ""},
		{"no type", "", `{"using":[],"methodCalls":[]}`, "notJSON", ""},
		{"name twice", "application/json", `{"using":[],"using":[],"methodCalls":[]}`, "notJSON", ""},
		{"not UTF-8", "application/json", "{\"using\":[\"\xff\"],\"methodCalls\":[]}", "notJSON", ""},
		{"half a character", "application/json", `{"using":["\ud800"],"methodCalls":[]}`, "notJSON", ""},
		{"bomb", "application/json", strings.Repeat("[", 1_000_000), "notJSON", ""},
		{"more after it", "application/json", `{"using":[],"methodCalls":[]} {}`, "notJSON", ""},
		{"a list", "application/json", `[]`, "notRequest", ""},
		{"no using", "application/json", `{"methodCalls":[]}`, "notRequest", ""},
		{"no calls", "application/json", `{"using":[]}`, "notRequest", ""},
		{"calls of other types", "application/json", `{"using":[],"methodCalls":[{}]}`, "notRequest", ""},
		{"a call of two", "application/json", `{"using":[],"methodCalls":[["Core/echo",{}]]}`, "notRequest", ""},
		{"a number for an id", "application/json", `{"using":[],"methodCalls":[["Core/echo",{},1]]}`, "notRequest", ""},
		{"createdIds of other types", "application/json", `{"using":[],"methodCalls":[],"createdIds":{"a":1}}`, "notRequest", ""},
		{"unknown capability", "application/json", `{"using":["https://example.com/apis/foobar"],"methodCalls":[]}`, "unknownCapability", ""},
		{"many calls", "application/json", `{"using":["` + capCore + `"],"methodCalls":[` + strings.TrimSuffix(many, ",") + `]}`, "limit", "maxCallsInRequest"},
		{"large", "application/json", `{"using":[],"methodCalls":[],"x":"` + strings.Repeat("x", maxSizeRequest) + `"}`, "limit", "maxSizeRequest"},
	} {
		code, h, data := u.do("POST", Prefix+"api", tt.kind, strings.NewReader(tt.body))
		p := u.tree(string(data)).(object)
		if code != 400 || h.Get("Content-Type") != "application/problem+json" || p["type"] != errorURN+tt.want || p["status"] != int64(400) {
			t.Errorf("%s: %d %s", tt.name, code, data)
		}
		if limit, _ := p["limit"].(string); limit != tt.limit {
			t.Errorf("%s: limit %q, want %q", tt.name, limit, tt.limit)
		}
	}
	// Properties that are not known are ignored; createdIds come back.
	_, _, data := u.do("POST", Prefix+"api", "application/json; charset=utf-8", strings.NewReader(`{"using":["`+capCore+`"],"methodCalls":[["Core/echo",{"hello":true,"high":5,"x":[1.5,null,"é\u0001<&>"]},"b3ff"]],"createdIds":{"k1":"M5"},"foo":1}`))
	o := u.tree(string(data)).(object)
	u.want("echo", o["methodResponses"], `[["Core/echo",{"hello":true,"high":5,"x":[1.5,null,"é\u0001<&>"]},"b3ff"]]`)
	u.want("createdIds", o["createdIds"], `{"k1":"M5"}`)
	for _, tt := range []struct{ method, path string }{{"GET", Prefix + "api"}, {"POST", WellKnown}, {"PUT", Prefix + "upload/A7/"}} {
		if code, h, _ := u.do(tt.method, tt.path, "", nil); code != 405 || h.Get("Allow") == "" {
			t.Errorf("%s %s: %d", tt.method, tt.path, code)
		}
	}
	if code, _, _ := u.do("GET", Prefix+"nothing", "", nil); code != 404 {
		t.Errorf("an unknown resource: %d", code)
	}
}

// TestMethodErrors: RFC 8620 section 3.6.2.
func TestMethodErrors(t *testing.T) {
	t.Parallel()
	u := newWorld(t).as("alice")
	u.fails("Foo/get", `{}`, "unknownMethod")
	u.fails("Email/get", `{"accountId":"A8","ids":[]}`, "accountNotFound")
	u.fails("Email/get", `{"ids":[]}`, "invalidArguments")
	u.fails("Email/get", `{"accountId":1,"ids":[]}`, "invalidArguments")
	u.fails("Email/get", `{"accountId":"ACCOUNT","ids":"M1"}`, "invalidArguments")
	u.fails("Email/get", `{"accountId":"ACCOUNT","ids":["!"]}`, "invalidArguments")
	u.fails("Email/get", `{"accountId":"ACCOUNT","ids":null}`, "requestTooLarge")
	u.fails("Email/get", `{"accountId":"ACCOUNT","ids":[],"foo":1}`, "invalidArguments")
	u.fails("Email/get", `{"accountId":"ACCOUNT","ids":[],"properties":["foo"]}`, "invalidArguments")
	u.fails("Email/changes", `{"accountId":"ACCOUNT","sinceState":"0","maxChanges":0}`, "invalidArguments")
	u.fails("Email/changes", `{"accountId":"ACCOUNT"}`, "invalidArguments")
	u.fails("Email/changes", `{"accountId":"ACCOUNT","sinceState":"nonsense"}`, "cannotCalculateChanges")
	u.fails("Email/changes", `{"accountId":"ACCOUNT","sinceState":"99999999"}`, "cannotCalculateChanges")
	u.fails("Email/set", `{"accountId":"ACCOUNT","ifInState":"0"}`, "stateMismatch")
	u.fails("Email/query", `{"accountId":"ACCOUNT","limit":-1}`, "invalidArguments")
	u.fails("Email/query", `{"accountId":"ACCOUNT","filter":{"operator":"XOR","conditions":[]}}`, "invalidArguments")
	u.fails("Email/query", `{"accountId":"ACCOUNT","filter":{"foo":1}}`, "unsupportedFilter")
	u.fails("Email/query", `{"accountId":"ACCOUNT","filter":{"minSize":"x"}}`, "invalidArguments")
	u.fails("Email/query", `{"accountId":"ACCOUNT","sort":[{"property":"foo"}]}`, "unsupportedSort")
	u.fails("Email/query", `{"accountId":"ACCOUNT","sort":[{"property":"subject","collation":"foo"}]}`, "unsupportedSort")
	u.fails("Email/query", `{"accountId":"ACCOUNT","anchor":"M99"}`, "anchorNotFound")
	ids := `"M1"` + strings.Repeat(`,"M1"`, maxObjectsInGet)
	u.fails("Email/get", `{"accountId":"ACCOUNT","ids":[`+ids+`]}`, "requestTooLarge")
	u.fails("Email/set", `{"accountId":"ACCOUNT","destroy":[`+ids+`]}`, "requestTooLarge")
	// A capability that is not asked for has no methods.
	_, _, data := u.do("POST", Prefix+"api", "application/json", strings.NewReader(`{"using":["`+capCore+`"],"methodCalls":[["Email/get",{"accountId":"A7","ids":[]},"0"],["Core/echo",{},"1"]]}`))
	u.want("without the capability", u.at(u.tree(string(data)), "/methodResponses"), `[["error",{"type":"unknownMethod"},"0"],["Core/echo",{},"1"]]`)
}

// TestReferences: RFC 8620 section 3.7.
func TestReferences(t *testing.T) {
	t.Parallel()
	u := newWorld(t).as("alice")
	echo := `["Core/echo",{"created":["f1","f4"],"list":[{"id":"a","ids":["1","2"],"o":{"x/y":1,"~":2}},{"id":"b","ids":["3"],"o":{}}],"n":null},"t0"]`
	for _, tt := range []struct{ path, want string }{
		{"/created", `["f1","f4"]`},
		{"/created/1", `"f4"`},
		{"/list/*/id", `["a","b"]`},
		{"/list/*/ids", `["1","2","3"]`},
		{"/list/0/o/x~1y", `1`},
		{"/list/0/o/~0", `2`},
		{"/n", `null`},
		{"", `{"created":["f1","f4"],"list":[{"id":"a","ids":["1","2"],"o":{"x/y":1,"~":2}},{"id":"b","ids":["3"],"o":{}}],"n":null}`},
	} {
		r := u.run(echo + `,["Core/echo",{"#x":{"resultOf":"t0","name":"Core/echo","path":` + text(tt.path) + `}},"t1"]`)
		u.want(tt.path, r[1].args, `{"x":`+tt.want+`}`)
	}
	for _, tt := range []struct{ ref, want string }{
		{`"#x":{"resultOf":"t9","name":"Core/echo","path":"/created"}`, "invalidResultReference"},
		{`"#x":{"resultOf":"t0","name":"Foo/echo","path":"/created"}`, "invalidResultReference"},
		{`"#x":{"resultOf":"t0","name":"Core/echo","path":"/none"}`, "invalidResultReference"},
		{`"#x":{"resultOf":"t0","name":"Core/echo","path":"/created/2"}`, "invalidResultReference"},
		{`"#x":{"resultOf":"t0","name":"Core/echo","path":"/created/01"}`, "invalidResultReference"},
		{`"#x":{"resultOf":"t0","name":"Core/echo","path":"created"}`, "invalidResultReference"},
		{`"#x":{"resultOf":"t0","name":"Core/echo","path":"/list/0/o/*"}`, "invalidResultReference"},
		{`"#x":{"resultOf":"t0","name":"Core/echo","path":"/list/0/o/~2"}`, "invalidResultReference"},
		{`"#x":{"resultOf":"t1","name":"Core/echo","path":""}`, "invalidResultReference"}, // to itself
		{`"#x":"t0"`, "invalidResultReference"},
		{`"#x":{"resultOf":"t0","name":"Core/echo","path":"/n"},"x":1`, "invalidArguments"},
	} {
		r := u.run(echo + `,["Core/echo",{` + tt.ref + `},"t1"]`)
		if r[1].name != "error" || r[1].args["type"] != tt.want {
			t.Errorf("%s: %v", tt.ref, r[1])
		}
	}
	// Doubling again and again ends in an error, not in memory.
	calls := `["Core/echo",{"x":"` + strings.Repeat("x", 1000) + `"},"c0"]`
	for i := range 40 {
		ref := fmt.Sprintf(`{"resultOf":"c%d","name":"Core/echo","path":""}`, i)
		calls += fmt.Sprintf(`,["Core/echo",{"#a":%s,"#b":%s},"c%d"]`, ref, ref, i+1)
	}
	r := u.run(calls)
	if !slices.ContainsFunc(r, func(r response) bool { return r.args["type"] == "requestTooLarge" }) {
		t.Error("a request that doubles its answers 40 times was not refused")
	}
}

// TestTables: every kind of fault has an answer, every method a capability.
func TestTables(t *testing.T) {
	for _, k := range fault.Kinds() {
		if kinds[k] == "" || setKinds[k] == "" || codes[k] == 0 {
			t.Errorf("no answer for %v", k)
		}
	}
	for name, m := range methods {
		if !slices.ContainsFunc(capabilities, func(c capability) bool { return c.name == m.capability }) {
			t.Errorf("%s has no capability", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"using":["a"],"methodCalls":[["Core/echo",{"x":1.5e3},"c"]]}`, `[[[[`, `"\ud83d\ude00"`, `{"a":1,"a":2}`, `-0`, `1e999`, "\"\x01\"", `[1,]`, `9223372036854775808`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := decodeJSON(data)
		if err != nil {
			return
		}
		out, err := encodeJSON(v)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeJSON(out)
		if err != nil || !equal(v, again) {
			t.Fatalf("%s became %s, %v", data, out, err)
		}
	})
}
