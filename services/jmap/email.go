package jmap

import (
	"context"
	"io"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"waypost/internal/mail"
	"waypost/store"
)

// emails are messages (RFC 8621 section 4).
var emails = &kind{
	name:  "Email",
	state: mailState,
	properties: []string{
		"id", "blobId", "threadId", "mailboxIds", "keywords", "size", "receivedAt",
		"headers", "messageId", "inReplyTo", "references", "sender", "from", "to", "cc", "bcc", "replyTo", "subject", "sentAt",
		"bodyStructure", "bodyValues", "textBody", "htmlBody", "attachments", "hasAttachment", "preview",
	},
	property: func(name string) error {
		if _, ok := parseHeaderProperty(name); !ok {
			return invalidArguments("Email has no property %q", name)
		}
		return nil
	},
	defaults: append([]string{"id", "blobId", "threadId", "mailboxIds", "keywords", "size", "receivedAt"}, parseDefaults...),
	read:     readEmails,
	changes: func(ctx context.Context, c *call, since string, limit int) (*changes, error) {
		ch, m, err := mailChanges(ctx, c, since, limit)
		if err != nil {
			return nil, err
		}
		ch.created, ch.updated, ch.destroyed = idTexts(m.Created), idTexts(m.Updated), idTexts(m.Destroyed)
		return ch, nil
	},
	mutable: []string{"mailboxIds", "keywords"},
	unset:   object{"keywords": object{}},
	create:  createEmail,
	update:  updateEmails,
	destroy: destroyEmails,
}

// parseDefaults are the default properties of Email/parse (section 4.9).
var parseDefaults = []string{
	"messageId", "inReplyTo", "references", "sender", "from", "to", "cc", "bcc", "replyTo", "subject", "sentAt",
	"hasAttachment", "preview", "bodyValues", "textBody", "htmlBody", "attachments",
}

// keywordFlags are the keywords that are flags of ours (section 4.1.1).
var keywordFlags = []struct {
	keyword string
	flag    store.Flags
}{
	{"$seen", store.Seen},
	{"$draft", store.Draft},
	{"$flagged", store.Flagged},
	{"$answered", store.Answered},
	{"$forwarded", store.Forwarded},
	{"$mdnsent", store.MDNSent},
	{"$junk", store.Junk},
	{"$notjunk", store.NotJunk},
	{"$phishing", store.Phishing},
}

func keywordsOf(e *store.Entry) object {
	o := object{}
	for _, k := range keywordFlags {
		if e.Flags&k.flag != 0 {
			o[k.keyword] = true
		}
	}
	for _, k := range e.Keywords {
		o[strings.ToLower(k)] = true
	}
	return o
}

// markOf gives a keyword as the store has it.
func markOf(keyword string) store.Mark {
	keyword = strings.ToLower(keyword)
	for _, k := range keywordFlags {
		if k.keyword == keyword {
			return store.Mark{Flag: k.flag}
		}
	}
	return store.Mark{Keyword: keyword}
}

