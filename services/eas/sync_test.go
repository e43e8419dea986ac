package eas

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"waypost/services/eas/wbxml"
)

// TestSyncAsksLittle: the number of questions to the store does not grow with
// what there is to tell.
func TestSyncAsksLittle(t *testing.T) {
	m, s := testServer(t)
	p := &testPhone{h: s, version: wbxml.V141, device: "d"}
	for i := range 100 {
		m.put(1, plainMail(fmt.Sprint("mail ", i)), time.Now(), 0)
	}
	key := p.prime(t, "F1")
	key = p.sync(t, key, "F1", "<WindowSize>200</WindowSize>").Get(wbxml.AirSyncSyncKey)
	ask := func(what string, most int, inner string, want int) {
		t.Helper()
		before := m.total()
		c := p.sync(t, key, "F1", inner)
		if n := m.total() - before; n > most {
			t.Errorf("%s: %d questions, want at most %d: %v", what, n, most, m.calls)
		}
		if got := len(children(c.Child(wbxml.AirSyncCommands))); got != want {
			t.Errorf("%s: %d commands, want %d", what, got, want)
		}
		if k := c.Get(wbxml.AirSyncSyncKey); k != "" {
			key = k
		}
	}
	// Folder, request cache, state, changes, messages, save; now and then the cache is saved.
	m.put(1, plainMail("one"), time.Now(), 0)
	ask("one new", 7, "", 1)
	for i := range 80 {
		m.put(1, plainMail(fmt.Sprint("more ", i)), time.Now(), 0)
	}
	ask("80 new", 8, "", 80)
	var b strings.Builder
	b.WriteString("<Commands>")
	for i := range 50 {
		fmt.Fprintf(&b, "<Change><ServerId>M%d</ServerId><ApplicationData><Email:Read>1</Email:Read></ApplicationData></Change>", 101+i)
	}
	for i := range 30 {
		fmt.Fprintf(&b, "<Delete><ServerId>M%d</ServerId></Delete>", 160+i)
	}
	b.WriteString("</Commands>")
	ask("80 commands", 9, b.String(), 0)
	ask("nothing", 5, "", 0)
	ask("nothing again", 4, "", 0)
}

// TestSyncWaits: a Sync with a heartbeat is answered when something arrives,
// and a newer one of the same phone ends it.
func TestSyncWaits(t *testing.T) {
	m, s := testServer(t)
	s.opt.MinHeartbeat = time.Second
	p := &testPhone{h: s, version: wbxml.V141, device: "d"}
	key := p.prime(t, "F1")
	waiting := strings.Replace(collectionText(key, "F1", ""), "</Collections>", "</Collections><HeartbeatInterval>60</HeartbeatInterval>", 1)
	type answer struct {
		n   *wbxml.Node
		err error
	}
	start := func() chan answer {
		c := make(chan answer, 1)
		n, err := wbxml.Parse(waiting)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			out, err := p.do("Sync", n)
			c <- answer{out, err}
		}()
		return c
	}
	get := func(c chan answer) *wbxml.Node {
		t.Helper()
		select {
		case a := <-c:
			if a.err != nil {
				t.Fatal(a.err)
			}
			return a.n
		case <-time.After(10 * time.Second):
			t.Fatal("no answer")
			return nil
		}
	}
	first := start()
	time.Sleep(50 * time.Millisecond)
	second := start()
	if n := get(first); n != nil {
		t.Errorf("superseded: %s", n)
	}
	time.Sleep(50 * time.Millisecond)
	m.put(1, plainMail("news"), time.Now(), 0)
	n := get(second)
	if got := n.Child(wbxml.AirSyncCollections, wbxml.AirSyncCollection, wbxml.AirSyncCommands, wbxml.AirSyncAdd); got == nil {
		t.Errorf("answer %s", n)
	}
	s.Stop()
}

