package eas

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"io"
	"strings"

	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Drafts of 16.0 and later (MS-ASEMAIL 3.1.5.4): a phone adds and changes items
// of the Drafts folder, and sends them. Content never changes here, so a changed
// draft is a new item, and the phone is told that the old one went and the new
// one came.

// draftElements are those that make a Change more than one of marks.
var draftElements = []wbxml.Tag{
	wbxml.EmailTo, wbxml.EmailCc, wbxml.Email2Bcc, wbxml.EmailSubject, wbxml.EmailReplyTo, wbxml.EmailFrom,
	wbxml.AirSyncBaseBody, wbxml.AirSyncBaseAttachments, wbxml.EmailImportance,
}

// isContent tells whether a Change is about a draft's content.
func (x *executor) isContent(c *syncCommand) bool {
	if x.version < wbxml.V160 || x.folder.Role != store.RoleDrafts {
		return false
	}
	for _, t := range draftElements {
		if c.data.Has(t) {
			return true
		}
	}
	return c.send
}

// add carries out an Add. Phones before 16.0 may add no mail (MS-ASCMD 2.2.3.7.2).
func (x *executor) add(ctx context.Context, c *syncCommand) error {
	if x.version < wbxml.V160 || x.folder.Role != store.RoleDrafts || c.class != "" && c.class != "Email" {
		x.results = append(x.results, result{hash: c.hash, subject: c.subject, status: syncConversion})
		return nil
	}
	r, err := x.draft(ctx, c, nil)
	if err != nil {
		return x.failed(c, err)
	}
	x.results = append(x.results, r)
	return nil
}

// changeDraft makes the new item and removes the old one.
func (x *executor) changeDraft(ctx context.Context, c *syncCommand) error {
	old, err := x.draftAt(ctx, c.server)
	if err != nil {
		return x.failed(c, err)
	}
	r, err := x.draft(ctx, c, old)
	if err != nil {
		return x.failed(c, err)
	}
	if !c.send {
		// Neither is an echo: the phone is to replace its copy.
		if _, _, err := x.mail.Delete(ctx, x.who.as, x.who.box, x.folder.ID, []store.ItemID{old.m.Item}, false); err != nil {
			return x.failed(c, err)
		}
	}
	x.results = append(x.results, result{hash: c.hash, subject: c.subject, status: r.status})
	return nil
}

func (x *executor) draftAt(ctx context.Context, id string) (*message, error) {
	gone := fault.New(fault.NotFound, "no such draft")
	item, ok := parseItem(id)
	if !ok {
		return nil, gone
	}
	es, err := x.mail.EntriesOf(ctx, x.who.as, x.who.box, []store.ItemID{item})
	if err != nil {
		return nil, err
	}
	if len(es) == 0 || es[0].Folder != x.folder.ID {
		return nil, gone
	}
	msgs, err := x.mail.Messages(ctx, x.who.as, x.who.box, []store.ItemID{item})
	if err != nil {
		return nil, err
	}
	if len(msgs) == 0 || msgs[0] == nil {
		return nil, gone
	}
	return newMessage(ctx, x.mail, x.who, msgs[0]), nil
}

// once is the key that makes a draft safe to repeat.
func (x *executor) once(c *syncCommand) string {
	return "eas-draft/" + x.client + "/" + syncKey{chain: x.chain, gen: 1}.String()[1:17] + "/" + hex.EncodeToString(be64(c.hash))
}

