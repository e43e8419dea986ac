package jmap

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"waypost/store"
)

// TestMailbox: RFC 8621 section 2.
func TestMailbox(t *testing.T) {
	t.Parallel()
	u := newWorld(t).as("alice")
	o := u.one("Mailbox/get", `{"accountId":"ACCOUNT","ids":null}`)
	u.want("roles", u.at(o, "/list/*/role"), `["inbox","drafts","sent","trash","junk",null]`)
	u.want("inbox", u.at(o, "/list/0"), `{"id":"F1","name":"Inbox","parentId":null,"role":"inbox","sortOrder":1,"totalEmails":0,"unreadEmails":0,
		"totalThreads":0,"unreadThreads":0,"isSubscribed":true,"myRights":{"mayReadItems":true,"mayAddItems":true,"mayRemoveItems":true,
		"maySetSeen":true,"maySetKeywords":true,"mayCreateChild":true,"mayRename":false,"mayDelete":false,"maySubmit":true}}`)
	state := o["state"].(string)
	u.want("not found", u.one("Mailbox/get", `{"accountId":"ACCOUNT","ids":["F1","F7","F99","x"],"properties":["name"]}`),
		`{"accountId":"ACCOUNT","state":"`+state+`","list":[{"id":"F1","name":"Inbox"}],"notFound":["F7","F99","x"]}`)

	// A tree in one call, children before parents; a reference to what fails fails.
	o = u.one("Mailbox/set", `{"accountId":"ACCOUNT","ifInState":"`+state+`","create":{
		"a":{"name":"below","parentId":"#z"},"z":{"name":"Projects","sortOrder":3},"b":{"name":"","parentId":null},"c":{"name":"x","parentId":"#b"},
		"d":{"name":"y","parentId":"#e"},"e":{"name":"y","parentId":"#d"},"f":{"name":"q","totalEmails":1},"g":{"name":"r","parentId":"#none"},
		"h":{"name":"old","role":"archive"},"i":{"name":"Inbox"},"j":{"name":"w","role":"inbox"},"k":{"name":"v","parentId":"F7"}}}`)
	z, a, h := u.at(o, "/created/z/id").(string), u.at(o, "/created/a/id").(string), u.at(o, "/created/h/id").(string)
	u.want("given", u.at(o, "/created/z/totalEmails"), `0`)
	for key, property := range map[string]string{"b": "name", "f": "totalEmails", "i": "name", "j": "role", "k": "parentId"} {
		u.want(key, u.at(o, "/notCreated/"+key+"/type"), `"invalidProperties"`)
		u.want(key, u.at(o, "/notCreated/"+key+"/properties"), `["`+property+`"]`)
	}
	for _, key := range []string{"c", "d", "e", "g"} {
		u.want(key, u.at(o, "/notCreated/"+key+"/type"), `"invalidProperties"`)
	}
	got := u.one("Mailbox/get", `{"accountId":"ACCOUNT","ids":["`+a+`"],"properties":["parentId","isSubscribed"]}`)
	u.want("below", got["list"], `[{"id":"`+a+`","parentId":"`+z+`","isSubscribed":true}]`)
	ch := u.one("Mailbox/changes", `{"accountId":"ACCOUNT","sinceState":"`+state+`"}`)
	u.want("changes", u.at(ch, "/updatedProperties"), `null`)
	if n := len(ch["created"].([]any)); n != 3 {
		t.Errorf("%d mailboxes were made: %v", n, ch)
	}
	state = ch["newState"].(string)

	// Only counts: RFC 8621 section 2.2.
	u.deliver(simple("one", "x"), store.NewMessage{})
	ch = u.one("Mailbox/changes", `{"accountId":"ACCOUNT","sinceState":"`+state+`"}`)
	u.want("counts", ch["updatedProperties"], `["totalEmails","unreadEmails","totalThreads","unreadThreads"]`)
	u.want("whose", ch["updated"], `["F1"]`)
	got = u.one("Mailbox/get", `{"accountId":"ACCOUNT","ids":["F1"],"properties":["totalEmails","unreadEmails","totalThreads","unreadThreads"]}`)
	u.want("counted", got["list"], `[{"id":"F1","totalEmails":1,"unreadEmails":1,"totalThreads":1,"unreadThreads":1}]`)

	// Updates.
	o = u.one("Mailbox/set", `{"accountId":"ACCOUNT","update":{
		"`+z+`":{"name":"Plans","sortOrder":7,"isSubscribed":false,"totalEmails":0},"`+a+`":{"totalEmails":5},"F1":{"name":"x"},"F99":{"name":"x"},
		"`+h+`":{"name/x":"y"}}}`)
	u.want("updated", o["updated"], `{"`+z+`":null}`)
	u.want("server-set", u.at(o, "/notUpdated/"+a), `{"type":"invalidProperties","description":"these cannot be changed","properties":["totalEmails"]}`)
	u.want("standard", u.at(o, "/notUpdated/F1/type"), `"forbidden"`)
	u.want("none", u.at(o, "/notUpdated/F99/type"), `"notFound"`)
	u.want("patch", u.at(o, "/notUpdated/"+h+"/type"), `"invalidPatch"`)
	got = u.one("Mailbox/get", `{"accountId":"ACCOUNT","ids":["`+z+`"],"properties":["name","sortOrder","isSubscribed"]}`)
	u.want("as changed", got["list"], `[{"id":"`+z+`","name":"Plans","sortOrder":7,"isSubscribed":false}]`)
	o = u.one("Mailbox/set", `{"accountId":"ACCOUNT","update":{"`+a+`":{"parentId":null},"`+z+`":{"parentId":"`+a+`"}}}`)
	if o["notUpdated"] != nil {
		t.Errorf("a tree turned round: %v", o)
	}
	u.one("Mailbox/set", `{"accountId":"ACCOUNT","update":{"`+z+`":{"parentId":null}}}`)
	u.one("Mailbox/set", `{"accountId":"ACCOUNT","update":{"`+a+`":{"parentId":"`+z+`"}}}`)

	// Queries: section 2.3.
	for _, tt := range []struct{ args, want string }{
		{`"filter":{"hasAnyRole":true},"sort":[{"property":"sortOrder"}]`, `["F1","F2","F3","` + h + `","F5","F4"]`},
		{`"filter":{"role":"inbox"}`, `["F1"]`},
		{`"filter":{"parentId":"` + z + `"}`, `["` + a + `"]`},
		{`"filter":{"parentId":null,"hasAnyRole":false},"sort":[{"property":"name","isAscending":false}]`, `["` + z + `","F6"]`},
		{`"filter":{"name":"PLA"}`, `["` + z + `"]`},
		{`"filter":{"isSubscribed":false}`, `["` + z + `"]`},
		{`"filter":{"operator":"NOT","conditions":[{"isSubscribed":true}]}`, `["` + z + `"]`},
		{`"filter":{"name":"below"},"filterAsTree":true`, `[]`},
		{`"sort":[{"property":"name"}],"sortAsTree":true,"filter":{"role":null}`, `["F6","` + z + `","` + a + `"]`},
		{`"sort":[{"property":"sortOrder"}],"position":-1`, `["` + a + `"]`},
		{`"sort":[{"property":"sortOrder"}],"anchor":"F2","anchorOffset":1,"limit":1`, `["F3"]`},
	} {
		o := u.one("Mailbox/query", `{"accountId":"ACCOUNT",`+tt.args+`}`)
		u.want(tt.args, o["ids"], tt.want)
	}
	u.fails("Mailbox/query", `{"accountId":"ACCOUNT","filter":{"foo":1}}`, "unsupportedFilter")
	u.fails("Mailbox/query", `{"accountId":"ACCOUNT","filter":{"role":1}}`, "invalidArguments")
	q := u.one("Mailbox/query", `{"accountId":"ACCOUNT","sort":[{"property":"name"}]}`)
	u.one("Mailbox/set", `{"accountId":"ACCOUNT","update":{"`+z+`":{"name":"AAA"}}}`)
	d := u.one("Mailbox/queryChanges", `{"accountId":"ACCOUNT","sort":[{"property":"name"}],"sinceQueryState":"`+q["queryState"].(string)+`","calculateTotal":true}`)
	u.want("moved", d["added"], `[{"id":"`+z+`","index":0}]`)
	u.want("moved", d["removed"], `["`+z+`"]`)
	u.want("total", d["total"], `9`)

	// Destruction: section 2.5.
	u.deliver(simple("two", "x"), store.NewMessage{Folder: folderID(t, a)})
	o = u.one("Mailbox/set", `{"accountId":"ACCOUNT","destroy":["`+z+`","F1","F99","`+a+`"]}`)
	u.want("child", u.at(o, "/notDestroyed/"+z+"/type"), `"mailboxHasChild"`)
	u.want("mail", u.at(o, "/notDestroyed/"+a+"/type"), `"mailboxHasEmail"`)
	u.want("standard", u.at(o, "/notDestroyed/F1/type"), `"forbidden"`)
	u.want("none", u.at(o, "/notDestroyed/F99/type"), `"notFound"`)
	o = u.one("Mailbox/set", `{"accountId":"ACCOUNT","onDestroyRemoveEmails":true,"destroy":["`+z+`","`+a+`"]}`)
	u.want("destroyed", o["destroyed"], `["`+z+`","`+a+`"]`)
	ch = u.one("Mailbox/changes", `{"accountId":"ACCOUNT","sinceState":"`+state+`"}`)
	u.want("gone", ch["destroyed"], `["`+a+`","`+z+`"]`)
}

