package eas

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/mail"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// who acts, and on which mailbox.
type who struct {
	as  directory.Principal
	box store.MailboxID
}

// maxList is the longest list of addresses sent (MS-ASEMAIL 2.2.2.76).
const maxList = 32 << 10

// dashed is the format of times in Email (MS-ASDTYPE 2.3).
const dashed = "2006-01-02T15:04:05.000Z"

// itemID writes an item's id as every door does.
func itemID(i store.ItemID) string { return i.String() }

func parseItem(s string) (store.ItemID, bool) { return store.ParseItemID(s) }

func parseUint(s string, most uint64) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	return n, err == nil && n <= most
}

// itemWriter writes messages as ApplicationData or Properties.
type itemWriter struct {
	mail    itemStore
	who     who
	version wbxml.Version
	opts    *options
	whole   bool      // bodies without truncation
	parts   *partList // takes bodies out of the document; nil: they stay in it
	// zone is where times of invitations are that have no zone, and days.
	zone  func() (*time.Location, error)
	class itemClass // of objects; nil for mail
	side  side
}

// writeWide writes an item of any class.
func (w *itemWriter) writeWide(ctx context.Context, e *wbxml.Encoder, x wide, n *store.Entry) error {
	if w.class != nil {
		return w.class.write(e, &w.side, x.obj)
	}
	return w.write(ctx, e, x.msg, n)
}

// write writes the elements of a message (MS-ASEMAIL 2.2.2) inside the element
// that is open.
func (w *itemWriter) write(ctx context.Context, e *wbxml.Encoder, m *store.Message, n *store.Entry) error {
	return w.writeMessage(e, newMessage(ctx, w.mail, w.who, m), n)
}

func (w *itemWriter) writeMessage(e *wbxml.Encoder, x *message, n *store.Entry) error {
	m, s := x.m, x.m.Summary
	w.list(e, wbxml.EmailTo, s.To)
	w.list(e, wbxml.EmailCc, s.Cc)
	w.list(e, wbxml.EmailFrom, s.From)
	e.Text(wbxml.EmailSubject, s.Subject)
	if len(s.ReplyTo) > 0 {
		e.Text(wbxml.EmailReplyTo, joinAddresses(s.ReplyTo, ";"))
	}
	e.Text(wbxml.EmailDateReceived, n.Received.UTC().Format(dashed))
	if len(s.To) > 0 {
		e.Text(wbxml.EmailDisplayTo, displayTo(s.To))
	}
	if t := threadTopic(s); t != "" {
		e.Text(wbxml.EmailThreadTopic, t)
	}
	e.Int(wbxml.EmailImportance, int64(s.Importance))
	e.Bool(wbxml.EmailRead, n.Flags&store.Seen != 0)
	class, content := x.class()
	e.Text(wbxml.EmailMessageClass, class)
	if err := w.writeMeeting(e, x); err != nil {
		return err
	}
	e.Text(wbxml.EmailInternetCPID, "65001")
	if w.version >= wbxml.V120 {
		e.Text(wbxml.EmailContentClass, content)
		writeFlag(e, n)
	}
	if w.version >= wbxml.V140 {
		writeCategories(e, n, false)
	}
	w.attachments(e, x)
	var err error
	if w.version >= wbxml.V120 {
		err = x.writeBody(e, w.version, w.opts, w.whole, w.parts)
		if err == nil && w.version >= wbxml.V141 {
			err = x.writeBodyPart(e, w.opts)
		}
	} else {
		err = x.writeOldBody(e, w)
	}
	if err != nil {
		return err
	}
	if w.version >= wbxml.V140 {
		w.second(e, m, n)
	}
	return e.Err()
}

// second writes the elements of the Email2 page.
func (w *itemWriter) second(e *wbxml.Encoder, m *store.Message, n *store.Entry) {
	s := m.Summary
	e.Bytes(wbxml.Email2ConversationId, conversationID(w.who.box, m.Thread))
	e.Bytes(wbxml.Email2ConversationIndex, conversationIndex(s, n.Received))
	writeVerb(e, n)
	if len(s.Sender) > 0 && len(s.From) > 0 && !strings.EqualFold(s.Sender[0].Addr(), s.From[0].Addr()) {
		e.Text(wbxml.Email2Sender, joinAddresses(s.Sender[:1], ","))
	}
	for _, a := range s.Bcc {
		if n.Flags&store.Draft == 0 && w.who.as.Address != "" && strings.EqualFold(a.Addr(), w.who.as.Address) {
			e.Bool(wbxml.Email2ReceivedAsBcc, true)
			break
		}
	}
	if w.version >= wbxml.V160 && n.Flags&store.Draft != 0 {
		e.Bool(wbxml.Email2IsDraft, true)
		if len(s.Bcc) > 0 {
			e.Text(wbxml.Email2Bcc, joinAddresses(s.Bcc, ","))
		}
	}
}

