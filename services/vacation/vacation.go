// Package vacation is the role that answers mail while its recipient is away (out of
// office): what the owner set in store.Settings.OutOfOffice, told to each sender once.
//
// Its law (RFC 3834, RFC 5230): an answer goes to the envelope's sender, never to
// machines, lists or whom the message was not written to, and says of itself that it is
// automatic. It is sent by the outbox under a key of the notice and the sender, so
// that a delivery may be repeated, and everybody hears each notice once in thirty days.
package vacation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/quotedprintable"
	"slices"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/store"
)

// Store is what the role asks of the mailbox store.
type Store interface {
	Settings(ctx context.Context, as directory.Principal, box store.MailboxID) (store.Settings, error)
	Content(ctx context.Context, as directory.Principal, box store.MailboxID, item store.ItemID) (store.Content, error)
	FindObjects(ctx context.Context, as directory.Principal, box store.MailboxID, q store.FindObjects) ([]*store.Object, error)
	NewBlob(ctx context.Context, homeMDB string) (store.BlobWriter, error)
	Send(ctx context.Context, as directory.Principal, box store.MailboxID, o store.Outgoing) (store.Sent, error)
}

// People is what the role asks of the directory.
type People interface {
	User(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.User, error)
	Resolve(ctx context.Context, address string) (directory.Resolution, error)
}

// Options of the role.
type Options struct {
	Log *slog.Logger
	Now func() time.Time // time.Now when nil
}

// Service answers.
type Service struct {
	store  Store
	people People
	o      Options
}

// New makes the role.
func New(s Store, people People, o Options) *Service {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{s, people, o}
}

// Answer answers a message that was put into a mailbox with an absence notice, if its
// sender should hear of it. It may be called again for the same message. Unavailable
// asks for that.
func (s *Service) Answer(ctx context.Context, to directory.Target, env envelope.Envelope, item store.ItemID, m store.NewMessage) error {
	why, err := s.answer(ctx, to, env, item, m)
	level := slog.LevelInfo
	if err != nil {
		level, why = slog.LevelWarn, "failed"
	}
	s.o.Log.Log(ctx, level, "vacation", "proto", "vacation", "cmd", "answer", "id", env.ID, "user", to.Address, "result", why, "err", err)
	return err
}

func (s *Service) answer(ctx context.Context, to directory.Target, env envelope.Envelope, item store.ItemID, m store.NewMessage) (why string, err error) {
	if why := fromMachine(env.From, m.Summary); why != "" {
		return why, nil
	}
	as := directory.System("vacation")
	as.Mailbox, as.HomeMDB, as.Address = to.Mailbox, to.HomeMDB, to.Address
	set, err := s.store.Settings(ctx, as, to.Mailbox)
	if err != nil {
		return "", err
	}
	o := &set.OutOfOffice
	now := s.o.Now()
	if !active(o, now) {
		return "not now", nil
	}
	me, err := s.people.User(ctx, as, to.ID)
	if err != nil {
		return "", err
	}
	mine := append([]string{me.Address}, me.Addresses...)
	switch {
	case holds(mine, env.From):
		return "from its owner", nil
	case !addressed(m.Summary, mine):
		return "written to somebody else", nil // RFC 5230 section 4.5
	}
	notice, err := s.notice(ctx, as, to, env, o)
	if err != nil {
		return "", err
	}
	if !notice.Enabled || strings.TrimSpace(notice.Text) == "" {
		return "no notice for this sender", nil
	}
	if suppressed, err := s.suppressed(ctx, as, to, item, m); err != nil || suppressed {
		return "the sender wants no answer", err
	}
	key := key(o, notice, env.From)
	w, err := s.store.NewBlob(ctx, to.HomeMDB)
	if err != nil {
		return "", err
	}
	defer w.Abort()
	text := Message(me, env.From, o.Subject, notice, m.Summary, key, now)
	if _, err := w.Write(text); err != nil {
		return "", err
	}
	blob, err := w.Close(ctx)
	if err != nil {
		return "", err
	}
	sum, err := mail.Parse(bytes.NewReader(text))
	if err != nil {
		return "", err
	}
	// The null sender: nobody answers an answer (RFC 3834 section 3.3).
	sent, err := s.store.Send(ctx, as, to.Mailbox, store.Outgoing{Key: key, Recipients: []string{env.From}, Blob: blob, Summary: sum})
	switch {
	case err != nil:
		return "", err
	case sent.Repeated:
		return "told before", nil
	}
	return "told", nil
}

func active(o *store.OutOfOffice, now time.Time) bool {
	switch o.State {
	case "on":
		return true
	case "timed":
		return !now.Before(o.Start) && (o.End.IsZero() || now.Before(o.End))
	}
	return false
}

// key names the notice and who hears it. Another text, or the same for another time,
// is another notice.
func key(o *store.OutOfOffice, notice store.OutOfMessage, from string) string {
	data, _ := json.Marshal([]any{o.Start.Unix(), o.End.Unix(), o.Subject, notice, strings.ToLower(from)})
	sum := sha256.Sum256(data)
	return "vacation/" + hex.EncodeToString(sum[:16])
}

