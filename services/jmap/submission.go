package jmap

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/store"
)

const maxRecipients = 1000

// submissions are messages that were sent (RFC 8621 section 7).
var submissions = &small{
	kind: &kind{
		name:  "EmailSubmission",
		state: submissionState,
		properties: []string{
			"id", "identityId", "emailId", "threadId", "envelope", "sendAt", "undoStatus", "deliveryStatus", "dsnBlobIds", "mdnBlobIds",
		},
		all: func(ctx context.Context, c *call) (ids []string, err error) {
			list, _, err := c.store.Submissions(ctx, c.who, c.box)
			for _, s := range list {
				ids = append(ids, submissionID(s.ID))
			}
			return ids, err
		},
		read:    readSubmissions,
		changes: submissionChanges,
		mutable: []string{"undoStatus"},
		create:  createSubmission,
		update: func(ctx context.Context, c *call, list []*update) {
			for _, u := range list {
				u.err = cancelSubmission(ctx, c, u)
			}
		},
		destroy: func(ctx context.Context, c *call, ids []string) map[string]error {
			errs := map[string]error{}
			for _, id := range ids {
				n, _ := parseSubmissionID(id)
				errs[id] = c.store.ForgetSubmission(ctx, c.who, c.box, n)
			}
			return errs
		},
	},
	condition: submissionCondition,
	sorts:     []string{"emailId", "threadId", "sentAt", "sendAt"}, // section 7.3 says sentAt and means sendAt
	compare: func(property string, a, b object) int {
		if property == "sentAt" || property == "sendAt" {
			x, _ := parseUTC(a["sendAt"])
			y, _ := parseUTC(b["sendAt"])
			return x.Compare(y)
		}
		return compareIDs(a[property].(string), b[property].(string))
	},
}

func readSubmissions(ctx context.Context, c *call, ids, _ []string) (map[string]object, error) {
	list, _, err := c.store.Submissions(ctx, c.who, c.box)
	found := map[string]object{}
	for i := range list {
		if id := submissionID(list[i].ID); slices.Contains(ids, id) {
			found[id] = submissionOf(&list[i], c.opt.Now())
		}
	}
	return found, err
}

func submissionID(n int64) string { return "S" + strconv.FormatInt(n, 10) }

func parseSubmissionID(s string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimPrefix(s, "S"), 10, 64)
	return n, err == nil && submissionID(n) == s
}

// envelopeParams are what the client gave besides addresses.
type envelopeParams struct {
	From object   `json:"from,omitempty"`
	To   []object `json:"to,omitempty"`
}

func submissionOf(s *store.Submission, now time.Time) object {
	status, delivered := "final", "unknown"
	reply := "250 2.0.0 handed on to be delivered"
	switch {
	case s.Canceled:
		status = "canceled"
	case s.Pending(now):
		status, delivered, reply = "pending", "queued", "250 2.0.0 waiting to be sent"
	}
	var params envelopeParams
	if tree, err := decodeJSON(s.Params); err == nil {
		if o, ok := tree.(object); ok {
			params.From, _ = o["from"].(object)
			if list, ok := o["to"].([]any); ok {
				for _, e := range list {
					p, _ := e.(object)
					params.To = append(params.To, p)
				}
			}
		}
	}
	to, delivery := []any{}, object{}
	for i, r := range s.Recipients {
		a := object{"email": r, "parameters": nil}
		if i < len(params.To) && params.To[i] != nil {
			a["parameters"] = params.To[i]
		}
		to = append(to, a)
		delivery[r] = object{"smtpReply": reply, "delivered": delivered, "displayed": "unknown"}
	}
	from := object{"email": s.From, "parameters": nil}
	if params.From != nil {
		from["parameters"] = params.From
	}
	o := object{
		"id": submissionID(s.ID), "identityId": s.Identity, "emailId": s.Item.String(), "threadId": s.Thread.String(),
		"envelope": object{"mailFrom": from, "rcptTo": to}, "sendAt": utcText(s.SendAt.Truncate(time.Second)), "undoStatus": status,
		"deliveryStatus": delivery, "dsnBlobIds": []any{}, "mdnBlobIds": []any{},
	}
	if s.Canceled {
		o["deliveryStatus"] = nil
	}
	return o
}

