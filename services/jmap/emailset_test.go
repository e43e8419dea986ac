package jmap

import (
	"strings"
	"testing"
	"time"

	"waypost/store"
)

// TestEmailCreate: RFC 8621 section 4.6.
func TestEmailCreate(t *testing.T) {
	t.Parallel()
	u := newWorld(t).as("alice")
	picture := u.upload("image/png", strings.Repeat("\x89PNG", 100))
	create := func(email string) object {
		t.Helper()
		return u.one("Email/set", `{"accountId":"ACCOUNT","create":{"k":`+email+`}}`)
	}
	o := create(`{"mailboxIds":{"F2":true},"keywords":{"$draft":true,"$Seen":true},"receivedAt":"2026-01-02T03:04:05Z",
		"from":[{"name":"Alice Smith","email":"alice@example.test"}],"to":[{"name":"Jörg","email":"j@example.org"},{"email":"plain@example.org"}],
		"cc":[],"subject":"Grüße & more","inReplyTo":["a@b"],"header:X-Thing:asText":"né","header:X-Raw":" as it is","header:X-Two:asURLs":["http://x/"],
		"header:Reply-To:asGroupedAddresses":[{"name":"Team","addresses":[{"name":null,"email":"t@example.org"}]}],
		"bodyValues":{"t":{"value":"hello\nwörld"},"h":{"value":"<p>hello <img src=cid:p@x>"}},
		"textBody":[{"partId":"t","type":"text/plain"}],"htmlBody":[{"partId":"h","type":"text/html"}],
		"attachments":[{"blobId":"` + picture + `","type":"image/png","cid":"p@x","disposition":"inline","name":"ä.png"},
			{"blobId":"` + picture + `","type":"image/png","name":"two.png","language":["de"],"location":"http://x/y"}]}`)
	id := u.at(o, "/created/k/id").(string)
	if c := u.at(o, "/created/k").(object); len(c) != 4 || c["blobId"] == nil || c["threadId"] == nil || c["size"] == nil {
		t.Errorf("created %s", text(c))
	}
	e := u.at(u.one("Email/get", `{"accountId":"ACCOUNT","ids":["`+id+`"],"fetchAllBodyValues":true,"bodyProperties":["partId","type","name","cid","disposition","size","language","location"],
		"properties":["mailboxIds","keywords","receivedAt","from","to","cc","subject","inReplyTo","messageId","sentAt","header:X-Thing:asText","header:X-Raw","header:X-Two:asURLs","header:reply-to:asGroupedAddresses",
		"header:mime-version","bodyStructure","textBody","htmlBody","attachments","bodyValues","hasAttachment"]}`), "/list/0").(object)
	for property, want := range map[string]string{
		"mailboxIds": `{"F2":true}`, "keywords": `{"$draft":true,"$seen":true}`, "receivedAt": `"2026-01-02T03:04:05Z"`,
		"from": `[{"name":"Alice Smith","email":"alice@example.test"}]`, "to": `[{"name":"Jörg","email":"j@example.org"},{"name":null,"email":"plain@example.org"}]`,
		"subject": `"Grüße & more"`, "inReplyTo": `["a@b"]`, "header:X-Thing:asText": `"né"`, "header:X-Raw": `" as it is"`, "header:X-Two:asURLs": `["http://x/"]`,
		"header:reply-to:asGroupedAddresses": `[{"name":"Team","addresses":[{"name":null,"email":"t@example.org"}]}]`, "header:mime-version": `" 1.0"`, "hasAttachment": `true`,
	} {
		u.want(property, e[property], want)
	}
	if ids, ok := e["messageId"].([]any); !ok || len(ids) != 1 || e["sentAt"] == nil {
		t.Errorf("messageId %v, sentAt %v", e["messageId"], e["sentAt"])
	}
	u.want("structure", u.at(e, "/bodyStructure/subParts/*/type"), `["multipart/alternative","image/png"]`)
	u.want("related", u.at(e, "/bodyStructure/subParts/0/subParts/*/type"), `["text/plain","multipart/related"]`)
	u.want("text", u.at(e, "/bodyValues/1_1/value"), `"hello\nwörld"`)
	u.want("html", u.at(e, "/bodyValues/1_2_1/value"), `"<p>hello <img src=cid:p@x>"`)
	u.want("files", u.at(e, "/attachments"), `[{"partId":"1_2_2","type":"image/png","name":"ä.png","cid":"p@x","disposition":"inline","size":400,"language":null,"location":null},
		{"partId":"2","type":"image/png","name":"two.png","cid":null,"disposition":"attachment","size":400,"language":["de"],"location":"http://x/y"}]`)

	// bodyStructure, header fields of parts, an attached message, creation order.
	o = create(`{"mailboxIds":{"F2":true},"subject":"s","messageId":["own@x"],"sentAt":"2026-01-02T03:04:05+02:00","bodyStructure":{"type":"multipart/mixed","subParts":[
		{"partId":"a","header:Content-Description:asText":"what it is"},{"blobId":"` + id + `","type":"message/rfc822"}]},"bodyValues":{"a":{"value":"x"},"unused":{"value":""}}}`)
	second := u.at(o, "/created/k/id").(string)
	e = u.at(u.one("Email/get", `{"accountId":"ACCOUNT","ids":["`+second+`"],"properties":["bodyStructure","messageId","sentAt"],"bodyProperties":["type","header:content-description:asText"]}`), "/list/0").(object)
	u.want("parts", u.at(e, "/bodyStructure/subParts/*/type"), `["text/plain","message/rfc822"]`)
	u.want("of a part", u.at(e, "/bodyStructure/subParts/0/header:content-description:asText"), `"what it is"`)
	u.want("messageId", e["messageId"], `["own@x"]`)
	u.want("sentAt", e["sentAt"], `"2026-01-02T03:04:05+02:00"`)
	p := u.one("Email/parse", `{"accountId":"ACCOUNT","blobIds":["`+second+`-2"],"properties":["subject"]}`)
	u.want("embedded", u.at(p, "/parsed/"+second+"-2/subject"), `"Grüße & more"`)
	if id := u.at(create(`{"mailboxIds":{"F2":true}}`), "/created/k/id"); id == nil {
		t.Error("an empty draft was refused")
	}

	// What must not be: the list of section 4.6.
	for _, tt := range []struct{ email, properties string }{
		{`{}`, `["mailboxIds"]`},
		{`{"mailboxIds":{}}`, `["mailboxIds"]`},
		{`{"mailboxIds":{"F99":true}}`, `["mailboxIds"]`},
		{`{"mailboxIds":{"F7":true}}`, `["mailboxIds"]`},
		{`{"mailboxIds":{"F2":false}}`, `["mailboxIds"]`},
		{`{"mailboxIds":{"F2":true},"keywords":{"a b":true}}`, `["keywords"]`},
		{`{"mailboxIds":{"F2":true},"keywords":{"x":1}}`, `["keywords"]`},
		{`{"mailboxIds":{"F2":true},"headers":[]}`, `["headers"]`},
		{`{"mailboxIds":{"F2":true},"id":"M1","size":1}`, `["id","size"]`},
		{`{"mailboxIds":{"F2":true},"subject":"a","header:subject":" b"}`, `["header:subject"]`},
		{`{"mailboxIds":{"F2":true},"header:From:asDate":"x"}`, `["header:From:asDate"]`},
		{`{"mailboxIds":{"F2":true},"header:Content-Type":" x"}`, `["header:Content-Type"]`},
		{`{"mailboxIds":{"F2":true},"header:X":"a\r\nBcc: b@c"}`, `["header:X"]`},
		{`{"mailboxIds":{"F2":true},"subject":1,"from":"x","sentAt":"now","messageId":["a b"]}`, `["from","messageId","sentAt","subject"]`},
		{`{"mailboxIds":{"F2":true},"from":[{"name":null,"email":"a@b\r\nX: y"}]}`, `["from"]`},
		{`{"mailboxIds":{"F2":true},"bodyStructure":{"partId":"a"},"textBody":[{"partId":"a"}],"bodyValues":{"a":{"value":""}}}`, `["bodyStructure"]`},
		{`{"mailboxIds":{"F2":true},"subject":"x","bodyStructure":{"partId":"a","header:Subject":" x"},"bodyValues":{"a":{"value":""}}}`, `["bodyStructure"]`},
		{`{"mailboxIds":{"F2":true},"textBody":[{"partId":"a"},{"partId":"a"}],"bodyValues":{"a":{"value":""}}}`, `["textBody"]`},
		{`{"mailboxIds":{"F2":true},"textBody":[{"partId":"a","type":"text/html"}],"bodyValues":{"a":{"value":""}}}`, `["textBody"]`},
		{`{"mailboxIds":{"F2":true},"htmlBody":[{"partId":"a","type":"text/plain"}],"bodyValues":{"a":{"value":""}}}`, `["htmlBody"]`},
		{`{"mailboxIds":{"F2":true},"textBody":[{"partId":"a","blobId":"U1"}],"bodyValues":{"a":{"value":""}}}`, `["textBody"]`},
		{`{"mailboxIds":{"F2":true},"textBody":[{"partId":"b"}],"bodyValues":{"a":{"value":""}}}`, `["textBody"]`},
		{`{"mailboxIds":{"F2":true},"textBody":[{"partId":"a","charset":"x"}],"bodyValues":{"a":{"value":""}}}`, `["textBody"]`},
		{`{"mailboxIds":{"F2":true},"textBody":[{"partId":"a","size":1}],"bodyValues":{"a":{"value":""}}}`, `["textBody"]`},
		{`{"mailboxIds":{"F2":true},"textBody":[{"partId":"a","headers":[]}],"bodyValues":{"a":{"value":""}}}`, `["textBody"]`},
		{`{"mailboxIds":{"F2":true},"textBody":[{"partId":"a","header:Content-Transfer-Encoding":" 8bit"}],"bodyValues":{"a":{"value":""}}}`, `["textBody"]`},
		{`{"mailboxIds":{"F2":true},"bodyValues":{"a":{"value":"","isTruncated":true}}}`, `["bodyValues"]`},
		{`{"mailboxIds":{"F2":true},"bodyValues":{"a":{"value":"","isEncodingProblem":true}}}`, `["bodyValues"]`},
		{`{"mailboxIds":{"F2":true},"foo":1}`, `["foo"]`},
	} {
		o := create(tt.email)
		u.want(tt.email, u.at(o, "/notCreated/k/type"), `"invalidProperties"`)
		u.want(tt.email, u.at(o, "/notCreated/k/properties"), tt.properties)
	}
	u.want("two mailboxes", u.at(create(`{"mailboxIds":{"F2":true,"F1":true}}`), "/notCreated/k/type"), `"tooManyMailboxes"`)
	u.want("blobs", u.at(create(`{"mailboxIds":{"F2":true},"attachments":[{"blobId":"U1"},{"blobId":"M99-1"}]}`), "/notCreated/k"), `{"type":"blobNotFound","notFound":["U1","M99-1"]}`)
	// Of somebody else's upload nothing is seen.
	foreign := u.as("bob").upload("text/plain", "secret")
	u.want("foreign blob", u.at(create(`{"mailboxIds":{"F2":true},"attachments":[{"blobId":"`+foreign+`"}]}`), "/notCreated/k/type"), `"blobNotFound"`)
}

