package mail

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// startCapture begins to keep the text of c when it may serve the preview, or
// a calendar that does not say its method in its type.
func (p *Parser) startCapture(c *Part) {
	var to *capture
	switch {
	case c.Type == "text" && c.Subtype == "calendar":
		if c.Params["method"] == "" && p.cal.part == nil {
			to, p.cal.max = &p.cal, keepCal
		}
	case c.IsAttachment():
	case c.Subtype == "html":
		if len(bytes.TrimSpace(p.html.raw)) == 0 {
			to, p.html.max = &p.html, keepHTML
		}
	default:
		if len(bytes.TrimSpace(p.plain.raw)) == 0 {
			to, p.plain.max = &p.plain, keepPlain
		}
	}
	if to != nil {
		to.part, to.raw = c, to.raw[:0]
		p.capture = to
	}
}

func (c *capture) decoded() io.Reader {
	return decodeTransfer(bytes.NewReader(c.raw), c.part.Encoding, int64(len(c.raw)))
}

// text reads what was captured as clean text.
func (c *capture) text() io.Reader {
	return decodeText(c.decoded(), c.part.Params["charset"], c.part.Subtype == "html", min(int64(len(c.raw)), 2<<10))
}

// line is what was captured on one line. It does without the readers of text,
// whose buffers would cost more than all the rest.
func (c *capture) line(buf []byte) string {
	var b []byte
	if identity(c.part.Encoding) {
		b = c.raw
	} else {
		n, _ := io.ReadFull(c.decoded(), buf)
		b = buf[:n]
	}
	if len(b) >= keepPlain {
		b = cutRune(bytes.TrimRight(b, "\n"))
	}
	if enc := chooseCharset(c.part.Params["charset"], b, false); enc != nil {
		b, _ = enc.NewDecoder().Bytes(b)
	}
	return squeeze(b, MaxPreview)
}

// survey derives what the Summary says of the whole from its parts.
func (p *Parser) survey() {
	s := &p.sum
	s.each(func(c *Part) {
		switch c.MediaType() {
		case "text/html":
			if !c.IsAttachment() {
				s.Flags |= HasHTML
			}
		case "text/plain":
			if !c.IsAttachment() {
				s.Flags |= HasPlain
			}
		case "text/calendar", "application/ics":
			s.Flags |= HasCalendar
			if m := c.Params["method"]; m != "" && s.CalendarMethod == "" {
				s.CalendarMethod = strings.ToUpper(m)
			}
		case "application/ms-tnef", "application/vnd.ms-tnef":
			s.Flags |= HasTNEF
		case "application/pkcs7-mime", "application/x-pkcs7-mime":
			if c.Params["smime-type"] == "signed-data" {
				s.Flags |= Signed | SMIME
			} else {
				s.Flags |= Encrypted | SMIME
			}
		case "application/pkcs7-signature", "application/x-pkcs7-signature":
			s.Flags |= Signed | SMIME
		}
		if c.IsAttachment() {
			s.Attachments++
			if strings.EqualFold(c.Filename(), "winmail.dat") {
				s.Flags |= HasTNEF
			}
		}
	})
	s.Root.Walk(func(c *Part, _ int) bool {
		switch c.MediaType() {
		case "multipart/signed":
			s.Flags |= Signed
		case "multipart/encrypted":
			s.Flags |= Encrypted
		case "multipart/report":
			if c == s.Root {
				s.Flags |= Report
			}
		}
		return !c.IsMessage()
	})
	if p.plain.part != nil {
		s.Preview = p.plain.line(p.scratch.decoded[:])
		if bytes.HasPrefix(bytes.TrimSpace(p.plain.raw), []byte("-----BEGIN PGP MESSAGE-----")) {
			s.Flags |= Encrypted
		}
	}
	if s.Preview == "" && p.html.part != nil {
		s.Preview = squeeze(HTMLToText(p.html.text(), 8*MaxPreview), MaxPreview)
	}
	if p.cal.part != nil && s.CalendarMethod == "" {
		s.CalendarMethod = calendarMethod(p.cal.text())
	}
}

func calendarMethod(r io.Reader) string {
	text, _ := io.ReadAll(io.LimitReader(r, keepCal))
	for l := range bytes.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if len(l) > 7 && equalFold(l[:7], "method:") {
			if m := strings.TrimSpace(string(l[7:])); isToken(m) {
				return strings.ToUpper(cutString(m, 40))
			}
		}
	}
	return ""
}

// squeeze makes one line of at most n runes of text.
func squeeze[T string | []byte](text T, n int) string {
	buf := make([]byte, 0, n+n/4)
	space := false
	for len(text) > 0 {
		c, w := rune(text[0]), 1
		if c >= utf8.RuneSelf {
			c, w = utf8.DecodeRuneInString(string(text[:min(len(text), utf8.UTFMax)]))
		}
		text = text[w:]
		switch {
		case c == ' ', unicode.IsSpace(c):
			space = true
		case c < ' ', c == 0x7f, c == 0xfffe, c == 0xffff:
		case c == 0x34f, c == 0x200b, c == 0xfeff, c == 0xad: // fillers
		default:
			if space && len(buf) > 0 {
				if n--; n < 1 {
					return string(buf)
				}
				buf = append(buf, ' ')
			}
			space = false
			if n--; n < 0 {
				return string(buf)
			}
			buf = utf8.AppendRune(buf, c)
		}
	}
	return string(buf)
}

// each calls f for every leaf of the message itself; an embedded message is a
// leaf and is not entered.
func (s *Summary) each(f func(*Part)) {
	s.Root.Walk(func(c *Part, _ int) bool {
		if !c.IsMultipart() {
			f(c)
			return false
		}
		return true
	})
}

// Bodies gives the parts that a person reads, plain and html being nil when
// there is none, and the files, which are exactly the leaves for which
// IsAttachment holds. See MoreText for further text.
func (s *Summary) Bodies() (plain, html *Part, attachments []*Part) {
	s.each(func(c *Part) {
		switch {
		case c.IsAttachment():
			attachments = append(attachments, c)
		case c.Subtype == "html":
			if html == nil {
				html = c
			}
		case plain == nil && c.Subtype == "plain":
			plain = c
		}
	})
	if plain == nil && html == nil {
		if more := s.MoreText(); len(more) > 0 {
			plain = more[0]
		}
	}
	return plain, html, attachments
}

// MoreText gives the text parts that are neither a file nor the first plain or
// HTML text, such as the footer that a mailing list adds as a part of its own.
func (s *Summary) MoreText() []*Part {
	var more []*Part
	plain, html := false, false
	s.each(func(c *Part) {
		switch {
		case c.IsAttachment():
		case c.Subtype == "plain" && !plain:
			plain = true
		case c.Subtype == "html" && !html:
			html = true
		default:
			more = append(more, c)
		}
	})
	return more
}