// A submission changes by itself when its hour comes: its state is the newest
// change and the newest hour that has come.
func submissionState(ctx context.Context, c *call) (string, error) {
	list, at, err := c.store.Submissions(ctx, c.who, c.box)
	return submissionStateOf(list, at, c.opt.Now()), err
}

func submissionStateOf(list []store.Submission, at store.Seq, now time.Time) string {
	var newest int64
	for i := range list {
		if s := &list[i]; !s.Canceled && !s.Pending(now) {
			newest = max(newest, s.SendAt.UnixMicro())
		}
	}
	return seqText(at) + "-" + strconv.FormatInt(newest, 10)
}

func submissionChanges(ctx context.Context, c *call, since string, limit int) (*changes, error) {
	first, second, _ := strings.Cut(since, "-")
	seq, err := parseSeq(first)
	if err != nil {
		return nil, err
	}
	hour, err := parseSeq(second)
	if err != nil {
		return nil, err
	}
	list, at, err := c.store.Submissions(ctx, c.who, c.box)
	if err != nil {
		return nil, err
	}
	changed, err := c.store.SubmissionChanges(ctx, c.who, c.box, seq)
	if err != nil {
		return nil, err
	}
	now := c.opt.Now()
	ch := &changes{state: submissionStateOf(list, at, now)}
	for i := range list {
		s := &list[i]
		switch {
		case store.Seq(s.ID) > seq:
			ch.created = append(ch.created, submissionID(s.ID))
		case s.Changed > seq, !s.Canceled && !s.Pending(now) && s.SendAt.UnixMicro() > int64(hour):
			ch.updated = append(ch.updated, submissionID(s.ID))
		}
	}
	for _, id := range changed.Gone {
		if store.Seq(id) <= seq {
			ch.destroyed = append(ch.destroyed, submissionID(id))
		}
	}
	if len(ch.created)+len(ch.updated)+len(ch.destroyed) > limit {
		return nil, methodFault("cannotCalculateChanges", "there are more changes than %d", limit)
	}
	return ch, nil
}

func submissionCondition(o object) (match, error) {
	var all []match
	for name, v := range o {
		switch name {
		case "identityIds", "emailIds", "threadIds":
			ids, err := stringList(v, name)
			if err != nil || v == nil {
				return nil, invalidArguments("%s is a list of ids", name)
			}
			property := strings.TrimSuffix(name, "s")
			all = append(all, func(o object) bool { return slices.Contains(ids, o[property].(string)) })
		case "undoStatus":
			if _, ok := v.(string); !ok {
				return nil, invalidArguments("undoStatus is a string")
			}
			all = append(all, func(o object) bool { return o[name] == v })
		case "before", "after":
			t, ok := parseUTC(v)
			if !ok {
				return nil, invalidArguments("%s is a UTCDate", name)
			}
			all = append(all, func(o object) bool {
				at, _ := parseUTC(o["sendAt"])
				return at.Before(t) == (name == "before")
			})
		default:
			return nil, methodFault("unsupportedFilter", "there is no condition %q", name)
		}
	}
	return joinMatches("AND", all), nil
}

func cancelSubmission(ctx context.Context, c *call, u *update) error {
	if u.changes["undoStatus"] != "canceled" {
		return invalidProperties("a submission can only be canceled", "undoStatus")
	}
	id, _ := parseSubmissionID(u.id)
	err := c.store.CancelSubmission(ctx, c.who, c.box, id)
	if fault.Of(err) == fault.Conflict && err != nil {
		return &setError{kind: "cannotUnsend", text: "the message is on its way"}
	}
	return err
}

// outgoing is a submission on its way to be made.
type outgoing struct {
	from       string
	recipients []string
	params     envelopeParams
	notBefore  time.Time
}

