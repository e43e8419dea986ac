package eas

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"strconv"
	"strings"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Status values of ItemOperations (MS-ASCMD 2.2.3.177.9).
const (
	itemOK            = 1
	itemProtocol      = 2
	itemServer        = 3
	itemDenied        = 5
	itemNotFound      = 6
	itemBadRange      = 8
	itemBadStore      = 9
	itemTooLarge      = 11
	itemConversion    = 14
	itemBadAttachment = 15
	maxItemOperations = 100 // MS-ASCMD 3.1.5.10
)

var itemFaults = map[fault.Kind]int{
	fault.Internal:        itemServer,
	fault.Invalid:         itemProtocol,
	fault.Unauthenticated: itemDenied,
	fault.Denied:          itemDenied,
	fault.NotFound:        itemNotFound,
	fault.Exists:          itemServer,
	fault.Conflict:        itemServer,
	fault.OverQuota:       itemServer,
	fault.TooLarge:        itemTooLarge,
	fault.Limit:           itemTooLarge,
	fault.Resync:          itemServer,
	fault.Unavailable:     itemServer,
}

// itemOperations answers ItemOperations (MS-ASCMD 2.2.1.10).
func (s *Server) itemOperations(ctx context.Context, r *request) error {
	n, err := r.tree(nil)
	if err != nil {
		return err
	}
	if len(n.Children) > maxItemOperations {
		return r.replyStatus(itemTooLarge)
	}
	if len(n.Children) == 0 {
		return r.replyStatus(itemProtocol)
	}
	o := &itemOps{s: s, r: r}
	if r.query.multipart {
		o.parts = &partList{}
	}
	if o.parts == nil {
		return r.stream(func(e *wbxml.Encoder) error { return o.write(ctx, e, n) })
	}
	// The parts are counted first; bodies and files are read when they are sent.
	var doc buffer
	e := wbxml.NewEncoder(&doc)
	if err := o.write(ctx, e, n); err != nil {
		return err
	}
	if err := e.Flush(); err != nil {
		return err
	}
	first := wbxml.NewDecoder(bytes.NewReader(doc), wbxml.Limits{}).Tree(nil)
	return r.replyMultipart(first, o.parts.parts)
}

// buffer collects a document.
type buffer []byte

