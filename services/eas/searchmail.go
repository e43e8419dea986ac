package eas

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Further Status values of a Store in Search (MS-ASCMD 2.2.3.177.15).
const (
	searchNotFound   = 6
	searchTooComplex = 8
	searchFolderSync = 11
)

// maxFound is how many objects one search finds at most.
const maxFound = 10_000

// mailboxQuery is what a phone looks for in its mailbox.
type mailboxQuery struct {
	store.Find
	classes []store.Class // empty: all that the version has
	// mailOnly: a condition that only mail can meet.
	mailOnly bool
}

// searchMailbox looks for items (MS-ASCMD 2.2.1.16, 2.2.3.132.1): messages, the
// newest first, then objects likewise. A LongId is the item's id: it stays what
// it is wherever the item goes.
func (s *Server) searchMailbox(ctx context.Context, r *request, in *wbxml.Node) (*wbxml.Node, error) {
	options := in.Child(wbxml.SearchOptions)
	first, count, ok := searchRange(options.Get(wbxml.SearchRange))
	if !ok {
		return searchStatus(searchInvalid), nil
	}
	query := in.Child(wbxml.SearchQuery)
	if and := query.Child(wbxml.SearchAnd); and != nil {
		query = and
	}
	q, st := readFind(r, query)
	if st != searchOK {
		return searchStatus(st), nil
	}
	q.Offset, q.Limit, q.Deep = first, count, options.Has(wbxml.SearchDeepTraversal)
	opts := defaultOptions()
	if options != nil {
		var err error
		if opts, err = readOptionSet(options); err != nil {
			return searchStatus(searchInvalid), nil
		}
	}
	entries, objects, total, err := s.findItems(ctx, r, &q)
	switch {
	case err == nil:
	case fault.Of(err) == fault.NotFound:
		return searchStatus(searchFolderSync), nil
	default:
		return nil, err
	}
	if first > 0 && first >= total {
		return searchStatus(searchPastEnd), nil
	}
	h := &hits{s: s, r: r, opts: &opts, left: maxAnswer, writers: map[store.FolderID]*itemWriter{}}
	if err := h.addMail(ctx, entries); err != nil {
		return nil, err
	}
	if err := h.addObjects(ctx, objects); err != nil {
		return nil, err
	}
	return searchResults(first, total, h.nodes), nil
}

// findItems gives the page of messages and objects that is asked for, and how
// many there are in all.
func (s *Server) findItems(ctx context.Context, r *request, q *mailboxQuery) (entries []store.Entry, objects []*store.Object, total int, err error) {
	mails, others := true, store.FindObjects{Text: q.Text}
	if len(q.Folders) > 0 {
		if q.Folders, others.Folders, err = s.searchedFolders(ctx, r, q.Folders, q.Deep); err != nil {
			return nil, nil, 0, err
		}
		q.Deep, mails = false, len(q.Folders) > 0
	}
	if mails && (len(q.classes) == 0 || slices.Contains(q.classes, store.ClassMail)) {
		if entries, total, err = s.store.FindMessages(ctx, r.who, r.box(), q.Find); err != nil {
			return nil, nil, 0, err
		}
	}
	for class, kinds := range searchedKinds {
		if (len(q.classes) == 0 || slices.Contains(q.classes, class)) && r.version >= served[class].since {
			others.Kinds = append(others.Kinds, kinds...)
		}
	}
	if q.mailOnly || len(others.Kinds) == 0 || mails && len(q.Folders) > 0 && len(others.Folders) == 0 {
		return entries, nil, total, nil
	}
	for others.Limit = 1000; len(objects) < maxFound; {
		page, err := s.store.FindObjects(ctx, r.who, r.box(), others)
		if err != nil {
			return nil, nil, 0, err
		}
		objects = append(objects, page...)
		if len(page) < others.Limit {
			break
		}
		others.After = page[len(page)-1].Item
	}
	slices.Reverse(objects)
	from := min(max(q.Offset-total, 0), len(objects))
	total += len(objects)
	objects = objects[from:]
	return entries, objects[:min(q.Limit-len(entries), len(objects))], total, nil
}

