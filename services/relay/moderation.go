package relay

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/directory"
	"waypost/internal/envelope"
	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/internal/smtpguard"
)

// Verdict is what became of a message that waited for moderators.
type Verdict string

// The verdicts. Deleted is shown for what was taken from the queue undecided.
const (
	Undecided Verdict = ""
	Approved  Verdict = "approved"
	Rejected  Verdict = "rejected"
	Expired   Verdict = "expired"
	Deleted   Verdict = "deleted"
)

// Moderation is a message to a moderated group and the decision about it.
type Moderation struct {
	ID         int64     `json:"id"`
	Key        string    `json:"key"` // the message's id in logs and Received fields
	Group      string    `json:"group"`
	From       string    `json:"from"`
	Subject    string    `json:"subject"`
	Size       int64     `json:"size"`
	Created    time.Time `json:"created"` // when moderators were asked
	Expires    time.Time `json:"expires"`
	Moderators []string  `json:"moderators"`
	Verdict    Verdict   `json:"verdict"`
	Decided    time.Time `json:"decided,omitzero"`
	By         string    `json:"by,omitempty"`
	Comment    string    `json:"comment,omitempty"`
	Cause      string    `json:"-"` // id of the message that decided; "" for a command
}

// Token is what a moderator's decision must show.
type Token [sha256.Size]byte

// Decision is somebody's verdict about a message.
type Decision struct {
	ID      int64 // of the moderation
	Verdict Verdict
	By      string
	Comment string
	Cause   string // id of the message that says so
}

// Asked is a message that waits from now on.
type Asked struct {
	Subject    string
	Size       int64
	Moderators map[string]Token // by address
	Requests   []Notice
}

// ModerationFilter chooses moderations. Empty fields choose all.
type ModerationFilter struct {
	Waiting bool // only undecided ones
	Group   string
	Before  int64 // id of the last one of the page before
	Limit   int   // at most 1,000; 0 means 100
}

const (
	// maxWaiting messages wait for the moderators of a group; others come in
	// when some were decided.
	maxWaiting = 1000
	// maxEnclosed bounds a message that is enclosed whole in a request.
	maxEnclosed = 1 << 20
	// maxRequests bounds the requests of one message together: with many
	// moderators less of it is enclosed whole.
	maxRequests = 8 << 20
	// maxExcerpt bounds the text that a request shows of a larger one.
	maxExcerpt = 64 << 10
	// maxComment bounds a moderator's comment, in bytes.
	maxComment = 500
	// keptDecisions is how long decisions can be looked up.
	keptDecisions = 90 * 24 * time.Hour
)

// requestField marks requests: one that comes back to a moderated group, by way
// of a moderator's address elsewhere, is not asked about again.
const requestField = "X-Waypost-Moderation"

// A decision is a message to one of these addresses; the last wants a word.
const (
	approveTo = "approve"
	rejectTo  = "reject"
	replyTo   = "moderate"
)

// ballot reads the address of a decision.
func ballot(address string) (kind string, t Token, ok bool) {
	kind, secret, ok := envelope.Ballot(address)
	return kind, sha256.Sum256([]byte(secret)), ok
}

// Expects tells whether an address that is nobody's was given to a moderator.
func (r *Relay) Expects(ctx context.Context, address string) (bool, error) {
	_, token, ok := ballot(address)
	if !ok {
		return false, nil
	}
	_, _, err := r.queue.Ballot(ctx, token)
	if fault.Of(err) == fault.NotFound {
		return false, nil
	}
	return err == nil, err
}

// ask makes what a message for a moderated group leaves in the queue.
func (r *Relay) ask(ctx context.Context, w Work, rc Recipient, approvers []directory.Target, body envelope.Body) (*Asked, error) {
	h, err := envelope.ReadHeader(body.Reader())
	if err != nil {
		return nil, err
	}
	if h.Count(strings.ToLower(requestField)) > 0 {
		return nil, smtpguard.Errorf(554, [3]int{5, 4, 6}, "A request for approval needs none")
	}
	n, err := r.queue.Waiting(ctx, rc.Address)
	if err != nil {
		return nil, err
	}
	if n >= maxWaiting {
		return nil, fault.New(fault.Limit, "Too many messages wait for the moderators of this list")
	}
	a := &Asked{Subject: shortened(mail.DecodeHeader(h.Get("subject")), 250), Size: w.Size, Moderators: map[string]Token{}}
	enclosed, err := enclose(w, h, body, min(maxEnclosed, maxRequests/int64(max(len(approvers), 1))))
	if err != nil {
		return nil, err
	}
	for _, t := range approvers {
		to := recipientOf(t)
		if _, twice := a.Moderators[to]; twice {
			continue
		}
		secret := strings.ToLower(rand.Text())
		a.Moderators[to] = sha256.Sum256([]byte(secret))
		a.Requests = append(a.Requests, r.request(w, rc.Address, to, secret, a.Subject, enclosed))
	}
	return a, nil
}

