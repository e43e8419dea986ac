package contacts

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"waypost/internal/corpus"
	"waypost/internal/vcard"
)

func card(t testing.TB, lines string) *vcard.Card {
	t.Helper()
	cards, _, err := vcard.Parse([]byte("BEGIN:VCARD\n"+strings.TrimLeft(lines, "\n")+"END:VCARD\n"), vcard.Object)
	if err != nil || len(cards) != 1 {
		t.Fatalf("%d cards, %v", len(cards), err)
	}
	return cards[0]
}

func text4(c *vcard.Card) string {
	return strings.ReplaceAll(strings.ReplaceAll(c.String(), "\r\n ", ""), "\r\n", "\n")
}

const ann = `
VERSION:4.0
N:Ash;Ann;B.;Dr.;
FN:Dr. Ann B. Ash
X-KEPT;A=b:yes
ORG:Firm;Sales;Room 1
TITLE:Head
EMAIL:second@ex.test
EMAIL;PREF=1:first@ex.test
TEL;TYPE="work,voice":1
TEL;TYPE=cell:2
TEL;TYPE=work,fax:3
TEL;TYPE=work:4
TEL;TYPE=work:5
item1.TEL:6
item1.X-ABLabel:Own
ADR;TYPE=home:;;Street 1;Town;;123;Land
BDAY:19800229
ANNIVERSARY:20100102
CATEGORIES:A,B
NOTE:Text\, more
X-CHILD:Kim
PHOTO:data:image/png;base64,iVBORw0KGgo=
`

