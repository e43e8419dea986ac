package mail

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// fieldName gives the length of the field name with which a header line
// begins, or 0. White space before the colon is allowed (RFC 5322 section 4.5).
func fieldName(l []byte) int {
	i := 0
	for i < len(l) && l[i] > ' ' && l[i] < 0x7f && l[i] != ':' {
		i++
	}
	j := i
	for j < len(l) && (l[j] == ' ' || l[j] == '\t') {
		j++
	}
	if j == len(l) || l[j] != ':' {
		return 0
	}
	return i
}

// nextField cuts the first field off a header whose lines end with LF. The
// value still has its line ends.
func nextField(h []byte) (name, value, rest []byte) {
	end := 0
	for {
		i := bytes.IndexByte(h[end:], '\n')
		if i < 0 {
			end = len(h)
			break
		}
		end += i + 1
		if end == len(h) || h[end] != ' ' && h[end] != '\t' {
			break
		}
	}
	n := fieldName(h[:end])
	if n == 0 {
		return nil, nil, h[end:]
	}
	colon := bytes.IndexByte(h[n:end], ':') + n
	return h[:n], h[colon+1 : end], h[end:]
}

// unfold removes the line ends inside a field's value and the white space
// around it (RFC 5322 section 2.2.3).
func unfold(v []byte) []byte {
	v = bytes.TrimSpace(v)
	if bytes.IndexByte(v, '\n') < 0 {
		return v
	}
	out := make([]byte, 0, len(v))
	for _, c := range v {
		if c != '\n' && c != '\r' {
			out = append(out, c)
		}
	}
	return out
}

// readHeader fills c, and for the root of a message its envelope, from the
// header that was kept.
func (p *Parser) readHeader(c *Part, top int) {
	var env *Envelope
	switch {
	case top == 0:
		env = &p.sum.Envelope
	case p.stack[top-1].part.Message == c:
		env = p.stack[top-1].part.Envelope
	}
	hint := ""
	if !utf8.Valid(p.head) {
		hint = charsetHint(p.head)
	}
	typed := false
	for h := p.head; len(h) > 0; {
		var name, value []byte
		name, value, h = nextField(h)
		f, ok := fieldOf(name)
		if !ok {
			continue
		}
		switch {
		case f < fMIME:
			if f == fContentType {
				if typed {
					continue
				}
				typed = true
			}
			p.readMIME(c, f, headerString(unfold(value), hint))
		case f < fEnvelope && env != nil:
			p.readEnvelope(env, f, headerString(unfold(value), hint), top > 0)
		case f < fTop && top == 0:
			p.readTop(f, headerString(unfold(value), hint))
		}
	}
	if c.Type == "" {
		c.Type, c.Subtype = "text", "plain"
		if !typed && env == nil && p.stack[top-1].multi && p.stack[top-1].part.Subtype == "digest" {
			c.Type, c.Subtype = "message", "rfc822" // RFC 2046 section 5.1.5
		}
	}
	if c.Encoding == "" {
		c.Encoding = "7bit"
	}
}

// headerString makes a raw value valid UTF-8 without changing encoded words.
func headerString(v []byte, hint string) string {
	if utf8.Valid(v) && bytes.IndexByte(v, 0x1b) < 0 {
		return string(v)
	}
	return guess(v, hint)
}

// charsetHint looks for a charset in a header block; it tells how 8-bit bytes
// beside it are meant.
func charsetHint(h []byte) string {
	for len(h) > 0 {
		var name, value []byte
		name, value, h = nextField(h)
		if f, ok := fieldOf(name); ok && f == fContentType {
			_, params := mimeValue(string(unfold(value)))
			return params["charset"]
		}
	}
	return ""
}

type field uint8

const (
	fContentType field = iota
	fContentID
	fContentDescription
	fContentEncoding
	fContentDisposition
	fContentLanguage
	fContentLocation
	fContentMD5
	fMIME // all above belong to any part

	fDate
	fSubject
	fFrom
	fSender
	fReplyTo
	fTo
	fCc
	fBcc
	fInReplyTo
	fMessageID
	fEnvelope // all above belong to any message

	fReferences
	fImportance
	fXPriority
	fPriority
	fXMSMailPriority
	fAutoSubmitted
	fPrecedence
	fListID
	fReceiptTo
	fThreadTopic
	fThreadIndex
	fTop // all above belong to the message itself
)

var fieldNames = [...]string{
	fContentType: "content-type", fContentID: "content-id", fContentDescription: "content-description",
	fContentEncoding: "content-transfer-encoding", fContentDisposition: "content-disposition",
	fContentLanguage: "content-language", fContentLocation: "content-location", fContentMD5: "content-md5",
	fDate: "date", fSubject: "subject", fFrom: "from", fSender: "sender", fReplyTo: "reply-to", fTo: "to",
	fCc: "cc", fBcc: "bcc", fInReplyTo: "in-reply-to", fMessageID: "message-id",
	fReferences: "references", fImportance: "importance", fXPriority: "x-priority", fPriority: "priority",
	fXMSMailPriority: "x-msmail-priority", fAutoSubmitted: "auto-submitted", fPrecedence: "precedence",
	fListID: "list-id", fReceiptTo: "disposition-notification-to", fThreadTopic: "thread-topic",
	fThreadIndex: "thread-index",
}

var fieldsByLen = func() (t [32][]field) {
	for f, n := range fieldNames {
		if n != "" {
			t[len(n)] = append(t[len(n)], field(f))
		}
	}
	return
}()

