// Package mail reads Internet messages (RFC 5322) and their parts (MIME, RFC
// 2045 to 2049), and writes the few header values that need encoding.
//
// The law of the package: a message is read once, in one streaming pass, while
// it is being stored. The pass yields a Summary with the byte offsets of every
// part, so that afterwards a part is a slice of the stored bytes and nobody
// parses a message again. Whatever the bytes are, there is a Summary: a fault
// in a message is a line in Summary.Defects, never an error. Memory is bounded
// by the limits below and does not grow with the message. The package does no
// input or output of its own and knows no mailbox.
//
// Every text in a Summary is valid UTF-8 without NUL and the control
// characters that XML forbids. CRLF, a bare LF and a bare CR all end a line.
package mail

import (
	"io"
	"path"
	"strings"
	"time"
)

// Limits of the parser. What lies beyond them is stored like everything else
// but not described.
const (
	MaxDepth     = 50        // nesting of parts, the message itself being 1
	MaxParts     = 1000      // parts in one message, embedded messages included
	MaxHeader    = 256 << 10 // bytes of header that are read for one part
	MaxAddresses = 5000      // addresses in one field
	MaxPreview   = 255       // runes of Summary.Preview
	maxText      = 2 << 20   // bytes of text that one Summary keeps altogether
	maxParams    = 64        // parameters of one field
	maxParam     = 8 << 10   // bytes of one parameter or other MIME value
	maxSubject   = 32 << 10  // bytes of subject, Date and other unstructured text
	maxIDs       = 500       // message identifiers in References
	maxDefects   = 20
)

// Envelope holds the fields that IMAP calls the envelope (RFC 9051 section
// 7.5.2) of a message or of an embedded message. Absent fields are zero; the
// defaults that IMAP fills in for Sender and ReplyTo are left to the door.
type Envelope struct {
	Date      time.Time // zero when there is none or it cannot be read; keeps its zone
	DateText  string    // the Date field as written
	Subject   string    // decoded
	From      []Address
	Sender    []Address
	ReplyTo   []Address
	To        []Address
	Cc        []Address
	Bcc       []Address
	InReplyTo string // as written, with angle brackets: see MessageIDs
	MessageID string // as written, with angle brackets
}

// Part is a node of the body structure. HeaderStart, BodyStart and BodyEnd are
// offsets in bytes into the message as received: the header, including the
// empty line after it, is [HeaderStart, BodyStart), and the body [BodyStart,
// BodyEnd).
//
// A part of type multipart has at least one child (one that opens no part is
// described as the text/plain that it looks like), and a part for which
// IsMessage holds has an Envelope and a Message.
type Part struct {
	Type    string            // lower case, "text" by default
	Subtype string            // lower case, "plain" by default
	Params  map[string]string // names in lower case, values decoded (RFC 2231, RFC 2047)

	ID          string // Content-Id as written, with angle brackets
	Description string
	Encoding    string // lower case, "7bit" by default
	Disposition string // lower case, "" when there is none
	DispParams  map[string]string
	Language    []string
	Location    string
	MD5         string

	HeaderStart, BodyStart, BodyEnd int64
	Lines                           int64 // lines of the body, an unfinished last one included

	Children []*Part
	Envelope *Envelope // of the embedded message; nil unless IsMessage
	Message  *Part     // root of the embedded message; nil unless IsMessage
}

// Size is the length of the body in bytes, before decoding.
func (p *Part) Size() int64 { return p.BodyEnd - p.BodyStart }

// MediaType is "type/subtype" in lower case.
func (p *Part) MediaType() string { return p.Type + "/" + p.Subtype }

// IsMultipart says whether p has parts of its own.
func (p *Part) IsMultipart() bool { return p.Type == "multipart" }

// IsMessage says whether p embeds a message (message/rfc822, message/global).
func (p *Part) IsMessage() bool { return p.Type == "message" && isMessageSubtype(p.Subtype) }

func isMessageSubtype(s string) bool { return s == "rfc822" || s == "global" }

// Filename is the name that the sender gave the file, without any folder, or "".
func (p *Part) Filename() string {
	name := p.DispParams["filename"]
	if name == "" {
		name = p.Params["name"]
	}
	return baseName(name)
}

