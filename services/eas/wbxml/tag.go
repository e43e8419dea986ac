package wbxml

import (
	"fmt"
	"strconv"
	"strings"
)

// Tag is an element: its code page in the high byte, its token (5 to 63) in the
// low one. The constants are named after page and element: AirSyncSyncKey,
// FolderHierarchyFolderSync, AirSyncBaseBody. The zero Tag is no element.
type Tag uint16

// Version is a protocol version times ten, as in the encoded query: 25, 121,
// 161. (2.5 never travels that way; it is 25 here.)
type Version uint8

// The versions that exist.
const (
	V20  Version = 20
	V21  Version = 21
	V25  Version = 25
	V120 Version = 120
	V121 Version = 121
	V140 Version = 140
	V141 Version = 141
	V160 Version = 160
	V161 Version = 161
)

// ParseVersion reads "14.1". It knows only the versions that exist.
func ParseVersion(s string) (Version, bool) {
	for _, v := range []Version{V20, V21, V25, V120, V121, V140, V141, V160, V161} {
		if v.String() == s {
			return v, true
		}
	}
	return 0, false
}

// String gives "14.1".
func (v Version) String() string {
	return strconv.Itoa(int(v/10)) + "." + strconv.Itoa(int(v%10))
}

// Kind is the type of an element's content (MS-ASDTYPE).
type Kind uint8

// The kinds of content.
const (
	String    Kind = iota // also a unit that no other kind fits
	Container             // elements only
	Boolean               // "0" or "1"; empty is 1
	Integer               // decimal digits, perhaps with a sign
	DateTime              // dashed or compact
	Empty                 // the element's presence is its meaning
	Bytes                 // sent as OPAQUE
)

type element struct {
	name         string
	since, until Version
	kind         Kind
}

type page struct {
	name, namespace string
	elements        [64]element
}

func (t Tag) element() *element {
	p, tok := int(t>>8), t&0xFF
	if p >= len(pages) || tok > 0x3F || pages[p].elements[tok].name == "" {
		return nil
	}
	return &pages[p].elements[tok]
}

// Known tells whether the tables have the element.
func (t Tag) Known() bool { return t.element() != nil }

// Page is the number of the element's code page.
func (t Tag) Page() byte { return byte(t >> 8) }

// Token is the element's number within its page.
func (t Tag) Token() byte { return byte(t) }

// Name is the element's name without its page: "SyncKey", and for an unknown
// element "_2F" after its token.
func (t Tag) Name() string {
	if e := t.element(); e != nil {
		return e.name
	}
	return fmt.Sprintf("_%02X", t.Token())
}

// PageName is the name of the element's page, "AirSync", and for an unknown
// page "Page40".
func (t Tag) PageName() string {
	if p := int(t.Page()); p < len(pages) {
		return pages[p].name
	}
	return "Page" + strconv.Itoa(int(t.Page()))
}

// Namespace is the XML namespace that schemas give the page; it never travels.
func (t Tag) Namespace() string {
	if p := int(t.Page()); p < len(pages) {
		return pages[p].namespace
	}
	return ""
}

// String gives "AirSync:SyncKey".
func (t Tag) String() string { return t.PageName() + ":" + t.Name() }

// Kind is the type of the element's content; String for an unknown element.
func (t Tag) Kind() Kind {
	if e := t.element(); e != nil {
		return e.kind
	}
	return String
}

// MinVersion is the first protocol version that has the element; 0 when no
// version has it on the wire.
func (t Tag) MinVersion() Version {
	if e := t.element(); e != nil {
		return e.since
	}
	return 0
}

// In tells whether version v has the element on the wire.
func (t Tag) In(v Version) bool {
	e := t.element()
	return e != nil && e.since != 0 && e.since <= v && v <= e.until
}

// Lookup finds an element by its names: Lookup("AirSync", "SyncKey"). It also
// takes the names that String gives to unknown elements.
func Lookup(pageName, name string) (Tag, bool) {
	p := -1
	for i := range pages {
		if pages[i].name == pageName {
			p = i
		}
	}
	if p < 0 {
		num, ok := strings.CutPrefix(pageName, "Page")
		n, err := strconv.ParseUint(num, 10, 8)
		if !ok || err != nil || int(n) < len(pages) || strconv.Itoa(int(n)) != num {
			return 0, false
		}
		p = int(n)
	}
	if hex, ok := strings.CutPrefix(name, "_"); ok && len(hex) == 2 {
		n, err := strconv.ParseUint(hex, 16, 8)
		t := Tag(p<<8 | int(n))
		return t, err == nil && n >= 5 && n <= 0x3F && t.Name() == name
	}
	if p >= len(pages) {
		return 0, false
	}
	for tok, e := range pages[p].elements {
		if e.name == name && name != "" {
			return Tag(p<<8 | tok), true
		}
	}
	return 0, false
}