// createSubmission sends a message.
func createSubmission(ctx context.Context, c *call, o object) (string, object, error) {
	for name := range o {
		if !slices.Contains([]string{"identityId", "emailId", "envelope"}, name) {
			return "", nil, invalidProperties("", name)
		}
	}
	identityID, _ := o["identityId"].(string)
	identityID, err := c.reference(identityID)
	if err != nil {
		return "", nil, err
	}
	list, err := c.identities(ctx)
	if err != nil {
		return "", nil, err
	}
	at := slices.IndexFunc(list, func(i sender) bool { return i.ID == identityID })
	if at < 0 {
		return "", nil, invalidProperties("there is no such identity", "identityId")
	}
	emailID, _ := o["emailId"].(string)
	if emailID, err = c.reference(emailID); err != nil {
		return "", nil, err
	}
	item, ok := store.ParseItemID(emailID)
	if !ok {
		return "", nil, invalidProperties("there is no such message", "emailId")
	}
	b, err := c.blob(ctx, c.box, emailID)
	if err != nil && fault.Of(err) == fault.NotFound {
		return "", nil, invalidProperties("there is no such message", "emailId")
	}
	if err != nil {
		return "", nil, err
	}
	msgs, err := c.store.Messages(ctx, c.who, c.box, []store.ItemID{item})
	if err != nil || msgs[0] == nil {
		return "", nil, cmp.Or(err, errNoBlob)
	}
	sum := msgs[0].Summary
	if err := c.checkFrom(ctx, sum); err != nil {
		return "", nil, err
	}
	out, err := c.envelope(ctx, o["envelope"], sum, list[at].Email)
	if err != nil {
		return "", nil, err
	}
	blob, outSum, err := c.copyToBlob(ctx, func(w io.Writer) error { return sendable(w, b, msgs[0], c) })
	if err != nil {
		return "", nil, err
	}
	if blob.Size > maxSizeUpload {
		return "", nil, &setError{kind: "tooLarge", extra: object{"maxSize": maxSizeUpload}}
	}
	params, err := encodeJSON(out.params)
	if err != nil {
		return "", nil, err
	}
	sent, err := c.store.Send(ctx, c.who, c.box, store.Outgoing{
		Key: c.sendKey(emailID, out), From: out.from, Recipients: out.recipients, Blob: blob, Summary: outSum, NotBefore: out.notBefore,
		Track: &store.Track{Item: item, Thread: msgs[0].Thread, Identity: identityID, Params: params},
	})
	if err != nil {
		return "", nil, err
	}
	if sent.Submission == 0 {
		return "", nil, fault.New(fault.Conflict, "it was sent before")
	}
	id := submissionID(sent.Submission)
	found, err := readSubmissions(ctx, c, []string{id}, nil)
	if err != nil || found[id] == nil {
		return id, object{"id": id}, err
	}
	given := found[id]
	for name := range o {
		if o[name] != nil {
			delete(given, name)
		}
	}
	return id, given, nil
}

// sendKey makes sending safe to repeat after a lost answer: the same message to
// the same people under the same creation id is sent once an hour.
func (c *call) sendKey(emailID string, out *outgoing) string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{
		c.creating, emailID, out.from, out.notBefore.String(), c.opt.Now().UTC().Format("2006-01-02T15"),
	}, out.recipients...), "\x00")))
	return "jmap/" + hex.EncodeToString(sum[:16])
}

// checkFrom checks that the message names a sender whom the user may write.
func (c *call) checkFrom(ctx context.Context, sum *mail.Summary) error {
	if len(sum.From) == 0 || sum.From[0].Addr() == "" {
		return &setError{kind: "invalidEmail", text: "the message has no sender", properties: []string{"from"}}
	}
	for _, a := range sum.From {
		if a.IsGroupStart() || a.IsGroupEnd() {
			continue
		}
		ok, err := c.people.MaySendAs(ctx, c.who, a.Addr())
		if err != nil {
			return err
		}
		if !ok {
			return &setError{kind: "forbiddenFrom"}
		}
	}
	return nil
}