// isKeyword checks a keyword (section 4.1.1), whose length is the store's limit.
func isKeyword(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x21 || r > 0x7e || strings.ContainsRune(`(){]%*"\`, r)
	})
}

func idTexts[T interface{ String() string }](list []T) []string {
	out := make([]string, len(list))
	for i, id := range list {
		out[i] = id.String()
	}
	return out
}

func itemIDs(ids []string) []store.ItemID {
	out := make([]store.ItemID, 0, len(ids))
	for _, id := range ids {
		if item, ok := store.ParseItemID(id); ok {
			out = append(out, item)
		}
	}
	return out
}

// view is what is wanted of messages.
type view struct {
	properties []string
	headers    []headerProperty
	body       []string // properties of parts
	partHeader []headerProperty
	text, html bool // whose values are wanted
	all        bool
	maxBytes   int
	left       int // bytes of bodies that one answer may still have
}

// defaultBody is what of parts is given when nothing is named (section 4.2).
var defaultBody = []string{"partId", "blobId", "size", "name", "type", "charset", "disposition", "cid", "language", "location"}

var bodyProperties = append([]string{"headers", "subParts"}, defaultBody...)

// maxBodies bounds the bodies in one answer.
const maxBodies = 32 << 20

// readView reads the arguments that say what of messages is wanted.
func (c *call) readView(properties []string) (*view, error) {
	v := &view{properties: properties, body: defaultBody, left: maxBodies}
	for _, p := range properties {
		if h, ok := parseHeaderProperty(p); ok {
			v.headers = append(v.headers, h)
		}
	}
	given, err := c.stringsOrNull("bodyProperties")
	if err != nil {
		return nil, err
	}
	if given != nil {
		v.body = distinct(given)
	}
	for _, p := range v.body {
		if h, ok := parseHeaderProperty(p); ok {
			v.partHeader = append(v.partHeader, h)
		} else if !slices.Contains(bodyProperties, p) {
			return nil, invalidArguments("a part has no property %q", p)
		}
	}
	for name, at := range map[string]*bool{"fetchTextBodyValues": &v.text, "fetchHTMLBodyValues": &v.html, "fetchAllBodyValues": &v.all} {
		if *at, err = c.bool(name); err != nil {
			return nil, err
		}
	}
	if v.maxBytes, _, err = c.number("maxBodyValueBytes"); err != nil || v.maxBytes < 0 {
		return nil, invalidArguments("maxBodyValueBytes is a number from 0 on")
	}
	return v, nil
}

// reads tells whether the bytes of a message are needed, not just its description.
func (v *view) reads() bool {
	return len(v.headers) > 0 || slices.ContainsFunc(v.properties, func(p string) bool {
		switch p {
		case "headers", "bodyStructure", "textBody", "htmlBody", "attachments":
			return true
		case "bodyValues":
			return v.text || v.html || v.all
		}
		return false
	})
}

// readEmails gives messages by id.
func readEmails(ctx context.Context, c *call, ids, properties []string) (map[string]object, error) {
	v, err := c.readView(properties)
	if err != nil {
		return nil, err
	}
	items := itemIDs(ids)
	entries, err := c.store.EntriesOf(ctx, c.who, c.box, items)
	if err != nil {
		return nil, err
	}
	// RFC 8621 section 4.1.1: what is marked as deleted is not seen here.
	entries = slices.DeleteFunc(entries, func(e store.Entry) bool { return e.Flags&store.Deleted != 0 })
	items = items[:0]
	for _, e := range entries {
		items = append(items, e.Item)
	}
	list, err := c.store.Messages(ctx, c.who, c.box, items)
	if err != nil {
		return nil, err
	}
	if v.reads() && len(items) > 0 {
		if err := c.store.Warm(ctx, c.who, c.box, items); err != nil {
			return nil, err
		}
	}
	found := make(map[string]object, len(entries))
	for i := range entries {
		e, m := &entries[i], list[i]
		if m == nil { // no message, but an appointment in the trash
			continue
		}
		msg := &message{sum: m.Summary, size: m.Size, prefix: int64(len(m.Prefix)), blob: blobID{item: e.Item}}
		if v.reads() {
			if msg.content, err = c.store.Content(ctx, c.who, c.box, e.Item); err != nil {
				return nil, err
			}
		}
		o, err := v.email(msg)
		if err != nil {
			return nil, err
		}
		o["id"], o["threadId"] = e.Item.String(), m.Thread.String()
		o["mailboxIds"] = object{e.Folder.String(): true}
		o["keywords"], o["receivedAt"] = keywordsOf(e), utcText(e.Received)
		found[e.Item.String()] = o
	}
	return found, nil
}

// email gives what is wanted of a message but what the mail store says of it.
func (v *view) email(m *message) (object, error) {
	s := m.sum
	o := object{
		"id": nil, "blobId": m.blob.String(), "threadId": nil, "mailboxIds": nil, "keywords": nil, "receivedAt": nil,
		"size": m.size, "messageId": idsOrNil(mail.MessageIDs(s.MessageID)), "inReplyTo": idsOrNil(mail.MessageIDs(s.InReplyTo)),
		"references": idsOrNil(s.References), "sender": addressesOrNil(s.Sender), "from": addressesOrNil(s.From),
		"to": addressesOrNil(s.To), "cc": addressesOrNil(s.Cc), "bcc": addressesOrNil(s.Bcc), "replyTo": addressesOrNil(s.ReplyTo),
		"subject": nil, "sentAt": dateOrNil(s.Date), "hasAttachment": s.Attachments > 0, "preview": s.Preview,
	}
	if s.Subject != "" {
		o["subject"] = norm.NFC.String(s.Subject)
	}
	if m.content == nil {
		if slices.Contains(v.properties, "bodyValues") {
			o["bodyValues"] = object{}
		}
		return o, nil
	}
	if len(v.headers) > 0 || slices.Contains(v.properties, "headers") {
		fields, err := m.header(s.Root)
		if err != nil {
			return nil, err
		}
		for _, h := range v.headers {
			o[h.property] = h.value(fields)
		}
		o["headers"] = fields
	}
	return o, v.bodies(m, o)
}

// maxHeader bounds the header of one part that is read, in bytes.
const maxHeader = 1 << 20

// header reads the fields of a part; those of the root begin with the trace
// headers of delivery.
func (m *message) header(p *mail.Part) ([]field, error) {
	from, to := m.prefix+p.HeaderStart, m.prefix+p.BodyStart
	if p == m.sum.Root && len(m.blob.section) == 0 {
		from = 0
	}
	raw := make([]byte, min(to-from, maxHeader))
	n, err := m.content.ReadAt(raw, from)
	if err != nil && (err != io.EOF || n < len(raw)) {
		return nil, err
	}
	return splitFields(raw), nil
}

// mailChanges reads changes of mail since a state, which is the number of a
// change, or base-number-item of a reader on its way from base.
func mailChanges(ctx context.Context, c *call, since string, limit int) (*changes, store.MailChanges, error) {
	at, err := parsePosition(since)
	if err != nil {
		return nil, store.MailChanges{}, err
	}
	m, err := c.store.MailChanges(ctx, c.who, c.box, at, limit)
	if err != nil {
		return nil, m, err
	}
	return &changes{state: positionText(m.Position), more: m.More}, m, nil
}

func positionText(p store.MailPosition) string {
	if p.At == (store.Position{}) {
		return seqText(p.Base)
	}
	return seqText(p.Base) + "-" + seqText(p.At.Seq) + "-" + seqText(store.Seq(p.At.Item))
}

func parsePosition(state string) (p store.MailPosition, err error) {
	parts := strings.Split(state, "-")
	if len(parts) != 1 && len(parts) != 3 {
		return p, methodFault("cannotCalculateChanges", "there was no such state")
	}
	var n [3]store.Seq
	for i, t := range parts {
		if n[i], err = parseSeq(t); err != nil {
			return p, err
		}
	}
	p.Base = n[0]
	if len(parts) == 3 {
		p.At = store.Position{Seq: n[1], Item: store.ItemID(n[2])}
	}
	return p, nil
}
