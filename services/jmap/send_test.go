package jmap

import (
	"io"
	"strings"
	"testing"
	"time"

	"waypost/store"
	"waypost/store/postgres"
)

// TestIdentity: RFC 8621 section 6.
func TestIdentity(t *testing.T) {
	t.Parallel()
	u := newWorld(t).as("alice")
	o := u.one("Identity/get", `{"accountId":"ACCOUNT","ids":null}`)
	u.want("those of the directory", u.at(o, "/list/*/email"), `["alice@example.test","a.smith@example.test"]`)
	u.want("the first", u.at(o, "/list/0"), `{"id":"`+givenID("alice@example.test")+`","name":"Alice Smith","email":"alice@example.test","replyTo":null,"bcc":null,"textSignature":"","htmlSignature":"","mayDelete":false}`)
	given, state := givenID("alice@example.test"), o["state"].(string)
	o = u.one("Identity/set", `{"accountId":"ACCOUNT","ifInState":"`+state+`","create":{"a":{"email":"a.smith@example.test","name":"Work","bcc":[{"name":null,"email":"me@example.test"}]},
		"b":{"email":"bob@example.test"},"c":{"email":"nonsense"},"d":{"email":"a.smith@example.test","mayDelete":false}},
		"update":{"`+given+`":{"textSignature":"-- \nAlice","replyTo":[{"name":"A","email":"a@b.c"}]},"Inone2":{"name":"x"}},"destroy":["`+givenID("a.smith@example.test")+`","Inone"]}`)
	id := u.at(o, "/created/a/id").(string)
	u.want("not ours", u.at(o, "/notCreated/b/type"), `"forbiddenFrom"`)
	u.want("no address", u.at(o, "/notCreated/c/properties"), `["email"]`)
	u.want("server-set", u.at(o, "/notCreated/d/properties"), `["mayDelete"]`)
	u.want("updated", o["updated"], `{"`+given+`":null}`)
	u.want("none", u.at(o, "/notUpdated/Inone2/type"), `"notFound"`)
	u.want("the directory's", u.at(o, "/notDestroyed/"+givenID("a.smith@example.test")+"/type"), `"forbidden"`)
	o = u.one("Identity/get", `{"accountId":"ACCOUNT","ids":["`+id+`","`+given+`","Ix"]}`)
	u.want("made", u.at(o, "/list/0/bcc"), `[{"name":null,"email":"me@example.test"}]`)
	u.want("signature", u.at(o, "/list/1/textSignature"), `"-- \nAlice"`)
	u.want("missing", o["notFound"], `["Ix"]`)
	u.fails("Identity/changes", `{"accountId":"ACCOUNT","sinceState":"`+state+`"}`, "cannotCalculateChanges")
	u.want("no changes", u.one("Identity/changes", `{"accountId":"ACCOUNT","sinceState":"`+o["state"].(string)+`"}`)["updated"], `[]`)
	u.want("destroyed", u.one("Identity/set", `{"accountId":"ACCOUNT","destroy":["`+id+`"]}`)["destroyed"], `["`+id+`"]`)
}

// TestVacation: RFC 8621 section 8.
func TestVacation(t *testing.T) {
	t.Parallel()
	u := newWorld(t).as("alice")
	o := u.one("VacationResponse/get", `{"accountId":"ACCOUNT"}`)
	u.want("off", o["list"], `[{"id":"singleton","isEnabled":false,"fromDate":null,"toDate":null,"subject":null,"textBody":null,"htmlBody":null}]`)
	o = u.one("VacationResponse/set", `{"accountId":"ACCOUNT","create":{"a":{}},"update":{"singleton":{"isEnabled":true,"fromDate":"2026-01-01T00:00:00Z","subject":"Away","textBody":"I am away","htmlBody":"<p>I am away"}}}`)
	u.want("create", u.at(o, "/notCreated/a/type"), `"singleton"`)
	u.want("updated", o["updated"], `{"singleton":null}`)
	o = u.one("VacationResponse/set", `{"accountId":"ACCOUNT","destroy":["singleton"]}`)
	u.want("destroy", u.at(o, "/notDestroyed/singleton/type"), `"singleton"`)
	o = u.one("VacationResponse/get", `{"accountId":"ACCOUNT","ids":["singleton","x"]}`)
	u.want("on", o["list"], `[{"id":"singleton","isEnabled":true,"fromDate":"2026-01-01T00:00:00Z","toDate":null,"subject":"Away","textBody":"I am away","htmlBody":"<p>I am away"}]`)
	u.want("one alone", o["notFound"], `["x"]`)
	set, err := u.mail.Settings(t.Context(), u.me(), u.box)
	if err != nil || set.OutOfOffice.State != "timed" || !set.OutOfOffice.Unknown.Enabled || set.OutOfOffice.Internal.Text != "<p>I am away" || !set.OutOfOffice.Internal.HTML {
		t.Errorf("settings %+v, %v", set, err)
	}
	o = u.one("VacationResponse/set", `{"accountId":"ACCOUNT","update":{"singleton":{"isEnabled":"x","toDate":"then"}}}`)
	u.want("wrong", u.at(o, "/notUpdated/singleton/properties"), `["isEnabled","toDate"]`)
}

