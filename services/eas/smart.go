package eas

import (
	"context"
	"html"
	"io"
	"strings"

	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// smartReply answers SmartReply (MS-ASCMD 2.2.1.20).
func (s *Server) smartReply(ctx context.Context, r *request) error {
	return s.smart(ctx, r, false)
}

// smartForward answers SmartForward (MS-ASCMD 2.2.1.19).
func (s *Server) smartForward(ctx context.Context, r *request) error {
	return s.smart(ctx, r, true)
}

// smart sends a phone's new text with the message that it answers or forwards,
// which the phone need not have whole.
func (s *Server) smart(ctx context.Context, r *request, forward bool) error {
	spools := &spooler{}
	defer spools.close()
	in, err := readSend(r, spools)
	if err != nil {
		return err
	}
	c := s.composer(r)
	m, err := c.prepare(ctx, in.mime)
	if err != nil {
		return err
	}
	src, err := c.source(ctx, in)
	switch {
	case err == nil:
	case fault.Of(err) == fault.NotFound && r.before(wbxml.V140):
		// The original is gone; the new part is sent all the same.
	default:
		return err
	}
	out := m.copy
	if src != nil && !in.replace && !sealed(m.summary) {
		out = func(w io.Writer) error { return c.join(m, src, forward, w) }
	}
	send := store.Outgoing{}
	if src != nil {
		send.Source, send.SourceVerb = src.m.Item, "forward"
		if !forward {
			send.SourceVerb = "reply"
			if m.answersAll(src.m.Summary, c.who.as.Address) {
				send.SourceVerb = "replyAll"
			}
		}
	}
	return s.dispatch(ctx, r, c, in, m, send, out)
}

// sealed tells whether a message must not be changed.
func sealed(s *mail.Summary) bool { return s.Flags&(mail.Signed|mail.Encrypted) != 0 }

// answersAll tells whether a reply goes to others than the sender of the original.
func (m *sending) answersAll(original *mail.Summary, own string) bool {
	others := map[string]bool{}
	for _, a := range recipients(original.To, original.Cc) {
		others[strings.ToLower(a)] = !strings.EqualFold(a, own)
	}
	for _, a := range recipients(original.From, original.ReplyTo) {
		delete(others, strings.ToLower(a))
	}
	for _, a := range m.recipients {
		if others[strings.ToLower(a)] {
			return true
		}
	}
	return false
}

// source finds the original: by LongId, or by folder and item.
func (c *composer) source(ctx context.Context, in *sendInput) (*message, error) {
	id := in.item
	if in.long != "" {
		if in.item != "" || in.folder != "" {
			return nil, status(StatusInvalidCombinationOfIDs)
		}
		id = in.long
	}
	item, ok := parseItem(id)
	if !ok {
		return nil, fault.New(fault.NotFound, "no original")
	}
	entries, err := c.mail.EntriesOf(ctx, c.who.as, c.who.box, []store.ItemID{item})
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, fault.New(fault.NotFound, "the original is gone")
	}
	msgs, err := c.mail.Messages(ctx, c.who.as, c.who.box, []store.ItemID{item})
	if err != nil {
		return nil, err
	}
	if len(msgs) == 0 || msgs[0] == nil {
		return nil, fault.New(fault.NotFound, "the original is gone")
	}
	return newMessage(ctx, c.mail, c.who, msgs[0]), nil
}

// join writes the phone's message with the original in it: quoted below the new
// text, with the original's files when it is forwarded.
func (c *composer) join(m *sending, src *message, forward bool, w io.Writer) error {
	received, err := src.received()
	if err != nil {
		return err
	}
	s, orig := m.summary, src.m.Summary
	m.thread(orig)
	out := &outMessage{header: m.header("content-type", "content-transfer-encoding", "content-disposition",
		"content-id", "content-description", "mime-version")}
	plain, htm, files := s.Bodies()
	whole := forward && (sealed(orig) || orig.Has(mail.Report))
	if whole {
		out.bodies(m, plain, htm, "", "")
	} else if err := out.quote(m, plain, htm, src, forward); err != nil {
		return err
	}
	for _, p := range files {
		out.parts = append(out.parts, partOf(m.spool, s.Root, p))
	}
	for _, p := range s.MoreText() {
		if p != plain && p != htm {
			out.parts = append(out.parts, partOf(m.spool, s.Root, p))
		}
	}
	if whole {
		content, err := src.open()
		if err != nil {
			return err
		}
		out.parts = append(out.parts, outPart{write: func(w io.Writer) error {
			if _, err := io.WriteString(w, "Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n"); err != nil {
				return err
			}
			_, err := io.Copy(w, io.NewSectionReader(content, 0, content.Size()))
			return err
		}})
		return out.write(w)
	}
	for _, p := range src.files {
		inline := isInline(p)
		if forward || inline && out.html != nil && src.html != nil {
			q := partOf(received, orig.Root, p)
			q.inline = inline
			out.parts = append(out.parts, q)
		}
	}
	return out.write(w)
}

// partOf is a part of a message as a part of another one.
func partOf(r io.ReaderAt, root, p *mail.Part) outPart {
	if p == root {
		return rootPart(r, p)
	}
	return copyPart(r, p, isInline(p))
}

