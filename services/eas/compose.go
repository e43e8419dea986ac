package eas

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"mime/quotedprintable"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/mail"
	"waypost/store"
)

// senders tells whose addresses a user may write into From.
type senders interface {
	MaySendAs(ctx context.Context, as directory.Principal, address string) (bool, error)
}

// composer makes messages that go out, or into Drafts.
type composer struct {
	mail    mailStore
	senders senders
	who     who
	now     time.Time
}

func (s *Server) composer(r *request) *composer {
	return &composer{mail: s.store, senders: s.people, who: who{r.who, r.box()}, now: s.opt.Now()}
}

// written is a message in the store, not yet referred to.
type written struct {
	blob    store.Blob
	summary *mail.Summary
}

// write stores what fn writes, with CRLF line ends, reading it on the way.
func (c *composer) write(ctx context.Context, fn func(w io.Writer) error) (*written, error) {
	blob, err := c.mail.NewBlob(ctx, c.who.as.HomeMDB)
	if err != nil {
		return nil, err
	}
	defer blob.Abort()
	parser := mail.NewParser()
	buf := bufio.NewWriterSize(io.MultiWriter(parser, blob), 32<<10)
	if err := fn(&lineEnds{w: buf}); err != nil {
		return nil, err
	}
	if err := buf.Flush(); err != nil {
		return nil, err
	}
	b, err := blob.Close(ctx)
	if err != nil {
		return nil, err
	}
	return &written{b, parser.Summary()}, nil
}

// lineEnds makes every line end CRLF: nothing else may leave by SMTP.
type lineEnds struct {
	w  *bufio.Writer
	cr bool // a CR was written whose LF may follow
}

func (l *lineEnds) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexAny(p, "\r\n")
		if i != 0 && l.cr {
			l.cr = false
		}
		if i < 0 {
			_, err := l.w.Write(p)
			return n, err
		}
		if _, err := l.w.Write(p[:i]); err != nil {
			return 0, err
		}
		c := p[i]
		p = p[i+1:]
		if c == '\n' && l.cr && i == 0 {
			l.cr = false // of the CRLF that went out with its CR
			continue
		}
		l.cr = c == '\r'
		if _, err := l.w.WriteString("\r\n"); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// sending is a message from a phone on its way out.
type sending struct {
	spool      *spool
	summary    *mail.Summary
	fields     mail.Fields
	recipients []string
	from       string // envelope sender
	add        string // fields put before the others
	drop       []string
}