// TestEmailUpdate: RFC 8620 section 5.3 on RFC 8621 section 4.6.
func TestEmailUpdate(t *testing.T) {
	t.Parallel()
	u := newWorld(t).as("alice")
	one := u.deliver(simple("one", "\nx"), store.NewMessage{Keywords: []string{"$Label1"}})
	two := u.deliver(simple("two", "\nx"), store.NewMessage{Flags: store.Flagged})
	three := u.deliver(simple("three", "\nx"), store.NewMessage{})
	set := func(update string) object {
		t.Helper()
		return u.one("Email/set", `{"accountId":"ACCOUNT","update":`+update+`}`)
	}
	check := func(id, keywords, mailbox string) {
		t.Helper()
		o := u.one("Email/get", `{"accountId":"ACCOUNT","ids":["`+id+`"],"properties":["keywords","mailboxIds"]}`)
		u.want(id, o["list"], `[{"id":"`+id+`","keywords":`+keywords+`,"mailboxIds":{"`+mailbox+`":true}}]`)
	}
	o := set(`{"` + one + `":{"keywords/$seen":true,"mailboxIds/F1":null,"mailboxIds/F4":true},"` + two + `":{"keywords":{"new":true}},"` + three + `":{"mailboxIds":{"F4":true}}}`)
	u.want("updated", o["updated"], `{"`+one+`":null,"`+two+`":null,"`+three+`":null}`)
	check(one, `{"$seen":true,"$label1":true}`, "F4")
	check(two, `{"new":true}`, "F1")
	check(three, `{}`, "F4")
	set(`{"` + one + `":{"keywords":null},"` + two + `":{"keywords/new":null,"keywords/none":null}}`)
	check(one, `{}`, "F4")
	check(two, `{}`, "F1")
	for _, tt := range []struct{ patch, kind string }{
		{`{"mailboxIds/F4":true}`, "tooManyMailboxes"},
		{`{"mailboxIds/F1":null}`, "invalidProperties"},
		{`{"mailboxIds":{"F99":true}}`, "invalidProperties"},
		{`{"keywords/a b":true}`, "invalidProperties"},
		{`{"keywords/x":"yes"}`, "invalidProperties"},
		{`{"subject":"other"}`, "invalidProperties"},
		{`{"foo":1}`, "invalidProperties"},
		{`{"keywords/a/b":true}`, "invalidPatch"},
		{`{"keywords":{},"keywords/a":true}`, "invalidPatch"},
		{`{"keywords/~":true}`, "invalidPatch"},
		{`{"to/0/name":"x"}`, "invalidPatch"},
		{`1`, "invalidPatch"},
	} {
		o := set(`{"` + two + `":` + tt.patch + `}`)
		u.want(tt.patch, u.at(o, "/notUpdated/"+two+"/type"), text(tt.kind))
	}
	check(two, `{}`, "F1")
	// A whole object is a patch; what the server set may be in it, unchanged.
	whole := u.at(u.one("Email/get", `{"accountId":"ACCOUNT","ids":["`+two+`"],"properties":["id","blobId","threadId","mailboxIds","keywords","size","receivedAt","subject","from"]}`), "/list/0").(object)
	whole["keywords"] = object{"$seen": true}
	o = set(`{"` + two + `":` + text(whole) + `}`)
	u.want("whole", o["updated"], `{"`+two+`":null}`)
	check(two, `{"$seen":true}`, "F1")

	o = u.one("Email/set", `{"accountId":"ACCOUNT","update":{"`+two+`":{"keywords":{}},"M99":{"keywords":{}},"x":{"keywords":{}}},"destroy":["`+two+`","M98","`+two+`"]}`)
	u.want("will go", u.at(o, "/notUpdated/"+two+"/type"), `"willDestroy"`)
	u.want("none", u.at(o, "/notUpdated/M99/type"), `"notFound"`)
	u.want("destroyed", o["destroyed"], `["`+two+`"]`)
	u.want("not destroyed", o["notDestroyed"], `{"M98":{"type":"notFound"}}`)
	// A creation id in update and destroy of the same call.
	o = u.one("Email/set", `{"accountId":"ACCOUNT","create":{"n":{"mailboxIds":{"F2":true}},"m":{"mailboxIds":{"F2":true}}},"update":{"#n":{"keywords/$flagged":true}},"destroy":["#m"]}`)
	u.want("updated", o["updated"], `{"#n":null}`)
	u.want("destroyed", o["destroyed"], `["#m"]`)
	check(u.at(o, "/created/n/id").(string), `{"$flagged":true}`, "F2")
	// References over calls, by createdIds too.
	r := u.run(`["Mailbox/set",{"accountId":"ACCOUNT","create":{"box":{"name":"new"}}},"0"],["Email/set",{"accountId":"ACCOUNT","create":{"e":{"mailboxIds":{"#box":true}}}},"1"],
		["Email/set",{"accountId":"ACCOUNT","create":{"f":{"mailboxIds":{"#nobox":true}}}},"2"]`)
	if r[1].args["created"] == nil {
		t.Errorf("a message in a new mailbox: %v", r[1])
	}
	u.want("no such reference", u.at(r[2].args, "/notCreated/f/type"), `"invalidProperties"`)
}

