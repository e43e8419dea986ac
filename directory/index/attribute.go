package index

import (
	"hash/maphash"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"waypost/directory/schema"
	"waypost/directory/tree"
)

// attribute is what the index knows of an attribute besides its schema.
type attribute struct {
	*schema.Attribute
	fold  fold
	made  made
	shown string // in a name: "CN="
	equal bool   // in the index for equality
	group uint16 // in the ordered index; 0: not there
	gram  bool   // in the index for substrings
	dn    bool   // values are links
	// other is the other end of a link, -1 for none.
	other int
	user  bool // among "*"
	oper  bool // among "+"
	// catalog attributes are shown by a global search.
	catalog bool
}

// fold is how a value becomes a key; it is Syntax.Key, with short cuts.
type fold uint8

const (
	foldSlow  fold = iota // ask the syntax
	foldLower             // printable ASCII: lower case, spaces
	foldSpace             // printable ASCII: spaces
	foldRaw               // the bytes themselves
	foldInt               // decimal
)

func foldOf(s schema.Syntax) fold {
	switch s {
	case schema.Unicode, schema.Teletex, schema.AccessPoint, schema.PresentationAddress:
		return foldLower
	case schema.Printable, schema.IA5, schema.CaseExact:
		return foldSpace
	case schema.Octet, schema.Sid, schema.SecurityDescriptor, schema.ReplicaLink:
		return foldRaw
	case schema.Integer, schema.Enumeration, schema.LargeInteger:
		return foldInt
	default:
		return foldSlow
	}
}

// made are the attributes whose values are not stored but follow from the rest.
type made uint8

const (
	notMade made = iota
	madeObjectClass
	madeStructuralClass
	madeObjectCategory
	madeName // of the naming attribute the record's own number tells
	madeDN
	madeGUID
	madeUUID
	madeSID
	madeUSNCreated
	madeUSNChanged
	madeWhenCreated
	madeWhenChanged
	madeInstanceType
	madeIsDeleted
	madeSubschema
	madeCanonical
	madeHasSubordinates
	madeNumSubordinates
	madeTokenGroups
	madePrimaryToken
	madeParentGUID
	madeAllowed
	madeAllowedChildren
)

var madeNames = map[string]made{
	"objectClass": madeObjectClass, "structuralObjectClass": madeStructuralClass,
	"objectCategory": madeObjectCategory, "name": madeName,
	"distinguishedName": madeDN, "entryDN": madeDN,
	"objectGUID": madeGUID, "entryUUID": madeUUID, "objectSid": madeSID,
	"uSNCreated": madeUSNCreated, "uSNChanged": madeUSNChanged,
	"whenCreated": madeWhenCreated, "createTimeStamp": madeWhenCreated,
	"whenChanged": madeWhenChanged, "modifyTimeStamp": madeWhenChanged,
	"instanceType": madeInstanceType, "isDeleted": madeIsDeleted, "subSchemaSubEntry": madeSubschema,
	"canonicalName": madeCanonical, "hasSubordinates": madeHasSubordinates,
	"numSubordinates": madeNumSubordinates, "msDS-Approx-Immed-Subordinates": madeNumSubordinates,
	"tokenGroups": madeTokenGroups, "tokenGroupsGlobalAndUniversal": madeTokenGroups,
	"tokenGroupsNoGCAcceptable": madeTokenGroups, "primaryGroupToken": madePrimaryToken,
	"parentGUID": madeParentGUID, "allowedAttributes": madeAllowed, "allowedChildClasses": madeAllowedChildren,
}

// searched are attributes that the schema does not mark for it and people and
// programs look for nevertheless, by equality.
var searched = map[string]bool{
	"uid": true, "telephoneNumber": true, "mobile": true, "employeeID": true, "employeeNumber": true,
	"dNSHostName": true, "department": true, "company": true,
}

// contained are attributes that substrings are looked for in, besides those the
// schema marks so.
var contained = map[string]bool{
	"name": true, "sn": true, "givenName": true, "mailNickname": true, "telephoneNumber": true, "description": true,
	"cn": true, "displayName": true, "mail": true, "proxyAddresses": true, "sAMAccountName": true, "userPrincipalName": true,
}

