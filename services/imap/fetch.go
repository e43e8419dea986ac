package imap

import (
	"context"
	"slices"

	"github.com/emersion/go-imap/v2"

	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/store"
)

// fetchPage is how many messages one call to the store asks for.
const fetchPage = 256

// fetchKind is an item of FETCH.
type fetchKind uint8

const (
	fetchFlags fetchKind = iota
	fetchUID
	fetchDate
	fetchSize
	fetchModSeq
	fetchEmailID
	fetchThreadID
	fetchEnvelope
	fetchBody // the structure without extensions
	fetchStructure
	fetchPreview
	fetchSection
	fetchBinary
	fetchBinarySize
)

// fetchNeeds is what of a message an item is made of.
type fetchNeeds uint8

const (
	needEntry fetchNeeds = 1 << iota
	needMessage
	needContent
)

var fetchNeed = [...]fetchNeeds{
	fetchFlags: 0, fetchUID: 0, fetchModSeq: 0, fetchEmailID: 0,
	fetchDate: needEntry,
	fetchSize: needMessage, fetchThreadID: needMessage, fetchEnvelope: needMessage,
	fetchBody: needMessage, fetchStructure: needMessage, fetchPreview: needMessage,
	fetchSection: needMessage | needContent, fetchBinary: needMessage | needContent,
	fetchBinarySize: needMessage | needContent,
}

// fetchNames are the items that are a name and nothing else.
var fetchNames = map[string][]fetchKind{
	"FLAGS": {fetchFlags}, "UID": {fetchUID}, "INTERNALDATE": {fetchDate}, "RFC822.SIZE": {fetchSize},
	"ENVELOPE": {fetchEnvelope}, "BODYSTRUCTURE": {fetchStructure},
	"MODSEQ":  {fetchModSeq},                               // RFC 7162
	"EMAILID": {fetchEmailID}, "THREADID": {fetchThreadID}, // RFC 8474
}

// fetchMacros may stand alone (RFC 9051 section 6.4.5).
var fetchMacros = map[string][]fetchKind{
	"ALL":  {fetchFlags, fetchDate, fetchSize, fetchEnvelope},
	"FAST": {fetchFlags, fetchDate, fetchSize},
	"FULL": {fetchFlags, fetchDate, fetchSize, fetchEnvelope, fetchBody},
}

type fetchItem struct {
	kind    fetchKind
	name    string                     // of the rev1 items RFC822...; "" for BODY[...]
	section *imap.FetchItemBodySection // for fetchSection
	part    []int                      // for fetchBinary, fetchBinarySize
	partial *imap.SectionPartial
}

// fetchRequest is a FETCH command.
type fetchRequest struct {
	items   []fetchItem
	needs   fetchNeeds
	seen    bool // some item sets \Seen
	flags   bool // FLAGS is among the items
	modSeq  bool
	changed store.Seq // CHANGEDSINCE; 0: none
	uid     bool      // UID FETCH
}

// fetch answers FETCH (RFC 9051 section 6.4.5).
func (c *conn) fetch(ctx context.Context) error { return c.fetchMessages(ctx, false) }

// uidFetch answers UID FETCH.
func (c *conn) uidFetch(ctx context.Context) error { return c.fetchMessages(ctx, true) }

func (c *conn) fetchMessages(ctx context.Context, uid bool) error {
	d := c.d
	d.SP()
	set := d.NumSet(uid)
	d.SP()
	q := &fetchRequest{uid: uid}
	if uid {
		q.add(fetchItem{kind: fetchUID})
	}
	c.readFetchItems(q)
	if d.TrySP() { // RFC 4466, RFC 7162 section 3.1.4.1
		d.List(func() {
			if d.Word() != "CHANGEDSINCE" {
				d.Fail("unknown modifier of FETCH")
			}
			d.SP()
			q.changed = store.Seq(d.Number64())
			q.add(fetchItem{kind: fetchModSeq})
		})
	}
	if err := d.End(); err != nil {
		return err
	}
	if q.modSeq {
		c.condstore = true
	}
	spans, err := c.view.spans(set, c.saved)
	if err != nil {
		return err
	}
	list, missing := c.view.indexes(spans)
	if q.changed > 0 {
		list = slices.DeleteFunc(list, func(i int) bool { return c.view.rows[i].changed <= q.changed })
	}
	for page := range slices.Chunk(list, fetchPage) {
		gone, err := c.fetchRows(ctx, q, page)
		if err != nil {
			return err
		}
		missing = missing || gone
	}
	if missing && !uid {
		return no("EXPUNGEISSUED", "Some messages are gone") // RFC 2180 section 4.1.2
	}
	return nil
}