// searchedKinds has the kinds of objects of the classes that phones search.
var searchedKinds = map[store.Class][]store.Kind{
	store.ClassCalendar: {store.KindEvent},
	store.ClassContacts: {store.KindCard, store.KindGroup},
	store.ClassTasks:    {store.KindTask},
	store.ClassNotes:    {store.KindNote},
}

// searchedFolders parts the folders that a phone names, with those below them if
// deep, into those of mail and others.
func (s *Server) searchedFolders(ctx context.Context, r *request, asked []store.FolderID, deep bool) (mails, others []store.FolderID, err error) {
	all, _, err := s.store.Folders(ctx, r.who, r.box())
	if err != nil {
		return nil, nil, err
	}
	in, known := map[store.FolderID]bool{}, map[store.FolderID]*store.Folder{}
	for i := range all {
		known[all[i].ID] = &all[i]
	}
	for _, id := range asked {
		if f := known[id]; f == nil || !knows(f, r.version) {
			return nil, nil, fault.New(fault.NotFound, "no such folder")
		}
		in[id] = true
	}
	for i := range all {
		f := &all[i]
		for up := f; deep && up != nil && !in[f.ID]; up = known[up.Parent] {
			in[f.ID] = in[up.ID]
		}
		switch {
		case !in[f.ID] || !knows(f, r.version):
		case f.Class == store.ClassMail:
			mails = append(mails, f.ID)
		default:
			others = append(others, f.ID)
		}
	}
	return mails, others, nil
}

// hits collects the Results of a search, as many as fit in one answer: the phone
// asks for the rest by another Range.
type hits struct {
	s       *Server
	r       *request
	opts    *options
	nodes   []*wbxml.Node
	left    int64
	writers map[store.FolderID]*itemWriter // of objects
}

// fits tells whether one more of that size goes into the answer.
func (h *hits) fits(size int64) bool {
	h.left -= itemOverhead + size
	return h.left >= 0 || len(h.nodes) == 0
}

func (h *hits) addMail(ctx context.Context, entries []store.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	items := make([]store.ItemID, len(entries))
	for i, e := range entries {
		items[i] = e.Item
	}
	msgs, err := h.s.store.Messages(ctx, h.r.who, h.r.box(), items)
	if err != nil {
		return err
	}
	w := h.s.mailWriter(ctx, h.r, h.opts)
	for i, m := range msgs {
		if m == nil {
			continue
		}
		if !h.fits(estimateBody(m, h.opts, h.r.version)) {
			return nil
		}
		if err := h.add(ctx, w, "Email", wide{msg: m}, &entries[i]); err != nil {
			return err
		}
	}
	return nil
}

func (h *hits) addObjects(ctx context.Context, found []*store.Object) error {
	var items []store.ItemID
	for _, o := range found {
		if !h.fits(o.Size) && len(items) > 0 {
			break
		}
		items = append(items, o.Item)
	}
	if len(items) == 0 {
		return nil
	}
	objects, err := h.s.store.Objects(ctx, h.r.who, h.r.box(), items)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o == nil {
			continue
		}
		w := h.writers[o.Folder]
		if w == nil {
			f, err := h.s.store.Folder(ctx, h.r.who, h.r.box(), o.Folder)
			if fault.Of(err) == fault.NotFound && err != nil {
				continue
			} else if err != nil {
				return err
			}
			w = h.s.mailWriter(ctx, h.r, h.opts)
			w.class = served[f.Class].items
			if w.side, err = h.s.side(ctx, h.r, &f, h.opts); err != nil {
				return err
			}
			h.writers[o.Folder] = w
		}
		if err := h.add(ctx, w, searchedClass(o.Kind), wide{obj: o}, &store.Entry{Item: o.Item, Folder: o.Folder}); err != nil {
			return err
		}
	}
	return nil
}