// enclosure is the original as a request shows it.
type enclosure struct {
	head  string // Content fields, lines
	bytes []byte
}

// enclose takes the original whole when it has at most so many bytes, else its
// header and the beginning of its text.
func enclose(w Work, h envelope.Header, body envelope.Body, whole int64) (enclosure, error) {
	if body.Size() <= whole {
		all, err := io.ReadAll(body.Reader())
		if err != nil {
			return enclosure{}, err
		}
		all = append(append([]byte(nil), w.Trace...), all...)
		e := enclosure{bytes: all, head: "Content-Type: message/rfc822\r\nContent-Disposition: attachment; filename=\"original.eml\"\r\n"}
		if !envelope.ASCII(string(h.Bytes(func(string) bool { return false }))) { // RFC 6532 section 3.7
			e.head = strings.Replace(e.head, "rfc822", "global", 1)
		}
		if !envelope.ASCII(string(all)) {
			e.head += "Content-Transfer-Encoding: 8bit\r\n"
		}
		return e, nil
	}
	_, text, err := readText(body)
	if err != nil {
		return enclosure{}, err
	}
	var b bytes.Buffer
	for _, name := range []string{"from", "to", "cc", "subject", "date"} {
		if v := h.Get(name); v != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", strings.ToUpper(name[:1])+name[1:], oneLine(mail.DecodeHeader(v)))
		}
	}
	b.WriteString("\r\n" + crlf(text) + "\r\n[The message is too large to be shown whole.]\r\n")
	return enclosure{
		bytes: b.Bytes(),
		head:  "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: attachment; filename=\"beginning.txt\"\r\nContent-Transfer-Encoding: 8bit\r\n",
	}, nil
}

// readText reads a message and the beginning of its text.
func readText(body envelope.Body) (sum *mail.Summary, text string, err error) {
	spool := envelope.NewSpool("")
	defer spool.Close()
	if sum, err = mail.Parse(io.TeeReader(body.Reader(), spool)); err != nil {
		return nil, "", err
	}
	plain, html, _ := sum.Bodies()
	switch {
	case plain != nil:
		b, err := io.ReadAll(io.LimitReader(plain.Text(spool), maxExcerpt))
		return sum, strings.ToValidUTF8(string(b), ""), err
	case html != nil:
		return sum, mail.HTMLToText(html.Text(spool), maxExcerpt), nil
	}
	return sum, "", nil
}

