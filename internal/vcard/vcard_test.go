package vcard

import (
	"strings"
	"testing"

	"waypost/internal/corpus"
	"waypost/internal/fault"
)

func one(t testing.TB, text string) *Card {
	t.Helper()
	cards, _, err := Parse([]byte(text), Object)
	if err != nil || len(cards) != 1 {
		t.Fatalf("%d cards, %v", len(cards), err)
	}
	return cards[0]
}

func body(lines string) string {
	return "BEGIN:VCARD\r\n" + strings.ReplaceAll(strings.TrimLeft(lines, "\n"), "\n", "\r\n") + "END:VCARD\r\n"
}

func unfold(s string) string { return strings.ReplaceAll(s, "\r\n ", "") }

func TestReading(t *testing.T) {
	for _, row := range []struct{ name, in, want string }{
		{"as it is", "VERSION:3.0\nFN:A\nitem1.EMAIL;TYPE=INTERNET:a@example.test\nitem1.X-ABLabel:Own\nX-Odd;a=B:c\nno line\n", "VERSION:3.0\nFN:A\nitem1.EMAIL;TYPE=INTERNET:a@example.test\nitem1.X-ABLabel:Own\nX-Odd;a=B:c\nno line\n"},
		{"2.1", "VERSION:2.1\nN;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:M=FCller;Ann, B.\nTEL;HOME;VOICE;TYPE=pref:1\nPHOTO;JPEG;BASE64:/9j/\n AAAA\n\nNOTE;ENCODING=8BIT:x\nADR;WORK;8BIT:;;Street 1, back;City\n", "VERSION:3.0\nN:Müller;Ann\\, B.\nTEL;TYPE=HOME,VOICE,pref:1\nPHOTO;TYPE=JPEG;ENCODING=b:/9j/AAAA\nNOTE:x\nADR;TYPE=WORK:;;Street 1\\, back;City\n"},
		{"a card in a card", "VERSION:2.1\nFN:A\nAGENT:\nBEGIN:VCARD\nVERSION:2.1\nFN:B\nTEL;WORK:2\nEND:VCARD\nTITLE:x\n", "VERSION:3.0\nFN:A\nAGENT:BEGIN:VCARD\\nVERSION:3.0\\nFN:B\\nTEL\\;TYPE=WORK:2\\nEND:VCARD\\n\nTITLE:x\n"},
	} {
		if got := unfold(one(t, body(row.in)).String()); got != body(row.want) {
			t.Errorf("%s: got\n%s", row.name, got)
		}
	}
	cards, problems, err := Parse([]byte(body("FN:A\n")+"stray\r\n"+body("FN:B\n")+"BEGIN:VCARD\r\nFN:C"), Object)
	if err != nil || len(cards) != 3 || len(problems) != 3 || cards[2].Text("FN") != "C" {
		t.Errorf("%d cards, %v, %v", len(cards), problems, err)
	}
	if c := one(t, "FN:Loose\r\nTEL;HOME:1\r\n"); c.Text("FN") != "Loose" || !HasType(c.Prop("TEL"), "home") {
		t.Errorf("without a beginning: %s", c)
	}
}

func TestLimits(t *testing.T) {
	for name, in := range map[string]string{"cards": strings.Repeat("BEGIN:VCARD\nEND:VCARD\n", 1001), "depth": strings.Repeat("BEGIN:VCARD\n", 5)} {
		if _, _, err := Parse([]byte(in), Object); fault.Of(err) != fault.Limit {
			t.Errorf("%s: %v", name, err)
		}
	}
	photo := body("VERSION:3.0\nFN:A\nPHOTO;ENCODING=b;TYPE=JPEG:" + strings.Repeat("QUJD", 2_600_000) + "\n")
	if _, _, err := Parse([]byte(photo), Object); err != nil {
		t.Errorf("10 MiB: %v", err)
	}
	if _, _, err := Parse([]byte(strings.Repeat("x", 21<<20)), Object); fault.Of(err) != fault.TooLarge {
		t.Errorf("21 MiB: %v", err)
	}
}