func baseName(name string) string {
	name = strings.ReplaceAll(name, `\`, "/")
	name = strings.TrimSpace(name)
	if name == "" || strings.HasSuffix(name, "/") {
		return ""
	}
	name = path.Base(name)
	if name == "." || name == ".." || name == "/" {
		return ""
	}
	return name
}

// IsAttachment says whether p is a file rather than text to be read: it is a
// leaf whose disposition says so, or that has a file name, or that is no text.
func (p *Part) IsAttachment() bool {
	if p.IsMultipart() {
		return false
	}
	return p.Disposition == "attachment" || p.Type != "text" ||
		p.DispParams["filename"] != "" || p.Params["name"] != ""
}

// Flags are properties of a message that its structure shows.
type Flags uint16

const (
	Signed    Flags = 1 << iota // multipart/signed or an S/MIME signature
	Encrypted                   // multipart/encrypted, S/MIME or PGP in the text
	Report                      // multipart/report: a bounce, a receipt, a complaint
	SMIME                       // the signature or the encryption is S/MIME
	HasCalendar
	HasHTML
	HasPlain
	HasTNEF // a winmail.dat
)

// Summary is everything about a message that listings need.
type Summary struct {
	Envelope
	References  []string // identifiers without angle brackets, oldest first
	Root        *Part
	Preview     string // at most MaxPreview runes of the text, on one line
	Attachments int    // leaves for which IsAttachment holds; an embedded message is one
	Importance  int8   // 0 low, 1 normal, 2 high
	Size        int64  // bytes
	Lines       int64
	Flags       Flags

	AutoSubmitted  string    // keyword of RFC 3834, lower case; "" when absent
	Precedence     string    // lower case
	ListID         string    // as written
	ReceiptTo      []Address // Disposition-Notification-To
	CalendarMethod string    // upper case, of the first calendar part
	ThreadTopic    string
	ThreadIndex    string // base64, as Outlook writes it
	Defects        []string
}

// Has says whether all of f are set.
func (s *Summary) Has(f Flags) bool { return s.Flags&f == f }

// IsAutomatic says whether a machine sent the message, so that no machine may
// answer it (RFC 3834 section 2, RFC 5230 section 4.6).
func (s *Summary) IsAutomatic() bool {
	if s.AutoSubmitted != "" && s.AutoSubmitted != "no" || s.ListID != "" || s.Flags&Report != 0 {
		return true
	}
	switch s.Precedence {
	case "bulk", "junk", "list", "auto_reply":
		return true
	}
	return false
}

// Parse reads a message to its end. The only error is r's, returned with the
// Summary of what came before it.
func Parse(r io.Reader) (*Summary, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	p := NewParser()
	for {
		n, err := r.Read(*buf)
		p.Write((*buf)[:n])
		if err == io.EOF {
			return p.Summary(), nil
		}
		if err != nil {
			return p.Summary(), err
		}
	}
}

// Find gives the part with an IMAP section number (RFC 9051 section 6.4.5):
// the empty path is root, 1 of a message that is no multipart is its body, and
// a number below an embedded message counts in that message. It is nil when
// there is no such part. Of a part p that embeds a message, MIME is p.Header,
// HEADER is p.Message.Header and TEXT is p.Message.Raw.
func Find(root *Part, section []int) *Part {
	p := root
	for i, n := range section {
		if p == nil || n < 1 {
			return nil
		}
		at := p
		if i > 0 && p.IsMessage() {
			at = p.Message
		}
		switch {
		case at == nil:
			return nil
		case at.IsMultipart():
			if n > len(at.Children) {
				return nil
			}
			p = at.Children[n-1]
		case n == 1 && (i == 0 || at != p):
			p = at
		default:
			return nil
		}
	}
	return p
}

// Walk calls f for p and everything below it in the order of the bytes,
// embedded messages included, with the depth of each part (p being 0), until f
// returns false for a part, whose inside is then skipped.
func (p *Part) Walk(f func(p *Part, depth int) bool) { p.walk(f, 0) }

func (p *Part) walk(f func(*Part, int) bool, depth int) {
	if !f(p, depth) {
		return
	}
	for _, c := range p.Children {
		c.walk(f, depth+1)
	}
	if p.Message != nil {
		p.Message.walk(f, depth+1)
	}
}
