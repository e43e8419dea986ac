package wbxml

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"waypost/internal/corpus"
	"waypost/internal/fault"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTags(t *testing.T) {
	for _, tt := range []struct {
		tag      Tag
		name     string
		kind     Kind
		in, lack Version
	}{
		{AirSyncSyncKey, "AirSync:SyncKey", String, V25, 0},
		{AirSyncMoreAvailable, "AirSync:MoreAvailable", Empty, V161, 0},
		{AirSyncHeartbeatInterval, "AirSync:HeartbeatInterval", Integer, V140, V121},
		{EmailBody, "Email:Body", String, V25, V121},
		{ComposeMailMime, "ComposeMail:Mime", Bytes, V140, V121},
		{ProvisionAccountOnlyRemoteWipe, "Provision:AccountOnlyRemoteWipe", Container, V161, V160},
		{GalDisplayName, "Gal:DisplayName", String, V25, 0},
		{FindFind, "Find:Find", Container, V161, V160},
		{SearchStores, "Search:Stores", String, 0, V161},
		{0x3F, "AirSync:_3F", String, 0, V161},
		{40<<8 | 5, "Page40:_05", String, 0, V161},
	} {
		if got := tt.tag.String(); got != tt.name {
			t.Errorf("%#04x is %q, want %q", uint16(tt.tag), got, tt.name)
		}
		page, name, _ := strings.Cut(tt.name, ":")
		if got, ok := Lookup(page, name); !ok || got != tt.tag {
			t.Errorf("Lookup(%q) = %v, %v", tt.name, got, ok)
		}
		if tt.in != 0 && !tt.tag.In(tt.in) {
			t.Errorf("%v is not in %v", tt.tag, tt.in)
		}
		if tt.lack != 0 && tt.tag.In(tt.lack) {
			t.Errorf("%v is in %v", tt.tag, tt.lack)
		}
		if got := tt.tag.Kind(); got != tt.kind && tt.tag != ProvisionAccountOnlyRemoteWipe {
			t.Errorf("%v has kind %v, want %v", tt.tag, got, tt.kind)
		}
	}
	for _, bad := range []string{"AirSync:Nothing", "Nowhere:Sync", "AirSync:_05", "AirSync:_04", "Page7:_05", "Page300:_05", "AirSync:"} {
		page, name, _ := strings.Cut(bad, ":")
		if got, ok := Lookup(page, name); ok {
			t.Errorf("Lookup(%q) = %v", bad, got)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, s := range []string{"2.0", "2.5", "12.0", "12.1", "14.1", "16.1"} {
		if v, ok := ParseVersion(s); !ok || v.String() != s {
			t.Errorf("ParseVersion(%q) = %v, %v", s, v, ok)
		}
	}
	for _, s := range []string{"", "1.0", "12", "12.10", "17.0", "2.50"} {
		if v, ok := ParseVersion(s); ok {
			t.Errorf("ParseVersion(%q) = %v", s, v)
		}
	}
}

// TestEncode has the bytes that MS-ASWBXML and libwbxml give for the document.
func TestEncode(t *testing.T) {
	var b bytes.Buffer
	e := NewEncoder(&b)
	e.Start(FolderHierarchyFolderSync)
	e.Int(FolderHierarchyStatus, 1)
	e.Text(FolderHierarchySyncKey, "")
	e.Start(FolderHierarchyChanges)
	e.End()
	e.Bool(AirSyncGetChanges, true)
	e.Bytes(ComposeMailMime, []byte("hi"))
	e.End()
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "03016a00" + "0007" + "56" + "4c03310001" + "12" + "0e" +
		"0000" + "5303310001" + "0015" + "50c302686901" + "01"
	if got := hex.EncodeToString(b.Bytes()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEncoderKeepsItsFirstError(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		run        func(e *Encoder)
	}{
		{"left open", "left open", func(e *Encoder) { e.Start(AirSyncSync) }},
		{"end too much", "end without", func(e *Encoder) { e.Empty(AirSyncSync); e.End() }},
		{"second root", "after the root", func(e *Encoder) { e.Empty(AirSyncSync); e.Empty(AirSyncSync) }},
		{"no token", "token", func(e *Encoder) { e.Empty(0x0003) }},
		{"short opaque", "1 bytes of 3", func(e *Encoder) { e.Opaque(ComposeMailMime, 3, strings.NewReader("x")) }},
		{"broken reader", "boom", func(e *Encoder) { e.TextFrom(AirSyncSync, iotest.ErrReader(errors.New("boom"))) }},
		{"sunk", "elsewhere", func(e *Encoder) { e.Node(&Node{Tag: AirSyncSync, Sunk: 1}) }},
		{"inside text", "inside text", func(e *Encoder) { e.TextWriter(AirSyncSync); e.Start(AirSyncAdd) }},
	} {
		e := NewEncoder(io.Discard)
		tt.run(e)
		err := e.Flush()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		e.Empty(AirSyncAdd)
		if again := e.Flush(); again == nil || again.Error() != err.Error() {
			t.Errorf("%s: first error replaced by %v", tt.name, again)
		}
	}
}

var cleanings = []struct{ in, want string }{
	{"", ""},
	{"plain", "plain"},
	{"a\x00b", "ab"},
	{"\x01\x02", ""},
	{"tab\tnl\r\n", "tab\tnl\r\n"},
	{"ü\x0b中", "ü中"},
	{"a\xffb", "a\uFFFDb"},
	{"\xe4\xb8", "\uFFFD\uFFFD"},
	{"x\uFFFEy\uFFFFz", "xyz"},
	{"\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"}, // a surrogate
	{"😀", "😀"},
}

func TestCleanWholeAndInPieces(t *testing.T) {
	for _, tt := range cleanings {
		if got := clean(tt.in); got != tt.want {
			t.Errorf("clean(%q) = %q, want %q", tt.in, got, tt.want)
		}
		for _, wrap := range []func(io.Reader) io.Reader{
			func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader,
		} {
			var b bytes.Buffer
			e := NewEncoder(&b)
			e.TextFrom(AirSyncSync, wrap(strings.NewReader(tt.in)))
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
			n, err := decode(b.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if n.Text != tt.want {
				t.Errorf("TextFrom(%q) = %q, want %q", tt.in, n.Text, tt.want)
			}
		}
	}
}

func TestDecodeForms(t *testing.T) {
	const head = "03016a00"
	empty := &Node{Tag: AirSyncSync}
	for _, tt := range []struct {
		name, in string
		want     *Node
	}{
		{"no content bit", head + "05", empty},
		{"content and END", head + "4501", empty},
		{"empty string", head + "45030001", empty},
		{"empty opaque", head + "45c30001", empty},
		{"two strings", head + "45 036100 036200 01", NewText(AirSyncSync, "ab")},
		{"what follows the root is ignored", head + "05ffffff", empty},
		{"spaces among elements", head + "45 030a2000 4e 033100 01 01", New(AirSyncSync, NewText(AirSyncStatus, "1"))},
		{"long form of a length", head + "45 c38001 61 01", NewBytes(AirSyncSync, []byte("a"))},
		{"public id by index", "03 0000 6a 21 2d2f2f4d4943524f534f46542f2f4454442041637469766553796e632f2f454e00 05", empty},
		{"page at once and within", head + "0007 56 0000 4b 033000 01 01", New(FolderHierarchyFolderSync, NewText(AirSyncSyncKey, "0"))},
		{"unknown element", head + "45 7f 033100 01 01", New(AirSyncSync, NewText(0x3F, "1"))},
		{"unknown page", head + "45 0063 05 01", New(AirSyncSync, New(99<<8|5))},
		{"control characters", head + "45 03610162ff00 01", NewText(AirSyncSync, "ab\uFFFD")},
	} {
		got, err := decode(unhex(t, tt.in))
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tt.name, err, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	const head = "03016a00"
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", "", "byte 0 (code page 0 AirSync): the input ends before the first element"},
		{"header only", head, "byte 4"},
		{"version", "02016a0005", "version byte 0x02"},
		{"public id", "03066a0005", "public id 6"},
		{"public id by index, other", "03 0000 6a 03 616200 05", "names another type"},
		{"index outside", "03 0009 6a 01 00 05", "names another type"},
		{"charset", "0301030005", "charset 3"},
		{"string table", "03016a8f7f", "string table of 2047 bytes"},
		{"attributes", head + "c5", "attributes"},
		{"LITERAL", head + "4504", "byte 5 (code page 0 AirSync): token LITERAL"},
		{"PI", head + "43", "token PI"},
		{"EXT", head + "45c0", "token EXT_0"},
		{"ENTITY", head + "450220", "token ENTITY"},
		{"STR_T", head + "458300", "token STR_T"},
		{"END first", head + "01", "END without"},
		{"value first", head + "036100", "outside"},
		{"cut text", head + "450361", "ends inside AirSync:Sync"},
		{"cut opaque", head + "45c30561", "ends inside AirSync:Sync"},
		{"cut element", head + "0007564c", "byte 8 (code page 7 FolderHierarchy): the input ends inside FolderHierarchy:Status"},
		{"long length", head + "45c3ffffffffff7f", "does not fit"},
		{"large length", head + "45c38fffffff7f", "more than 157286400"},
		{"mixed", head + "45 036100 4e01 01", "text among"},
		{"opaque and text", head + "45 036100 c30161 01", "beside text"},
	} {
		_, err := decode(unhex(t, tt.in))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		if k := fault.Of(err); k != fault.Invalid && k != fault.TooLarge {
			t.Errorf("%s: kind %v", tt.name, k)
		}
	}
}

func TestLimits(t *testing.T) {
	deep := append(unhex(t, "03016a00"), bytes.Repeat([]byte{0x45}, 40)...)
	wide := append(append(unhex(t, "03016a0045"), bytes.Repeat([]byte{0x07}, 200)...), 1)
	long := append(append(unhex(t, "03016a004503"), bytes.Repeat([]byte{'x'}, 9000)...), 0, 1)
	opaque := append(append(unhex(t, "03016a0045c3c628"), bytes.Repeat([]byte{'x'}, 9000)...), 1)
	for _, tt := range []struct {
		name string
		in   []byte
		lim  Limits
		want string
	}{
		{"depth", deep, Limits{}, "more than 32 elements deep"},
		{"elements", wide, Limits{Elements: 100}, "more than 100 elements"},
		{"text", long, Limits{Text: 8999}, "longer than 8999"},
		{"text unended", long[:5000], Limits{Text: 100}, "longer than 100"},
		{"size", long, Limits{Size: 5000}, "longer than 5000"},
		{"size of opaque", opaque, Limits{Size: 5000}, "longer than 5000"},
		{"opaque", opaque, Limits{Opaque: 5000}, "more than 5000"},
		{"held text", long, Limits{Held: 5000}, "exceed 5000"},
		{"held opaque", opaque, Limits{Held: 5000}, "exceed 5000"},
	} {
		d := NewDecoder(bytes.NewReader(tt.in), tt.lim)
		if n := d.Tree(nil); n != nil {
			t.Errorf("%s: got a tree", tt.name)
		}
		if err := d.Err(); err == nil || !strings.Contains(err.Error(), tt.want) || fault.Of(err) != fault.TooLarge {
			t.Errorf("%s: got %v (%v), want %q", tt.name, err, fault.Of(err), tt.want)
		}
	}
	for _, in := range [][]byte{long, opaque} {
		d := NewDecoder(bytes.NewReader(in), Limits{Text: 9000, Opaque: 9000, Size: int64(len(in))})
		if n := d.Tree(nil); n == nil {
			t.Errorf("at the limit: %v", d.Err())
		}
	}
}

// TestLyingLengthCostsNothing: a length of 100 MiB with no bytes behind it.
func TestLyingLengthCostsNothing(t *testing.T) {
	in := unhex(t, "03016a0045c3b2808000")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d := NewDecoder(bytes.NewReader(in), Limits{Held: 200 << 20})
	if d.Tree(nil) != nil || d.Err() == nil {
		t.Fatal("a cut document was read")
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("allocated %d bytes", got)
	}
}

// TestStreaming passes 150 MiB through a pipe and holds none of it.
func TestStreaming(t *testing.T) {
	const size = 150 << 20
	r, w := io.Pipe()
	go func() {
		e := NewEncoder(w)
		e.Start(ComposeMailSendMail)
		e.Text(ComposeMailClientId, "c1")
		e.Opaque(ComposeMailMime, size, zeros{})
		e.End()
		w.CloseWithError(e.Flush())
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d := NewDecoder(r, Limits{})
	n := d.Tree(func(tag Tag, n int64, r io.Reader) (any, error) {
		if tag != ComposeMailMime || n != size {
			t.Errorf("sink got %v with %d bytes", tag, n)
		}
		return io.Copy(io.Discard, r)
	})
	runtime.ReadMemStats(&after)
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	if got := n.Child(ComposeMailMime).Sunk; got != int64(size) {
		t.Errorf("sunk %v", got)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
		t.Errorf("allocated %d bytes", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestSinkErrorEndsDecoding(t *testing.T) {
	b, err := Marshal(NewBytes(ComposeMailMime, make([]byte, 100)))
	if err != nil {
		t.Fatal(err)
	}
	full := fault.New(fault.OverQuota, "no room")
	d := NewDecoder(bytes.NewReader(b), Limits{Inline: 10})
	if d.Tree(func(Tag, int64, io.Reader) (any, error) { return nil, full }) != nil || !errors.Is(d.Err(), full) {
		t.Errorf("got %v", d.Err())
	}
}

func TestReadErrorIsNotTheSendersFault(t *testing.T) {
	gone := errors.New("connection reset")
	d := NewDecoder(io.MultiReader(bytes.NewReader(unhex(t, "03016a0045")), iotest.ErrReader(gone)), Limits{})
	d.Tree(nil)
	if err := d.Err(); !errors.Is(err, gone) || fault.Of(err) == fault.Invalid {
		t.Errorf("got %v", err)
	}
}

func TestChildren(t *testing.T) {
	n, err := Parse(`
<AirSync:Sync>
  <Collections>
    <Collection><SyncKey>5</SyncKey><_3F><Status>9</Status></_3F><CollectionId>f1</CollectionId><GetChanges/></Collection>
    <Collection><SyncKey>6</SyncKey></Collection>
  </Collections>
  <Wait>3</Wait>
</AirSync:Sync>`)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	d := NewDecoder(bytes.NewReader(b), Limits{})
	for root := range d.Children() {
		got = append(got, root.Name())
		for tag := range d.Children() {
			switch tag {
			case AirSyncCollections:
				for range d.Children() {
					for tag := range d.Children() {
						if tag == AirSyncSyncKey {
							got = append(got, "key "+d.Text())
							continue // the rest of the collection is skipped below
						}
						got = append(got, tag.Name())
					}
				}
			case AirSyncWait:
				got = append(got, "wait "+d.Text())
			}
		}
	}
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	want := []string{"Sync", "key 5", "_3F", "CollectionId", "GetChanges", "key 6", "wait 3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	d = NewDecoder(bytes.NewReader(b), Limits{})
	for range d.Children() {
		for tag := range d.Children() { // leaves after the first
			if tag != AirSyncCollections {
				t.Errorf("got %v", tag)
			}
			break
		}
		if tok := d.Next(); tok.Kind != Done {
			t.Errorf("after leaving: %v", tok)
		}
	}
	if err := d.Err(); err != nil {
		t.Error(err)
	}
}

func TestUnreadOpaqueIsPassedOver(t *testing.T) {
	b, err := Marshal(New(ComposeMailSendMail, NewBytes(ComposeMailMime, bytes.Repeat([]byte{0x45}, 10000)), NewText(ComposeMailClientId, "c")))
	if err != nil {
		t.Fatal(err)
	}
	d := NewDecoder(bytes.NewReader(b), Limits{})
	var kinds []TokenKind
	for tok := d.Next(); tok.Kind != Done; tok = d.Next() {
		kinds = append(kinds, tok.Kind)
	}
	want := []TokenKind{Start, Start, Opaque, End, Start, Text, End, End}
	if diff := cmp.Diff(want, kinds); diff != "" || d.Err() != nil {
		t.Errorf("%v\n%s", d.Err(), diff)
	}
	if d.Offset() != int64(len(b)) {
		t.Errorf("offset %d of %d", d.Offset(), len(b))
	}
}

func TestNode(t *testing.T) {
	n, err := Parse(`<AirSync:Sync><WindowSize>25</WindowSize><GetChanges/><DeletesAsMoves>0</DeletesAsMoves>
		<Limit>many</Limit><Collections><Collection><SyncKey>1</SyncKey></Collection><Collection><SyncKey>2</SyncKey></Collection></Collections></AirSync:Sync>`)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := n.Int(AirSyncWindowSize, 100); v != 25 || err != nil {
		t.Errorf("WindowSize %d, %v", v, err)
	}
	if v, err := n.Int(AirSyncWait, 100); v != 100 || err != nil {
		t.Errorf("absent %d, %v", v, err)
	}
	if v, err := n.Int(AirSyncLimit, 7); v != 7 || fault.Of(err) != fault.Invalid {
		t.Errorf("no number: %d, %v", v, err)
	}
	for tag, want := range map[Tag]bool{AirSyncGetChanges: true, AirSyncDeletesAsMoves: false, AirSyncPartial: true} {
		if got := n.Bool(tag, true); got != want {
			t.Errorf("%v is %v", tag, got)
		}
	}
	var keys string
	for c := range n.Child(AirSyncCollections).All(AirSyncCollection) {
		keys += c.Get(AirSyncSyncKey)
	}
	if keys != "12" || n.Get(AirSyncCollections, AirSyncCollection, AirSyncSyncKey) != "1" {
		t.Errorf("keys %q", keys)
	}
	var none *Node
	if none.Has(AirSyncSync) || none.Value() != "" || none.Get(AirSyncSync) != "" || none.String() != "" {
		t.Error("a nil node has something")
	}
	for range none.All(AirSyncSync) {
		t.Error("a nil node has children")
	}
}

func TestTextForm(t *testing.T) {
	const text = `<ComposeMail:SendMail>
  <ClientId>a&lt;b&amp;c&#10;d</ClientId>
  <SaveInSentItems/>
  <Mime opaque>From: x&#13;&#10;</Mime>
  <AirSync:Collections>
    <Collection/>
    <Page99:_05 hex>00ff</Page99:_05>
  </AirSync:Collections>
</ComposeMail:SendMail>
`
	want := New(ComposeMailSendMail, NewText(ComposeMailClientId, "a<b&c\nd"), New(ComposeMailSaveInSentItems),
		NewBytes(ComposeMailMime, []byte("From: x\r\n")),
		New(AirSyncCollections, New(AirSyncCollection), NewBytes(99<<8|5, []byte{0, 0xFF})))
	got, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if back := got.String(); back != text {
		t.Errorf("got\n%swant\n%s", back, text)
	}
	lined, err := Parse("<ComposeMail:Mime crlf>\n    From: x &lt;x@y&gt;\n\n      body\n  </ComposeMail:Mime>")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := lined.Value(), "From: x <x@y>\r\n\r\n  body\r\n"; got != want {
		t.Errorf("crlf: %q, want %q", got, want)
	}
	if got, want := Format(got.Child(ComposeMailMime), 4), "<ComposeMail:Mime size=9/>\n"; got != want {
		t.Errorf("shortened: %q, want %q", got, want)
	}
	for _, tt := range []struct{ in, want string }{
		{"", "line 1: expected an element"},
		{"<AirSync:Sync>\n<Nope/></AirSync:Sync>", `line 2: no element "Nope"`},
		{"<Sync/>", "no element"},
		{"<AirSync:Sync><Status>1</Sync>", "expected </Status>"},
		{"<AirSync:Sync>", "no </AirSync:Sync>"},
		{"<AirSync:Sync/>x", "after the element"},
		{"<AirSync:Status>1\n2</AirSync:Status>", "line break"},
		{"<AirSync:Status bold>1</AirSync:Status>", "unknown attribute"},
		{"<AirSync:Status size=3/>", "no attribute"},
		{"<AirSync:Status hex>0g</AirSync:Status>", "invalid byte"},
		{"<!-- x", "comment"},
	} {
		if _, err := Parse(tt.in); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Parse(%q): got %v, want %q", tt.in, err, tt.want)
		}
	}
}

var anyNode = rapid.Custom(func(t *rapid.T) *Node { return drawNode(t, 0) })

func drawNode(t *rapid.T, depth int) *Node {
	tag := Tag(rapid.IntRange(0, 27).Draw(t, "page")<<8 | rapid.IntRange(5, 0x3F).Draw(t, "token"))
	n := &Node{Tag: tag}
	switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); {
	case kind == 0:
		n.Text = clean(rapid.String().Draw(t, "text"))
	case kind == 1:
		if n.Bytes = rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"); len(n.Bytes) == 0 {
			n.Bytes = nil
		}
	case depth < 6:
		for range rapid.IntRange(0, 4).Draw(t, "children") {
			n.Children = append(n.Children, drawNode(t, depth+1))
		}
	}
	return n
}

func TestRoundTripOfAnything(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := anyNode.Draw(rt, "node")
		b, err := Marshal(n)
		if err != nil {
			rt.Fatal(err)
		}
		back, err := decode(b)
		if diff := cmp.Diff(n, back); err != nil || diff != "" {
			rt.Fatalf("through bytes: %v\n%s", err, diff)
		}
		text, err := Parse(Format(n, 0))
		if diff := cmp.Diff(n, text); err != nil || diff != "" {
			rt.Fatalf("through text: %v\n%s", err, diff)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(unhex(f, "03016a0045030001"))
	f.Add(unhex(f, "030000 6a 21 2d2f2f4d4943524f534f46542f2f4454442041637469766553796e632f2f454e00 05"))
	f.Add(unhex(f, "03016a0045c3b2808000"))
	for _, tag := range []string{"captured", "encoded-by-libwbxml", "wap-other"} {
		seeds(f, tag)
	}
	lim := Limits{Elements: 5000, Text: 64 << 10, Held: 1 << 20, Size: 1 << 20}
	f.Fuzz(func(t *testing.T, in []byte) {
		d := NewDecoder(bytes.NewReader(in), lim)
		n := d.Tree(nil)
		if (n == nil) != (d.Err() != nil) {
			t.Fatalf("tree %v with error %v", n, d.Err())
		}
		pull := NewDecoder(iotest.OneByteReader(bytes.NewReader(in)), lim)
		for pull.Next().Kind != Done {
		}
		if n == nil {
			return
		}
		if pull.Err() != nil {
			t.Fatalf("pulled: %v", pull.Err())
		}
		b, err := Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(b)
		if err != nil || !reflect.DeepEqual(n, again) {
			t.Fatalf("%v\n%v\n%v", err, n, again)
		}
		text, err := Parse(Format(n, 0))
		if err != nil || !reflect.DeepEqual(n, text) {
			t.Fatalf("%v\n%v\n%v", err, n, text)
		}
	})
}

// seeds adds the corpus, where it is there; a fuzz target must run without it.
func seeds(f *testing.F, tag string) {
	dir, err := corpus.Find()
	if err != nil {
		return
	}
	names, err := documentsIn(dir, tag)
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		f.Add(mustRead(f, name))
	}
}

func FuzzParse(f *testing.F) {
	f.Add("<AirSync:Sync><Status>1</Status></AirSync:Sync>")
	f.Add("<ComposeMail:Mime crlf>\n  a\n</ComposeMail:Mime>")
	f.Add("<Page99:_05 hex>00ff</Page99:_05>")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if err != nil {
			return
		}
		back, err := Parse(Format(n, 0))
		if diff := cmp.Diff(n, back); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
	})
}

func BenchmarkDecodeTree(b *testing.B) {
	n := New(AirSyncSync)
	for range 100 {
		n.Add(New(AirSyncAdd, NewText(AirSyncServerId, "12345"), NewText(EmailSubject, "a subject of usual length"), NewText(EmailTo, "x@example.test")))
	}
	doc, err := Marshal(n)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(doc); err != nil {
			b.Fatal(err)
		}
	}
}