// thread adds the fields that tie the new message to the original, where the
// phone did not (RFC 5322 section 3.6.4).
func (m *sending) thread(orig *mail.Summary) {
	if orig.MessageID == "" || m.fields.Get("In-Reply-To") != "" {
		return
	}
	m.put("In-Reply-To", orig.MessageID)
	if m.fields.Get("References") == "" {
		refs := orig.References
		if len(refs) > 20 {
			refs = append(append([]string(nil), refs[0]), refs[len(refs)-19:]...)
		}
		list := ""
		for _, id := range refs {
			list += "<" + id + "> "
		}
		m.put("References", list+orig.MessageID)
	}
}

// bodies takes the phone's texts and puts more after each.
func (o *outMessage) bodies(m *sending, plain, htm *mail.Part, morePlain, moreHTML string) {
	if plain != nil || htm == nil {
		text := ""
		if plain != nil {
			text = strings.TrimRight(readText(plain, m.spool, maxHeldText), "\r\n")
		}
		if text += morePlain; text != "" {
			text += "\r\n"
		}
		o.plain = &text
	}
	if htm != nil {
		text := insertHTML(readText(htm, m.spool, maxHeldText), moreHTML)
		o.html = &text
	}
}

// quote makes the texts: the phone's, and the original's below it.
func (o *outMessage) quote(m *sending, plain, htm *mail.Part, src *message, forward bool) error {
	var morePlain, moreHTML string
	fields := quotedFields(src.m.Summary)
	if plain != nil || htm == nil {
		text, err := heldText(src, bodyPlain)
		if err != nil {
			return err
		}
		var b strings.Builder
		b.WriteString("\r\n\r\n________________________________\r\n")
		for _, f := range fields {
			b.WriteString(f[0] + ": " + f[1] + "\r\n")
		}
		b.WriteString("\r\n" + crlf(text))
		morePlain = b.String()
	}
	if htm != nil || plain != nil && forward && src.html != nil {
		text, err := heldText(src, bodyHTML)
		if err != nil {
			return err
		}
		var b strings.Builder
		b.WriteString("<br>\r\n<hr>\r\n<div>")
		for _, f := range fields {
			b.WriteString("<b>" + f[0] + ":</b> " + html.EscapeString(f[1]) + "<br>\r\n")
		}
		b.WriteString("<br></div>\r\n<div>" + innerHTML(text) + "</div>\r\n")
		moreHTML = b.String()
	}
	o.bodies(m, plain, htm, morePlain, moreHTML)
	if htm == nil && moreHTML != "" {
		// The phone wrote plain text and forwards HTML: what it looks like counts.
		own := ""
		if plain != nil {
			own = readText(plain, m.spool, maxHeldText)
		}
		text := "<html><body><div>" + mail.TextToHTML(own) + "</div>\r\n" + moreHTML + "</body></html>\r\n"
		o.html = &text
	}
	return nil
}

// heldText reads a text of the original, as far as it is held.
func heldText(src *message, kind uint8) (string, error) {
	r, err := src.text(kind)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(r, maxHeldText))
	return string(trimRune(b)), err
}

// quotedFields are the lines that introduce a quoted message.
func quotedFields(s *mail.Summary) [][2]string {
	var list [][2]string
	add := func(name, value string) {
		if value != "" {
			list = append(list, [2]string{name, value})
		}
	}
	add("From", joinAddresses(s.From, ","))
	if !s.Date.IsZero() {
		add("Sent", s.Date.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	}
	add("To", joinAddresses(s.To, ","))
	add("Cc", joinAddresses(s.Cc, ","))
	add("Subject", s.Subject)
	return list
}

// indexFold finds an ASCII text in lower case in s, whatever the case there.
func indexFold(s, lower string, last bool) int {
	at := -1
	for i := 0; i+len(lower) <= len(s); i++ {
		if s[i]|0x20 == lower[0]|0x20 && strings.EqualFold(s[i:i+len(lower)], lower) {
			if !last {
				return i
			}
			at = i
		}
	}
	return at
}

// insertHTML puts more at the end of a document's body.
func insertHTML(doc, more string) string {
	if more == "" {
		return doc
	}
	for _, end := range [...]string{"</body>", "</html>"} {
		if i := indexFold(doc, end, true); i >= 0 {
			return doc[:i] + more + doc[i:]
		}
	}
	return doc + more
}

// innerHTML gives the inside of a document's body.
func innerHTML(doc string) string {
	if i := indexFold(doc, "<body", false); i >= 0 {
		if j := strings.IndexByte(doc[i:], '>'); j >= 0 {
			doc = doc[i+j+1:]
		}
	} else if i := indexFold(doc, "</head>", false); i >= 0 {
		doc = doc[i+len("</head>"):]
	} else if i := indexFold(doc, "<html", false); i >= 0 {
		if j := strings.IndexByte(doc[i:], '>'); j >= 0 {
			doc = doc[i+j+1:]
		}
	}
	for _, end := range [...]string{"</body>", "</html>"} {
		if i := indexFold(doc, end, true); i >= 0 {
			doc = doc[:i]
		}
	}
	return doc
}
