package eas

import (
	"bytes"
	"context"
	"errors"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// putObject carries out an Add or a Change of an object, or what is done to one
// occurrence. The phone's change is applied to the newest text, so what others
// wrote meanwhile in other places stays.
func (x *executor) putObject(ctx context.Context, c *syncCommand) error {
	r := result{hash: c.hash, subject: c.subject, status: syncOK}
	refuse := func(st uint8) error {
		r.status = st
		x.results = append(x.results, r)
		return nil
	}
	p := store.PutObject{Folder: x.folder.ID}
	item, ok := parseItem(c.server)
	switch {
	case c.kind == commandAdd:
		p.Once = x.once(c)
		p.UID = x.class.uid(c, p.Once)
		x.side.made = p.UID
	case !ok:
		return refuse(syncNotFound)
	default:
		p.Item = item
	}
	if c.data == nil && c.kind != commandDelete {
		return refuse(syncConversion)
	}
	var altered bool
	var said []byte
	var beside edited
	p.Edit = func(old *store.Object) (store.Edit, error) {
		if p.Item != 0 && (old == nil || old.Folder != x.folder.ID) {
			return store.Edit{}, fault.New(fault.NotFound, "no such object")
		}
		e, err := x.class.edit(&x.side, old, c)
		if err != nil {
			return store.Edit{}, err
		}
		// Who has not seen the newest text changes it only if the phone is to win
		// (MS-ASCMD 2.2.3.34). Saying what is there already is no conflict.
		if p.Item != 0 && x.view.opts.conflict != 0 && !bytes.Equal(e.text, old.Text) && !x.view.knew(item, old.Version) {
			return store.Edit{}, fault.New(fault.Conflict, "changed meanwhile")
		}
		if e.beside != nil && beside.besideOnce != e.besideOnce {
			beside = e
			return store.Edit{}, errBeside
		}
		altered, said = e.altered, e.text
		return store.Edit{Text: e.text}, nil
	}
	put, err := x.put(ctx, p)
	for range 3 {
		if !errors.Is(err, errBeside) {
			break
		}
		// First what is beside it: repeated, it is there already.
		if err = x.putBeside(ctx, beside); err == nil {
			put, err = x.put(ctx, p)
		}
	}
	if fault.Of(err) == fault.Denied && err != nil && c.kind != commandAdd {
		return x.undo(ctx, c, item, false)
	}
	if err != nil {
		return x.failed(c, err)
	}
	// Who tells others of a change may have had to change more.
	altered = altered || put.Changed && !bytes.Equal(put.Object.Text, said) && x.looksOther(put.Object.Text, said)
	if c.kind != commandAdd {
		if put.Changed && !altered {
			r.echo = x.echo(item, put.Entry.Changed, put.Was)
		}
		x.results = append(x.results, r)
		return nil
	}
	r.item = put.Entry.Item
	r.echo = echo{item: r.item, seq: put.Entry.Entered, arrival: true, stale: altered}
	switch {
	case put.Created:
	case put.Entry.Folder == x.folder.ID: // made by an earlier try, or found by its UID
		r.echo.stale = true
	default:
		// It came before, in a try that ended before its answer, and has gone
		// since: the phone is told so as with any arrival that is not met.
		r.echo.seq = max(x.folder.HighestSeq, 1)
	}
	x.view.echoes = append(x.view.echoes, r.echo)
	x.results = append(x.results, r)
	return nil
}

// errBeside ends an edit that has to wait for another object.
var errBeside = errors.New("another object comes first")

// putBeside makes an object that a command makes beside the one it changes. The
// phone hears of it as of what others make.
func (x *executor) putBeside(ctx context.Context, e edited) error {
	_, err := x.objects.PutObject(ctx, x.who.as, x.who.box, store.PutObject{
		Folder: x.folder.ID, UID: newUID(e.besideOnce), Once: e.besideOnce,
		Edit: func(*store.Object) (store.Edit, error) { return store.Edit{Text: e.beside}, nil },
	})
	return err
}

func (x *executor) put(ctx context.Context, p store.PutObject) (store.Put, error) {
	if meets(&x.folder) {
		return x.meetings.PutObject(ctx, x.who.as, x.who.box, p, phoneTells(x.version))
	}
	return x.objects.PutObject(ctx, x.who.as, x.who.box, p)
}

// undo refuses a command on an item that its folder does not let the phone change.
// The phone has done it already, so it is told the item as it is: again, or as new
// when it was taken away (MS-ASCMD 2.2.3.177.17: status 7, the server's word counts).
func (x *executor) undo(ctx context.Context, c *syncCommand, item store.ItemID, took bool) error {
	r := result{hash: c.hash, subject: c.subject, status: syncNotFound}
	es, err := x.mail.EntriesOf(ctx, x.who.as, x.who.box, []store.ItemID{item})
	if err != nil {
		return err
	}
	if len(es) == 1 && es[0].Folder == x.folder.ID {
		r.status, r.item = syncConflict, item
		r.echo = echo{item: item, seq: es[0].Entered, arrival: !took, stale: !took, back: took}
		x.view.echoes = append(x.view.echoes, r.echo)
		if took {
			x.view.members.remove(item)
		}
	}
	x.results = append(x.results, r)
	return nil
}

// looksOther tells whether a phone sees two texts differently.
func (x *executor) looksOther(a, b []byte) bool {
	show := func(text []byte) []byte {
		var out buffer
		e := wbxml.NewEncoder(&out)
		e.Start(wbxml.AirSyncApplicationData)
		err := x.class.write(e, &x.side, &store.Object{Text: text})
		e.End()
		if err != nil || e.Flush() != nil {
			return nil
		}
		return out
	}
	return !bytes.Equal(show(a), show(b))
}

// cancel takes appointments out of the folder, one by one, for each may have
// others to be told.
func (x *executor) cancel(ctx context.Context, items []store.ItemID) (map[store.ItemID]store.Seq, error) {
	gone := map[store.ItemID]store.Seq{}
	for _, item := range items {
		seq, err := x.meetings.RemoveObject(ctx, x.who.as, x.who.box, store.RemoveObject{Folder: x.folder.ID, Item: item}, false)
		switch {
		case err == nil:
			gone[item] = seq
		case fault.Of(err) != fault.NotFound:
			return nil, err
		}
	}
	return gone, nil
}