// searchedClass is the Class of a Result.
func searchedClass(k store.Kind) string {
	for class, kinds := range searchedKinds {
		if slices.Contains(kinds, k) {
			return served[class].name
		}
	}
	return ""
}

// add writes one Result.
func (h *hits) add(ctx context.Context, w *itemWriter, class string, x wide, n *store.Entry) error {
	props, err := treeOf(func(e *wbxml.Encoder) error {
		e.Start(wbxml.SearchProperties)
		if err := w.writeWide(ctx, e, x, n); err != nil && (fault.Of(err) != fault.NotFound || e.Err() != nil) {
			return err
		}
		e.End()
		return e.Err()
	})
	if err != nil {
		return err
	}
	h.nodes = append(h.nodes, wbxml.New(wbxml.SearchResult,
		wbxml.NewText(wbxml.AirSyncClass, class),
		wbxml.NewText(wbxml.SearchLongId, itemID(n.Item)),
		wbxml.NewText(wbxml.AirSyncCollectionId, folderServerID(n.Folder)),
		props))
	return nil
}

// treeOf gives what fn writes as a tree.
func treeOf(fn func(e *wbxml.Encoder) error) (*wbxml.Node, error) {
	var b buffer
	e := wbxml.NewEncoder(&b)
	if err := fn(e); err != nil {
		return nil, err
	}
	if err := e.Flush(); err != nil {
		return nil, err
	}
	d := wbxml.NewDecoder(bytes.NewReader(b), wbxml.Limits{})
	n := d.Tree(nil)
	return n, d.Err()
}

// readFind reads a Query: the conditions stand side by side in one And.
func readFind(r *request, n *wbxml.Node) (mailboxQuery, int) {
	var q mailboxQuery
	if n == nil {
		return q, searchInvalid
	}
	var text []string
	asked := false
	for _, c := range n.Children {
		switch c.Tag {
		case wbxml.AirSyncClass:
			class, ok := classNamed(c.Value())
			if !ok {
				return q, searchTooComplex
			}
			q.classes = append(q.classes, class) // several are any of them (MS-ASCMD 2.2.3.27.5)
		case wbxml.AirSyncCollectionId:
			id, ok := parseFolderID(c.Value())
			if !ok {
				return q, searchFolderSync
			}
			if id != 0 { // Outlook for phones means all folders by 0
				q.Folders = append(q.Folders, id)
			}
		case wbxml.SearchFreeText:
			asked = true
			text = append(text, strings.ReplaceAll(c.Value(), `"`, " "))
		case wbxml.SearchConversationId:
			asked = true
			t, ok := parseConversation(r.box(), []byte(c.Value()))
			if !ok {
				return q, searchNotFound
			}
			q.Thread, q.mailOnly = t, true
		case wbxml.SearchGreaterThan, wbxml.SearchLessThan:
			asked, q.mailOnly = true, true
			t, ok := parseTime(c.Get(wbxml.SearchValue))
			if !ok || !c.Has(wbxml.EmailDateReceived) {
				return q, searchInvalid
			}
			if c.Tag == wbxml.SearchGreaterThan {
				q.After = t
			} else {
				q.Before = t
			}
		case wbxml.SearchAnd, wbxml.SearchOr, wbxml.SearchEqualTo:
			return q, searchTooComplex
		}
	}
	q.Text = strings.Join(strings.Fields(strings.Join(text, " ")), " ")
	if !asked || len(q.Text) > maxParam || len(text) > 0 && q.Text == "" && q.Thread == 0 && q.After.IsZero() && q.Before.IsZero() {
		return q, searchInvalid
	}
	return q, searchOK
}

// classNamed gives the class of an ActiveSync name; of SMS there are none here.
func classNamed(name string) (store.Class, bool) {
	for class, c := range served {
		if c.name == name {
			return class, true
		}
	}
	return "", name == "SMS"
}