// envelope reads the property, or makes it of the message (section 7).
func (c *call) envelope(ctx context.Context, v any, sum *mail.Summary, own string) (*outgoing, error) {
	out := &outgoing{}
	if v == nil {
		from := sum.From
		if len(sum.Sender) > 0 {
			from = sum.Sender
		}
		if len(from) > 1 {
			return nil, &setError{kind: "invalidEmail", text: "several senders", properties: []string{"from"}}
		}
		out.from = from[0].Addr()
		if ok, err := c.people.MaySendAs(ctx, c.who, out.from); err != nil {
			return nil, err
		} else if !ok {
			out.from = own
		}
		for _, a := range slices.Concat(sum.To, sum.Cc, sum.Bcc) {
			if !a.IsGroupStart() && !a.IsGroupEnd() {
				out.recipients = append(out.recipients, a.Addr())
			}
		}
	} else if err := out.read(v, c.opt.Now()); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var bad []string
	kept, params := out.recipients[:0], []object{}
	for i, r := range out.recipients {
		if !isAddress(r) {
			bad = append(bad, r)
		}
		if key := strings.ToLower(r); !seen[key] {
			seen[key] = true
			kept = append(kept, r)
			if i < len(out.params.To) {
				params = append(params, out.params.To[i])
			}
		}
	}
	out.recipients, out.params.To = kept, params
	switch {
	case len(bad) > 0:
		return nil, &setError{kind: "invalidRecipients", extra: object{"invalidRecipients": bad}}
	case len(out.recipients) == 0:
		return nil, &setError{kind: "noRecipients"}
	case len(out.recipients) > maxRecipients:
		return nil, &setError{kind: "tooManyRecipients", extra: object{"maxRecipients": maxRecipients}}
	}
	ok, err := c.people.MaySendAs(ctx, c.who, out.from)
	if err == nil && !ok {
		err = &setError{kind: "forbiddenMailFrom"}
	}
	return out, err
}

// isAddress tells whether mail can be sent to s.
func isAddress(s string) bool {
	at := strings.LastIndexByte(s, '@')
	return at > 0 && at < len(s)-1 && len(s) <= 320 && !strings.ContainsAny(s[at:], "\"<>,;: ") &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '<' || r == '>' }) &&
		(s[0] == '"' || !strings.ContainsAny(s[:at], " ,;:"))
}

func (out *outgoing) read(v any, now time.Time) error {
	bad := invalidProperties("the envelope is wrong", "envelope")
	o, _ := v.(object)
	from, ok := o["mailFrom"].(object)
	list, isList := o["rcptTo"].([]any)
	if !ok || !isList {
		return bad
	}
	if out.from, ok = from["email"].(string); !ok {
		return bad
	}
	if from["parameters"] != nil {
		if out.params.From, ok = from["parameters"].(object); !ok {
			return bad
		}
		for name, v := range out.params.From {
			s, isText := v.(string)
			switch strings.ToUpper(name) {
			case "HOLDFOR": // RFC 4865 section 4.1
				n, err := strconv.Atoi(s)
				if err != nil || n < 0 || n > maxDelayedSend {
					return bad
				}
				out.notBefore = now.Add(time.Duration(n) * time.Second)
			case "HOLDUNTIL":
				t, err := time.Parse(time.RFC3339, s)
				if err != nil || t.After(now.Add(maxDelayedSend*time.Second)) {
					return bad
				}
				out.notBefore = t
			case "SIZE", "BODY", "SMTPUTF8": // what the message is like is seen anyway
			default:
				return bad
			}
			if !isText && v != nil {
				return bad
			}
		}
	}
	for _, e := range list {
		r, _ := e.(object)
		address, ok := r["email"].(string)
		params, isObject := r["parameters"].(object)
		if !ok || !isObject && r["parameters"] != nil || len(params) > 0 {
			return bad
		}
		out.recipients = append(out.recipients, address)
		out.params.To = append(out.params.To, params)
	}
	return nil
}