func folderID(t *testing.T, s string) store.FolderID {
	t.Helper()
	id, ok := store.ParseFolderID(s)
	if !ok {
		t.Fatalf("%q is no folder", s)
	}
	return id
}

// structured is the message of RFC 8621 section 4.1.4.
const structured = `Return-Path: <joe@example.com>
From: "  James Smythe" <james@example.com>
Sender: =?UTF-8?Q?John_Sm=C3=AEth?= <john@example.com>
To: Friends: jane@example.com, =?UTF-8?Q?John_Sm=C3=AEth?= <john@example.com>;, other@example.com
Subject: Dinner
  on =?utf-8?q?Th=C3=BCrsday?=
Date: Sun, 13 Oct 2013 14:12:00 +0200
Message-ID: <one@example.com>
In-Reply-To: <zero@example.com>
References: <minus@example.com>
 <zero@example.com>
List-Post: <mailto:partytime@lists.example.com> (a comment)
X-Twice: 1
X-Twice: 2
X-Raw:  caf` + "\xe9" + `
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=1

--1
Content-Type: text/plain
Content-Disposition: inline

A
--1
Content-Type: multipart/mixed; boundary=2

--2
Content-Type: multipart/alternative; boundary=3

--3
Content-Type: multipart/mixed; boundary=4

--4
Content-Type: text/plain; charset=iso-8859-1
Content-Disposition: inline
Content-Transfer-Encoding: quoted-printable

B caf=E9
second
--4
Content-Type: image/jpeg
Content-Disposition: inline

C
--4
Content-Type: text/plain
Content-Disposition: inline

D
--4--
--3
Content-Type: multipart/related; boundary=5

--5
Content-Type: text/html; charset=utf-8
Content-Language: en, de

<p>E <b>hallo</b></p>
--5
Content-Type: image/jpeg; name=f.jpg
Content-ID: <f@x>
Content-Location: http://example.com/f
Content-Transfer-Encoding: base64

RkZGRg==
--5--
--3--
--2
Content-Type: image/jpeg
Content-Disposition: attachment; filename="g.jpg"

G
--2
Content-Type: application/x-excel

H
--2
Content-Type: message/rfc822

From: inner@example.com
Subject: inner
Content-Type: multipart/mixed; boundary=6

--6

inner text
--6
Content-Type: application/octet-stream

inner file
--6--
--2--
--1
Content-Type: text/plain
Content-Disposition: inline

K
--1--
`