// pairs say the same in 3.0 and in 4.0.
var pairs = []struct{ three, four string }{
	{"TEL;TYPE=home,pref:1", "TEL;TYPE=home;PREF=1:1"},
	{"PHOTO;ENCODING=b;TYPE=JPEG:/9j/AAAA", "PHOTO:data:image/jpeg;base64,/9j/AAAA"},
	{"PHOTO;VALUE=uri;TYPE=PNG:https://example.test/a.png", "PHOTO;MEDIATYPE=image/png:https://example.test/a.png"},
	{"KEY;ENCODING=b;TYPE=X509:QUJD", "KEY:data:application/pkix-cert;base64,QUJD"},
	{"GEO:37.38;-122.08", "GEO:geo:37.38,-122.08"},
	{"TZ:-0500", "TZ;VALUE=utc-offset:-0500"},
	{"BDAY:1996-04-15", "BDAY:19960415"},
	{"BDAY:1953-10-15T23:10:00Z", "BDAY:19531015T231000Z"},
	{"BDAY;X-APPLE-OMIT-YEAR=1604:1604-02-29", "BDAY:--0229"},
	{"X-ANNIVERSARY:2000-01-02", "ANNIVERSARY:20000102"},
	{"X-ADDRESSBOOKSERVER-KIND:group\nX-ADDRESSBOOKSERVER-MEMBER:urn:uuid:1", "KIND:group\nMEMBER:urn:uuid:1"},
	{"ADR;TYPE=work:;;S;C;;;\nLABEL;TYPE=work:S\\nC", "ADR;TYPE=work;LABEL=S^nC:;;S;C;;;"},
	{"LABEL;TYPE=home:here", "ADR;TYPE=home;LABEL=here:;;;;;;"},
	{"AGENT:BEGIN:VCARD\\nEND:VCARD\\n", "RELATED;TYPE=agent;VALUE=text:BEGIN:VCARD\\nEND:VCARD\\n"},
	{"AGENT;VALUE=uri:urn:uuid:2", "RELATED;VALUE=uri;TYPE=agent:urn:uuid:2"},
	{"item1.URL:https://example.test/\nitem1.X-ABLabel:_$!<HomePage>!$_", "item1.URL:https://example.test/\nitem1.X-ABLabel:_$!<HomePage>!$_"},
	{"X-UNKNOWN;P=\"a:b\":v", "X-UNKNOWN;P=\"a:b\":v"},
	{"CLASS:PRIVATE", "CLASS:PRIVATE"},
}

func TestVersions(t *testing.T) {
	for _, pair := range pairs {
		three := body("VERSION:3.0\nN:A;B;;;\nFN:B A\n" + pair.three + "\n")
		four := body("VERSION:4.0\nN:A;B;;;\nFN:B A\n" + pair.four + "\n")
		up := one(t, three).To("4.0")
		if got := unfold(up.String()); got != four {
			t.Errorf("to 4.0: got\n%swant\n%s", got, four)
		}
		down := up.To("3.0")
		// TYPE and VALUE may have changed places: that is not order that says anything.
		if got := unfold(down.String()); got != three && !sameLines(got, three) {
			t.Errorf("back to 3.0: got\n%swant\n%s", got, three)
		}
		if got := unfold(one(t, four).To("3.0").String()); !sameLines(got, three) {
			t.Errorf("to 3.0: got\n%swant\n%s", got, three)
		}
	}
	only4 := one(t, body("VERSION:4.0\nFN:A\nTEL;VALUE=uri;PREF=20:tel:+1-555;ext=5\nTEL;VALUE=uri;PREF=40:tel:+1-556\nN;SORT-AS=\"X,Y\":F;G;;;\n")).To("3.0")
	if got, want := unfold(only4.String()), body("VERSION:3.0\nFN:A\nTEL;PREF=20;TYPE=pref:+1-555\\;ext=5\nTEL;PREF=40:+1-556\nN:F;G;;;\nSORT-STRING:X\\,Y\n"); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := one(t, body("VERSION:3.0\nEMAIL:a@example.test\n")).To("4.0").Text("FN"); got != "a@example.test" {
		t.Errorf("a name made up: %q", got)
	}
}

// sameLines compares without regard to the order of parameters.
func sameLines(a, b string) bool {
	ca, _, _ := Parse([]byte(a), Object)
	cb, _, _ := Parse([]byte(b), Object)
	if len(ca) != len(cb) || len(ca[0].Properties) != len(cb[0].Properties) {
		return false
	}
	for i, p := range ca[0].Properties {
		q := cb[0].Properties[i]
		if p.Name != q.Name || p.Value != q.Value || p.Group != q.Group || len(p.Params) != len(q.Params) {
			return false
		}
		for _, param := range p.Params {
			if p.ParamText(param.Name) != q.ParamText(param.Name) {
				return false
			}
		}
	}
	return true
}

