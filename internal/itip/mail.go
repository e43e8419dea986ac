package itip

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"mime/quotedprintable"
	"strings"
	"time"

	"waypost/internal/mail"
)

// maxAttached is the largest calendar that goes a second time as a file, for the
// programs that look for one.
const maxAttached = 128 << 10

// Mail writes the message as mail (RFC 6047): the words as text and HTML, and the
// calendar beside them as Outlook and Apple want it, and again as a file for those
// that show only files. id is unique for what is said; the same id gives the same
// bytes.
func (m *Message) Mail(id string, now time.Time) []byte {
	sum := sha256.Sum256([]byte(id))
	mark := hex.EncodeToString(sum[:12])
	var b bytes.Buffer
	head := func(name, value string) { b.WriteString(mail.FoldHeader(name, value)) }
	head("From", format(m.From))
	host := m.From.Address
	if m.Sender != "" {
		head("Sender", format(Person{Address: m.Sender}))
		host = m.Sender
	}
	var to []mail.Address
	for _, p := range m.To {
		to = append(to, address(p))
	}
	b.WriteString(mail.FoldHeader("To", mail.FormatAddresses(to)))
	b.WriteString(mail.EncodeHeader("Subject", m.Subject()))
	head("Date", now.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	head("Message-ID", "<"+mark+"."+strings.ToLower(m.Method)+"@"+ascii(domain(host))+">")
	head("MIME-Version", "1.0")
	head("Content-Class", "urn:content-classes:calendarmessage")
	if m.Automatic {
		head("Auto-Submitted", "auto-replied") // RFC 3834 section 5
		head("X-Auto-Response-Suppress", "All")
	}
	text := m.Calendar.Append(nil)
	plain, html := m.words()
	outer, inner := "=_m"+mark, "=_a"+mark
	head("Content-Type", `multipart/mixed; boundary="`+outer+`"`)
	b.WriteString("\r\n")
	part := func(boundary string, fields ...string) {
		b.WriteString("--" + boundary + "\r\n")
		for _, f := range fields {
			b.WriteString(f + "\r\n")
		}
		b.WriteString("\r\n")
	}
	part(outer, `Content-Type: multipart/alternative; boundary="`+inner+`"`)
	part(inner, "Content-Type: text/plain; charset=UTF-8", "Content-Transfer-Encoding: quoted-printable")
	quoted(&b, plain)
	part(inner, "Content-Type: text/html; charset=UTF-8", "Content-Transfer-Encoding: quoted-printable")
	quoted(&b, html)
	part(inner, "Content-Type: text/calendar; charset=UTF-8; method="+m.Method, "Content-Transfer-Encoding: base64")
	encoded(&b, text)
	b.WriteString("--" + inner + "--\r\n")
	if len(text) <= maxAttached {
		part(outer, `Content-Type: application/ics; name="invite.ics"`, `Content-Disposition: attachment; filename="invite.ics"`, "Content-Transfer-Encoding: base64")
		encoded(&b, text)
	}
	b.WriteString("--" + outer + "--\r\n")
	return b.Bytes()
}

func ascii(host string) string {
	for _, c := range []byte(host) {
		if c >= 0x80 {
			return "waypost.invalid"
		}
	}
	return host
}

func address(p Person) mail.Address {
	at := strings.LastIndexByte(p.Address, '@')
	return mail.Address{Name: p.Name, Mailbox: p.Address[:max(at, 0)], Host: p.Address[at+1:]}
}

func format(p Person) string { return mail.FormatAddress(address(p)) }

func quoted(b *bytes.Buffer, text string) {
	w := quotedprintable.NewWriter(b)
	_, _ = w.Write([]byte(strings.ReplaceAll(text, "\n", "\r\n"))) // a buffer takes everything
	_ = w.Close()
	b.WriteString("\r\n")
}

func encoded(b *bytes.Buffer, data []byte) {
	text := base64.StdEncoding.EncodeToString(data)
	for len(text) > 76 {
		fmt.Fprintf(b, "%s\r\n", text[:76])
		text = text[76:]
	}
	b.WriteString(text + "\r\n")
}