// TestEmailGet: RFC 8621 sections 4.1 and 4.2.
func TestEmailGet(t *testing.T) {
	t.Parallel()
	u := newWorld(t).as("alice")
	id := u.deliver(structured, store.NewMessage{
		Flags: store.Seen | store.Flagged, Keywords: []string{"$Label1"}, Received: time.Date(2013, 10, 13, 14, 12, 0, 0, time.UTC),
		Prefix: []byte("Received: from x\r\n by y; Sun, 13 Oct 2013 14:12:01 +0200\r\n"),
	})
	get := func(args string) object {
		t.Helper()
		o := u.one("Email/get", `{"accountId":"ACCOUNT","ids":["`+id+`"],`+args+`}`)
		if len(o["list"].([]any)) != 1 {
			t.Fatalf("%s: %v", args, o)
		}
		return u.at(o, "/list/0").(object)
	}
	for property, want := range map[string]string{
		"id": `"` + id + `"`, "blobId": `"` + id + `"`, "threadId": `"T` + id[1:] + `"`, "mailboxIds": `{"F1":true}`,
		"keywords": `{"$seen":true,"$flagged":true,"$label1":true}`, "receivedAt": `"2013-10-13T14:12:00Z"`,
		"from": `[{"name":"James Smythe","email":"james@example.com"}]`, "sender": `[{"name":"John Smîth","email":"john@example.com"}]`,
		"to": `[{"name":null,"email":"jane@example.com"},{"name":"John Smîth","email":"john@example.com"},{"name":null,"email":"other@example.com"}]`,
		"cc": `null`, "bcc": `null`, "replyTo": `null`, "subject": `"Dinner  on Thürsday"`, "sentAt": `"2013-10-13T14:12:00+02:00"`,
		"messageId": `["one@example.com"]`, "inReplyTo": `["zero@example.com"]`, "references": `["minus@example.com","zero@example.com"]`,
		"hasAttachment": `true`, "preview": `"A"`, "bodyValues": `{}`,
		"header:subject":                   `" Dinner\r\n  on =?utf-8?q?Th=C3=BCrsday?="`,
		"header:Subject:asText":            `"Dinner  on Thürsday"`,
		"header:from:asAddresses":          `[{"name":"James Smythe","email":"james@example.com"}]`,
		"header:To:asGroupedAddresses":     `[{"name":"Friends","addresses":[{"name":null,"email":"jane@example.com"},{"name":"John Smîth","email":"john@example.com"}]},{"name":null,"addresses":[{"name":null,"email":"other@example.com"}]}]`,
		"header:References:asMessageIds":   `["minus@example.com","zero@example.com"]`,
		"header:Date:asDate":               `"2013-10-13T14:12:00+02:00"`,
		"header:List-POST:asURLs":          `["mailto:partytime@lists.example.com"]`,
		"header:X-Twice":                   `" 2"`,
		"header:x-twice:all":               `[" 1"," 2"]`,
		"header:X-Twice:asText:all":        `["1","2"]`,
		"header:None":                      `null`,
		"header:None:all":                  `[]`,
		"header:None:asAddresses":          `null`,
		"header:X-Raw":                     `"  caf` + "\uFFFD" + `"`,
		"header:X-Twice:asDate":            `null`,
		"header:X-Twice:asURLs":            `null`,
		"header:received":                  `" from x\r\n by y; Sun, 13 Oct 2013 14:12:01 +0200"`,
		"header:Content-Type:asText":       `"multipart/mixed; boundary=1"`,
		"header:X-Twice:asAddresses":       `[{"name":null,"email":"2"}]`,
		"header:Resent-To:asAddresses:all": `[]`,
	} {
		o := get(`"properties":[` + text(property) + `]`)
		u.want(property, o[property], want)
		if len(o) != 2 && property != "id" {
			t.Errorf("%s: %s", property, text(o))
		}
	}
	for _, property := range []string{"header:From:asDate", "header:Subject:asAddresses", "header:Date:asText", "header:List-Post:asText", "header:From:asFoo", "header:a b", "header:", "header:x:all:asText", "header:To:asURLs", "header:Received:asText"} {
		u.fails("Email/get", `{"accountId":"ACCOUNT","ids":[],"properties":[`+text(property)+`]}`, "invalidArguments")
	}
	// Section 4.1.4: how the structure is divided.
	o := get(`"properties":["textBody","htmlBody","attachments","bodyValues","headers","size","bodyStructure"],"bodyProperties":["partId","type","name","cid","disposition","charset","language","location","size","blobId","header:content-language:asText","subParts"],"fetchAllBodyValues":true`)
	u.want("textBody", u.at(o, "/textBody/*/partId"), `["1","2_1_1_1","2_1_1_2","2_1_1_3","3"]`)
	u.want("htmlBody", u.at(o, "/htmlBody/*/partId"), `["1","2_1_2_1","3"]`)
	u.want("attachments", u.at(o, "/attachments/*/partId"), `["2_1_1_2","2_1_2_2","2_2","2_3","2_4"]`)
	u.want("F", u.at(o, "/attachments/1"), `{"partId":"2_1_2_2","type":"image/jpeg","name":"f.jpg","cid":"f@x","disposition":null,"charset":null,"language":null,
		"location":"http://example.com/f","size":4,"blobId":"`+id+`-2_1_2_2","header:content-language:asText":null,"subParts":null}`)
	u.want("E", u.at(o, "/htmlBody/1/language"), `["en","de"]`)
	u.want("header of a part", u.at(o, "/htmlBody/1/header:content-language:asText"), `"en, de"`)
	u.want("implicit charset", u.at(o, "/textBody/0/charset"), `"us-ascii"`)
	u.want("structure", u.at(o, "/bodyStructure/subParts/1/subParts/*/type"), `["multipart/alternative","image/jpeg","application/x-excel","message/rfc822"]`)
	u.want("multipart", u.at(o, "/bodyStructure/partId"), `null`)
	u.want("values", u.at(o, "/bodyValues/2_1_1_1"), `{"value":"B café\nsecond","isEncodingProblem":false,"isTruncated":false}`)
	u.want("first field", u.at(o, "/headers/0"), `{"name":"Received","value":" from x\r\n by y; Sun, 13 Oct 2013 14:12:01 +0200"}`)
	if n := len(u.at(o, "/bodyValues").(object)); n != 5 {
		t.Errorf("%d values", n)
	}
	u.want("text alone", u.at(get(`"fetchTextBodyValues":true,"properties":["bodyValues"]`), "/bodyValues/1/value"), `"A"`)
	html := get(`"fetchHTMLBodyValues":true,"maxBodyValueBytes":7,"properties":["bodyValues"]`)
	u.want("not within a tag", u.at(html, "/bodyValues/2_1_2_1"), `{"value":"<p>E ","isEncodingProblem":false,"isTruncated":true}`)
	for n, want := range map[int]string{5: "B caf", 6: "B caf", 7: "B café"} {
		o := get(fmt.Sprintf(`"fetchAllBodyValues":true,"maxBodyValueBytes":%d,"properties":["bodyValues"]`, n))
		u.want("whole characters", u.at(o, "/bodyValues/2_1_1_1/value"), text(want))
	}
	u.want("default of parts", u.at(get(`"properties":["textBody"]`), "/textBody/0"), `{"partId":"1","blobId":"`+id+`-1","size":1,"name":null,"type":"text/plain","charset":"us-ascii","disposition":"inline","cid":null,"language":null,"location":null}`)
	all := u.one("Email/get", `{"accountId":"ACCOUNT","ids":["`+id+`","`+id+`","M999","F1"]}`)
	if o := u.at(all, "/list/0").(object); len(o) != 24 {
		t.Errorf("the default has %d properties: %s", len(o), text(o))
	}
	u.want("each once", all["notFound"], `["M999","F1"]`)
	u.fails("Email/get", `{"accountId":"ACCOUNT","ids":["`+id+`"],"bodyProperties":["foo"]}`, "invalidArguments")

	// Section 4.1.1: what is marked as deleted is not seen.
	hidden := u.deliver(simple("hidden", "x"), store.NewMessage{Flags: store.Deleted})
	u.want("hidden", u.one("Email/get", `{"accountId":"ACCOUNT","ids":["`+hidden+`"]}`)["notFound"], `["`+hidden+`"]`)

	// Section 4.9: parts and uploads that are messages.
	p := u.one("Email/parse", `{"accountId":"ACCOUNT","blobIds":["`+id+`-2_4","`+id+`-3","U1","`+id+`-9"],"fetchAllBodyValues":true}`)
	u.want("parsed", u.at(p, "/parsed/"+id+"-2_4/subject"), `"inner"`)
	u.want("inner parts", u.at(p, "/parsed/"+id+"-2_4/textBody/0/blobId"), `"`+id+`-2_4_1"`)
	u.want("inner text", u.at(p, "/parsed/"+id+"-2_4/bodyValues/1/value"), `"inner text"`)
	u.want("none", p["notParsable"], `["`+id+`-3"]`)
	u.want("missing", p["notFound"], `["U1","`+id+`-9"]`)
	up := u.upload("message/rfc822", strings.ReplaceAll(simple("uploaded", "x"), "\n", "\r\n"))
	p = u.one("Email/parse", `{"accountId":"ACCOUNT","blobIds":["`+up+`"],"properties":["id","blobId","threadId","keywords","subject","header:Subject","textBody"]}`)
	u.want("upload", u.at(p, "/parsed/"+up+"/subject"), `"uploaded"`)
	u.want("no id", u.at(p, "/parsed/"+up+"/id"), `null`)
	u.want("blob", u.at(p, "/parsed/"+up+"/textBody/0/blobId"), `"`+up+`-1"`)
}

