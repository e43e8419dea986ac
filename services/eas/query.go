package eas

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
)

// Limits of what a request line may hold.
const (
	maxQuery    = 8 << 10
	maxDeviceID = 64 // 32 in the grammar; some clients send more
	maxType     = 64
	maxLongID   = 256
	maxParam    = 1 << 10
)

// query is what the request line and its headers say. The encoded form's
// values win over the headers' (MS-ASHTTP 2.2.1.1.2).
type query struct {
	encoded    bool
	command    string // plain form
	code       int    // encoded form; -1 in the plain one
	version    wbxml.Version
	locale     uint16 // Windows locale, 0 when unsaid
	language   string // Accept-Language
	deviceID   string // folded to lower case
	deviceType string
	policyKey  uint32
	hasKey     bool
	user       string

	attachmentName string
	collectionID   string
	itemID         string
	longID         string
	occurrence     string
	saveInSent     bool
	multipart      bool
}

func badQuery(format string, args ...any) error {
	return fault.New(fault.Invalid, "request line: "+format, args...)
}

// parseQuery reads both forms of the request line (MS-ASHTTP 2.2.1.1.1).
func parseQuery(raw string, h http.Header) (query, error) {
	if len(raw) > maxQuery {
		return query{}, badQuery("longer than %d bytes", maxQuery)
	}
	q := query{code: -1, language: limit(h.Get("Accept-Language"), maxParam)}
	plain, err := q.plain(raw)
	if err == nil && !plain {
		err = q.decode(raw)
	}
	if err == nil && plain {
		err = q.headers(h)
	}
	if err == nil && q.deviceID == "" {
		err = status(StatusDeviceIDMissing)
	}
	return q, err
}

func limit(s string, n int) string { return s[:min(len(s), n)] }

// plain reads the form of name=value pairs, in any order, and tells whether it
// is that form: whether there is a Cmd.
func (q *query) plain(raw string) (bool, error) {
	found := false
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			continue
		}
		if v, err := url.QueryUnescape(value); err == nil {
			value = v
		}
		if len(value) > maxParam {
			return found, badQuery("%.20q is too long", name)
		}
		switch strings.ToLower(name) {
		case "cmd":
			q.command, found = value, true
		case "user":
			q.user = value
		case "deviceid":
			q.deviceID = strings.ToLower(value)
		case "devicetype":
			q.deviceType = value
		case "attachmentname":
			q.attachmentName = value
		case "collectionid":
			q.collectionID = value
		case "itemid":
			q.itemID = value
		case "longid":
			q.longID = value
		case "occurrence":
			q.occurrence = value
		case "saveinsent":
			q.saveInSent = strings.EqualFold(value, "T")
		}
	}
	if !found {
		*q = query{code: -1, language: q.language}
		return false, nil
	}
	if q.deviceID != "" && !validID(q.deviceID) {
		return true, status(StatusDeviceIDMissing)
	}
	if len(q.deviceType) > maxType {
		return true, status(StatusDeviceTypeMissing)
	}
	if len(q.longID) > maxLongID {
		return true, badQuery("LongId is too long")
	}
	return true, nil
}

// validID accepts what may name a device in logs, lists and keys.
func validID(s string) bool {
	if s == "" || len(s) > maxDeviceID {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7F {
			return false
		}
	}
	return true
}

// headers reads what travels in headers beside the plain form (MS-ASHTTP 2.2.1.1.2).
func (q *query) headers(h http.Header) error {
	if v := strings.TrimSpace(h.Get("MS-ASProtocolVersion")); v != "" {
		version, ok := wbxml.ParseVersion(v)
		if !ok {
			return status(StatusVersionNotSupported)
		}
		q.version = version
	}
	if v := strings.TrimSpace(h.Get("X-MS-PolicyKey")); v != "" {
		key, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return badQuery("X-MS-PolicyKey is no number")
		}
		q.policyKey, q.hasKey = uint32(key), key != 0
	}
	q.multipart = strings.EqualFold(strings.TrimSpace(h.Get("MS-ASAcceptMultiPart")), "T")
	return nil
}

// base64Forms takes the URL-safe alphabet, a '+' that became a space, and no padding.
var base64Forms = strings.NewReplacer("-", "+", "_", "/", " ", "+", "=", "", "\r", "", "\n", "")

// decode reads the encoded form (MS-ASHTTP 2.2.1.1.1.1).
func (q *query) decode(raw string) error {
	if u, err := url.PathUnescape(raw); err == nil {
		raw = u
	}
	b, err := base64.RawStdEncoding.DecodeString(base64Forms.Replace(raw))
	if err != nil {
		return fault.From(fault.Invalid, err, "request line: neither a Cmd nor base64")
	}
	c := cursor{b: b}
	q.encoded = true
	q.version = wbxml.Version(c.byte())
	q.code = int(c.byte())
	if locale := c.take(2); locale != nil {
		q.locale = binary.LittleEndian.Uint16(locale)
	}
	q.deviceID = deviceID(c.take(int(c.byte())))
	switch key := c.take(int(c.byte())); len(key) {
	case 0:
	case 4:
		q.policyKey = binary.LittleEndian.Uint32(key)
		q.hasKey = q.policyKey != 0
	default:
		return badQuery("policy key of %d bytes", len(key))
	}
	q.deviceType = strings.ToValidUTF8(string(c.take(int(c.byte()))), "")
	for !c.failed && len(c.b) > 0 {
		tag := c.byte()
		q.parameter(tag, c.take(int(c.byte())))
	}
	switch {
	case c.failed:
		return badQuery("ends too soon")
	case len(q.deviceType) > maxType:
		return status(StatusDeviceTypeMissing)
	case q.version < wbxml.V121: // MS-ASHTTP 2.2.1.1.1: not before 12.1
		return status(StatusVersionNotSupported)
	}
	if _, ok := wbxml.ParseVersion(q.version.String()); !ok {
		return status(StatusVersionNotSupported)
	}
	return nil
}

// parameter takes one of the tagged values (MS-ASHTTP 2.2.1.1.1.1.3).
func (q *query) parameter(tag byte, value []byte) {
	s := strings.ToValidUTF8(string(value), "")
	switch tag {
	case 0:
		q.attachmentName = s
	case 1:
		q.collectionID = s
	case 3:
		q.itemID = s
	case 4:
		q.longID = s
	case 6:
		q.occurrence = s
	case 7:
		if len(value) == 1 {
			q.saveInSent = value[0]&0x01 != 0
			q.multipart = value[0]&0x02 != 0
		}
	case 8:
		q.user = s
	}
}

// deviceID gives the same id whichever form carried it: an id of letters as it
// is, the 16 raw bytes of a GUID in hexadecimal.
func deviceID(b []byte) string {
	s := strings.ToLower(string(b))
	if len(b) > 0 && !validID(s) {
		return limit(hex.EncodeToString(b), maxDeviceID)
	}
	return s
}

// cursor reads bytes and remembers having run out of them.
type cursor struct {
	b      []byte
	failed bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.failed, c.b = true, nil
		return nil
	}
	var v []byte
	v, c.b = c.b[:n], c.b[n:]
	return v
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}
