package eas

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"waypost/directory"
	"waypost/internal/mail"
	"waypost/internal/zone"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Appointments, contacts, tasks and notes are objects of the store. Sync treats
// them as it does mail; what differs from class to class is an itemClass.

// objectReader reads objects.
type objectReader interface {
	Objects(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]*store.Object, error)
	ObjectsOf(ctx context.Context, as directory.Principal, box store.MailboxID, items []store.ItemID) ([]*store.Object, error)
}

// objectStore is what the classes other than mail need of the store.
type objectStore interface {
	objectReader
	PutObject(ctx context.Context, as directory.Principal, box store.MailboxID, p store.PutObject) (store.Put, error)
	RemoveObject(ctx context.Context, as directory.Principal, box store.MailboxID, r store.RemoveObject) (store.Seq, error)
	FindObjects(ctx context.Context, as directory.Principal, box store.MailboxID, q store.FindObjects) ([]*store.Object, error)
	FolderProps(ctx context.Context, as directory.Principal, box store.MailboxID, folders []store.FolderID) ([]store.FolderProps, error)
}

var _ objectStore = store.Objects(nil)

// itemClass is what is special about a class of items other than mail.
type itemClass interface {
	// write writes an object inside the element that is open.
	write(e *wbxml.Encoder, s *side, o *store.Object) error
	// edit carries a command of the phone into an object's text; old is nil for
	// one that is made. It has no effects and may be called again.
	edit(s *side, old *store.Object, c *syncCommand) (edited, error)
	// uid is that of a new object; one that has it already is changed instead.
	uid(c *syncCommand, once string) string
}

// edited is an object's new text.
type edited struct {
	text []byte
	// altered: it does not say quite what the phone said, which is to be told.
	altered bool
	// beside, if not nil, is the text of another object that comes of the command,
	// of the UID newUID(besideOnce); besideOnce makes it safe to repeat.
	beside     []byte
	besideOnce string
}

// side is for whom objects are written, and who changes them.
type side struct {
	version wbxml.Version
	opts    *options
	me      directory.Principal
	device  string         // the kind of phone
	zone    *time.Location // where days and times without a zone are
	now     time.Time
	made    string // the UID of a new object
	whole   bool   // bodies without truncation
	parts   *partList
}

// side gives what the class of a folder needs to know of the request.
func (y *syncer) side(ctx context.Context, f *store.Folder, o *options) (side, error) {
	return y.server.side(ctx, y.r, f, o)
}

func (s *Server) side(ctx context.Context, r *request, f *store.Folder, o *options) (side, error) {
	x := side{version: r.version, opts: o, me: r.who, device: r.query.deviceType, zone: s.opt.Zone, now: s.opt.Now()}
	if f.Class != store.ClassCalendar && f.Class != store.ClassTasks {
		return x, nil
	}
	props, err := s.store.FolderProps(ctx, r.who, r.box(), []store.FolderID{f.ID})
	if err != nil {
		return x, err
	}
	if len(props) == 1 && props[0].Zone != "" {
		if l := zone.Load(props[0].Zone); l != nil {
			x.zone = l
			return x, nil
		}
	}
	x.zone, err = s.ownZone(ctx, r)
	return x, err
}

// ownZone is where the owner of the mailbox is.
func (s *Server) ownZone(ctx context.Context, r *request) (*time.Location, error) {
	set, err := s.store.Settings(ctx, r.who, r.box())
	if err != nil {
		return nil, err
	}
	if l := zone.Load(set.Calendar.Zone); l != nil {
		return l, nil
	}
	return s.opt.Zone, nil
}

// mailWriter writes messages.
func (s *Server) mailWriter(ctx context.Context, r *request, o *options) *itemWriter {
	return &itemWriter{
		mail: s.store, who: who{r.who, r.box()}, version: r.version, opts: o,
		zone: sync.OnceValues(func() (*time.Location, error) { return s.ownZone(ctx, r) }),
	}
}

