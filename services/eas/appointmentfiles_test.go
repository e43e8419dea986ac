package eas

import (
	"strings"
	"testing"

	"waypost/services/eas/wbxml"
)

// TestFilesOfAppointments: a phone of 16.1 adds files to an appointment, reads
// one, and takes one away (MS-ASCAL 3.1.4.8).
func TestFilesOfAppointments(t *testing.T) {
	m, s := testServer(t)
	m.object(7, objectSamples["day"])
	p := &testPhone{h: s, version: wbxml.V161, device: "d"}
	key := p.sync(t, p.prime(t, "F7"), "F7", "").Get(wbxml.AirSyncSyncKey)
	change := func(inner string) *wbxml.Node {
		t.Helper()
		c := p.sync(t, key, "F7", "<Commands><Change><ServerId>M101</ServerId><ApplicationData><AirSyncBase:Attachments>"+inner+"</AirSyncBase:Attachments></ApplicationData></Change></Commands>")
		key = c.Get(wbxml.AirSyncSyncKey)
		return c
	}
	large := strings.Repeat("a", 100<<10)
	c := change("<Add><ClientId>f1</ClientId><Content opaque>hello</Content><DisplayName>one.txt</DisplayName><Method>1</Method><ContentType>text/plain</ContentType></Add>" +
		"<Add><ClientId>f2</ClientId><Content opaque>" + large + "</Content><DisplayName>two</DisplayName><Method>1</Method></Add>")
	refs := map[string]string{}
	for a := range c.Child(wbxml.AirSyncResponses, wbxml.AirSyncChange, wbxml.AirSyncApplicationData, wbxml.AirSyncBaseAttachments).All(wbxml.AirSyncBaseAttachment) {
		refs[a.Get(wbxml.AirSyncBaseClientId)] = a.Get(wbxml.AirSyncBaseFileReference)
	}
	if len(refs) != 2 || c.Get(wbxml.AirSyncResponses, wbxml.AirSyncChange, wbxml.AirSyncStatus) != "1" || c.Has(wbxml.AirSyncCommands) {
		t.Fatalf("answer %s", c)
	}
	if !strings.Contains(m.text(101), "ATTACH;ENCODING=BASE64;VALUE=BINARY;FMTTYPE=text/plain;FILENAME=one.txt:aGVsbG8=") {
		t.Errorf("text %.1000s", m.text(101))
	}
	fetch := func(ref string) *wbxml.Node {
		t.Helper()
		out := p.must(t, "ItemOperations", "<ItemOperations:ItemOperations><Fetch><Store>Mailbox</Store><AirSyncBase:FileReference>"+ref+"</AirSyncBase:FileReference></Fetch></ItemOperations:ItemOperations>")
		return out.Child(wbxml.ItemOperationsResponse, wbxml.ItemOperationsFetch)
	}
	if f := fetch(refs["f1"]); f.Get(wbxml.ItemOperationsProperties, wbxml.ItemOperationsData) != "aGVsbG8=" || f.Get(wbxml.ItemOperationsProperties, wbxml.AirSyncBaseContentType) != "text/plain" {
		t.Errorf("file %s", f)
	}
	if c = change("<Delete><FileReference>" + refs["f1"] + "</FileReference></Delete>"); c.Has(wbxml.AirSyncResponses) || c.Has(wbxml.AirSyncCommands) {
		t.Errorf("deleted: %s", c)
	}
	if f := fetch(refs["f1"]); f.Get(wbxml.ItemOperationsStatus) != "15" {
		t.Errorf("file that is gone: %s", f)
	}
	// Another phone sees what is left.
	q := &testPhone{h: s, version: wbxml.V160, device: "e"}
	files := q.sync(t, q.prime(t, "F7"), "F7", "").Child(wbxml.AirSyncCommands, wbxml.AirSyncAdd, wbxml.AirSyncApplicationData, wbxml.AirSyncBaseAttachments)
	if len(children(files)) != 1 || files.Get(wbxml.AirSyncBaseAttachment, wbxml.AirSyncBaseFileReference) != refs["f2"] {
		t.Errorf("files %s", files)
	}
}