// sendable writes a message as it may leave: without Bcc and Return-Path, with
// Date and Message-ID, and every line ended by CRLF.
func sendable(w io.Writer, b *blob, m *store.Message, c *call) error {
	start := int64(len(m.Prefix)) + m.Summary.Root.BodyStart
	head := make([]byte, min(start, 4<<20))
	if _, err := b.raw.ReadAt(head, 0); err != nil && err != io.EOF {
		return err
	}
	fields := mail.ParseFields(head)
	out := &crlf{w: w}
	if fields.Get("Date") == "" {
		if _, err := io.WriteString(out, mail.FoldHeader("Date", c.opt.Now().Format(mailDate))); err != nil {
			return err
		}
	}
	if fields.Get("Message-ID") == "" {
		if _, err := io.WriteString(out, mail.FoldHeader("Message-ID", "<"+newMessageID(c.who.Address)+">")); err != nil {
			return err
		}
	}
	if _, err := out.Write(fields.Filter([]string{"bcc", "resent-bcc", "return-path"}, true)); err != nil {
		return err
	}
	_, err := io.Copy(out, io.NewSectionReader(b.raw, start, b.size-start))
	return err
}

// crlf makes every line end CRLF.
type crlf struct {
	w    io.Writer
	last byte
	buf  bytes.Buffer
}

func (l *crlf) Write(p []byte) (int, error) {
	l.buf.Reset()
	for i, c := range p {
		switch {
		case c == '\n' && l.last != '\r':
			l.buf.WriteByte('\r')
		case l.last == '\r' && c != '\n':
			l.buf.WriteByte('\n')
		}
		l.buf.WriteByte(p[i])
		l.last = c
	}
	if _, err := l.w.Write(l.buf.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// setSubmissions answers EmailSubmission/set, and makes the changes of messages that
// depend on it (section 7.5).
func setSubmissions(ctx context.Context, c *call) error {
	onUpdate, err := c.mapOrNull("onSuccessUpdateEmail")
	if err != nil {
		return err
	}
	onDestroy, err := c.idsOrNull("onSuccessDestroyEmail")
	if err != nil {
		return err
	}
	before, _, err := c.store.Submissions(ctx, c.who, c.box) // of those that are destroyed
	if err != nil {
		return err
	}
	if err := submissions.set(ctx, c); err != nil || len(onUpdate)+len(onDestroy) == 0 {
		return err
	}
	tree, err := decodeJSON(c.answers[len(c.answers)-1].args)
	if err != nil {
		return err
	}
	done := tree.(object)
	after, _, err := c.store.Submissions(ctx, c.who, c.box)
	if err != nil {
		return err
	}
	email := map[string]string{}
	for _, s := range append(before, after...) {
		email[submissionID(s.ID)] = s.Item.String()
	}
	// of gives the message of a submission that this call changed.
	of := func(key string) string {
		if created, ok := strings.CutPrefix(key, "#"); ok {
			if m, ok := done["created"].(object); ok && m[created] != nil {
				return email[c.created[created]]
			}
			return ""
		}
		if m, ok := done["updated"].(object); ok {
			if _, ok := m[key]; ok {
				return email[key]
			}
		}
		if l, ok := done["destroyed"].([]any); ok && slices.Contains(l, any(key)) {
			return email[key]
		}
		return ""
	}
	update, destroy := object{}, []any{}
	for key, patch := range onUpdate {
		if id := of(key); id != "" {
			update[id] = patch
		}
	}
	for _, key := range onDestroy {
		if id := of(key); id != "" {
			destroy = append(destroy, id)
		}
	}
	if len(update)+len(destroy) == 0 {
		return nil
	}
	implied := &call{request: c.request, id: c.id, name: "Email/set", account: c.account, box: c.box, args: object{"update": update, "destroy": destroy}}
	if err := emails.set(ctx, implied); err != nil {
		c.refuse(ctx, implied, err)
	}
	return nil
}
