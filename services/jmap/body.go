package jmap

import (
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html/charset"

	"waypost/internal/mail"
)

// numbered is a part with its number: that of IMAP, with _ for the dots.
type numbered struct {
	*mail.Part
	section []int
}

func (n numbered) id() string { return sectionText(n.section) }

// number numbers a part that is the root of a message.
func number(root *mail.Part) numbered {
	if root.IsMultipart() {
		return numbered{root, nil}
	}
	return numbered{root, []int{1}}
}

func (n numbered) children() []numbered {
	list := make([]numbered, len(n.Children))
	for i, c := range n.Children {
		list[i] = numbered{c, append(slices.Clone(n.section), i+1)}
	}
	return list
}

func (n numbered) name() string {
	if name := n.DispParams["filename"]; name != "" {
		return name
	}
	return n.Params["name"]
}

func (n numbered) isMedia() bool { return n.Type == "image" || n.Type == "audio" || n.Type == "video" }

// flat are the three lists of section 4.1.4. A list that is closed takes no more.
type flat struct{ text, html, files []numbered }

// flatten divides a structure as the algorithm of section 4.1.4 does; text and html
// tell which list a part may go to.
func (f *flat) flatten(parts []numbered, within string, inAlternative, text, html bool) {
	texts, htmls := len(f.text), len(f.html)
	wasText, wasHTML := text, html
	for i, p := range parts {
		if p.IsMultipart() {
			f.flatten(p.children(), p.Subtype, inAlternative || p.Subtype == "alternative", text, html)
			continue
		}
		kind := p.MediaType()
		inline := p.Disposition != "attachment" && (kind == "text/plain" || kind == "text/html" || p.isMedia()) &&
			// Of multipart/related only the first is inline; text with a file name is,
			// where it is not the first, a file.
			(i == 0 || within != "related" && (p.isMedia() || p.name() == ""))
		switch {
		case !inline:
			f.files = append(f.files, p)
			continue
		case within == "alternative":
			switch kind {
			case "text/plain":
				if text {
					f.text = append(f.text, p)
				}
			case "text/html":
				if html {
					f.html = append(f.html, p)
				}
			default:
				f.files = append(f.files, p)
			}
			continue
		case inAlternative && kind == "text/plain":
			html = false
		case inAlternative && kind == "text/html":
			text = false
		}
		if text {
			f.text = append(f.text, p)
		}
		if html {
			f.html = append(f.html, p)
		}
		if (!text || !html) && p.isMedia() {
			f.files = append(f.files, p)
		}
	}
	if within == "alternative" && wasText && wasHTML {
		switch {
		case texts == len(f.text) && htmls != len(f.html): // HTML alone
			f.text = append(f.text, f.html[htmls:]...)
		case htmls == len(f.html) && texts != len(f.text): // plain text alone
			f.html = append(f.html, f.text[texts:]...)
		}
	}
}

// bodies adds the properties of the body.
func (v *view) bodies(m *message, o object) (err error) {
	root := number(m.sum.Root)
	f := &flat{}
	f.flatten([]numbered{root}, "mixed", false, true, true)
	for name, list := range map[string][]numbered{"textBody": f.text, "htmlBody": f.html, "attachments": f.files} {
		if slices.Contains(v.properties, name) {
			if o[name], err = v.parts(m, list, false); err != nil {
				return err
			}
		}
	}
	if slices.Contains(v.properties, "bodyStructure") {
		if o["bodyStructure"], err = v.part(m, root, true); err != nil {
			return err
		}
	}
	if slices.Contains(v.properties, "bodyValues") {
		var want []numbered
		if v.text {
			want = append(want, f.text...)
		}
		if v.html {
			want = append(want, f.html...)
		}
		if v.all {
			want = leaves(root, want)
		}
		values := object{}
		for _, p := range want {
			if p.Type == "text" && values[p.id()] == nil {
				if values[p.id()], err = v.value(m, p); err != nil {
					return err
				}
			}
		}
		o["bodyValues"] = values
	}
	return nil
}