func TestRead(t *testing.T) {
	got := Read(card(t, ann))
	want := &Contact{
		Fields: map[string]string{
			"Title": "Dr.", "FirstName": "Ann", "MiddleName": "B.", "LastName": "Ash", "CompanyName": "Firm", "Department": "Sales", "OfficeLocation": "Room 1", "JobTitle": "Head",
			"Email1Address": "first@ex.test", "Email2Address": "second@ex.test", "BusinessPhoneNumber": "1", "Business2PhoneNumber": "4", "BusinessFaxNumber": "3",
			"MobilePhoneNumber": "2", "HomePhoneNumber": "6", "HomeAddressStreet": "Street 1", "HomeAddressCity": "Town", "HomeAddressPostalCode": "123", "HomeAddressCountry": "Land",
		},
		Birthday: time.Date(1980, 2, 29, 0, 0, 0, 0, time.UTC), Jubilee: time.Date(2010, 1, 2, 0, 0, 0, 0, time.UTC),
		Categories: []string{"A", "B"}, Children: []string{"Kim"}, Picture: []byte("\x89PNG\r\n\x1a\n"), Body: "Text, more",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestWriteTouchesOnlyWhatChanges(t *testing.T) {
	c := card(t, ann)
	before := text4(c)
	for _, row := range []struct {
		name      string
		change    func(*Contact)
		old, then string
	}{
		{"nothing", func(*Contact) {}, "", ""},
		{"last name, and the display name that follows it", func(a *Contact) { a.Fields["LastName"] = "Oak" }, "N:Ash;Ann;B.;Dr.;\nFN:Dr. Ann B. Ash", "N:Oak;Ann;B.;Dr.;\nFN:Dr. Ann B. Oak"},
		{"department", func(a *Contact) { a.Fields["Department"] = "A;B" }, "Sales", `A\;B`},
		{"a number", func(a *Contact) { a.Fields["Business2PhoneNumber"] = "44" }, "TEL;TYPE=work:4", "TEL;TYPE=work:44"},
		{"no number, and no label", func(a *Contact) { delete(a.Fields, "HomePhoneNumber") }, "item1.TEL:6\nitem1.X-ABLabel:Own\n", ""},
		{"street", func(a *Contact) { a.Fields["HomeAddressStreet"] = "New" }, "Street 1", "New"},
		{"birthday", func(a *Contact) { a.Birthday = time.Date(1980, 3, 1, 11, 59, 0, 0, time.UTC) }, "BDAY:19800229", "BDAY:19800301"},
		{"birthday from east of here", func(a *Contact) { a.Birthday = time.Date(1980, 3, 1, 15, 0, 0, 0, time.UTC) }, "BDAY:19800229", "BDAY:19800302"},
		{"no anniversary", func(a *Contact) { a.Jubilee = time.Time{} }, "ANNIVERSARY:20100102\n", ""},
		{"note", func(a *Contact) { a.Body = "x" }, `Text\, more`, "x"},
		{"children", func(a *Contact) { a.Children = nil }, "X-CHILD:Kim\n", ""},
		{"no picture", func(a *Contact) { a.Picture = nil }, "PHOTO:data:image/png;base64,iVBORw0KGgo=\n", ""},
		{"the first address gone, the second another", func(a *Contact) { delete(a.Fields, "Email1Address"); a.Fields["Email2Address"] = "new@ex.test" }, "EMAIL:second@ex.test\nEMAIL;PREF=1:first@ex.test\n", "EMAIL:new@ex.test\n"},
		{"another address altogether", func(a *Contact) {
			for _, part := range []string{"Street", "City", "PostalCode", "Country"} {
				delete(a.Fields, "HomeAddress"+part)
			}
			a.Fields["HomeAddressState"] = "S"
		}, "ADR;TYPE=home:;;Street 1;Town;;123;Land", "ADR;TYPE=home:;;;;S;;"},
		{"a new field", func(a *Contact) { a.Fields["Spouse"] = "Lee" }, "END:VCARD", "X-SPOUSE:Lee\nEND:VCARD"},
		{"a new address", func(a *Contact) { a.Fields["BusinessAddressCity"] = "Z" }, "END:VCARD", "ADR;TYPE=work:;;;Z;;;\nEND:VCARD"},
	} {
		a := Read(c)
		row.change(a)
		got := text4(Write(c, a))
		if want := strings.Replace(before, row.old, row.then, 1); got != want {
			t.Errorf("%s: got\n%s", row.name, got)
		}
	}
	if text4(c) != before {
		t.Error("the old card was changed")
	}
}

// Every element that can be said can be written to an empty card and read again.
func TestEveryField(t *testing.T) {
	for _, version := range []string{"3.0", "4.0"} {
		all := &Contact{Fields: map[string]string{}, Birthday: time.Date(1980, 2, 29, 0, 0, 0, 0, time.UTC), Jubilee: time.Date(2010, 1, 2, 0, 0, 0, 0, time.UTC)}
		for _, name := range Fields() {
			all.Fields[name] = name + "; a, b"
		}
		made := Write(card(t, "VERSION:"+version+"\n"), all)
		if got := Read(made); !reflect.DeepEqual(got.Fields, all.Fields) || !got.Birthday.Equal(all.Birthday) || !got.Jubilee.Equal(all.Jubilee) {
			for name, want := range all.Fields {
				if got.Fields[name] != want {
					t.Errorf("%s: %s came back as %q", version, name, got.Fields[name])
				}
			}
			t.Errorf("%s:\n%s", version, made)
		}
		names := Fields()
		slices.Reverse(names) // of several the last first, so that none moves up
		for _, name := range names {
			delete(all.Fields, name)
			made = Write(made, all)
			if got := Read(made); !reflect.DeepEqual(got.Fields, all.Fields) {
				t.Errorf("%s: without %s: %v", version, name, got.Fields)
			}
		}
	}
	if len(Fields()) != 55 || !slices.Contains(Fields(), "OtherAddressCountry") {
		t.Errorf("%d fields", len(Fields()))
	}
}

// Every card of the corpus is read and written back without a letter changed;
// made anew from what ActiveSync says of it, it says the same.
func TestCorpus(t *testing.T) {
	count := 0
	for row, data := range corpus.Each(t, "vcard") {
		cards, _, err := vcard.Parse(data, vcard.Object)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cards {
			if c.Prop("FN") == nil {
				c.SetText("FN", "x")
			}
			a := Read(c)
			if got := Write(c, a); got.String() != c.String() {
				t.Errorf("%s: what said the same changed\n%.1000s\nto\n%.1000s", row["path"], c, got)
			}
			made := Write(card(t, "VERSION:4.0\n"), a)
			b := Read(made)
			b.Picture, a.Picture = nil, nil // the type is guessed anew
			if !reflect.DeepEqual(a, b) {
				t.Errorf("%s: said\n%+v\nand made anew\n%+v\n%.1000s", row["path"], a, b, made)
			}
			count++
		}
	}
	t.Logf("%d cards", count)
	if count < 100 {
		t.Error("too few")
	}
}
