package jmap

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"io"
	"maps"
	"mime"
	"mime/quotedprintable"
	"slices"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/mail"
)

const (
	maxAttachments = 100 << 20 // bytes of the files of one message, before encoding
	maxPartsOut    = 500       // parts of a message that is made here
)

// convenience are the properties that stand for a field (RFC 8621 section 4.1.3).
var convenience = []struct{ property, field, form string }{
	{"sentAt", "Date", "Date"},
	{"from", "From", "Addresses"},
	{"sender", "Sender", "Addresses"},
	{"replyTo", "Reply-To", "Addresses"},
	{"to", "To", "Addresses"},
	{"cc", "Cc", "Addresses"},
	{"bcc", "Bcc", "Addresses"},
	{"subject", "Subject", "Text"},
	{"messageId", "Message-ID", "MessageIds"},
	{"inReplyTo", "In-Reply-To", "MessageIds"},
	{"references", "References", "MessageIds"},
}

// composer makes a message of an Email (section 4.6).
type composer struct {
	ctx     context.Context
	c       *call
	values  object
	bad     map[string]bool
	missing []string // blobs
	files   int64    // bytes
	parts   int
}

// outPart is a part to be written.
type outPart struct {
	fields   string // of its header, but for Content-Transfer-Encoding
	kind     string // media type
	text     *string
	blob     *blob
	children []*outPart
}

// createEmail makes a message of an Email object and puts it into its mailbox.
func createEmail(ctx context.Context, c *call, o object) (string, object, error) {
	x := &composer{ctx: ctx, c: c, bad: map[string]bool{}}
	m, err := c.placeOf(ctx, o, object{})
	if err != nil {
		return "", nil, err
	}
	header, names := x.header(o)
	root := x.structure(o, names)
	switch {
	case len(x.missing) > 0:
		return "", nil, &setError{kind: "blobNotFound", extra: object{"notFound": distinct(x.missing)}}
	case len(x.bad) > 0:
		return "", nil, invalidProperties("", slices.Collect(maps.Keys(x.bad))...)
	case x.files > maxAttachments:
		return "", nil, &setError{kind: "tooLarge", text: "the files are too large"}
	}
	if !names["date"] {
		header += mail.FoldHeader("Date", c.opt.Now().Format(mailDate))
	}
	if !names["message-id"] {
		header += mail.FoldHeader("Message-ID", "<"+newMessageID(c.who.Address)+">")
	}
	header += "MIME-Version: 1.0\r\n"
	if m.Blob, m.Summary, err = c.copyToBlob(ctx, func(w io.Writer) error {
		if _, err := io.WriteString(w, header); err != nil {
			return err
		}
		return root.write(w)
	}); err != nil {
		return "", nil, err
	}
	return c.addEmail(ctx, m)
}

const mailDate = "Mon, 02 Jan 2006 15:04:05 -0700"

func newMessageID(address string) string {
	_, host, ok := strings.Cut(address, "@")
	if !ok {
		host = "localhost"
	}
	return random() + "@" + host
}

func random() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// elsewhere are the properties of an Email that are no fields of its header.
var elsewhere = []string{"mailboxIds", "keywords", "receivedAt", "bodyStructure", "bodyValues", "textBody", "htmlBody", "attachments"}

// header writes the fields of the message and tells their names, in lower case.
func (x *composer) header(o object) (text string, names map[string]bool) {
	names = map[string]bool{}
	var rest []string
	for name := range o {
		if !slices.Contains(elsewhere, name) {
			rest = append(rest, name)
		}
	}
	// In the order in which people expect them.
	place := func(name string) int {
		for i, c := range convenience {
			if c.property == name {
				return i
			}
		}
		return len(convenience)
	}
	slices.SortFunc(rest, func(a, b string) int { return cmp.Or(cmp.Compare(place(a), place(b)), strings.Compare(a, b)) })
	for _, name := range rest {
		h, ok := parseHeaderProperty(name)
		for _, c := range convenience {
			if c.property == name {
				h, ok = headerProperty{property: name, name: c.field, form: c.form}, true
			}
		}
		key := strings.ToLower(h.name)
		if !ok || names[key] || strings.HasPrefix(key, "content-") || key == "mime-version" {
			x.bad[name] = true
			continue
		}
		text += x.field(&h, o[name], names)
	}
	return text, names
}

