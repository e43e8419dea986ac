package eas

import (
	"context"
	"sync"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// fetchedItem is what a Fetch found.
type fetchedItem struct {
	entry store.Entry
	wide
}

// write writes the answer (MS-ASCMD 2.2.1.21). Collections with nothing to say
// are left out from 12.1 on; older phones expect each with its old key.
func (y *syncer) write(ctx context.Context, e *wbxml.Encoder, answers []*collectionAnswer) error {
	e.Start(wbxml.AirSyncSync)
	e.Start(wbxml.AirSyncCollections)
	for _, a := range answers {
		if !a.visible && !y.r.before(wbxml.V121) {
			continue
		}
		if err := y.writeCollection(ctx, e, a); err != nil {
			return err
		}
	}
	e.End()
	e.End()
	return e.Err()
}

// writeCollection writes one Collection. MoreAvailable stands between Status
// and Commands: Windows Mobile reads it nowhere else. Empty Responses and
// Commands are left out, which Windows Phone cannot read.
func (y *syncer) writeCollection(ctx context.Context, e *wbxml.Encoder, a *collectionAnswer) error {
	e.Start(wbxml.AirSyncCollection)
	if y.r.before(wbxml.V121) && a.c.class != "" {
		e.Text(wbxml.AirSyncClass, a.c.class)
	}
	e.Text(wbxml.AirSyncSyncKey, a.key)
	e.Text(wbxml.AirSyncCollectionId, a.c.id)
	e.Int(wbxml.AirSyncStatus, int64(a.status))
	if a.more {
		e.Empty(wbxml.AirSyncMoreAvailable)
	}
	if err := y.writeReplies(ctx, e, a); err != nil {
		return err
	}
	if len(a.ops) > 0 {
		if err := y.writeOps(ctx, e, a); err != nil {
			return err
		}
	}
	e.End()
	return e.Err()
}

func (y *syncer) writeReplies(ctx context.Context, e *wbxml.Encoder, a *collectionAnswer) error {
	if len(a.replies) == 0 {
		return nil
	}
	if err := y.fetch(ctx, a); err != nil {
		return err
	}
	w, err := y.itemWriter(ctx, a, true)
	if err != nil {
		return err
	}
	e.Start(wbxml.AirSyncResponses)
	for _, r := range a.replies {
		switch r.command.kind {
		case commandAdd:
			e.Start(wbxml.AirSyncAdd)
			e.Text(wbxml.AirSyncClientId, r.command.client)
			if r.status == syncOK && r.item != 0 {
				e.Text(wbxml.AirSyncServerId, itemID(r.item))
				e.Int(wbxml.AirSyncStatus, int64(r.status))
				writeNewFiles(e, r.command, a.fetched[r.item])
				w.writeMade(e, r.command, a.fetched[r.item])
				e.End()
				continue
			}
		case commandChange:
			e.Start(wbxml.AirSyncChange)
			e.Text(wbxml.AirSyncServerId, r.command.server)
			writeInstance(e, r.command)
		case commandDelete:
			e.Start(wbxml.AirSyncDelete)
			e.Text(wbxml.AirSyncServerId, r.command.server)
			writeInstance(e, r.command)
		case commandFetch:
			e.Start(wbxml.AirSyncFetch)
			e.Text(wbxml.AirSyncServerId, r.command.server)
			f := a.fetched[r.item]
			if f == nil {
				r.status = syncNotFound
			}
			e.Int(wbxml.AirSyncStatus, int64(r.status))
			if f != nil {
				if err := w.data(ctx, e, f.wide, &f.entry); err != nil {
					return err
				}
			}
			e.End()
			continue
		}
		e.Int(wbxml.AirSyncStatus, int64(r.status))
		if w.class != nil && r.command.kind == commandChange && r.status == syncOK {
			e.Start(wbxml.AirSyncApplicationData)
			writeFileNames(e, r.item, r.command)
			e.End()
		}
		e.End()
	}
	e.End()
	return e.Err()
}

// writeNewFiles tells the references of the files that came with a draft, so
// that the phone can name them later (MS-ASAIRS 2.2.2.8, 16.0 and later).
func writeNewFiles(e *wbxml.Encoder, c *syncCommand, f *fetchedItem) {
	if f == nil || f.msg == nil || !c.data.Has(wbxml.AirSyncBaseAttachments) {
		return
	}
	_, _, files := f.msg.Summary.Bodies()
	taken := make([]bool, len(files))
	var refs [][2]string
	for add := range c.data.Child(wbxml.AirSyncBaseAttachments).All(wbxml.AirSyncBaseAdd) {
		for i, p := range files {
			if !taken[i] && fileName(p, i) == add.Get(wbxml.AirSyncBaseDisplayName) {
				taken[i] = true
				refs = append(refs, [2]string{add.Get(wbxml.AirSyncBaseClientId), fileReference(f.msg.Item, f.msg.Summary.Root, p)})
				break
			}
		}
	}
	if len(refs) == 0 {
		return
	}
	e.Start(wbxml.AirSyncApplicationData)
	e.Start(wbxml.AirSyncBaseAttachments)
	for _, ref := range refs {
		e.Start(wbxml.AirSyncBaseAttachment)
		e.Text(wbxml.AirSyncBaseClientId, ref[0])
		e.Text(wbxml.AirSyncBaseFileReference, ref[1])
		e.End()
	}
	e.End()
	e.End()
}

// fetch reads what Fetch commands asked for, all at once.
func (y *syncer) fetch(ctx context.Context, a *collectionAnswer) error {
	var items []store.ItemID
	for _, r := range a.replies {
		if r.fetched || r.item != 0 && (r.command.data.Has(wbxml.AirSyncBaseAttachments) || y.tellsMade(a, r)) {
			items = append(items, r.item)
		}
	}
	if len(items) == 0 {
		return nil
	}
	entries, err := y.server.store.EntriesOf(ctx, y.who.as, y.who.box, items)
	if err != nil {
		return err
	}
	wides, err := y.server.wides(ctx, y.r, &a.folder, items)
	if err != nil {
		return err
	}
	a.fetched = map[store.ItemID]*fetchedItem{}
	byItem := map[store.ItemID]store.Entry{}
	for _, e := range entries {
		byItem[e.Item] = e
	}
	for i, w := range wides {
		if e, ok := byItem[items[i]]; ok && e.Folder == a.folder.ID && !w.gone() {
			a.fetched[items[i]] = &fetchedItem{entry: e, wide: w}
		}
	}
	return nil
}

// itemWriter writes the items of a collection.
func (y *syncer) itemWriter(ctx context.Context, a *collectionAnswer, whole bool) (*itemWriter, error) {
	w := y.server.mailWriter(ctx, y.r, &a.opts)
	w.whole, w.class = whole, served[a.folder.Class].items
	if w.class == nil {
		return w, nil
	}
	var err error
	w.side, err = y.side(ctx, &a.folder, &a.opts)
	w.side.whole = whole
	return w, err
}

func (y *syncer) writeOps(ctx context.Context, e *wbxml.Encoder, a *collectionAnswer) error {
	w, err := y.itemWriter(ctx, a, false)
	if err != nil {
		return err
	}
	ahead := readAhead(ctx, w, a.ops)
	defer ahead.stop()
	e.Start(wbxml.AirSyncCommands)
	for i := range a.ops {
		o := &a.ops[i]
		switch o.kind {
		case opAdd:
			e.Start(wbxml.AirSyncAdd)
			e.Text(wbxml.AirSyncServerId, itemID(o.item))
			e.Start(wbxml.AirSyncApplicationData)
			if w.class != nil {
				err = w.class.write(e, &w.side, o.obj)
			} else {
				err = w.writeMessage(e, ahead.next(i), &o.entry)
			}
			if err != nil && (fault.Of(err) != fault.NotFound || e.Err() != nil) {
				return err
			}
			e.End()
			e.End()
		case opChange:
			e.Start(wbxml.AirSyncChange)
			e.Text(wbxml.AirSyncServerId, itemID(o.item))
			e.Start(wbxml.AirSyncApplicationData)
			if w.class == nil {
				w.writeMarks(e, &o.entry)
			} else if err := w.class.write(e, &w.side, o.obj); err != nil {
				return err
			}
			e.End()
			e.End()
		case opDelete:
			e.Start(wbxml.AirSyncDelete)
			e.Text(wbxml.AirSyncServerId, itemID(o.item))
			e.End()
		case opSoftDelete:
			e.Start(wbxml.AirSyncSoftDelete)
			e.Text(wbxml.AirSyncServerId, itemID(o.item))
			e.End()
		}
	}
	e.End()
	return e.Err()
}

// data writes ApplicationData. A message that is gone by now has none of its
// body; that it is gone follows as a change.
func (w *itemWriter) data(ctx context.Context, e *wbxml.Encoder, x wide, n *store.Entry) error {
	e.Start(wbxml.AirSyncApplicationData)
	err := w.writeWide(ctx, e, x, n)
	if err != nil && (fault.Of(err) != fault.NotFound || e.Err() != nil) {
		return err
	}
	e.End()
	return e.Err()
}

// ahead opens the messages of an answer and reads their beginnings while
// earlier ones are being written, a few at a time.
type ahead struct {
	cancel context.CancelFunc
	slots  []chan *message
	ops    []op
	w      *itemWriter
	ctx    context.Context
	wg     sync.WaitGroup
}

// aheadWorkers is how many messages are read at once; each needs a connection
// to the database while it reads.
const aheadWorkers = 3

// readAhead begins to read. With few messages it does nothing.
func readAhead(ctx context.Context, w *itemWriter, ops []op) *ahead {
	a := &ahead{ops: ops, w: w}
	a.ctx, a.cancel = context.WithCancel(ctx)
	adds := 0
	for i := range ops {
		if ops[i].kind == opAdd {
			adds++
		}
	}
	if adds < 4 || w.class != nil {
		return a
	}
	a.slots = make([]chan *message, len(ops))
	work := make(chan int)
	for i := range ops {
		if ops[i].kind == opAdd {
			a.slots[i] = make(chan *message, 1)
		}
	}
	gate := make(chan struct{}, 4*aheadWorkers) // how far ahead
	for range aheadWorkers {
		a.wg.Go(func() {
			for i := range work {
				x := newMessage(a.ctx, w.mail, w.who, ops[i].msg)
				x.gate = gate
				preload(x, w)
				a.slots[i] <- x
			}
		})
	}
	a.wg.Go(func() {
		defer close(work)
		warm := 0 // the ops before it were warmed
		for i := range ops {
			if a.slots[i] == nil {
				continue
			}
			if i >= warm {
				warm = a.warm(i)
			}
			select {
			case gate <- struct{}{}:
			case <-a.ctx.Done():
				return
			}
			select {
			case work <- i:
			case <-a.ctx.Done():
				return
			}
		}
	})
	return a
}

// preload reads what writing the message will need. A panic is left to the
// request's own goroutine: it comes again there, and ends the request alone.
func preload(x *message, w *itemWriter) {
	defer func() {
		if recover() != nil {
			x.loaded = nil
		}
	}()
	x.preload(w)
}

// warmAtOnce is how many messages are read ahead together.
const warmAtOnce = 128

// warm reads ahead for the next Adds from op i on and gives the op after them. What fails here fails again, and is told, when the
// message is opened.
func (a *ahead) warm(i int) int {
	var items []store.ItemID
	for ; i < len(a.ops) && len(items) < warmAtOnce; i++ {
		if a.ops[i].kind == opAdd {
			items = append(items, a.ops[i].item)
		}
	}
	_ = a.w.mail.Warm(a.ctx, a.w.who.as, a.w.who.box, items)
	return i
}

// next gives the message of op i, which must be an Add.
func (a *ahead) next(i int) *message {
	if a.slots == nil {
		return newMessage(a.ctx, a.w.mail, a.w.who, a.ops[i].msg)
	}
	select {
	case x := <-a.slots[i]:
		<-x.gate
		return x
	case <-a.ctx.Done():
		return newMessage(a.ctx, a.w.mail, a.w.who, a.ops[i].msg)
	}
}

// stop ends the reading and waits for it.
func (a *ahead) stop() {
	a.cancel()
	a.wg.Wait()
}