func fieldOf(name []byte) (field, bool) {
	if len(name) >= len(fieldsByLen) {
		return 0, false
	}
	for _, f := range fieldsByLen[len(name)] {
		if equalFold(name, fieldNames[f]) {
			return f, true
		}
	}
	return 0, false
}

// equalFold compares with a word that is ASCII in lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// keep counts s against the text that one Summary may hold.
func (p *Parser) keep(s string, limit int) string {
	if len(s) > limit {
		s = cutString(s, limit)
	}
	if len(s) > p.text {
		p.defect("too much text in headers")
		s = cutString(s, p.text)
	}
	p.text -= len(s)
	return s
}

// cutString shortens s to at most n bytes without splitting a rune.
func cutString(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func (p *Parser) readMIME(c *Part, f field, v string) {
	switch f {
	case fContentType:
		mt, params := mimeValue(v)
		t, sub, ok := strings.Cut(mt, "/")
		t, sub = strings.TrimSpace(t), strings.TrimSpace(sub)
		c.Params = p.keepParams(params)
		if !ok || !isToken(t) || !isToken(sub) {
			p.defect("unreadable Content-Type")
			return // text/plain: RFC 2045 section 5.2
		}
		c.Type, c.Subtype = p.keep(t, 127), p.keep(sub, 127)
	case fContentEncoding:
		v, _ = mimeValue(v)
		c.Encoding = p.keep(strings.Trim(v, `"`), 80)
	case fContentDisposition:
		d, params := mimeValue(v)
		c.Disposition = p.keep(d, 80)
		c.DispParams = p.keepParams(params)
	case fContentID:
		c.ID = p.keep(cleanLine(v), maxParam)
	case fContentDescription:
		c.Description = p.keep(DecodeHeader(v), maxParam)
	case fContentLanguage:
		for l := range strings.SplitSeq(v, ",") {
			l, _ = mimeValue(l)
			if l != "" && len(c.Language) < maxParams {
				c.Language = append(c.Language, p.keep(l, 80))
			}
		}
	case fContentLocation:
		c.Location = p.keep(cleanLine(v), maxParam)
	case fContentMD5:
		c.MD5 = p.keep(cleanLine(v), 80)
	}
}

func (p *Parser) keepParams(m map[string]string) map[string]string {
	n := 0
	for k, v := range m {
		n += len(k) + len(v)
	}
	if n > p.text {
		p.defect("too much text in headers")
		return nil
	}
	p.text -= n
	return m
}

// readEnvelope takes one envelope field. Fields that must be single count once,
// the lists of recipients may be spread over several fields.
func (p *Parser) readEnvelope(e *Envelope, f field, v string, embedded bool) {
	addresses := func(list *[]Address, several bool) {
		if len(*list) > 0 && !several {
			return
		}
		limit := MaxAddresses
		if embedded {
			limit = 200
		}
		for _, a := range parseAddresses(v, limit-len(*list)) {
			n := len(a.Name) + len(a.Mailbox) + len(a.Host) + 16
			if n > p.text {
				p.defect("too much text in headers")
				return
			}
			p.text -= n
			*list = append(*list, a)
		}
	}
	single := func(s *string, v string) {
		if *s == "" {
			*s = p.keep(v, maxSubject)
		}
	}
	switch f {
	case fDate:
		if e.DateText == "" {
			single(&e.DateText, cleanLine(v))
			e.Date = ParseDate(v)
		}
	case fSubject:
		if e.Subject == "" {
			single(&e.Subject, DecodeHeader(v))
		}
	case fFrom:
		addresses(&e.From, false)
	case fSender:
		addresses(&e.Sender, false)
	case fReplyTo:
		addresses(&e.ReplyTo, false)
	case fTo:
		addresses(&e.To, true)
	case fCc:
		addresses(&e.Cc, true)
	case fBcc:
		addresses(&e.Bcc, true)
	case fInReplyTo:
		single(&e.InReplyTo, cleanLine(v))
	case fMessageID:
		single(&e.MessageID, cleanLine(v))
	}
}

func (p *Parser) readTop(f field, v string) {
	s := &p.sum
	word := func() string {
		w, _ := mimeValue(v)
		return p.keep(w, 80)
	}
	switch f {
	case fReferences:
		for _, id := range MessageIDs(v) {
			if len(s.References) < maxIDs {
				s.References = append(s.References, p.keep(id, 998))
			}
		}
	case fImportance, fXPriority, fPriority, fXMSMailPriority:
		w := word()
		switch {
		case w == "high", w == "urgent", strings.HasPrefix(w, "1"), strings.HasPrefix(w, "2"):
			s.Importance = 2
		case w == "low", w == "non-urgent", strings.HasPrefix(w, "4"), strings.HasPrefix(w, "5"):
			s.Importance = 0
		}
	case fAutoSubmitted:
		s.AutoSubmitted = word()
	case fPrecedence:
		s.Precedence = word()
	case fListID:
		s.ListID = p.keep(DecodeHeader(v), maxParam)
	case fReceiptTo:
		if len(s.ReceiptTo) == 0 {
			s.ReceiptTo = parseAddresses(v, 20)
		}
	case fThreadTopic:
		s.ThreadTopic = p.keep(DecodeHeader(v), maxSubject)
	case fThreadIndex:
		s.ThreadIndex = p.keep(strings.Join(strings.Fields(cleanLine(v)), ""), maxParam)
	}
}