// field writes a field, or several of one name.
func (x *composer) field(h *headerProperty, v any, names map[string]bool) (text string) {
	if v == nil {
		return ""
	}
	values := []any{v}
	if h.all {
		var ok bool
		if values, ok = v.([]any); !ok {
			x.bad[h.property] = true
			return ""
		}
	}
	for _, v := range values {
		line, ok := writeField(h.name, h.form, v)
		if !ok {
			x.bad[h.property] = true
			return ""
		}
		text += line
		names[strings.ToLower(h.name)] = true
	}
	return text
}

// writeField writes a value in a form as a field.
func writeField(name, form string, v any) (line string, ok bool) {
	switch form {
	case "Raw":
		s, isText := v.(string)
		rest := strings.NewReplacer("\r\n ", "", "\r\n\t", "").Replace(s)
		if !isText || strings.ContainsAny(rest, "\r\n\x00") {
			return "", false
		}
		return name + ":" + s + "\r\n", true
	case "Text":
		s, ok := v.(string)
		return mail.EncodeHeader(name, s), ok && !strings.ContainsRune(s, 0)
	case "Date":
		s, _ := v.(string)
		t, err := time.Parse(time.RFC3339Nano, s)
		return mail.FoldHeader(name, t.Format(mailDate)), err == nil
	case "Addresses":
		list, ok := readAddresses(v)
		return mail.FoldHeader(name, mail.FormatAddresses(list)), ok
	case "GroupedAddresses":
		groups, isList := v.([]any)
		if !isList {
			return "", false
		}
		var all []mail.Address
		for _, g := range groups {
			o, _ := g.(object)
			list, ok := readAddresses(o["addresses"])
			group, named := o["name"].(string)
			if !ok || !named && o["name"] != nil {
				return "", false
			}
			if named && group != "" {
				list = append(append([]mail.Address{{Mailbox: group}}, list...), mail.Address{})
			}
			all = append(all, list...)
		}
		return mail.FoldHeader(name, mail.FormatAddresses(all)), true
	case "MessageIds", "URLs":
		list, err := stringList(v, "")
		if err != nil || list == nil {
			return "", false
		}
		for _, s := range list {
			if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '<' || r == '>' || r == 0x7f }) {
				return "", false
			}
		}
		separator := "> <"
		if form == "URLs" {
			separator = ">, <"
		}
		if len(list) == 0 {
			return "", true
		}
		return mail.FoldHeader(name, "<"+strings.Join(list, separator)+">"), true
	}
	return "", false
}

// readAddresses reads EmailAddresses.
func readAddresses(v any) (list []mail.Address, ok bool) {
	all, ok := v.([]any)
	if !ok {
		return nil, false
	}
	for _, e := range all {
		o, _ := e.(object)
		email, ok1 := o["email"].(string)
		name, ok2 := o["name"].(string)
		if !ok1 || !ok2 && o["name"] != nil || strings.ContainsAny(email, "\r\n\x00<>") {
			return nil, false
		}
		a := mail.Address{Name: name, Mailbox: email, Host: mail.MissingHost}
		if at := strings.LastIndexByte(email, '@'); at > 0 {
			a.Mailbox, a.Host = email[:at], email[at+1:]
		}
		list = append(list, a)
	}
	return list, true
}

// structure reads the body.
func (x *composer) structure(o object, names map[string]bool) *outPart {
	if v, given := o["bodyValues"]; given && v != nil {
		var ok bool
		if x.values, ok = v.(object); !ok {
			x.bad["bodyValues"] = true
		}
	}
	for _, v := range x.values {
		value, _ := v.(object)
		if _, ok := value["value"].(string); !ok || value["isEncodingProblem"] == true || value["isTruncated"] == true {
			x.bad["bodyValues"] = true
		}
	}
	var lists [3][]*outPart
	flat := false
	for i, name := range []string{"textBody", "htmlBody", "attachments"} {
		v, given := o[name]
		if !given || v == nil {
			continue
		}
		flat = true
		list, ok := v.([]any)
		if !ok || i < 2 && len(list) != 1 {
			x.bad[name] = true
			continue
		}
		for _, e := range list {
			p := x.part(e, name, [...]string{"text/plain", "text/html", "application/octet-stream"}[i], nil)
			if p == nil || i < 2 && p.kind != [...]string{"text/plain", "text/html"}[i] || p.children != nil {
				x.bad[name] = true
				continue
			}
			lists[i] = append(lists[i], p)
		}
	}
	if v, given := o["bodyStructure"]; given && v != nil {
		if flat {
			x.bad["bodyStructure"] = true
			return nil
		}
		return x.part(v, "bodyStructure", "text/plain", names)
	}
	text, html, files := lists[0], lists[1], lists[2]
	var shown, rest []*outPart
	for _, f := range files {
		if len(html) > 0 && strings.Contains(f.fields, "Content-ID:") && strings.Contains(f.fields, "Content-Disposition: inline") {
			shown = append(shown, f)
		} else {
			rest = append(rest, f)
		}
	}
	// Files that the HTML shows belong to it.
	if len(shown) > 0 {
		html = []*outPart{multipart("related", append(html, shown...))}
	}
	body := append(text, html...)
	if len(body) > 1 {
		body = []*outPart{multipart("alternative", body)}
	}
	switch all := append(body, rest...); {
	case len(all) == 0:
		empty := ""
		return &outPart{kind: "text/plain", fields: "Content-Type: text/plain; charset=utf-8\r\n", text: &empty}
	case len(all) == 1 && len(rest) == 0:
		return all[0]
	default:
		return multipart("mixed", all)
	}
}