// request asks one moderator.
func (r *Relay) request(w Work, group, to, secret, subject string, original enclosure) Notice {
	now := r.o.Now()
	domain := envelope.Domain(group)
	address := func(kind string) string { return kind + "-" + secret + "@" + domain }
	link := func(kind, subject string) string {
		return "mailto:" + address(kind) + "?subject=" + subject
	}
	from := w.From
	if from == "" {
		from = "(nobody: an automatic message)"
	}
	if !w.Trusted {
		from += "  (from outside; the address is not verified)"
	}
	var text strings.Builder
	fmt.Fprintf(&text, "A message to %s waits for your approval.\r\n\r\n", group)
	fmt.Fprintf(&text, "  From:     %s\r\n  Subject:  %s\r\n  Size:     %s\r\n  Received: %s\r\n\r\n",
		from, oneLine(subject), sizeText(w.Size), now.Format(time.RFC1123Z))
	fmt.Fprintf(&text, "To approve it, send a mail to this address:\r\n  %s\r\n\r\n", link(approveTo, "Approve"))
	fmt.Fprintf(&text, "To reject it, send a mail to this address; the sender is told, with what you\r\nwrite above any signature:\r\n  %s\r\n\r\n", link(rejectTo, "Reject"))
	text.WriteString("Or reply, and begin with the word APPROVE or REJECT.\r\n\r\n")
	fmt.Fprintf(&text, "The first moderator decides. If nobody does until %s,\r\nthe message is returned. These addresses are for you alone: do not forward this mail.\r\n",
		now.Add(r.o.Moderation).Format(time.RFC1123Z))

	id := envelope.NewID(now)
	boundary := "=_" + rand.Text()
	var b bytes.Buffer
	local, host := envelope.Split(r.o.Postmaster)
	b.WriteString(mail.FoldHeader("From", mail.FormatAddress(mail.Address{Name: "Approval for " + group, Mailbox: local, Host: host})))
	b.WriteString("To: <" + to + ">\r\n")
	b.WriteString("Reply-To: <" + address(replyTo) + ">\r\n")
	b.WriteString(mail.EncodeHeader("Subject", "Approve for "+group+"? "+subject))
	b.WriteString("Date: " + now.Format(time.RFC1123Z) + "\r\n")
	b.WriteString("Message-ID: <" + id + "@" + r.o.Hostname + ">\r\n")
	b.WriteString("Auto-Submitted: auto-generated\r\n") // RFC 3834 section 5
	b.WriteString("X-Auto-Response-Suppress: All\r\n")  // MS-OXCMAIL 2.1.3.2.14
	b.WriteString(requestField + ": " + w.ID + "\r\n")
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"" + boundary + "\"\r\n\r\n")
	b.WriteString("--" + boundary + "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + text.String())
	b.WriteString("\r\n--" + boundary + "\r\n" + original.head + "\r\n")
	b.Write(original.bytes)
	b.WriteString("\r\n--" + boundary + "--\r\n")
	return r.automatic(id, to, !envelope.ASCII(to), b.Bytes())
}

// automatic is a message of ours that nobody may answer automatically.
func (r *Relay) automatic(id, to string, utf8 bool, text []byte) Notice {
	now := r.o.Now()
	return Notice{
		Message: Message{
			Envelope: envelope.Envelope{ID: id, UTF8: utf8, Created: now},
			To:       []Address{{to, envelope.Domain(to)}},
			Due:      now, Expires: now.Add(bounceLife),
		},
		Body: text,
	}
}

// refused is the answer that a sender gets when a message was not approved.
func refused(rc Recipient) *gosmtp.SMTPError {
	text := "Nobody approved the message in time"
	if rc.Verdict == Rejected {
		if text = "A moderator of this list declined the message"; rc.Comment != "" {
			text += ": " + rc.Comment
		}
	}
	return smtpguard.Errorf(550, [3]int{5, 7, 1}, text)
}

// decline says what becomes of a message that was not approved. Whoever sent it
// without saying who he is hears of a moderator's word, which was one person's to
// another, but not of the end of time. Machines and the null sender hear nothing
// (RFC 3834 section 2).
func (r *Relay) decline(w Work, rc Recipient, body envelope.Body) result {
	res := result{rcpt: rc, local: true, err: refused(rc)}
	h, err := envelope.ReadHeader(body.Reader())
	if err != nil {
		return result{rcpt: rc, local: true, err: err}
	}
	automatic := h.Count("auto-submitted") > 0 && !strings.EqualFold(h.Get("auto-submitted"), "no")
	res.silent = w.From == "" || automatic || !w.Trusted && rc.Verdict != Rejected
	return res
}

// decide takes a moderator's mail. What a machine sent decides nothing.
func (r *Relay) decide(ctx context.Context, w Work, rc Recipient, kind string, token Token, body envelope.Body) result {
	m, who, err := r.queue.Ballot(ctx, token)
	if err != nil {
		if fault.Of(err) == fault.NotFound {
			err = fault.New(fault.NotFound, "No such user here")
		}
		return result{rcpt: rc, local: true, err: err}
	}
	log := r.o.Log.With("proto", "moderation", "cmd", "decide", "id", m.Key, "group", m.Group, "moderation", m.ID, "moderator", who, "from", w.From, "by", w.ID)
	sum, text, err := readText(body)
	if err != nil {
		return result{rcpt: rc, local: true, err: err}
	}
	if w.From == "" || sum.IsAutomatic() {
		log.Info("an automatic message decides nothing")
		return result{rcpt: rc, local: true}
	}
	verdict, comment := reading(kind, text)
	var answer string
	if ok, err := r.moderates(ctx, who, m); err != nil {
		return result{rcpt: rc, local: true, err: err}
	} else if !ok {
		verdict, answer = Undecided, "You are no moderator of "+m.Group+" any more, and nothing was decided.\r\n"
	} else if verdict == Undecided {
		answer = "Your reply was not understood, and nothing was decided. Reply again to the\r\nrequest, and begin with the word APPROVE or REJECT.\r\n"
	}
	if verdict != Undecided {
		if m, err = r.queue.Decide(ctx, Decision{ID: m.ID, Verdict: verdict, By: who, Comment: comment, Cause: w.ID}, r.o.Now()); err != nil {
			return result{rcpt: rc, local: true, err: err}
		}
		if m.Cause != w.ID {
			answer = "It was decided before: " + m.outcome() + ".\r\n"
		}
	}
	log.Info("decision", "verdict", verdict, "stands", m.Verdict, "decided_by", m.By)
	res := result{rcpt: rc, local: true}
	if answer != "" {
		res.notices = []Notice{r.answer(w, m, answer)}
	}
	r.Wake()
	return res
}