// TestItemOperationsMultipart: bodies and files travel beside the document (MS-ASCMD 2.2.1.10.1.1).
func TestItemOperationsMultipart(t *testing.T) {
	m, s := testServer(t)
	id := m.put(1, samples["files"], time.Now(), 0)
	p := &testPhone{h: s, version: wbxml.V141, device: "d"}
	n, err := wbxml.Parse("<ItemOperations:ItemOperations><Fetch><Store>Mailbox</Store><AirSyncBase:FileReference>" + id.String() +
		":2</AirSyncBase:FileReference></Fetch><Fetch><Store>Mailbox</Store><AirSync:CollectionId>F1</AirSync:CollectionId><AirSync:ServerId>" + id.String() +
		"</AirSync:ServerId><Options><AirSync:MIMESupport>2</AirSync:MIMESupport><AirSyncBase:BodyPreference><Type>4</Type></AirSyncBase:BodyPreference></Options></Fetch></ItemOperations:ItemOperations>")
	if err != nil {
		t.Fatal(err)
	}
	body, err := wbxml.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	p.multipart = true
	w := p.raw("ItemOperations", typeWBXML, body)
	b := w.Body.Bytes()
	if w.Header().Get("Content-Type") != typeMultipart || binary.LittleEndian.Uint32(b) != 3 {
		t.Fatalf("answer %v", w.Header())
	}
	part := func(i int) []byte {
		o, l := binary.LittleEndian.Uint32(b[4+8*i:]), binary.LittleEndian.Uint32(b[8+8*i:])
		return b[o : o+l]
	}
	doc, err := decodeDocument(part(0))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(doc.String(), "<Part>1</Part>") || !strings.Contains(doc.String(), "<ItemOperations:Part>2</ItemOperations:Part>") {
		t.Errorf("document %s", doc)
	}
	if got := string(part(1)); got != "0123456789" {
		t.Errorf("part 1 is %q", got)
	}
	if got, want := string(part(2)), "Return-Path: <x@example.org>\r\n"+crlf(samples["files"]); got != want {
		t.Errorf("part 2 is %q", got)
	}
}

// TestGetAttachment: the file's bytes, and 500 for what is not there.
func TestGetAttachment(t *testing.T) {
	m, s := testServer(t)
	id := m.put(1, samples["files"], time.Now(), 0)
	p := &testPhone{h: s, version: wbxml.V121, device: "d"}
	w := p.raw("GetAttachment", "", nil, "AttachmentName", id.String()+":1.2")
	if got := w.Body.String(); w.Code != 200 || got != "\x89PNG\r\n\x1a\n" || w.Header().Get("Content-Type") != "image/png" {
		t.Errorf("%d %q %v", w.Code, got, w.Header())
	}
	for _, name := range []string{"", "M9:1", id.String() + ":7", id.String() + ":x", "M101"} {
		if w := p.raw("GetAttachment", "", nil, "AttachmentName", name); w.Code != 500 {
			t.Errorf("%q: %d, want 500", name, w.Code)
		}
	}
}

// TestDraftGoneBeforeItsAnswer: the server fell over after it had made a draft,
// and somebody deleted the draft before the phone tried again. The phone does
// not keep what is nowhere else.
func TestDraftGoneBeforeItsAnswer(t *testing.T) {
	m, s := testServer(t)
	p := &testPhone{h: s, version: wbxml.V161, device: "d"}
	key := p.prime(t, "F2")
	key = p.sync(t, key, "F2", "<Options><FilterType>0</FilterType><AirSyncBase:BodyPreference><Type>1</Type></AirSyncBase:BodyPreference></Options>").Get(wbxml.AirSyncSyncKey)
	add := "<Commands><Add><ClientId>c</ClientId><ApplicationData><Email:Subject>x</Email:Subject></ApplicationData></Add></Commands>"
	m.failures = 1
	if out := p.must(t, "Sync", collectionText(key, "F2", add)); out.Get(wbxml.AirSyncStatus) == "" {
		t.Fatalf("answer %s", out)
	}
	if err := m.Empty(t.Context(), annPrincipal, 7, 2); err != nil {
		t.Fatal(err)
	}
	c := p.sync(t, key, "F2", add)
	id := c.Get(wbxml.AirSyncResponses, wbxml.AirSyncAdd, wbxml.AirSyncServerId)
	if gone := c.Get(wbxml.AirSyncCommands, wbxml.AirSyncDelete, wbxml.AirSyncServerId); id == "" || gone != id {
		t.Errorf("answer %s", c)
	}
}