func multipart(subtype string, children []*outPart) *outPart {
	return &outPart{kind: "multipart/" + subtype, children: children}
}

// part reads an EmailBodyPart. names are the fields of the message itself, which a
// root may not have again. It is nil when it is wrong in a way that was noted.
func (x *composer) part(v any, at, kind string, names map[string]bool) *outPart {
	o, ok := v.(object)
	if x.parts++; !ok || x.parts > maxPartsOut {
		x.bad[at] = true
		return nil
	}
	p := &outPart{kind: kind}
	text := func(name string) string {
		s, isText := o[name].(string)
		if !isText && o[name] != nil {
			x.bad[at] = true
		}
		if strings.ContainsAny(s, "\r\n\x00") {
			x.bad[at] = true
		}
		return s
	}
	if given := text("type"); given != "" {
		p.kind = strings.ToLower(given)
	}
	if _, params, err := mime.ParseMediaType(p.kind); err != nil || len(params) > 0 || !strings.Contains(p.kind, "/") {
		x.bad[at] = true
		return nil
	}
	partID, blobID, set := text("partId"), text("blobId"), text("charset")
	own := map[string]bool{}
	p.fields = x.partFields(o, at, own, names)
	name := text("name")
	params := map[string]string{}
	switch {
	case strings.HasPrefix(p.kind, "multipart/"):
		list, ok := o["subParts"].([]any)
		if !ok || len(list) == 0 || partID != "" || blobID != "" {
			x.bad[at] = true
			return nil
		}
		for _, e := range list {
			if c := x.part(e, at, "text/plain", nil); c != nil {
				p.children = append(p.children, c)
			}
		}
		if own["content-type"] {
			x.bad[at] = true // its boundary is ours
		}
		return p
	case o["subParts"] != nil, (partID == "") == (blobID == ""):
		x.bad[at] = true
		return nil
	case partID != "":
		value, ok := x.values[partID].(object)
		s, isText := value["value"].(string)
		if !ok || !isText || o["charset"] != nil || o["size"] != nil || !strings.HasPrefix(p.kind, "text/") {
			x.bad[at] = true
			return nil
		}
		p.text = &s
		params["charset"] = "utf-8"
	default:
		b, err := x.c.blob(x.ctx, x.c.box, blobID)
		if err != nil {
			if fault.Of(err) != fault.NotFound {
				x.bad[at] = true
			}
			x.missing = append(x.missing, blobID)
			return nil
		}
		p.blob = b
		x.files += b.size
		if set != "" {
			params["charset"] = set
		}
	}
	if !own["content-type"] {
		if name != "" {
			params["name"] = name
		}
		p.fields = x.mediaField(at, "Content-Type", p.kind, params) + p.fields
	}
	if d := text("disposition"); (d != "" || name != "") && !own["content-disposition"] {
		if d == "" {
			d = "attachment"
		}
		params = map[string]string{}
		if name != "" {
			params["filename"] = name
		}
		p.fields += x.mediaField(at, "Content-Disposition", d, params)
	}
	return p
}

// mediaField writes a field with parameters (RFC 2231).
func (x *composer) mediaField(at, name, value string, params map[string]string) string {
	s := mime.FormatMediaType(value, params)
	if s == "" {
		x.bad[at] = true
		return ""
	}
	return mail.FoldHeader(name, s)
}

