package ldap

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"waypost/directory"
)

// cookie is a position within a search. It is the client's to keep: nothing is
// remembered here for it, however large the result is.
type cookie struct {
	base  uint8              // of the phantom root's bases
	after directory.ObjectID // the last entry given
	given uint32             // entries given so far, for sizeLimit; of a sorted search the position
	set   setID              // of a sorted search
}

const (
	cookieBytes = 1 + 8 + 4 + 16
	macBytes    = 16
)

// seal writes the cookie and a code by which open knows it as this process's
// own, given for the same search to the same principal (RFC 2696 §3; AD binds
// it likewise).
func (s *search) seal(c cookie) string {
	b := make([]byte, cookieBytes, cookieBytes+macBytes)
	b[0] = c.base
	binary.BigEndian.PutUint64(b[1:], uint64(c.after))
	binary.BigEndian.PutUint32(b[9:], c.given)
	copy(b[13:], c.set[:])
	return string(append(b, s.mac(string(b))...))
}

var errCookie = refuse(codeUnwilling, "the cookie of the paged results is not one for this search; begin anew")

func (s *search) open(text string) (c cookie, err error) {
	if text == "" {
		return c, nil
	}
	if len(text) != cookieBytes+macBytes || !hmac.Equal([]byte(text[cookieBytes:]), s.mac(text[:cookieBytes])) {
		return c, errCookie
	}
	b := []byte(text)
	c.base = b[0]
	c.after = directory.ObjectID(binary.BigEndian.Uint64(b[1:]))
	c.given = binary.BigEndian.Uint32(b[9:])
	c.set = setID(b[13:cookieBytes])
	return c, nil
}

func (s *search) mac(text string) []byte {
	h := hmac.New(sha256.New, s.c.server.secret[:])
	h.Write([]byte(text))
	b := s.binding()
	h.Write(b[:])
	return h.Sum(nil)[:macBytes]
}

// binding is what a search is, and whose: the request and those of its controls
// that do not change from page to page.
func (s *search) binding() (sum [sha256.Size]byte) {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(s.who.ID))
	h.Write(n[:])
	if s.c.door.Global {
		h.Write([]byte{1})
	}
	binary.BigEndian.PutUint64(n[:], uint64(len(s.body)))
	h.Write(n[:])
	h.Write([]byte(s.body))
	h.Write([]byte(s.ctl.fixed))
	h.Sum(sum[:0])
	return sum
}