// prepare reads a phone's message: who it is for, and what its header lacks.
func (c *composer) prepare(ctx context.Context, s *spool) (*sending, error) {
	sum, err := mail.Parse(s.reader())
	if err != nil {
		return nil, err
	}
	m := &sending{spool: s, summary: sum, drop: []string{"bcc", "resent-bcc", "return-path"}}
	if m.fields, err = mail.ReadFields(s, sum.Root); err != nil {
		return nil, err
	}
	if m.recipients = recipients(sum.To, sum.Cc, sum.Bcc); len(m.recipients) == 0 {
		return nil, status(StatusMessageHasNoRecipient)
	}
	if err := c.sender(ctx, m); err != nil {
		return nil, err
	}
	if m.fields.Get("Date") == "" {
		m.put("Date", c.now.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	}
	if m.fields.Get("Message-ID") == "" {
		m.put("Message-ID", c.messageID())
	}
	return m, nil
}

// put adds a field in place of those with its name.
func (m *sending) put(name, value string) {
	m.add += mail.FoldHeader(name, value)
	m.drop = append(m.drop, strings.ToLower(name))
}

// recipients lists the addresses of all lists, each once.
func recipients(lists ...[]mail.Address) []string {
	var all []string
	seen := map[string]bool{}
	for _, list := range lists {
		for _, a := range list {
			if a.Host == "" || a.Host == mail.MissingHost || a.Mailbox == "" {
				continue
			}
			addr := a.Addr()
			if key := strings.ToLower(addr); !seen[key] {
				seen[key] = true
				all = append(all, addr)
			}
		}
	}
	return all
}

// sender forces From to an address that the user may send as (MS-ASCMD
// 2.2.1.17): its own stays, a foreign one becomes the primary address.
func (c *composer) sender(ctx context.Context, m *sending) error {
	m.from = c.who.as.Address
	if len(m.summary.From) == 1 {
		addr := m.summary.From[0].Addr()
		ok, err := c.maySend(ctx, addr)
		if err != nil {
			return err
		}
		if ok {
			m.from = addr
			if m.fields.Get("Sender") != "" {
				m.drop = append(m.drop, "sender")
			}
			return nil
		}
	}
	name := c.who.as.Name
	if len(m.summary.From) > 0 && m.summary.From[0].Name != "" {
		name = m.summary.From[0].Name
	}
	m.drop = append(m.drop, "sender")
	m.put("From", formatSender(name, c.who.as.Address))
	return nil
}

func (c *composer) maySend(ctx context.Context, addr string) (bool, error) {
	if addr == "" {
		return false, nil
	}
	if strings.EqualFold(addr, c.who.as.Address) {
		return true, nil
	}
	return c.senders.MaySendAs(ctx, c.who.as, addr)
}

func formatSender(name, addr string) string {
	at := strings.LastIndexByte(addr, '@')
	if at < 0 {
		return addr
	}
	return mail.FormatAddress(mail.Address{Name: name, Mailbox: addr[:at], Host: addr[at+1:]})
}

func random() string {
	var b [12]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (c *composer) messageID() string {
	_, host, ok := strings.Cut(c.who.as.Address, "@")
	if !ok {
		host = "localhost"
	}
	return "<" + random() + "@" + host + ">"
}

// header gives the message's fields with what was added and without what was
// dropped, and without the empty line.
func (m *sending) header(without ...string) []byte {
	rest := m.fields.Filter(append(append([]string(nil), m.drop...), without...), true)
	return append([]byte(m.add), bytes.TrimSuffix(rest, []byte("\r\n"))...)
}

// copy writes the message as it is but for its header.
func (m *sending) copy(w io.Writer) error {
	if _, err := w.Write(append(m.header(), "\r\n"...)); err != nil {
		return err
	}
	root := m.summary.Root
	_, err := io.Copy(w, io.NewSectionReader(m.spool, root.BodyStart, m.spool.size-root.BodyStart))
	return err
}

// outMessage is a message that is put together here.
type outMessage struct {
	header []byte // fields but those of MIME, without the empty line
	plain  *string
	html   *string
	parts  []outPart
}

// outPart is a file of an outMessage, header and body as they travel.
type outPart struct {
	inline bool // belongs to the HTML
	write  func(w io.Writer) error
}

// copyPart is a part of a stored message, byte for byte.
func copyPart(r io.ReaderAt, p *mail.Part, inline bool) outPart {
	return outPart{inline: inline, write: func(w io.Writer) error {
		_, err := io.Copy(w, io.NewSectionReader(r, p.HeaderStart, p.BodyEnd-p.HeaderStart))
		return err
	}}
}

// rootPart is the whole of a message that is one file, as a part.
func rootPart(r io.ReaderAt, p *mail.Part) outPart {
	return outPart{write: func(w io.Writer) error {
		f, err := mail.ReadFields(r, p)
		if err != nil {
			return err
		}
		if _, err := w.Write(f.Filter([]string{
			"content-type", "content-transfer-encoding", "content-disposition", "content-id", "content-description", "content-location",
		}, false)); err != nil {
			return err
		}
		_, err = io.Copy(w, io.NewSectionReader(r, p.BodyStart, p.BodyEnd-p.BodyStart))
		return err
	}}
}

// mimeWriter writes and keeps its first error.
type mimeWriter struct {
	w   io.Writer
	err error
}

func (m *mimeWriter) text(s ...string) {
	for _, t := range s {
		if m.err == nil {
			_, m.err = io.WriteString(m.w, t)
		}
	}
}

// write writes the message: mixed, around related when the HTML has files of
// its own, around alternative when there are both texts.
func (o *outMessage) write(w io.Writer) error {
	m := &mimeWriter{w: w}
	m.text(string(o.header), "MIME-Version: 1.0\r\n")
	var inline, files []outPart
	for _, p := range o.parts {
		if p.inline && o.html != nil {
			inline = append(inline, p)
		} else {
			files = append(files, p)
		}
	}
	o.multipart(m, "mixed", files, func() {
		o.multipart(m, "related", inline, func() { o.texts(m) })
	})
	return m.err
}

// multipart writes what body writes, and the files after it if there are any.
func (o *outMessage) multipart(m *mimeWriter, kind string, files []outPart, body func()) {
	if len(files) == 0 {
		body()
		return
	}
	b := "=_" + random()
	m.text("Content-Type: multipart/", kind, "; boundary=\"", b, "\"\r\n\r\n--", b, "\r\n")
	body()
	for _, f := range files {
		m.text("\r\n--", b, "\r\n")
		if m.err == nil {
			m.err = f.write(m.w)
		}
	}
	m.text("\r\n--", b, "--\r\n")
}

func (o *outMessage) texts(m *mimeWriter) {
	if o.plain != nil && o.html != nil {
		b := "=_" + random()
		m.text("Content-Type: multipart/alternative; boundary=\"", b, "\"\r\n\r\n--", b, "\r\n")
		m.leaf("plain", *o.plain)
		m.text("\r\n--", b, "\r\n")
		m.leaf("html", *o.html)
		m.text("\r\n--", b, "--\r\n")
		return
	}
	if o.html != nil {
		m.leaf("html", *o.html)
		return
	}
	text := ""
	if o.plain != nil {
		text = *o.plain
	}
	m.leaf("plain", text)
}

// leaf writes a text as a part.
func (m *mimeWriter) leaf(subtype, text string) {
	m.text("Content-Type: text/", subtype, "; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	if m.err != nil {
		return
	}
	q := quotedprintable.NewWriter(m.w)
	if _, m.err = io.WriteString(q, text); m.err == nil {
		m.err = q.Close()
	}
}