func leaves(p numbered, list []numbered) []numbered {
	if !p.IsMultipart() {
		return append(list, p)
	}
	for _, c := range p.children() {
		list = leaves(c, list)
	}
	return list
}

func (v *view) parts(m *message, list []numbered, deep bool) ([]any, error) {
	out := []any{}
	for _, p := range list {
		o, err := v.part(m, p, deep)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// part gives an EmailBodyPart (section 4.1.4).
func (v *view) part(m *message, p numbered, deep bool) (o object, err error) {
	o = object{}
	var fields []field
	if len(v.partHeader) > 0 || slices.Contains(v.body, "headers") {
		if fields, err = m.header(p.Part); err != nil {
			return nil, err
		}
	}
	for _, h := range v.partHeader {
		o[h.property] = h.value(fields)
	}
	for _, name := range v.body {
		switch name {
		case "partId":
			o[name] = nil
			if !p.IsMultipart() {
				o[name] = p.id()
			}
		case "blobId":
			o[name] = nil
			if !p.IsMultipart() {
				id := m.blob
				id.section = append(slices.Clone(m.blob.section), p.section...)
				o[name] = id.String()
			}
		case "size":
			o[name] = int64(0)
			if !p.IsMultipart() {
				if o[name], err = decodedSize(p.Part, m.body()); err != nil {
					return nil, err
				}
			}
		case "headers":
			o[name] = fields
			if fields == nil {
				o[name] = []any{}
			}
		case "name":
			o[name] = orNil(p.name())
		case "type":
			o[name] = p.MediaType()
		case "charset":
			o[name] = nil
			if p.Type == "text" {
				if o[name] = p.Params["charset"]; o[name] == "" {
					o[name] = "us-ascii"
				}
			}
		case "disposition":
			o[name] = orNil(p.Disposition)
		case "cid":
			o[name] = orNil(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(p.ID), "<"), ">"))
		case "language":
			o[name] = nil
			if len(p.Language) > 0 {
				o[name] = p.Language
			}
		case "location":
			o[name] = orNil(p.Location)
		case "subParts":
			if !deep {
				o[name] = nil
			}
		}
	}
	if deep { // a structure is one whatever is asked for of its parts
		o["subParts"] = nil
		if p.IsMultipart() {
			if o["subParts"], err = v.parts(m, p.children(), true); err != nil {
				return nil, err
			}
		}
	}
	return o, nil
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// value gives an EmailBodyValue.
func (v *view) value(m *message, p numbered) (object, error) {
	limit := v.left
	if v.maxBytes > 0 {
		limit = min(limit, v.maxBytes)
	}
	// CRLF becomes LF, so twice as much may have to be read.
	raw, err := io.ReadAll(io.LimitReader(p.Text(m.body()), 2*int64(limit)+utf8.UTFMax))
	if err != nil {
		return nil, err
	}
	text := strings.ReplaceAll(string(raw), "\r\n", "\n")
	cut := len(text) > limit
	if cut {
		if v.maxBytes == 0 || limit < v.maxBytes {
			return nil, methodFault("requestTooLarge", "the bodies are too large to be given at once")
		}
		text = truncate(text, limit, p.Subtype == "html")
	}
	v.left -= len(text)
	name := p.Params["charset"]
	enc, _ := charset.Lookup(name)
	unknown := name != "" && enc == nil
	switch p.Encoding {
	case "", "7bit", "8bit", "binary", "base64", "quoted-printable":
	default:
		unknown = unknown || identity(p.Encoding)
	}
	return object{"value": text, "isEncodingProblem": unknown || strings.ContainsRune(text, utf8.RuneError), "isTruncated": cut}, nil
}

// truncate cuts text at n bytes, not within a character, nor within a tag of HTML.
func truncate(text string, n int, isHTML bool) string {
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	text = text[:n]
	if isHTML {
		if open := strings.LastIndexByte(text, '<'); open > strings.LastIndexByte(text, '>') {
			text = text[:open]
		}
	}
	return text
}