// writeMarks writes what may change of a message (MS-ASEMAIL 3.2.5.4.1).
func (w *itemWriter) writeMarks(e *wbxml.Encoder, n *store.Entry) {
	e.Bool(wbxml.EmailRead, n.Flags&store.Seen != 0)
	if w.version >= wbxml.V120 {
		writeFlag(e, n)
	}
	if w.version >= wbxml.V140 {
		writeCategories(e, n, true)
		writeVerb(e, n)
	}
}

func (w *itemWriter) list(e *wbxml.Encoder, tag wbxml.Tag, list []mail.Address) {
	if s := joinAddresses(list, ","); s != "" {
		e.Text(tag, s)
	}
}

// joinAddresses writes addresses as phones expect them: "Name" <a@b>.
func joinAddresses(list []mail.Address, sep string) string {
	var b strings.Builder
	for _, a := range list {
		addr := a.Addr()
		if a.IsGroupStart() || a.IsGroupEnd() || addr == "" && a.Name == "" {
			continue
		}
		if b.Len()+len(a.Name)+len(addr)+16 > maxList {
			break
		}
		if b.Len() > 0 {
			b.WriteString(sep)
			b.WriteByte(' ')
		}
		if a.Name == "" {
			b.WriteString(addr)
			continue
		}
		b.WriteByte('"')
		b.WriteString(strings.NewReplacer(`"`, `'`, `\`, ``).Replace(a.Name))
		b.WriteString(`" <`)
		b.WriteString(addr)
		b.WriteByte('>')
	}
	return b.String()
}

func displayTo(list []mail.Address) string {
	var b strings.Builder
	for _, a := range list {
		name := a.Name
		if name == "" {
			name = a.Addr()
		}
		if a.IsGroupStart() || a.IsGroupEnd() || name == "" {
			continue
		}
		if b.Len()+len(name) > maxList {
			break
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(name)
	}
	return b.String()
}

func threadTopic(s *mail.Summary) string {
	if s.ThreadTopic != "" {
		return s.ThreadTopic
	}
	base, _ := mail.BaseSubject(s.Subject)
	return base
}

// conversationMark begins every ConversationId of ours.
const conversationMark = 0x5761_7970_6F73_7400

// conversationID is a thread's id for phones: 16 bytes (MS-ASCON 2.2.2.3.3).
func conversationID(box store.MailboxID, t store.ThreadID) []byte {
	b := binary.BigEndian.AppendUint64(nil, conversationMark^uint64(box))
	return binary.BigEndian.AppendUint64(b, uint64(t))
}

// parseConversation reads an id that conversationID made for the mailbox.
func parseConversation(box store.MailboxID, b []byte) (store.ThreadID, bool) {
	if len(b) != 16 || binary.BigEndian.Uint64(b) != conversationMark^uint64(box) {
		return 0, false
	}
	t := store.ThreadID(binary.BigEndian.Uint64(b[8:]))
	return t, t > 0
}

// conversationIndex is the message's place in its conversation (MS-ASCON
// 2.2.2.3.4): the time that it began and 5 bytes for each level of reply. The
// sender's Thread-Index has both; without it there is only the time.
func conversationIndex(s *mail.Summary, received time.Time) []byte {
	if b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s.ThreadIndex)); err == nil && len(b) >= 22 && len(b) <= 22+5*200 {
		n := (len(b) - 22) / 5 * 5
		return append(append([]byte(nil), b[1:6]...), b[22:22+n]...)
	}
	const epoch = 116_444_736_000_000_000 // 1601 to 1970 in units of 100 ns
	t := uint64(received.Unix())*10_000_000 + epoch
	b := binary.BigEndian.AppendUint64(nil, t>>16)
	return b[3:]
}

// writeVerb writes what the owner last did with the message.
func writeVerb(e *wbxml.Encoder, n *store.Entry) {
	verb := int64(0)
	var at time.Time
	if p := n.Props; p != nil && p.LastVerb != "" {
		verb, at = map[string]int64{"reply": 1, "replyAll": 2, "forward": 3}[p.LastVerb], p.LastVerbAt
	}
	if verb == 0 {
		switch {
		case n.Flags&store.Answered != 0:
			verb = 1
		case n.Flags&store.Forwarded != 0:
			verb = 3
		}
	}
	if verb == 0 {
		return
	}
	e.Int(wbxml.Email2LastVerbExecuted, verb)
	if !at.IsZero() {
		e.Text(wbxml.Email2LastVerbExecutionTime, at.UTC().Format(dashed))
	}
}
