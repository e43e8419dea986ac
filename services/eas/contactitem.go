package eas

import (
	"encoding/base64"
	"maps"
	"reflect"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/internal/vcard"
	"waypost/services/eas/contacts"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// maxPicture is the longest picture of a contact, before base64 (MS-ASCNTC
// 2.2.2.59: 48 KB encoded).
const maxPicture = 36 << 10

var contactBody = bodyTags{wbxml.ContactsBody, wbxml.ContactsBodySize, wbxml.ContactsBodyTruncated}

// contactField is an element of one text.
type contactField struct {
	name string
	tag  wbxml.Tag
}

// contactFields are those that services/eas/contacts has a place for, with
// their elements on the two pages of the class.
var contactFields = func() []contactField {
	var fs []contactField
	for _, name := range contacts.Fields() {
		for _, page := range []string{"Contacts", "Contacts2"} {
			if tag, ok := wbxml.Lookup(page, name); ok {
				fs = append(fs, contactField{name, tag})
			}
		}
	}
	return fs
}()

// contactItems is the class Contacts (MS-ASCNTC).
type contactItems struct{}

// readCard reads an object's card.
func readCard(text []byte) (*vcard.Card, error) {
	cards, _, err := vcard.Parse(text, vcard.Object)
	switch {
	case err != nil:
		return nil, err
	case len(cards) == 0:
		return nil, fault.New(fault.Invalid, "no card")
	}
	return cards[0], nil
}

func (contactItems) write(e *wbxml.Encoder, s *side, o *store.Object) error {
	card, err := readCard(o.Text)
	if err != nil {
		card = &vcard.Card{} // shown empty rather than not at all
	}
	writeContact(e, s, contacts.Read(card), fileAs(card))
	return e.Err()
}

// fileAs is what a card without one is filed under: Outlook's order.
func fileAs(c *vcard.Card) string {
	n := c.Name()
	switch given := strings.TrimSpace(n.Given + " " + n.Additional); {
	case n.Family != "" && given != "":
		return n.Family + ", " + given
	case n.Family+given != "":
		return n.Family + given
	}
	return c.DisplayName()
}

func writeContact(e *wbxml.Encoder, s *side, c *contacts.Contact, filed string) {
	for _, f := range contactFields {
		v := c.Fields[f.name]
		if v == "" && f.tag == wbxml.ContactsFileAs {
			v = filed
		}
		if v != "" {
			e.Text(f.tag, v)
		}
	}
	for tag, t := range dated(c) {
		if !t.IsZero() {
			e.Text(tag, t.Format(dashed))
		}
	}
	writeList(e, wbxml.ContactsCategories, wbxml.ContactsCategory, c.Categories)
	writeList(e, wbxml.ContactsChildren, wbxml.ContactsChild, c.Children)
	s.writeBody(e, bodyText{plain: c.Body}, contactBody)
	if n := len(c.Picture); n > 0 && n <= maxPicture {
		e.Text(wbxml.ContactsPicture, base64.StdEncoding.EncodeToString(c.Picture))
	}
}

// dated gives the days of a contact.
func dated(c *contacts.Contact) func(func(wbxml.Tag, time.Time) bool) {
	return func(yield func(wbxml.Tag, time.Time) bool) {
		_ = yield(wbxml.ContactsBirthday, c.Birthday) && yield(wbxml.ContactsAnniversary, c.Jubilee)
	}
}

func (contactItems) uid(_ *syncCommand, once string) string { return "urn:uuid:" + newUID(once) }

func (contactItems) edit(s *side, old *store.Object, c *syncCommand) (edited, error) {
	var card *vcard.Card
	var err error
	if old == nil {
		card, err = readCard([]byte("BEGIN:VCARD\r\nVERSION:4.0\r\nUID:" + s.made + "\r\nEND:VCARD\r\n"))
	} else {
		card, err = readCard(old.Text)
	}
	if err != nil {
		return edited{}, err
	}
	now := contacts.Read(card)
	now.Fields = maps.Clone(now.Fields)
	if err := readContact(s, c.data, now, old != nil, fileAs(card)); err != nil {
		return edited{}, err
	}
	card = contacts.Write(card, now)
	// What was numbered may have moved up.
	return edited{text: card.Append(nil), altered: !sameContact(contacts.Read(card), now)}, nil
}

func sameContact(a, b *contacts.Contact) bool {
	x, y := *a, *b
	trim := func(m map[string]string) map[string]string {
		n := map[string]string{}
		for k, v := range m {
			if v = strings.TrimSpace(v); v != "" {
				n[k] = v
			}
		}
		return n
	}
	x.Fields, y.Fields = trim(a.Fields), trim(b.Fields)
	for _, list := range []*[]string{&x.Categories, &y.Categories, &x.Children, &y.Children} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	if len(x.Picture)+len(y.Picture) == 0 {
		x.Picture, y.Picture = nil, nil
	}
	return reflect.DeepEqual(x, y)
}

// readContact takes what a phone says into a contact. In a Change, what it
// leaves out is gone unless it is ghosted (MS-ASCMD 2.2.3.179); body and picture
// are not (2.2.3.24).
func readContact(s *side, data *wbxml.Node, c *contacts.Contact, change bool, filed string) error {
	said := func(tag wbxml.Tag) (n *wbxml.Node, ok bool) {
		n = data.Child(tag)
		return n, n != nil || change && !s.opts.ghosts.keeps(tag)
	}
	for _, f := range contactFields {
		n, ok := said(f.tag)
		if !ok {
			continue
		}
		v := strings.TrimSpace(n.Value())
		if strings.HasPrefix(f.name, "Email") { // "name" <address>
			if as := mail.ParseAddresses(v); len(as) == 1 && as[0].Addr() != "" {
				v = as[0].Addr()
			}
		}
		if f.tag == wbxml.ContactsFileAs && v == filed && c.Fields[f.name] == "" {
			continue // what it was shown
		}
		if c.Fields[f.name] = v; v == "" {
			delete(c.Fields, f.name)
		}
	}
	for tag, day := range map[wbxml.Tag]*time.Time{wbxml.ContactsBirthday: &c.Birthday, wbxml.ContactsAnniversary: &c.Jubilee} {
		n, ok := said(tag)
		switch {
		case !ok:
		case n.Value() == "":
			*day = time.Time{}
		default:
			t, ok := parseTime(n.Value())
			if !ok {
				return fault.New(fault.Invalid, "%s is no date", tag.Name())
			}
			// Phones send midnight of where they are, or noon.
			*day = t.UTC().Add(12 * time.Hour).Truncate(24 * time.Hour)
		}
	}
	if n, ok := said(wbxml.ContactsCategories); ok {
		c.Categories = listOf(c.Categories, n, wbxml.ContactsCategory)
	}
	if n, ok := said(wbxml.ContactsChildren); ok {
		c.Children = listOf(c.Children, n, wbxml.ContactsChild)
	}
	c.Body = s.readBody(data, bodyText{plain: c.Body}, wbxml.ContactsBody).plain
	return readPicture(s, data.Child(wbxml.ContactsPicture), c)
}

// readPicture takes a picture. iOS sends an empty one with contacts whose
// picture it did not touch; from others that removes it.
func readPicture(s *side, n *wbxml.Node, c *contacts.Contact) error {
	if n == nil {
		return nil
	}
	text := strings.Join(strings.Fields(n.Value()), "")
	if text == "" {
		switch strings.ToLower(s.device) {
		case "iphone", "ipad", "ipod":
		default:
			c.Picture = nil
		}
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) > maxPicture {
		return fault.New(fault.Invalid, "a picture that is too large or none")
	}
	c.Picture = b
	return nil
}