// TestEmailImport: RFC 8621 sections 4.7 and 4.8.
func TestEmailImport(t *testing.T) {
	t.Parallel()
	u := newWorld(t).as("alice")
	up := u.upload("message/rfc822", strings.ReplaceAll("Received: by b; Tue, 03 Nov 2026 10:00:00 +0100\nReceived: by a; Mon, 02 Nov 2026 09:00:00 +0100\n"+simple("imported", "\nx"), "\n", "\r\n"))
	eai := u.upload("message/rfc822", "From: jörg@exämple.org\r\nSubject: grüße\r\n\r\nx\r\n")
	o := u.one("Email/import", `{"accountId":"ACCOUNT","emails":{"a":{"blobId":"`+up+`","mailboxIds":{"F1":true},"keywords":{"$seen":true}},
		"b":{"blobId":"`+eai+`","mailboxIds":{"F1":true},"receivedAt":"2026-01-01T00:00:00Z"},"c":{"blobId":"U9","mailboxIds":{"F1":true}},
		"d":{"blobId":"`+up+`"},"e":{"blobId":"`+up+`","mailboxIds":{"F1":true},"keywords":{"(":true}}}}`)
	a, b := u.at(o, "/created/a/id").(string), u.at(o, "/created/b/id").(string)
	u.want("created", u.at(o, "/created/a"), `{"id":"`+a+`","blobId":"`+a+`","threadId":"T`+a[1:]+`","size":`+text(u.at(o, "/created/a/size"))+`}`)
	for key, p := range map[string]string{"c": "blobId", "d": "mailboxIds", "e": "keywords"} {
		u.want(key, u.at(o, "/notCreated/"+key+"/properties"), `["`+p+`"]`)
	}
	got := u.one("Email/get", `{"accountId":"ACCOUNT","ids":["`+a+`","`+b+`"],"properties":["subject","receivedAt","keywords","from"]}`)
	u.want("imported", u.at(got, "/list/0/receivedAt"), `"2026-11-03T09:00:00Z"`)
	u.want("at", u.at(got, "/list/1/receivedAt"), `"2026-01-01T00:00:00Z"`)
	u.want("EAI", u.at(got, "/list/1/from/0/email"), `"jörg@exämple.org"`)
	u.fails("Email/import", `{"accountId":"ACCOUNT","ifInState":"0","emails":{}}`, "stateMismatch")
	u.fails("Email/copy", `{"accountId":"ACCOUNT","fromAccountId":"ACCOUNT","create":{}}`, "invalidArguments")
	u.fails("Email/copy", `{"accountId":"ACCOUNT","fromAccountId":"A8","create":{}}`, "fromAccountNotFound")
	u.fails("Blob/copy", `{"accountId":"ACCOUNT","fromAccountId":"A8","blobIds":[]}`, "fromAccountNotFound")
}