func (q *fetchRequest) add(it fetchItem) {
	switch it.kind {
	case fetchUID, fetchFlags, fetchModSeq, fetchDate, fetchSize:
		for i := range q.items {
			if q.items[i].kind == it.kind {
				return
			}
		}
	}
	q.items = append(q.items, it)
	q.needs |= fetchNeed[it.kind]
	q.flags = q.flags || it.kind == fetchFlags
	q.modSeq = q.modSeq || it.kind == fetchModSeq
}

// maxFetchItems bounds the items of one FETCH, and so the work for a message.
const maxFetchItems = 200

func (c *conn) readFetchItems(q *fetchRequest) {
	d := c.d
	if d.Peek() == '(' {
		d.List(func() {
			c.readFetchItem(q, d.Name())
			if len(q.items) > maxFetchItems {
				d.Fail("too many items")
			}
		})
		if d.Err() == nil && len(q.items) == 0 {
			d.Fail("no items")
		}
		return
	}
	name := d.Name()
	if kinds, ok := fetchMacros[name]; ok {
		for _, k := range kinds {
			q.add(fetchItem{kind: k})
		}
		return
	}
	c.readFetchItem(q, name)
}

// readFetchItem reads what follows an item's name.
func (c *conn) readFetchItem(q *fetchRequest, name string) {
	d := c.d
	if kinds, ok := fetchNames[name]; ok {
		for _, k := range kinds {
			q.add(fetchItem{kind: k})
		}
		return
	}
	switch name {
	case "BODY", "BODY.PEEK":
		if d.Peek() != '[' {
			if name == "BODY.PEEK" {
				d.Fail("expected a section")
			}
			q.add(fetchItem{kind: fetchBody})
			return
		}
		s := d.BodySection()
		s.Peek = name == "BODY.PEEK"
		q.seen = q.seen || !s.Peek
		q.add(fetchItem{kind: fetchSection, section: s})
	case "RFC822", "RFC822.TEXT": // RFC 3501 section 6.4.5
		q.seen = true
		s := &imap.FetchItemBodySection{}
		if name == "RFC822.TEXT" {
			s.Specifier = imap.PartSpecifierText
		}
		q.add(fetchItem{kind: fetchSection, name: name, section: s})
	case "RFC822.HEADER":
		s := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, Peek: true}
		q.add(fetchItem{kind: fetchSection, name: name, section: s})
	case "BINARY", "BINARY.PEEK":
		q.seen = q.seen || name == "BINARY"
		it := fetchItem{kind: fetchBinary, part: d.BinarySection()}
		it.partial = d.Partial()
		q.add(it)
	case "BINARY.SIZE":
		q.add(fetchItem{kind: fetchBinarySize, part: d.BinarySection()})
	case "PREVIEW": // RFC 8970; it is always at hand, so LAZY changes nothing
		if d.TrySP() {
			d.List(func() {
				if d.Word() != "LAZY" {
					d.Fail("unknown modifier of PREVIEW")
				}
			})
		}
		q.add(fetchItem{kind: fetchPreview})
	default:
		d.Fail("unknown item of FETCH")
	}
}

// fetched is one message while its response is written.
type fetched struct {
	row     *row
	entry   *store.Entry
	msg     *store.Message
	content store.Content // opened by the first item that needs it
	reader  slice
}

// fetchRows answers for a page of rows: a question to the store for each wide
// part, none for each message but the opening of its content.
func (c *conn) fetchRows(ctx context.Context, q *fetchRequest, page []int) (missing bool, err error) {
	v := c.view
	items := v.items(page)
	var msgs []*store.Message
	if q.needs&needMessage != 0 {
		if msgs, err = c.server.mail.Messages(ctx, c.who, c.box, items); err != nil {
			return false, err
		}
	}
	var entries map[store.ItemID]*store.Entry
	if q.needs&needEntry != 0 {
		list, err := c.server.mail.EntriesOf(ctx, c.who, c.box, items)
		if err != nil {
			return false, err
		}
		entries = make(map[store.ItemID]*store.Entry, len(list))
		for i := range list {
			entries[list[i].Item] = &list[i]
		}
	}
	marked, err := c.markSeen(ctx, q, page)
	if err != nil {
		return false, err
	}
	var f fetched
	for k, i := range page {
		f = fetched{row: &v.rows[i]}
		if msgs != nil {
			if f.msg = msgs[k]; f.msg == nil {
				missing = true
				continue
			}
		}
		if entries != nil {
			if f.entry = entries[f.row.item]; f.entry == nil {
				missing = true
				continue
			}
		}
		if q.needs&needContent != 0 {
			f.content, err = c.server.mail.Content(ctx, c.who, c.box, f.row.item)
			if err != nil {
				if fault.Of(err) == fault.NotFound {
					missing = true
					continue
				}
				return missing, err
			}
		}
		if err := f.checkBinary(q); err != nil {
			return missing, err
		}
		if err := c.writeFetched(q, i, &f, marked[f.row.item]); err != nil {
			return missing, err
		}
	}
	return missing, nil
}