// TestThread: RFC 8621 section 3.
func TestThread(t *testing.T) {
	t.Parallel()
	u := newWorld(t).as("alice")
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	state := u.one("Email/get", `{"accountId":"ACCOUNT","ids":[]}`)["state"].(string)
	one := u.deliver(simple("a", "x", "Message-ID: <1@x>\n"), store.NewMessage{Received: day(2)})
	two := u.deliver(simple("Re: a", "x", "Message-ID: <2@x>", "In-Reply-To: <1@x>\n"), store.NewMessage{Received: day(1)})
	other := u.deliver(simple("b", "x", "Message-ID: <3@x>\n"), store.NewMessage{})
	r := u.run(`["Email/changes",{"accountId":"ACCOUNT","sinceState":"` + state + `"},"t0"],
		["Email/get",{"accountId":"ACCOUNT","#ids":{"resultOf":"t0","name":"Email/changes","path":"/created"},"properties":["threadId"]},"t1"],
		["Thread/get",{"accountId":"ACCOUNT","#ids":{"resultOf":"t1","name":"Email/get","path":"/list/*/threadId"}},"t2"],
		["Email/get",{"accountId":"ACCOUNT","#ids":{"resultOf":"t2","name":"Thread/get","path":"/list/*/emailIds"},"properties":["subject"]},"t3"]`)
	u.want("created", r[0].args["created"], text([]string{one, two, other}))
	u.want("threads, oldest first", u.at(r[2].args, "/list/*/emailIds"), text([]string{two, one, other}))
	u.want("subjects", u.at(r[3].args, "/list/*/subject"), `["Re: a","a","b"]`)
	thread := "T" + one[1:]
	ch := u.one("Thread/changes", `{"accountId":"ACCOUNT","sinceState":"`+state+`"}`)
	u.want("created", ch["created"], text([]string{thread, "T" + other[1:]}))
	state = ch["newState"].(string)
	u.one("Email/set", `{"accountId":"ACCOUNT","destroy":["`+two+`","`+other+`"]}`)
	ch = u.one("Thread/changes", `{"accountId":"ACCOUNT","sinceState":"`+state+`"}`)
	u.want("updated", ch["updated"], text([]string{thread}))
	u.want("destroyed", ch["destroyed"], text([]string{"T" + other[1:]}))
	u.want("not found", u.one("Thread/get", `{"accountId":"ACCOUNT","ids":["`+"T"+other[1:]+`","T1","x"]}`)["notFound"], text([]string{"T" + other[1:], "T1", "x"}))
	// Marks do not change a thread.
	state = ch["newState"].(string)
	u.one("Email/set", `{"accountId":"ACCOUNT","update":{"`+one+`":{"keywords/$seen":true}}}`)
	ch = u.one("Thread/changes", `{"accountId":"ACCOUNT","sinceState":"`+state+`"}`)
	u.want("unchanged", ch["updated"], `[]`)
}