// wides reads the wide parts of items of one folder, empty where one is gone.
func (s *Server) wides(ctx context.Context, r *request, f *store.Folder, items []store.ItemID) ([]wide, error) {
	ws := make([]wide, len(items))
	if f.Class == store.ClassMail {
		msgs, err := s.store.Messages(ctx, r.who, r.box(), items)
		if err != nil {
			return nil, err
		}
		for i, m := range msgs {
			ws[i].msg = m
		}
		return ws, nil
	}
	objects, err := s.store.Objects(ctx, r.who, r.box(), items)
	if err != nil {
		return nil, err
	}
	for i, o := range objects {
		ws[i].obj = o
	}
	return ws, nil
}

// byItem makes every command on an object, or on one occurrence of it, one on
// the same subject: a later one says all that an earlier one did.
func byItem(cs []syncCommand) {
	for i := range cs {
		if c := &cs[i]; c.kind != commandAdd {
			sum := sha256.Sum256([]byte(c.server + "\x00" + c.instance))
			c.subject = binary.BigEndian.Uint64(sum[:])
		}
	}
	markFinal(cs)
}

// tellsMade tells whether the answer to an Add says more than the new id: from
// 16.0 on the UID of an appointment (MS-ASCAL 2.2.2.46).
func (y *syncer) tellsMade(a *collectionAnswer, r reply) bool {
	return r.command.kind == commandAdd && a.folder.Class == store.ClassCalendar && !y.r.before(wbxml.V160)
}

func (w *itemWriter) writeMade(e *wbxml.Encoder, c *syncCommand, f *fetchedItem) {
	if f == nil || f.obj == nil || w.version < wbxml.V160 {
		return
	}
	e.Start(wbxml.AirSyncApplicationData)
	e.Text(wbxml.CalendarUID, f.obj.UID)
	writeFileNames(e, f.obj.Item, c)
	e.End()
}

func writeInstance(e *wbxml.Encoder, c *syncCommand) {
	if c.instance != "" {
		e.Text(wbxml.AirSyncBaseInstanceId, c.instance)
	}
}