// markSeen sets \Seen on the messages of a page that are about to be read. It
// returns those whose marks changed, which the response has to show.
func (c *conn) markSeen(ctx context.Context, q *fetchRequest, page []int) (map[store.ItemID]bool, error) {
	v := c.view
	if !q.seen || v.readOnly {
		return nil, nil
	}
	var items []store.ItemID
	at := map[store.ItemID]int{}
	for _, i := range page {
		if r := &v.rows[i]; r.system()&seenFlag == 0 {
			items = append(items, r.item)
			at[r.item] = i
		}
	}
	if len(items) == 0 {
		return nil, nil
	}
	res, err := c.server.mail.Flag(ctx, c.who, c.box, store.FlagChange{Folder: v.folder.ID, Items: items, Set: seenFlag})
	switch {
	case err == nil:
	case fault.Of(err) == fault.Denied, fault.Of(err) == fault.OverQuota:
		return nil, nil // reading is allowed all the same
	default:
		return nil, err
	}
	marked := make(map[store.ItemID]bool, len(items))
	for k := range res.Entries {
		e := &res.Entries[k]
		if i, ok := at[e.Item]; ok && e.Folder == v.folder.ID && e.UID == v.rows[i].uid {
			marked[e.Item] = v.learn(i, e)
		}
	}
	return marked, nil
}

// writeFetched writes the response for one message. An error here leaves a
// response half written: it ends the connection.
func (c *conn) writeFetched(q *fetchRequest, i int, f *fetched, marked bool) error {
	e := c.e
	e.Raw("* ")
	e.Number(uint64(i) + 1)
	e.Raw(" FETCH (")
	for k := range q.items {
		if k > 0 {
			e.SP()
		}
		if err := c.writeFetchItem(&q.items[k], f); err != nil {
			return &fatalError{err}
		}
	}
	if marked && !q.flags {
		e.Raw(" FLAGS ")
		writeFlags(e, f.row.system(), c.view.words.get(f.row.words))
	}
	if c.condstore && !q.modSeq && (marked || q.flags) { // RFC 7162 section 3.1.4.2
		c.writeModSeq(f.row.changed)
	}
	e.Raw(")\r\n")
	if err := e.Err(); err != nil {
		return &fatalError{err}
	}
	return nil
}

func (c *conn) writeFetchItem(it *fetchItem, f *fetched) error {
	e := c.e
	switch it.kind {
	case fetchFlags:
		e.Raw("FLAGS ")
		writeFlags(e, f.row.system(), c.view.words.get(f.row.words))
	case fetchUID:
		e.Raw("UID ")
		e.Number(uint64(f.row.uid))
	case fetchDate:
		e.Raw("INTERNALDATE ")
		e.DateTime(f.entry.Received.UTC())
	case fetchSize:
		e.Raw("RFC822.SIZE ")
		e.Number(uint64(f.msg.Size))
	case fetchModSeq:
		e.Raw("MODSEQ (")
		e.Number(uint64(f.row.changed))
		e.Byte(')')
	case fetchEmailID:
		e.Raw("EMAILID ")
		writeID(e, f.row.item.String())
	case fetchThreadID:
		e.Raw("THREADID ")
		if f.msg.Thread == 0 {
			e.NIL()
		} else {
			writeID(e, f.msg.Thread.String())
		}
	case fetchEnvelope:
		e.Raw("ENVELOPE ")
		writeEnvelope(e, &f.summary().Envelope)
	case fetchBody:
		e.Raw("BODY ")
		writeStructure(e, f.summary().Root, false)
	case fetchStructure:
		e.Raw("BODYSTRUCTURE ")
		writeStructure(e, f.summary().Root, true)
	case fetchPreview:
		e.Raw("PREVIEW ")
		e.NString(f.summary().Preview)
	case fetchSection:
		return f.writeSection(e, it)
	case fetchBinary:
		return f.writeBinary(e, it)
	case fetchBinarySize:
		return f.writeBinarySize(e, it)
	}
	return nil
}

// summary is never nil: a message without one shows as empty.
func (f *fetched) summary() *mail.Summary {
	if f.msg.Summary == nil || f.msg.Summary.Root == nil {
		return emptySummary
	}
	return f.msg.Summary
}

var emptySummary = &mail.Summary{Root: &mail.Part{Type: "text", Subtype: "plain", Encoding: "7bit"}}