// groupNames is the group of text that people are found by. The naming
// attributes are among it, for the ordered index has the RDN under name.
const groupNames = 1

var naming = map[string]bool{"cn": true, "ou": true, "l": true, "uid": true, "o": true, "c": true}

// attributesOf makes the table, by Number.
func attributesOf(s *schema.Schema) []attribute {
	all := make([]attribute, len(s.Attributes()))
	for n, a := range s.Attributes() {
		t := &all[n]
		*t = attribute{
			Attribute: a, fold: foldOf(a.Syntax), made: madeNames[a.Name], other: -1,
			dn:    a.Syntax.DN() && madeNames[a.Name] == notMade,
			shown: tree.DisplayName(a.Name) + "=",
			user:  !a.Secret && !a.Operational && !a.Constructed,
			oper:  !a.Secret && (a.Operational || a.Constructed),
		}
		if a.LinkID != 0 {
			if other, ok := s.Link(a.LinkID ^ 1); ok {
				t.other = other.Number
			}
		}
		t.catalog = a.InGlobalCatalog || t.oper || t.made != notMade ||
			a.Back() && t.other >= 0 && s.Attributes()[t.other].InGlobalCatalog
		if t.made != notMade && t.made != madeName && t.made != madeSID || t.dn || a.Secret || a.Syntax == schema.Boolean {
			continue
		}
		t.equal = a.Indexed() || a.ANR() || a.Tuple() || searched[a.Name]
		t.gram = t.fold == foldLower && (a.Tuple() || contained[a.Name])
		switch {
		case t.made == madeSID, a.Name == "legacyExchangeDN": // one long beginning for all
		case t.fold == foldLower && (a.ANR() || naming[a.Name]):
			t.group = groupNames
		case t.equal && a.Syntax.Ordered() && !a.Syntax.Binary():
			t.group = uint16(n) + 2
		}
	}
	return all
}

// key gives the key of a value, in buf or elsewhere.
func (a *attribute) key(buf []byte, v string) []byte {
	switch a.fold {
	case foldRaw:
		return append(buf[:0], v...)
	case foldInt:
		if plainInt(v) {
			return append(buf[:0], v...)
		}
	case foldLower, foldSpace:
		if b, ok := foldASCII(buf[:0], v, a.fold == foldLower); ok {
			return b
		}
		if a.Syntax == schema.Unicode {
			if b, ok := foldLatin(buf[:0], v); ok {
				return b
			}
		}
	case foldSlow:
	}
	return append(buf[:0], a.Syntax.Key(v)...)
}