// partFields writes the other fields of a part, and notes their names in own.
func (x *composer) partFields(o object, at string, own, names map[string]bool) (text string) {
	add := func(field, line string) {
		if own[field] || names[field] {
			x.bad[at] = true
			return
		}
		own[field] = true
		text += line
	}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		v := o[name]
		s, isText := v.(string)
		clean := isText && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '<' || r == '>' })
		switch {
		case name == "cid" && clean:
			add("content-id", "Content-ID: <"+s+">\r\n")
		case name == "location" && clean:
			add("content-location", mail.FoldHeader("Content-Location", s))
		case name == "language" && v != nil:
			list, err := stringList(v, name)
			if err != nil || strings.ContainsAny(strings.Join(list, ""), "\r\n\x00") {
				x.bad[at] = true
			} else if len(list) > 0 {
				add("content-language", mail.FoldHeader("Content-Language", strings.Join(list, ", ")))
			}
		case slices.Contains([]string{"partId", "blobId", "size", "name", "type", "charset", "disposition", "subParts", "language"}, name):
		case (name == "cid" || name == "location") && v == nil:
		default:
			h, ok := parseHeaderProperty(name)
			key := strings.ToLower(h.name)
			// "headers", an unknown property, or what is ours to choose.
			if !ok || key == "content-transfer-encoding" || !strings.HasPrefix(key, "content-") && names == nil {
				x.bad[at] = true
				continue
			}
			for _, twice := range map[string][]string{"content-type": {"type", "charset", "name"}, "content-disposition": {"disposition", "name"}}[key] {
				if o[twice] != nil {
					x.bad[at] = true
				}
			}
			if line := x.field(&h, v, map[string]bool{}); line != "" {
				add(key, line)
			}
		}
	}
	return text
}

// write writes a part: the rest of its header, an empty line and its body.
func (p *outPart) write(w io.Writer) error {
	out := func(s string) (err error) {
		_, err = io.WriteString(w, s)
		return err
	}
	switch {
	case p.children != nil:
		boundary := "=_" + random()
		if err := out(p.fields + "Content-Type: " + p.kind + ";\r\n boundary=\"" + boundary + "\"\r\n\r\n"); err != nil {
			return err
		}
		for _, c := range p.children {
			if err := out("--" + boundary + "\r\n"); err != nil {
				return err
			}
			if err := c.write(w); err != nil {
				return err
			}
			if err := out("\r\n"); err != nil {
				return err
			}
		}
		return out("--" + boundary + "--\r\n")
	case p.text != nil:
		text := strings.ReplaceAll(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(*p.text), "\n", "\r\n")
		if plainLines(text) {
			return out(p.fields + "Content-Transfer-Encoding: 7bit\r\n\r\n" + text)
		}
		if err := out(p.fields + "Content-Transfer-Encoding: quoted-printable\r\n\r\n"); err != nil {
			return err
		}
		q := quotedprintable.NewWriter(w)
		if _, err := io.WriteString(q, text); err != nil {
			return err
		}
		return q.Close()
	}
	// RFC 2046 section 5.2.1: an embedded message is not encoded.
	if p.kind == "message/rfc822" || p.kind == "message/global" {
		if err := out(p.fields + "Content-Transfer-Encoding: 8bit\r\n\r\n"); err != nil {
			return err
		}
		return copyOfBlob(p.blob)(w)
	}
	if err := out(p.fields + "Content-Transfer-Encoding: base64\r\n\r\n"); err != nil {
		return err
	}
	lines := &base64Lines{w: w}
	e := base64.NewEncoder(base64.StdEncoding, lines)
	if err := copyOfBlob(p.blob)(e); err != nil {
		return err
	}
	return e.Close()
}

// plainLines tells whether text needs no encoding (RFC 2045 section 2.7).
func plainLines(s string) bool {
	n := 0
	for i := range len(s) {
		switch {
		case s[i] == '\n':
			n = 0
		case s[i] >= 0x7f || s[i] == 0:
			return false
		default:
			if n++; n > 900 {
				return false
			}
		}
	}
	return true
}

// base64Lines divides base64 into lines of 76 columns.
type base64Lines struct {
	w   io.Writer
	col int
}

func (l *base64Lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if l.col == 76 {
			if _, err := io.WriteString(l.w, "\r\n"); err != nil {
				return 0, err
			}
			l.col = 0
		}
		k := min(76-l.col, len(p))
		if _, err := l.w.Write(p[:k]); err != nil {
			return 0, err
		}
		l.col += k
		p = p[k:]
	}
	return n, nil
}