// newUID makes a UID of what makes the command safe to repeat.
func newUID(once string) string {
	sum := sha256.Sum256([]byte(once))
	h := hex.EncodeToString(sum[:16])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// compact is the format of times in Calendar (MS-ASDTYPE 2.7.5).
const compact = "20060102T150405Z"

// writeList writes a list of names; nothing when it is empty.
func writeList(e *wbxml.Encoder, list, one wbxml.Tag, names []string) {
	if len(names) == 0 {
		return
	}
	e.Start(list)
	for i, n := range names {
		if i == maxSyncCategories {
			break
		}
		e.Text(one, strings.TrimSpace(n))
	}
	e.End()
}

// readList reads a list of names.
func readList(n *wbxml.Node, one wbxml.Tag) []string {
	var names []string
	for c := range n.All(one) {
		if v := strings.TrimSpace(c.Value()); v != "" && len(names) < maxSyncCategories {
			names = append(names, v)
		}
	}
	return names
}

// listOf is the list that a phone says, or the one there was when that says the
// same but for spaces.
func listOf(was []string, n *wbxml.Node, one wbxml.Tag) []string {
	now := readList(n, one)
	if slices.EqualFunc(was, now, func(a, b string) bool { return strings.TrimSpace(a) == b }) {
		return was
	}
	return now
}

// bodyTags are the elements of 2.5's bodies; size may be none.
type bodyTags struct{ body, size, truncated wbxml.Tag }

// bodyText is an object's text: plain, and as HTML where it has that.
type bodyText struct{ plain, html string }

// choose gives the text that a phone gets, and how much of it; -1 is all.
func (s *side) choose(t bodyText) (kind uint8, text string, limit int64) {
	kind, limit = bodyPlain, -1
	native := uint8(bodyPlain)
	if t.html != "" {
		native = bodyHTML
	}
	for _, want := range [...]uint8{native, bodyHTML, bodyPlain} {
		found := false
		for _, p := range s.opts.bodies {
			if p.kind == want {
				kind, limit, found = p.kind, p.size, true
				break
			}
		}
		if found {
			break
		}
	}
	text = t.plain
	if kind == bodyHTML {
		if text = t.html; text == "" && t.plain != "" {
			text = mail.TextToHTML(t.plain)
		}
	} else {
		text = crlf(text)
	}
	if s.whole {
		limit = -1
	}
	return kind, text, limit
}

// writeBody writes a text; old are the elements that 2.5 has for it.
func (s *side) writeBody(e *wbxml.Encoder, t bodyText, old bodyTags) {
	if s.version < wbxml.V120 {
		text := crlf(t.plain)
		if text == "" {
			return
		}
		limit := textLimit(s.opts.truncation)
		if s.whole {
			limit = -1
		}
		if old.size != 0 {
			e.Int(old.size, int64(len(text)))
		}
		cut := cutTo(text, limit)
		e.Bool(old.truncated, len(cut) < len(text))
		e.Text(old.body, cut)
		return
	}
	s.writeText(e, t)
	native := int64(bodyPlain)
	if t.html != "" {
		native = bodyHTML
	}
	e.Int(wbxml.AirSyncBaseNativeBodyType, native)
}

// writeText writes AirSyncBase:Body (MS-ASAIRS 2.2.2.9).
func (s *side) writeText(e *wbxml.Encoder, t bodyText) {
	kind, text, limit := s.choose(t)
	cut := cutTo(text, limit)
	e.Start(wbxml.AirSyncBaseBody)
	e.Int(wbxml.AirSyncBaseType, int64(kind))
	e.Int(wbxml.AirSyncBaseEstimatedDataSize, int64(len(text)))
	if len(cut) < len(text) {
		e.Text(wbxml.AirSyncBaseTruncated, "1") // never 0: Windows Phone stops there
	}
	switch {
	case limit == 0 && text != "":
	case s.parts != nil:
		e.Int(wbxml.ItemOperationsPart, int64(s.parts.add(int64(len(cut)), func() (io.Reader, error) { return strings.NewReader(cut), nil })))
	default:
		e.Text(wbxml.AirSyncBaseData, cut)
	}
	e.End()
}

func cutTo(text string, limit int64) string {
	if limit < 0 || int64(len(text)) <= limit {
		return text
	}
	return cutText(text, int(limit))
}

// readBody gives the text that a phone sends in place of what there was. What
// it leaves out stays, and so does a text of which it repeats the beginning
// that it was shown (MS-ASCMD 2.2.3.24).
func (s *side) readBody(data *wbxml.Node, was bodyText, old wbxml.Tag) bodyText {
	kind, content := bodyPlain, data.Child(old)
	if b := data.Child(wbxml.AirSyncBaseBody); b != nil && s.version >= wbxml.V120 {
		kind, _ = b.Int(wbxml.AirSyncBaseType, bodyPlain)
		content = b.Child(wbxml.AirSyncBaseData)
	}
	if content == nil || kind != bodyPlain && kind != bodyHTML {
		return was
	}
	said := nodeText(content)
	opts := *s.opts
	shown := side{version: s.version, opts: &opts}
	limit := textLimit(s.opts.truncation)
	text := crlf(was.plain)
	if s.version >= wbxml.V120 {
		var k uint8
		if k, text, limit = shown.choose(was); int(k) != kind {
			limit, text = -1, crlf(was.plain)
			if kind == bodyHTML {
				text = mail.TextToHTML(was.plain)
			}
		}
	}
	if text != "" && sameText(said, text) || said == text || limit >= 0 && int64(len(text)) > limit && sameText(said, cutTo(text, limit)) {
		return was
	}
	if kind == bodyHTML {
		return bodyText{plain: mail.HTMLToText(strings.NewReader(said), maxHeldText), html: said}
	}
	return bodyText{plain: strings.ReplaceAll(said, "\r\n", "\n")}
}

// sameText compares texts but for how lines end.
func sameText(a, b string) bool {
	lf := func(s string) string { return strings.TrimRight(strings.ReplaceAll(s, "\r\n", "\n"), "\n") }
	return lf(a) == lf(b)
}