// foldASCII folds text that is printable ASCII and has no spaces to take away; ok is
// false for other text.
func foldASCII(dst []byte, v string, lower bool) (_ []byte, ok bool) {
	last := byte(' ')
	for i := range len(v) {
		c := v[i]
		switch {
		case c < ' ' || c > '~' || c == ' ' && last == ' ':
			return dst, false
		case lower && 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		last = c
		dst = append(dst, c)
	}
	return dst, last != ' '
}

// latin is what schema.FoldText makes of the letters of Latin scripts, "" for
// those that it does not take one by one.
var latin = sync.OnceValue(func() (t [0x250]string) {
	for r := rune(0xc0); r < 0x250; r++ {
		if key := schema.FoldText(string(r)); strings.TrimSpace(key) == key {
			t[r] = key
		}
	}
	return t
})

// foldLatin folds text of ASCII, Latin letters that are written as one character
// each, and ideographs, which stay what they are: FoldText works on these one by
// one. ok is false for other text.
func foldLatin(dst []byte, v string) (_ []byte, ok bool) {
	table := latin()
	last := ' '
	for _, r := range v {
		switch {
		case r < ' ' || r == 0x7f || r == ' ' && last == ' ':
			return dst, false
		case r < 0x80:
			c := byte(r)
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst = append(dst, c)
		case r >= 0xc0 && int(r) < len(table) && table[r] != "":
			dst = append(dst, table[r]...)
		case r >= 0x4e00 && r <= 0x9fa5:
			dst = utf8.AppendRune(dst, r)
		default:
			return dst, false
		}
		last = r
	}
	return dst, last != ' '
}

// plainInt tells whether v is written as its key is.
func plainInt(v string) bool {
	digits := v
	if v != "" && v[0] == '-' {
		digits = v[1:]
	}
	if digits == "" || len(digits) > 18 || digits[0] == '0' && len(v) > 1 {
		return false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	return true
}

// order gives the first 8 bytes of the ordering key.
func (a *attribute) order(v string, key []byte) (uint64, bool) {
	switch a.fold {
	case foldLower, foldSpace:
		return key8(key, 0), true
	case foldInt:
		n, err := strconv.ParseInt(v, 10, 64)
		return uint64(n) ^ 1<<63, err == nil
	default:
		k, ok := a.Syntax.Order(v)
		return key8([]byte(k), 0), ok
	}
}

// hashOf is the hash that a value is found by. Each process has a seed of its
// own, so that nobody can make values meet.
func (x *Index) hashOf(attr uint16, key []byte) uint32 {
	h := maphash.Bytes(x.seed, key)
	h ^= uint64(attr+1) * 0x9e3779b97f4a7c15
	return uint32(h>>32) ^ uint32(h)
}

// hashName is the hash that an object is found by below its parent.
func (x *Index) hashName(parent uint32, rdnKey []byte) uint32 {
	h := maphash.Bytes(x.seed, rdnKey)
	h ^= uint64(parent)*0x9e3779b97f4a7c15 + 0x5bd1e995
	return uint32(h>>32) ^ uint32(h)
}

// rdnKey is tree.RDN's Key of a name.
func rdnKey(buf []byte, info []attribute, attr uint16, rdn string) []byte {
	buf = append(append(buf[:0], strings.ToLower(info[attr].Name)...), '=')
	if b, ok := foldASCII(buf, rdn, true); ok {
		return b
	}
	return append(buf[:0], tree.RDN{{Attribute: info[attr].Name, Value: rdn}}.Key()...)
}

// keys are what the indexes hold of an object.
type keys struct {
	pairs  []uint64
	places []place
	grams  []byte // folded texts, each behind a zero byte
}

// keysOf appends what the indexes hold of a record to k.
func (x *Index) keysOf(k *keys, info []attribute, id, parent uint32, r *record, buf []byte) []byte {
	if parent == 0 {
		return buf
	}
	buf = rdnKey(buf, info, r.rdnAttr, r.rdn)
	k.pairs = append(k.pairs, pair(x.hashName(parent, buf), id),
		pair(x.hashOf(x.guidAttr, []byte(r.guid)), id))
	if r.rid != 0 {
		k.pairs = append(k.pairs, pair(x.hashOf(x.sidAttr, sidTail(r.rid)), id))
	}
	name := &info[x.nameAttr]
	buf = x.keyOf(k, name, id, r.rdn, buf)
	if label := firstLabel(r.rdn); len(label) < len(r.rdn) && r.rdnAttr == x.dcAttr { // a domain's
		buf = x.keyOf(k, name, id, label, buf)
	}
	for b := r.stored; len(b) > 0; {
		n, values, rest := next(b)
		b = rest
		a := &info[n]
		if !a.equal && a.group == 0 && !a.gram {
			continue
		}
		for len(values) > 0 {
			var v string
			v, values = x.value(values, r)
			buf = x.keyOf(k, a, id, v, buf)
		}
	}
	return buf
}

func (x *Index) keyOf(k *keys, a *attribute, id uint32, v string, buf []byte) []byte {
	key := a.key(buf, v)
	attr := uint16(a.Number)
	if a.made == madeSID {
		if len(key) >= 4 {
			k.pairs = append(k.pairs, pair(x.hashOf(attr, key[len(key)-4:]), id))
		}
		return key
	}
	if a.equal {
		k.pairs = append(k.pairs, pair(x.hashOf(attr, key), id))
	}
	if a.group != 0 {
		if o, ok := a.order(v, key); ok {
			k.places = append(k.places, placeOf(a.group, o, attr, id))
		}
	}
	if a.gram && len(key) >= 3 {
		k.grams = append(append(k.grams, 0), key...)
	}
	return key
}

// sidTail is the end of a SID that a RID makes (MS-DTYP 2.4.2.2).
func sidTail(rid uint32) []byte {
	return []byte{byte(rid), byte(rid >> 8), byte(rid >> 16), byte(rid >> 24)}
}