// outbox gives what waits to be sent, with its content.
func (u *user) outbox() (list []store.OutboxEntry, texts []string) {
	u.Helper()
	list, err := u.mail.NextOutbox(u.Context(), postgres.DefaultHome, 100)
	if err != nil {
		u.Fatal(err)
	}
	for _, e := range list {
		c, err := u.mail.OutboxContent(u.Context(), postgres.DefaultHome, e.ID)
		if err != nil {
			u.Fatal(err)
		}
		raw, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
		if err != nil {
			u.Fatal(err)
		}
		texts = append(texts, string(raw))
	}
	return list, texts
}

// TestSubmission: RFC 8621 section 7.
func TestSubmission(t *testing.T) {
	t.Parallel()
	u := newWorld(t).as("alice")
	identity := givenID("alice@example.test")
	draft := `{"mailboxIds":{"F2":true},"keywords":{"$draft":true},"from":[{"name":null,"email":"alice@example.test"}],"to":[{"name":null,"email":"x@example.org"}],
		"cc":[{"name":null,"email":"X@example.org"}],"bcc":[{"name":null,"email":"hidden@example.org"}],"subject":"hello","textBody":[{"partId":"1"}],"bodyValues":{"1":{"value":"body"}}}`
	// The example of section 7.5.1, with the draft made in the same request.
	r := u.run(`["EmailSubmission/get",{"accountId":"ACCOUNT","ids":null},"0"],["Email/set",{"accountId":"ACCOUNT","create":{"d":` + draft + `}},"1"],
		["EmailSubmission/set",{"accountId":"ACCOUNT","create":{"k1490":{"identityId":"` + identity + `","emailId":"#d"}},
		"onSuccessUpdateEmail":{"#k1490":{"mailboxIds/F2":null,"mailboxIds/F3":true,"keywords/$draft":null}}},"2"]`)
	if len(r) != 4 || r[3].name != "Email/set" || r[3].id != "2" {
		t.Fatalf("responses %v", r)
	}
	email := u.at(r[1].args, "/created/d/id").(string)
	s := u.at(r[2].args, "/created/k1490").(object)
	id := s["id"].(string)
	u.want("envelope", s["envelope"], `{"mailFrom":{"email":"alice@example.test","parameters":null},"rcptTo":[{"email":"x@example.org","parameters":null},{"email":"hidden@example.org","parameters":null}]}`)
	u.want("at once", s["undoStatus"], `"final"`)
	u.want("moved", u.one("Email/get", `{"accountId":"ACCOUNT","ids":["`+email+`"],"properties":["mailboxIds","keywords"]}`)["list"], `[{"id":"`+email+`","mailboxIds":{"F3":true},"keywords":{}}]`)
	list, texts := u.outbox()
	if len(list) != 1 || list[0].From != "alice@example.test" || strings.Contains(texts[0], "hidden@") || !strings.Contains(texts[0], "Subject: hello\r\n") || !strings.HasSuffix(texts[0], "\r\n\r\nbody") {
		t.Fatalf("outbox %+v %q", list, texts)
	}
	state := u.at(r[0].args, "/state").(string)
	ch := u.one("EmailSubmission/changes", `{"accountId":"ACCOUNT","sinceState":"`+state+`"}`)
	u.want("created", ch["created"], `["`+id+`"]`)

	// The same again, as after a lost answer, is sent once.
	create := `{"accountId":"ACCOUNT","create":{"r":{"identityId":"` + identity + `","emailId":"` + email + `","envelope":{"mailFrom":{"email":"a.smith@example.test"},"rcptTo":[{"email":"y@example.org"}]}}}}`
	first := u.at(u.one("EmailSubmission/set", create), "/created/r/id")
	u.want("once", u.at(u.one("EmailSubmission/set", create), "/created/r/id"), text(first))
	if list, _ := u.outbox(); len(list) != 1 || list[0].From != "a.smith@example.test" {
		t.Errorf("outbox %+v", list)
	}

	// Delayed, canceled; and when its hour comes it changes by itself.
	hold := func(key, param, value string) object {
		return u.one("EmailSubmission/set", `{"accountId":"ACCOUNT","create":{"`+key+`":{"identityId":"`+identity+`","emailId":"`+email+`","envelope":{"mailFrom":{"email":"alice@example.test","parameters":{"`+param+`":"`+value+`"}},"rcptTo":[{"email":"z@example.org"}]}}}}`)
	}
	later := u.at(hold("h", "HOLDFOR", "3600"), "/created/h/id").(string)
	until := u.at(hold("i", "holduntil", time.Now().Add(2*time.Hour).UTC().Format(time.RFC3339)), "/created/i/id").(string)
	got := u.one("EmailSubmission/get", `{"accountId":"ACCOUNT","ids":["`+later+`","`+id+`","S9"]}`)
	u.want("waiting", u.at(got, "/list/0/undoStatus"), `"pending"`)
	u.want("parameters", u.at(got, "/list/0/envelope/mailFrom/parameters"), `{"HOLDFOR":"3600"}`)
	u.want("queued", u.at(got, "/list/0/deliveryStatus/z@example.org/delivered"), `"queued"`)
	u.want("missing", got["notFound"], `["S9"]`)
	o := u.one("EmailSubmission/set", `{"accountId":"ACCOUNT","update":{"`+later+`":{"undoStatus":"canceled"},"`+id+`":{"undoStatus":"canceled"},"`+until+`":{"undoStatus":"final"}}}`)
	u.want("canceled", o["updated"], `{"`+later+`":null}`)
	u.want("sent", u.at(o, "/notUpdated/"+id+"/type"), `"cannotUnsend"`)
	u.want("other", u.at(o, "/notUpdated/"+until+"/properties"), `["undoStatus"]`)
	u.want("canceled", u.at(u.one("EmailSubmission/get", `{"accountId":"ACCOUNT","ids":["`+later+`"]}`), "/list/0/undoStatus"), `"canceled"`)
	state = o["newState"].(string)
	q := u.one("EmailSubmission/query", `{"accountId":"ACCOUNT","filter":{"undoStatus":"pending"},"sort":[{"property":"sentAt"}]}`)
	u.want("pending", q["ids"], `["`+until+`"]`)
	u.now = func() time.Time { return time.Now().Add(3 * time.Hour) }
	ch = u.one("EmailSubmission/changes", `{"accountId":"ACCOUNT","sinceState":"`+state+`"}`)
	u.want("its hour came", ch["updated"], `["`+until+`"]`)
	d := u.one("EmailSubmission/queryChanges", `{"accountId":"ACCOUNT","filter":{"undoStatus":"pending"},"sinceQueryState":"`+q["queryState"].(string)+`"}`)
	u.want("no longer", d["removed"], `["`+until+`"]`)
	u.now = time.Now
	for _, tt := range []struct{ filter, want string }{
		{`{"identityIds":["none"]}`, `0`},
		{`{"emailIds":["` + email + `"],"threadIds":["T` + email[1:] + `"]}`, `4`},
		{`{"before":"2020-01-01T00:00:00Z"}`, `0`},
		{`{"after":"2020-01-01T00:00:00Z"}`, `4`},
	} {
		o := u.one("EmailSubmission/query", `{"accountId":"ACCOUNT","calculateTotal":true,"filter":`+tt.filter+`}`)
		u.want(tt.filter, o["total"], tt.want)
	}
	u.want("forgotten", u.one("EmailSubmission/set", `{"accountId":"ACCOUNT","destroy":["`+id+`"]}`)["destroyed"], `["`+id+`"]`)
	u.want("gone", u.one("EmailSubmission/changes", `{"accountId":"ACCOUNT","sinceState":"`+state+`"}`)["destroyed"], `["`+id+`"]`)

	// What is refused: section 7.5.
	bad := u.at(u.one("Email/set", `{"accountId":"ACCOUNT","create":{"n":{"mailboxIds":{"F2":true},"to":[{"email":"x@y.z"}]},"f":{"mailboxIds":{"F2":true},"from":[{"email":"bob@example.test"}]},"e":{"mailboxIds":{"F2":true},"from":[{"email":"alice@example.test"}]}}}`), "/created").(object)
	id2 := func(key string) string { return u.at(bad, "/"+key+"/id").(string) }
	envelope := func(from, to string) string {
		return `{"mailFrom":{"email":"` + from + `"},"rcptTo":[` + to + `]}`
	}
	many := strings.TrimSuffix(strings.Repeat(`{"email":"x@y.z"},`, 1), ",")
	for i := range 1001 {
		many += `,{"email":"u` + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + text(i) + `@y.z"}`
	}
	for _, tt := range []struct{ name, create, want string }{
		{"no identity", `{"identityId":"x","emailId":"` + email + `"}`, "invalidProperties"},
		{"no message", `{"identityId":"` + identity + `","emailId":"M999"}`, "invalidProperties"},
		{"server-set", `{"identityId":"` + identity + `","emailId":"` + email + `","undoStatus":"pending"}`, "invalidProperties"},
		{"no sender", `{"identityId":"` + identity + `","emailId":"` + id2("n") + `"}`, "invalidEmail"},
		{"From", `{"identityId":"` + identity + `","emailId":"` + id2("f") + `","envelope":` + envelope("alice@example.test", `{"email":"x@y.z"}`) + `}`, "forbiddenFrom"},
		{"nobody", `{"identityId":"` + identity + `","emailId":"` + id2("e") + `"}`, "noRecipients"},
		{"MAIL FROM", `{"identityId":"` + identity + `","emailId":"` + email + `","envelope":` + envelope("bob@example.test", `{"email":"x@y.z"}`) + `}`, "forbiddenMailFrom"},
		{"addresses", `{"identityId":"` + identity + `","emailId":"` + email + `","envelope":` + envelope("alice@example.test", `{"email":"x y"}`) + `}`, "invalidRecipients"},
		{"too many", `{"identityId":"` + identity + `","emailId":"` + email + `","envelope":` + envelope("alice@example.test", many) + `}`, "tooManyRecipients"},
		{"envelope", `{"identityId":"` + identity + `","emailId":"` + email + `","envelope":{}}`, "invalidProperties"},
		{"for ever", `{"identityId":"` + identity + `","emailId":"` + email + `","envelope":{"mailFrom":{"email":"alice@example.test","parameters":{"HOLDFOR":"99999999"}},"rcptTo":[{"email":"x@y.z"}]}}`, "invalidProperties"},
		{"unknown parameter", `{"identityId":"` + identity + `","emailId":"` + email + `","envelope":{"mailFrom":{"email":"alice@example.test","parameters":{"FOO":null}},"rcptTo":[{"email":"x@y.z"}]}}`, "invalidProperties"},
	} {
		o := u.one("EmailSubmission/set", `{"accountId":"ACCOUNT","create":{"k":`+tt.create+`},"onSuccessDestroyEmail":["#k"]}`)
		u.want(tt.name, u.at(o, "/notCreated/k/type"), text(tt.want))
	}
	if list, _ := u.outbox(); len(list) != 0 {
		t.Errorf("sent nevertheless: %+v", list)
	}
	// onSuccessDestroyEmail.
	r = u.run(`["EmailSubmission/set",{"accountId":"ACCOUNT","create":{"k":{"identityId":"` + identity + `","emailId":"` + email + `"}},"onSuccessDestroyEmail":["#k","S99"]},"0"]`)
	if len(r) != 2 {
		t.Fatal(r)
	}
	u.want("destroyed", r[1].args["destroyed"], `["`+email+`"]`)
}