// TestEmailQuery: RFC 8621 sections 4.4 and 4.5. The conditions themselves are
// tried with the store.
func TestEmailQuery(t *testing.T) {
	t.Parallel()
	u := newWorld(t).as("alice")
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	one := u.deliver(simple("apple", "\nlong text", "Message-ID: <1@x>"), store.NewMessage{Received: day(1), Flags: store.Seen})
	two := u.deliver(simple("Re: apple", "\nx", "In-Reply-To: <1@x>"), store.NewMessage{Received: day(2), Flags: store.Flagged})
	three := u.deliver(simple("banana", "\nx", "Cc: carl@example.org"), store.NewMessage{Received: day(3), Keywords: []string{"$label1"}})
	for _, tt := range []struct{ args, want string }{
		{`"filter":null`, text([]string{three, two, one})},
		{`"filter":{}`, text([]string{three, two, one})},
		{`"filter":{"inMailbox":"F1"},"sort":[{"property":"receivedAt"}]`, text([]string{one, two, three})},
		{`"filter":{"inMailbox":"F99"}`, `[]`},
		{`"filter":{"inMailboxOtherThan":["F1"]}`, `[]`},
		{`"filter":{"inMailboxOtherThan":["F4"],"after":"2026-01-02T00:00:00Z","before":"2026-01-03T00:00:00Z"}`, text([]string{two})},
		{`"filter":{"minSize":1,"maxSize":100000}`, text([]string{three, two, one})},
		{`"filter":{"hasKeyword":"$seen"}`, text([]string{one})},
		{`"filter":{"notKeyword":"$Label1"}`, text([]string{two, one})},
		{`"filter":{"allInThreadHaveKeyword":"$label1"}`, text([]string{three})},
		{`"filter":{"someInThreadHaveKeyword":"$flagged"}`, text([]string{two, one})},
		{`"filter":{"noneInThreadHaveKeyword":"$flagged"}`, text([]string{three})},
		{`"filter":{"hasAttachment":true}`, `[]`},
		{`"filter":{"hasAttachment":false,"text":"apple"}`, text([]string{two, one})},
		{`"filter":{"from":"ann","to":"alice","cc":"carl","subject":"banana","body":"x"}`, text([]string{three})},
		{`"filter":{"bcc":"ann"}`, `[]`},
		{`"filter":{"header":["In-Reply-To"]}`, text([]string{two})},
		{`"filter":{"header":["Message-ID","1@x"]}`, text([]string{one})},
		{`"filter":{"operator":"OR","conditions":[{"hasKeyword":"$seen"},{"operator":"NOT","conditions":[{"text":"apple"}]}]}`, text([]string{three, one})},
		{`"collapseThreads":true`, text([]string{three, two})},
		{`"sort":[{"property":"subject","collation":"i;unicode-casemap"},{"property":"receivedAt","isAscending":false}]`, text([]string{two, one, three})},
		{`"sort":[{"property":"someInThreadHaveKeyword","keyword":"$flagged","isAscending":false},{"property":"receivedAt"}]`, text([]string{one, two, three})},
		{`"sort":[{"property":"hasKeyword","keyword":"$label1","isAscending":false}],"limit":1`, text([]string{three})},
		{`"position":-2,"limit":1`, text([]string{two})},
		{`"anchor":"` + two + `","anchorOffset":-1,"limit":2`, text([]string{three, two})},
		{`"limit":0`, `[]`},
		{`"position":9`, `[]`},
	} {
		o := u.one("Email/query", `{"accountId":"ACCOUNT",`+tt.args+`}`)
		u.want(tt.args, o["ids"], tt.want)
		u.want(tt.args, o["canCalculateChanges"], `true`)
	}
	o := u.one("Email/query", `{"accountId":"ACCOUNT","filter":{"inMailbox":"F1"},"collapseThreads":true,"calculateTotal":true,"limit":5000,"position":1}`)
	u.want("total", o["total"], `2`)
	u.want("limit", o["limit"], `1000`)
	u.want("position", o["position"], `1`)
	if _, ok := u.one("Email/query", `{"accountId":"ACCOUNT","limit":5}`)["total"]; ok {
		t.Error("a total that nobody asked for")
	}
	for args, kind := range map[string]string{
		`"filter":{"header":["X-Foo"]}`: "unsupportedFilter", `"filter":{"header":["a","b","c"]}`: "invalidArguments",
		`"sort":[{"property":"hasKeyword"}]`: "invalidArguments", `"filter":{"before":"2026-01-01"}`: "invalidArguments",
		`"filter":{"operator":"AND"}`: "invalidArguments", `"sort":{}`: "invalidArguments", `"collapseThreads":1`: "invalidArguments",
	} {
		u.fails("Email/query", `{"accountId":"ACCOUNT",`+args+`}`, kind)
	}
	// Section 5 of RFC 8621.
	s := u.one("SearchSnippet/get", `{"accountId":"ACCOUNT","filter":{"operator":"AND","conditions":[{"text":"APPLE"},{"body":"long"},{"operator":"NOT","conditions":[{"text":"re"}]}]},"emailIds":["`+one+`","`+three+`","M99"]}`)
	u.want("snippets", s["list"], `[{"emailId":"`+one+`","subject":"<mark>apple</mark>","preview":"<mark>long</mark> text"},{"emailId":"`+three+`","subject":null,"preview":null}]`)
	u.want("missing", s["notFound"], `["M99"]`)
	u.fails("SearchSnippet/get", `{"accountId":"ACCOUNT","filter":{"foo":1},"emailIds":[]}`, "unsupportedFilter")
	if got, _ := highlight(`a <b> & "Foo" foo`+strings.Repeat("<", 300), [][]rune{[]rune("foo")}, maxSnippet); len(got) > maxSnippet || !strings.HasPrefix(got, `a &lt;b&gt; &amp; "<mark>Foo</mark>" <mark>foo</mark>&lt;`) {
		t.Errorf("highlighted %q", got)
	}
}