// notice chooses the text: one for our own people, one for those outside whom the
// owner has among its contacts, one for others.
func (s *Service) notice(ctx context.Context, as directory.Principal, to directory.Target, env envelope.Envelope, o *store.OutOfOffice) (store.OutOfMessage, error) {
	if env.Trusted {
		r, err := s.people.Resolve(ctx, env.From)
		if err != nil {
			return store.OutOfMessage{}, err
		}
		if r.Standing == directory.Person || r.Standing == directory.List {
			return o.Internal, nil
		}
	}
	if o.Known == o.Unknown {
		return o.Unknown, nil
	}
	found, err := s.store.FindObjects(ctx, as, to.Mailbox, store.FindObjects{Kinds: []store.Kind{store.KindCard}, Text: env.From, Limit: 1})
	if err != nil || len(found) == 0 {
		return o.Unknown, err
	}
	return o.Known, nil
}

// suppressed tells whether a header of the message forbids an answer.
func (s *Service) suppressed(ctx context.Context, as directory.Principal, to directory.Target, item store.ItemID, m store.NewMessage) (bool, error) {
	c, err := s.store.Content(ctx, as, to.Mailbox, item)
	if err != nil {
		if fault.Of(err) == fault.NotFound {
			return true, nil // its owner was there first
		}
		return false, err
	}
	fields, err := mail.ReadFields(io.NewSectionReader(c, int64(len(m.Prefix)), c.Size()-int64(len(m.Prefix))), m.Summary.Root)
	if err != nil {
		return false, err
	}
	for i := range fields.Len() {
		name, value := fields.At(i)
		value = strings.ToLower(value)
		switch {
		case strings.HasPrefix(name, "list-"), name == "feedback-id", name == "x-loop":
			return true, nil
		case name == "x-spam-flag" && strings.TrimSpace(value) == "yes":
			return true, nil
		case name == "x-auto-response-suppress": // MS-OXCMAIL section 2.2.3.2.14
			for word := range strings.SplitSeq(value, ",") {
				if w := strings.TrimSpace(word); w == "all" || w == "oof" {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// fromMachine tells why a message is nobody's who would read an answer.
func fromMachine(from string, sum *mail.Summary) string {
	local, _, err := directory.SplitAddress(from)
	local = strings.ToLower(local)
	switch {
	case err != nil:
		return "without a sender"
	case sum.IsAutomatic() || sum.Has(mail.Report) || sum.ListID != "":
		return "from a machine or a list"
	case strings.HasPrefix(local, "owner-"), strings.HasSuffix(local, "-request"), strings.HasSuffix(local, "-bounces"),
		slices.Contains([]string{"mailer-daemon", "postmaster", "listserv", "majordomo", "no-reply", "noreply", "donotreply", "do-not-reply", "bounce", "bounces"}, local):
		return "from a machine or a list"
	}
	return ""
}

func holds(list []string, address string) bool {
	return slices.ContainsFunc(list, func(a string) bool { return strings.EqualFold(a, address) })
}

// addressed tells whether one of the addresses is among the recipients that the
// message names.
func addressed(sum *mail.Summary, mine []string) bool {
	for _, list := range [][]mail.Address{sum.To, sum.Cc, sum.Bcc} {
		for i := range list {
			if holds(mine, list[i].Addr()) {
				return true
			}
		}
	}
	return false
}

// Message writes the answer. id names it, so that the same answer has the same bytes
// but for its date.
func Message(me directory.User, to, subject string, notice store.OutOfMessage, of *mail.Summary, id string, now time.Time) []byte {
	var b bytes.Buffer
	local, host, _ := directory.SplitAddress(me.Address) // made by the directory
	head := func(name, value string) { b.WriteString(mail.FoldHeader(name, value)) }
	head("From", mail.FormatAddress(mail.Address{Name: me.Name, Mailbox: local, Host: host}))
	local, toHost, _ := directory.SplitAddress(to) // looked at before
	head("To", mail.FormatAddress(mail.Address{Mailbox: local, Host: toHost}))
	if subject == "" {
		subject = "Automatic reply: " + of.Subject
	}
	b.WriteString(mail.EncodeHeader("Subject", subject))
	head("Date", now.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	sum := sha256.Sum256([]byte(id + of.MessageID))
	head("Message-ID", "<"+hex.EncodeToString(sum[:12])+".away@"+host+">")
	if ids := mail.MessageIDs(of.MessageID); len(ids) > 0 {
		head("In-Reply-To", "<"+ids[0]+">")
		refs := of.References
		refs = refs[max(0, len(refs)-20):]
		head("References", "<"+strings.Join(append(slices.Clone(refs), ids[0]), "> <")+">")
	}
	head("Auto-Submitted", "auto-replied") // RFC 3834 section 5
	head("X-Auto-Response-Suppress", "All")
	head("MIME-Version", "1.0")
	part := func(kind, text string) {
		fmt.Fprintf(&b, "Content-Type: text/%s; charset=UTF-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", kind)
		w := quotedprintable.NewWriter(&b)
		_, _ = io.WriteString(w, strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n"))
		_ = w.Close()
		b.WriteString("\r\n")
	}
	if !notice.HTML {
		part("plain", notice.Text)
		return b.Bytes()
	}
	plain := notice.Plain
	if plain == "" {
		plain = mail.HTMLToText(strings.NewReader(notice.Text), 0)
	}
	boundary := "=_" + hex.EncodeToString(sum[12:24])
	fmt.Fprintf(&b, "Content-Type: multipart/alternative; boundary=%q\r\n\r\n", boundary)
	for _, p := range [][2]string{{"plain", plain}, {"html", notice.Text}} {
		b.WriteString("--" + boundary + "\r\n")
		part(p[0], p[1])
	}
	b.WriteString("--" + boundary + "--\r\n")
	return b.Bytes()
}