func be64(v uint64) []byte {
	return []byte{byte(v >> 56), byte(v >> 48), byte(v >> 40), byte(v >> 32), byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
}

// draft saves or sends what a command says, over what the old draft had.
func (x *executor) draft(ctx context.Context, c *syncCommand, old *message) (result, error) {
	r := result{hash: c.hash, subject: c.subject, status: syncOK}
	fn, err := x.compose.draft(c.data, old)
	if err != nil {
		return r, err
	}
	w, err := x.compose.write(ctx, fn)
	if err != nil {
		return r, err
	}
	if c.send {
		return r, x.sendDraft(ctx, c, old, w)
	}
	added, err := x.mail.Add(ctx, x.who.as, x.who.box, store.NewMessage{
		Folder: x.folder.ID, Flags: store.Draft | store.Seen, Received: x.now, Blob: w.blob, Summary: w.summary, Once: x.once(c),
	})
	if err != nil {
		return r, err
	}
	r.item = added.Entry.Item
	if old == nil {
		r.echo = echo{item: r.item, seq: added.Entry.Entered, arrival: true}
		switch {
		case !added.Repeated:
		case added.Entry.Folder == x.folder.ID:
			r.echo.stale = added.Entry.Changed != added.Entry.Entered
		default:
			// It came before, in a try that ended before its answer, and has gone
			// since: the phone is told so as with any arrival that is not met.
			r.echo.seq = max(x.folder.HighestSeq, 1)
		}
	}
	if r.echo.seq != 0 {
		x.view.echoes = append(x.view.echoes, r.echo)
	}
	return r, nil
}

// sendDraft sends what was written and removes the draft.
func (x *executor) sendDraft(ctx context.Context, c *syncCommand, old *message, w *written) error {
	to := recipients(w.summary.To, w.summary.Cc, w.summary.Bcc)
	if len(to) == 0 {
		return status(StatusInvalidRecipients)
	}
	// The copy that goes out has no Bcc.
	content := w
	if len(w.summary.Bcc) > 0 {
		fn, err := x.compose.draftWithout(c.data, old, "bcc")
		if err != nil {
			return err
		}
		if content, err = x.compose.write(ctx, fn); err != nil {
			return err
		}
	}
	o := store.Outgoing{
		Key: x.once(c), From: x.who.as.Address, Recipients: to, Blob: content.blob, Summary: content.summary, SaveRole: store.RoleSent,
	}
	if old != nil {
		o.Remove = old.m.Item
	}
	_, err := x.mail.Send(ctx, x.who.as, x.who.box, o)
	return err
}

// draft reads ApplicationData into a message, over what old has.
func (c *composer) draft(data *wbxml.Node, old *message) (func(io.Writer) error, error) {
	return c.draftWithout(data, old, "")
}

func (c *composer) draftWithout(data *wbxml.Node, old *message, without string) (func(io.Writer) error, error) {
	body := data.Child(wbxml.AirSyncBaseBody)
	kind, err := body.Int(wbxml.AirSyncBaseType, bodyPlain)
	if err != nil {
		return nil, err
	}
	content := body.Child(wbxml.AirSyncBaseData)
	if body != nil && kind == bodyMIME {
		return c.mimeDraft(data, content, without)
	}
	o := &outMessage{}
	var was *mail.Summary
	if old != nil {
		was = old.m.Summary
	}
	o.header = c.draftHeader(data, was, without)
	if content != nil {
		text := nodeText(content)
		if kind == bodyHTML {
			o.html = &text
		} else {
			o.plain = &text
		}
	} else if err := o.oldText(old); err != nil {
		return nil, err
	}
	if err := o.draftFiles(data.Child(wbxml.AirSyncBaseAttachments), old); err != nil {
		return nil, err
	}
	return o.write, nil
}

func nodeText(n *wbxml.Node) string {
	if s, ok := n.Sunk.(*spool); ok {
		b, _ := io.ReadAll(io.LimitReader(s.reader(), maxHeldText))
		return string(trimRune(b))
	}
	return n.Value()
}

// mimeDraft takes a draft that came as a whole message. No other element of
// content may stand beside it (Status 178).
func (c *composer) mimeDraft(data, content *wbxml.Node, without string) (func(io.Writer) error, error) {
	for _, t := range draftElements {
		if t != wbxml.AirSyncBaseBody && data.Has(t) {
			return nil, status(StatusInvalidMimeBodyCombination)
		}
	}
	if content == nil {
		return nil, fault.New(fault.Invalid, "a draft without content")
	}
	s, ok := content.Sunk.(*spool)
	if !ok {
		s = spoolOf([]byte(content.Value()))
	}
	sum, err := mail.Parse(s.reader())
	if err != nil {
		return nil, err
	}
	m := &sending{spool: s, summary: sum}
	if m.fields, err = mail.ReadFields(s, sum.Root); err != nil {
		return nil, err
	}
	if without != "" {
		m.drop = append(m.drop, without)
	}
	m.put("From", formatSender(c.who.as.Name, c.who.as.Address))
	if m.fields.Get("Date") == "" {
		m.put("Date", c.now.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	}
	if m.fields.Get("Message-ID") == "" {
		m.put("Message-ID", c.messageID())
	}
	return m.copy, nil
}

// draftHeader makes the fields: the phone's, or the old draft's where it says
// nothing.
func (c *composer) draftHeader(data *wbxml.Node, was *mail.Summary, without string) []byte {
	if was == nil {
		was = &mail.Summary{Importance: 1}
	}
	var b strings.Builder
	b.WriteString(mail.FoldHeader("From", formatSender(c.who.as.Name, c.who.as.Address)))
	lists := []struct {
		name string
		tag  wbxml.Tag
		was  []mail.Address
	}{
		{"To", wbxml.EmailTo, was.To},
		{"Cc", wbxml.EmailCc, was.Cc},
		{"Bcc", wbxml.Email2Bcc, was.Bcc},
		{"Reply-To", wbxml.EmailReplyTo, was.ReplyTo},
	}
	for _, l := range lists {
		list := l.was
		if data.Has(l.tag) {
			// Android separates by semicolons.
			list = mail.ParseAddresses(semicolons(data.Get(l.tag)))
		}
		if len(list) > 0 && !strings.EqualFold(l.name, without) {
			b.WriteString(mail.FoldHeader(l.name, mail.FormatAddresses(list)))
		}
	}
	subject := was.Subject
	if data.Has(wbxml.EmailSubject) {
		subject = data.Get(wbxml.EmailSubject)
	}
	b.WriteString(mail.EncodeHeader("Subject", subject))
	importance := int(was.Importance)
	if v, err := data.Int(wbxml.EmailImportance, importance); err == nil {
		importance = v
	}
	switch importance {
	case 0:
		b.WriteString("Importance: low\r\n")
	case 2:
		b.WriteString("Importance: high\r\n")
	}
	b.WriteString(mail.FoldHeader("Date", c.now.Format("Mon, 02 Jan 2006 15:04:05 -0700")))
	b.WriteString(mail.FoldHeader("Message-ID", c.messageID()))
	if was.InReplyTo != "" {
		b.WriteString(mail.FoldHeader("In-Reply-To", was.InReplyTo))
	}
	if len(was.References) > 0 {
		b.WriteString(mail.FoldHeader("References", "<"+strings.Join(was.References, "> <")+">"))
	}
	return []byte(b.String())
}

// semicolons makes commas of the semicolons outside of quotes.
func semicolons(s string) string {
	quoted := false
	return strings.Map(func(r rune) rune {
		if r == '"' {
			quoted = !quoted
		}
		if r == ';' && !quoted {
			return ','
		}
		return r
	}, s)
}

// oldText keeps the text of the draft that is being changed.
func (o *outMessage) oldText(old *message) error {
	if old == nil {
		return nil
	}
	if old.html != nil {
		text, err := heldText(old, bodyHTML)
		if err != nil {
			return err
		}
		o.html = &text
	}
	if old.plain != nil {
		text, err := heldText(old, bodyPlain)
		if err != nil {
			return err
		}
		o.plain = &text
	}
	return nil
}

// draftFiles takes the files of the old draft that stay, and the new ones
// (MS-ASAIRS 2.2.2.2, 2.2.2.19).
func (o *outMessage) draftFiles(n *wbxml.Node, old *message) error {
	gone := map[string]bool{}
	for d := range n.All(wbxml.AirSyncBaseDelete) {
		gone[d.Get(wbxml.AirSyncBaseFileReference)] = true
	}
	if old != nil && len(old.files) > 0 {
		received, err := old.received()
		if err != nil {
			return err
		}
		for _, p := range old.files {
			if !gone[fileReference(old.m.Item, old.m.Summary.Root, p)] {
				o.parts = append(o.parts, partOf(received, old.m.Summary.Root, p))
			}
		}
	}
	for a := range n.All(wbxml.AirSyncBaseAdd) {
		content := a.Child(wbxml.AirSyncBaseContent)
		if content == nil {
			return fault.New(fault.Invalid, "a file without content")
		}
		s, ok := content.Sunk.(*spool)
		if !ok {
			s = spoolOf([]byte(content.Value()))
		}
		o.parts = append(o.parts, newFile(a, s))
	}
	return nil
}

// newFile is a file that a phone adds to a draft.
func newFile(a *wbxml.Node, s *spool) outPart {
	method, _ := a.Int(wbxml.AirSyncBaseMethod, methodNormal)
	name := cutText(a.Get(wbxml.AirSyncBaseDisplayName), 255)
	kind := a.Get(wbxml.AirSyncBaseContentType)
	if !validType(kind) {
		kind = "application/octet-stream"
	}
	id := strings.Trim(a.Get(wbxml.AirSyncBaseContentId), "<> \r\n")
	inline := a.Bool(wbxml.AirSyncBaseIsInline, false)
	var b strings.Builder
	if method == methodEmbedded {
		kind = "message/rfc822"
	}
	quoted := `"` + strings.NewReplacer(`"`, `'`, `\`, `_`).Replace(mail.EncodeWord(name)) + `"`
	b.WriteString(mail.FoldHeader("Content-Type", kind+"; name="+quoted))
	disposition := "attachment"
	if inline {
		disposition = "inline"
	}
	b.WriteString(mail.FoldHeader("Content-Disposition", disposition+"; filename="+quoted))
	if id != "" {
		b.WriteString(mail.FoldHeader("Content-ID", "<"+id+">"))
	}
	return outPart{inline: inline && id != "", write: func(w io.Writer) error {
		if method == methodEmbedded {
			if _, err := io.WriteString(w, b.String()+"\r\n"); err != nil {
				return err
			}
			_, err := io.Copy(w, s.reader())
			return err
		}
		if _, err := io.WriteString(w, b.String()+"Content-Transfer-Encoding: base64\r\n\r\n"); err != nil {
			return err
		}
		return writeBase64(w, s.reader())
	}}
}

func validType(s string) bool {
	kind, sub, ok := strings.Cut(s, "/")
	valid := func(t string) bool {
		return t != "" && len(t) < 100 && !strings.ContainsFunc(t, func(r rune) bool {
			return r <= ' ' || r >= 0x7F || strings.ContainsRune(`()<>@,;:\"/[]?=`, r)
		})
	}
	return ok && valid(kind) && valid(sub) && kind != "multipart" && kind != "message"
}

// writeBase64 writes lines of 76 characters (RFC 2045 section 6.8).
func writeBase64(w io.Writer, r io.Reader) error {
	in := make([]byte, 57*256)
	var out bytes.Buffer
	for {
		n, err := io.ReadFull(r, in)
		out.Reset()
		for i := 0; i < n; i += 57 {
			out.WriteString(base64.StdEncoding.EncodeToString(in[i:min(i+57, n)]))
			out.WriteString("\r\n")
		}
		if _, werr := w.Write(out.Bytes()); werr != nil {
			return werr
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