func TestFields(t *testing.T) {
	c := one(t, body("VERSION:3.0\nN:Müller\\, x;Ann,Eva;;Dr.;\nEMAIL:b@example.test\nEMAIL;TYPE=INTERNET,PREF:a@example.test\nitem1.TEL:1\nitem1.X-ABLabel:_$!<Other>!$_\nADR:;;Street;City;;123;Land\nPHOTO;TYPE=PNG;ENCODING=B:QUJD\nX-ADDRESSBOOKSERVER-KIND:group\n"))
	if n := c.Name(); n != (Name{"Müller, x", "Ann Eva", "", "Dr.", ""}) {
		t.Errorf("name %+v", n)
	}
	if got := c.DisplayName(); got != "Dr. Ann Eva Müller, x" {
		t.Errorf("display name %q", got)
	}
	if got := strings.Join(c.Emails(), " "); got != "a@example.test b@example.test" {
		t.Errorf("addresses %s", got)
	}
	if got := c.Label(c.Prop("TEL")); got != "Other" {
		t.Errorf("label %q", got)
	}
	if a := ParseAddress(c.Prop("ADR")); a.Street != "Street" || a.Country != "Land" || a.Value() != ";;Street;City;;123;Land" {
		t.Errorf("address %+v", a)
	}
	data, media, ok := c.Photo()
	if string(data) != "ABC" || media != "image/png" || !ok || !c.IsGroup() {
		t.Errorf("photo %q %s %v", data, media, ok)
	}
	before := c.String()
	c.SetPhoto(data, media)
	c.SetName(c.Name())
	if c.String() != before {
		t.Errorf("saying the same changed it to\n%s", c)
	}
	c.SetPhoto([]byte("\xff\xd8"), "image/jpeg")
	if p := c.Prop("PHOTO"); p.ParamText("TYPE") != "JPEG" || p.Value != "/9g=" {
		t.Errorf("photo became %+v", p)
	}
	c.SetName(Name{Family: "New"})
	if c.Prop("N").Value != "New;;;;" {
		t.Errorf("name became %q", c.Prop("N").Value)
	}
}

// Every card of the corpus comes back property by property, and no property is
// lost on the way through the other version.
func TestCorpus(t *testing.T) {
	count := 0
	for row, text := range corpus.Each(t, "vcard") {
		cards, problems, err := Parse(text, Object)
		if err != nil {
			t.Errorf("%s: %v", row["path"], err)
			continue
		}
		for _, p := range problems {
			t.Logf("%s: %v", row["path"], p)
		}
		for _, c := range cards {
			count++
			again := one(t, c.String())
			if !c.Equal(again.Properties) {
				t.Errorf("%s came back as\n%s", row["path"], again)
			}
			checkVersions(t, row["path"], c)
		}
	}
	t.Logf("%d cards", count)
	if count < 100 {
		t.Errorf("only %d cards", count)
	}
}

// checkVersions goes to the other version and back: the second way there must
// give what the first gave.
func checkVersions(t testing.TB, name string, c *Card) {
	other := map[string]string{"3.0": "4.0", "4.0": "3.0"}[c.Version()]
	if other == "" {
		return
	}
	c = c.Clone()
	for _, name := range []string{"N", "FN"} { // what each version demands is made up where it is missing
		if c.Prop(name) == nil {
			c.SetValue(name, "x")
		}
	}
	there := c.To(other)
	back := there.To(c.Version())
	if again := back.To(other); !sameLines(again.String(), there.String()) {
		t.Errorf("%s: %s became\n%sand the second time\n%s", name, c.Version(), there, again)
	}
	for _, p := range c.Properties {
		if strings.HasPrefix(p.Name, "X-") && there.Prop(p.Name) == nil && !known(p.Name) {
			t.Errorf("%s: %s was lost", name, p.Name)
		}
	}
}

func known(name string) bool {
	for _, r := range renamed {
		if strings.EqualFold(r.three, name) {
			return true
		}
	}
	return false
}

func FuzzParse(f *testing.F) {
	for _, pair := range pairs {
		f.Add([]byte(body("VERSION:3.0\nFN:A\n" + pair.three + "\n")))
		f.Add([]byte(body("VERSION:4.0\nFN:A\n" + pair.four + "\n")))
	}
	f.Add([]byte(body("VERSION:2.1\nN;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:M=FC\nTEL;HOME:1\nAGENT:\nBEGIN:VCARD\nEND:VCARD\n")))
	f.Add([]byte("END:VCARD"))
	f.Add([]byte("BEGIN:VCARD\nKEY;B: 00\nEND:VCARD"))
	limits := Limits{Limits: Object.Limits, Cards: 50}
	f.Fuzz(func(t *testing.T, text []byte) {
		cards, _, err := Parse(text, limits)
		if err != nil {
			return
		}
		for _, c := range cards {
			again, _, err := Parse([]byte(c.String()), limits)
			if err != nil || len(again) != 1 || !again[0].Equal(c.Properties) {
				t.Fatalf("%q came back as %v %v", c, again, err)
			}
			c.To("3.0").To("4.0").To("3.0")
			c.Photo()
			c.DisplayName()
		}
	})
}