func (b *buffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// itemOps is one ItemOperations at work.
type itemOps struct {
	s     *Server
	r     *request
	parts *partList // nil: data stays in the document
}

func (o *itemOps) write(ctx context.Context, e *wbxml.Encoder, n *wbxml.Node) error {
	e.Start(wbxml.ItemOperationsItemOperations)
	e.Int(wbxml.ItemOperationsStatus, itemOK)
	e.Start(wbxml.ItemOperationsResponse)
	for _, c := range n.Children {
		var err error
		switch c.Tag {
		case wbxml.ItemOperationsFetch:
			err = o.fetch(ctx, e, c)
		case wbxml.ItemOperationsEmptyFolderContents:
			err = o.empty(ctx, e, c)
		case wbxml.ItemOperationsMove:
			err = o.move(ctx, e, c)
		}
		if err != nil {
			return err
		}
	}
	e.End()
	e.End()
	return e.Err()
}

// fetch answers one Fetch: of an item, or of a file.
func (o *itemOps) fetch(ctx context.Context, e *wbxml.Encoder, n *wbxml.Node) error {
	e.Start(wbxml.ItemOperationsFetch)
	defer e.End()
	name := strings.ToLower(strings.ReplaceAll(n.Get(wbxml.ItemOperationsStore), " ", ""))
	switch {
	case name == "documentlibrary":
		e.Int(wbxml.ItemOperationsStatus, itemDenied)
		return nil
	case name != "mailbox":
		e.Int(wbxml.ItemOperationsStatus, itemBadStore)
		return nil
	case n.Has(wbxml.AirSyncBaseFileReference):
		return o.file(ctx, e, n)
	}
	return o.item(ctx, e, n)
}

// item fetches a message by ServerId or LongId.
func (o *itemOps) item(ctx context.Context, e *wbxml.Encoder, n *wbxml.Node) error {
	long := n.Get(wbxml.SearchLongId)
	id := n.Get(wbxml.AirSyncServerId)
	if id == "" {
		id = long
	}
	x, entry, opts, err := o.find(ctx, id, n)
	if err != nil {
		kind := fault.Of(err)
		if kind == fault.Internal || kind == fault.Unavailable {
			return err
		}
		e.Int(wbxml.ItemOperationsStatus, int64(itemFaults[kind]))
		o.names(e, n, entry.Folder)
		return nil
	}
	e.Int(wbxml.ItemOperationsStatus, itemOK)
	o.names(e, n, entry.Folder)
	w := o.s.mailWriter(ctx, o.r, &opts)
	w.parts = o.parts
	class := "Email"
	if x.obj != nil {
		f, err := o.s.store.Folder(ctx, o.r.who, o.r.box(), entry.Folder)
		if err != nil {
			return err
		}
		class, w.class = classOf(&f), served[f.Class].items
		if w.side, err = o.s.side(ctx, o.r, &f, &opts); err != nil {
			return err
		}
		w.side.parts = o.parts
	}
	e.Text(wbxml.AirSyncClass, class)
	e.Start(wbxml.ItemOperationsProperties)
	if err := w.writeWide(ctx, e, x, &entry); err != nil && (fault.Of(err) != fault.NotFound || e.Err() != nil) {
		return err
	}
	e.End()
	return e.Err()
}

// names repeats how the phone named the item.
func (o *itemOps) names(e *wbxml.Encoder, n *wbxml.Node, folder store.FolderID) {
	if id := n.Get(wbxml.AirSyncCollectionId); id != "" {
		e.Text(wbxml.AirSyncCollectionId, id)
	} else if folder != 0 && n.Has(wbxml.AirSyncServerId) {
		e.Text(wbxml.AirSyncCollectionId, folderServerID(folder))
	}
	if id := n.Get(wbxml.AirSyncServerId); id != "" {
		e.Text(wbxml.AirSyncServerId, id)
	}
	if id := n.Get(wbxml.SearchLongId); id != "" {
		e.Text(wbxml.SearchLongId, id)
	}
}

func (o *itemOps) find(ctx context.Context, id string, n *wbxml.Node) (wide, store.Entry, options, error) {
	opts := defaultOptions()
	if x := n.Child(wbxml.ItemOperationsOptions); x != nil {
		var err error
		if opts, err = readOptionSet(x); err != nil {
			return wide{}, store.Entry{}, opts, err
		}
	}
	item, ok := parseItem(id)
	if !ok {
		return wide{}, store.Entry{}, opts, fault.New(fault.NotFound, "no such item")
	}
	x, entry, err := o.s.oneItem(ctx, o.r, item)
	return x, entry, opts, err
}

// oneItem reads one item of any class that the phone knows.
func (s *Server) oneItem(ctx context.Context, r *request, item store.ItemID) (wide, store.Entry, error) {
	gone := fault.New(fault.NotFound, "no such item")
	entries, err := s.store.EntriesOf(ctx, r.who, r.box(), []store.ItemID{item})
	if err != nil {
		return wide{}, store.Entry{}, err
	}
	if len(entries) == 0 {
		return wide{}, store.Entry{}, gone
	}
	f, err := s.store.Folder(ctx, r.who, r.box(), entries[0].Folder)
	if err != nil {
		return wide{}, store.Entry{}, err
	}
	if !knows(&f, r.version) {
		return wide{}, store.Entry{}, gone
	}
	ws, err := s.wides(ctx, r, &f, []store.ItemID{item})
	if err != nil {
		return wide{}, store.Entry{}, err
	}
	if ws[0].gone() {
		return wide{}, store.Entry{}, gone
	}
	return ws[0], entries[0], nil
}

// file fetches an attachment, or the range of it that is asked for.
func (o *itemOps) file(ctx context.Context, e *wbxml.Encoder, n *wbxml.Node) error {
	ref := n.Get(wbxml.AirSyncBaseFileReference)
	a, err := o.s.attachment(ctx, o.r, ref)
	refuse := func(st int64) error {
		e.Int(wbxml.ItemOperationsStatus, st)
		e.Text(wbxml.AirSyncBaseFileReference, ref)
		return nil
	}
	switch {
	case err == nil:
	case fault.Of(err) == fault.Invalid, fault.Of(err) == fault.NotFound:
		return refuse(itemBadAttachment)
	default:
		return err
	}
	total, err := a.size()
	if err != nil {
		return err
	}
	asked := n.Child(wbxml.ItemOperationsOptions, wbxml.ItemOperationsRange)
	from, count := int64(0), total
	if asked != nil {
		var ok bool
		if from, count, ok = byteRange(asked.Value(), total); !ok {
			return refuse(itemBadRange)
		}
	}
	open := func() (io.Reader, error) {
		r := a.reader()
		if _, err := io.CopyN(io.Discard, r, from); err != nil {
			return nil, err
		}
		return io.LimitReader(r, count), nil
	}
	e.Int(wbxml.ItemOperationsStatus, itemOK)
	e.Text(wbxml.AirSyncBaseFileReference, ref)
	e.Start(wbxml.ItemOperationsProperties)
	if asked != nil { // unasked, iOS takes the file for incomplete
		e.Text(wbxml.ItemOperationsRange, strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(from+max(count, 1)-1, 10))
		e.Int(wbxml.ItemOperationsTotal, total)
	}
	e.Text(wbxml.AirSyncBaseContentType, a.mediaType)
	if o.parts != nil {
		e.Int(wbxml.ItemOperationsPart, int64(o.parts.add(count, open)))
	} else {
		r, err := open()
		if err != nil {
			return err
		}
		w := e.TextWriter(wbxml.ItemOperationsData)
		b := base64.NewEncoder(base64.StdEncoding, w)
		if _, err := io.Copy(b, r); err != nil {
			return err
		}
		if err := b.Close(); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	e.End()
	return e.Err()
}

// byteRange reads "m-n", both ends inside (MS-ASCMD 2.2.3.143.2).
func byteRange(s string, total int64) (from, count int64, ok bool) {
	a, b, cut := strings.Cut(strings.TrimSpace(s), "-")
	m, ok1 := parseUint(a, 1<<40)
	n, ok2 := parseUint(b, 1<<40)
	if !cut || !ok1 || !ok2 || n < m || int64(m) >= total && total > 0 {
		return 0, 0, false
	}
	return int64(m), min(int64(n)+1, total) - int64(m), true
}

// empty answers EmptyFolderContents (MS-ASCMD 2.2.3.56).
func (o *itemOps) empty(ctx context.Context, e *wbxml.Encoder, n *wbxml.Node) error {
	id := n.Get(wbxml.AirSyncCollectionId)
	st := int64(itemOK)
	if err := o.emptyFolder(ctx, id, n.Has(wbxml.ItemOperationsOptions, wbxml.ItemOperationsDeleteSubFolders)); err != nil {
		st = int64(itemFaults[fault.Of(err)])
		o.r.log.Info("empty folder", "user", o.r.who.Address, "err", err)
	}
	e.Start(wbxml.ItemOperationsEmptyFolderContents)
	e.Int(wbxml.ItemOperationsStatus, st)
	e.Text(wbxml.AirSyncCollectionId, id)
	e.End()
	return e.Err()
}

func (o *itemOps) emptyFolder(ctx context.Context, id string, deep bool) error {
	f, ok := parseFolderID(id)
	if !ok || f == 0 {
		return fault.New(fault.NotFound, "no such folder")
	}
	if err := o.s.store.Empty(ctx, o.r.who, o.r.box(), f); err != nil || !deep {
		return err
	}
	all, _, err := o.s.store.Folders(ctx, o.r.who, o.r.box())
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Parent == f {
			if err := o.s.store.DeleteFolder(ctx, o.r.who, o.r.box(), c.ID, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// move answers Move of a conversation (MS-ASCMD 2.2.3.117.1). What comes to the
// conversation later is not moved, so MoveAlways is a hint that we note only by
// moving what there is.
func (o *itemOps) move(ctx context.Context, e *wbxml.Encoder, n *wbxml.Node) error {
	raw := []byte(n.Get(wbxml.ItemOperationsConversationId))
	st := int64(itemOK)
	err := o.moveConversation(ctx, raw, n.Get(wbxml.ItemOperationsDstFldId))
	if err != nil {
		st = int64(itemFaults[fault.Of(err)])
		if s, ok := statusOf(err); ok {
			st = int64(s)
		}
	}
	e.Start(wbxml.ItemOperationsMove)
	e.Bytes(wbxml.ItemOperationsConversationId, raw)
	e.Int(wbxml.ItemOperationsStatus, st)
	e.End()
	return e.Err()
}

func (o *itemOps) moveConversation(ctx context.Context, raw []byte, to string) error {
	thread, ok := parseConversation(o.r.box(), raw)
	if !ok {
		return fault.New(fault.NotFound, "no such conversation")
	}
	dst, ok := parseFolderID(to)
	if !ok || dst == 0 {
		return status(StatusMoveCommandInvalidDestinationFolder)
	}
	f, err := o.s.store.Folder(ctx, o.r.who, o.r.box(), dst)
	if err != nil || f.Class != store.ClassMail { // conversations are of mail
		return statusFor(StatusMoveCommandInvalidDestinationFolder, fault.New(fault.NotFound, "no such folder"))
	}
	for range maxPages {
		// Sent mail and drafts stay where they are.
		entries, total, err := o.s.store.FindMessages(ctx, o.r.who, o.r.box(), store.Find{Thread: thread, Limit: 1000})
		if err != nil {
			return err
		}
		var items []store.ItemID
		for _, x := range entries {
			if x.Folder != dst && x.Flags&store.Draft == 0 {
				items = append(items, x.Item)
			}
		}
		if len(items) == 0 {
			return nil
		}
		if _, err := o.s.store.Move(ctx, o.r.who, o.r.box(), 0, items, dst); err != nil {
			return err
		}
		if total <= len(entries) {
			return nil
		}
	}
	return nil
}