// outcome says in words what was decided.
func (m Moderation) outcome() string {
	s := string(m.Verdict)
	if m.By != "" {
		s += " by " + m.By
	}
	if !m.Decided.IsZero() {
		s += ", " + m.Decided.Format(time.RFC1123Z)
	}
	return s
}

// moderates tells whether somebody who was asked would be asked still. When
// nobody would, the group has changed since, and whoever was asked decides.
func (r *Relay) moderates(ctx context.Context, who string, m Moderation) (bool, error) {
	res, err := r.dir.Resolve(ctx, m.Group)
	if err != nil || res.Standing != directory.List {
		return true, err // the group is gone: the sender will hear of it
	}
	approvers, err := r.dir.MaySendTo(ctx, directory.Sender{Address: m.From, Known: true}, res.Group)
	if err != nil && fault.Of(err) != fault.Denied {
		return false, err
	}
	return len(approvers) == 0 || slices.ContainsFunc(approvers, func(t directory.Target) bool { return recipientOf(t) == who }), nil
}

// recipientOf is the address that mail to a target goes to.
func recipientOf(t directory.Target) string {
	if t.Mailbox == 0 {
		return t.Forward
	}
	return t.Address
}

// reading understands a moderator's mail: by the address that it came to or, in a
// reply, by its first word; the comment ends where the quoted request begins.
func reading(kind, text string) (Verdict, string) {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, ">") || line == "--" || strings.HasPrefix(line, "-----") || strings.HasPrefix(line, "____") ||
			strings.HasSuffix(line, ":") && len(lines) > 0 && lines[len(lines)-1] == "" {
			break
		}
		lines = append(lines, line)
	}
	said := strings.TrimSpace(strings.Join(lines, " "))
	switch kind {
	case approveTo:
		return Approved, ""
	case rejectTo:
		return Rejected, comment(said)
	}
	word, rest, _ := strings.Cut(said, " ")
	rest = strings.TrimLeft(rest, " ,:;.-")
	switch strings.ToLower(strings.Trim(word, ".,:;!*\"'")) {
	case "approve", "approved":
		return Approved, ""
	case "reject", "rejected":
		return Rejected, comment(rest)
	}
	return Undecided, ""
}

// comment cuts a comment to what fits a notice.
func comment(s string) string { return shortened(strings.Join(strings.Fields(s), " "), maxComment) }

// answer tells a moderator why a decision did not count.
func (r *Relay) answer(w Work, m Moderation, text string) Notice {
	id := fmt.Sprintf("a%d.%s", m.ID, w.ID) // one for each decision that came
	if len(id) > envelope.MaxID {
		id = fmt.Sprintf("a%d.%d", m.ID, w.Message)
	}
	var b bytes.Buffer
	b.WriteString("From: Mail Delivery System <" + r.o.Postmaster + ">\r\nTo: <" + w.From + ">\r\n")
	b.WriteString(mail.EncodeHeader("Subject", "About your decision: "+m.Subject))
	b.WriteString("Date: " + r.o.Now().Format(time.RFC1123Z) + "\r\nMessage-ID: <" + id + "@" + r.o.Hostname + ">\r\n")
	b.WriteString("Auto-Submitted: auto-replied\r\n") // RFC 3834 section 5
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
	fmt.Fprintf(&b, "The message \"%s\" to %s from %s\r\n\r\n%s", oneLine(m.Subject), m.Group, m.From, text)
	return r.automatic(id, w.From, w.UTF8 || !envelope.ASCII(w.From), b.Bytes())
}

func shortened(s string, limit int) string {
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

func crlf(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}

func sizeText(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", (n+1<<9)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
