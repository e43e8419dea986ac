package webcal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/ical"
	"waypost/internal/objectfile"
	"waypost/store"
)

// maxObjects, maxTexts and maxText bound one calendar. Its objects together may be larger
// than it is, for each has the zones that it names.
const (
	maxObjects = 50_000
	maxTexts   = 256 << 20 // bytes
	maxText    = 1 << 20   // of one
)

const (
	page      = 500     // objects that are compared at a time
	pageTexts = 8 << 20 // or bytes of them
	writers   = 8       // puts that wait share a transaction
)

func errTooMany() error {
	return fault.New(fault.Limit, "the calendar has more than %d events", maxObjects)
}

// diff is what a reading changed.
type diff struct {
	objects, skipped, put, dropped int
	every                          time.Duration
}

// principal is who feeds a folder.
func principal(f *store.Feed) directory.Principal {
	as := directory.System("webcal")
	as.Mailbox, as.HomeMDB = f.Mailbox, f.Home
	return as
}

// apply makes the folder say what the calendar says.
func (s *Service) apply(ctx context.Context, f *store.Feed, body []byte) (d diff, err error) {
	if bytes.Count(body, []byte("BEGIN:VEVENT"))+bytes.Count(body, []byte("BEGIN:VTODO")) > maxObjects {
		return d, errTooMany() // before it is taken apart
	}
	file, err := objectfile.Read(body)
	if err != nil {
		return d, err
	}
	if every, err := ical.ParseDuration(file.Refresh); err == nil {
		begin := time.Unix(0, 0).UTC()
		d.every = every.After(begin).Sub(begin)
	}
	as := principal(f)
	have, err := s.have(ctx, as, f)
	if err != nil {
		return d, err
	}
	seen := make(map[string]bool)
	batch := make([]objectfile.Piece, 0, page)
	waiting, texts := 0, 0 // bytes
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := s.put(ctx, as, f, have, batch, &d)
		batch, waiting = batch[:0], 0
		return err
	}
	for p := range file.Pieces() {
		texts += len(p.Text)
		switch {
		case ctx.Err() != nil:
			return d, ctx.Err()
		case len(seen) > maxObjects || texts > maxTexts:
			return d, errTooMany()
		}
		if p.Err != nil || len(p.Text) > maxText {
			d.skipped++
			continue
		}
		if p.UID == "" {
			p.UID = madeUID(p.Text)
		}
		if seen[p.UID] {
			d.skipped++
			continue
		}
		seen[p.UID] = true
		waiting += len(p.Text)
		if batch = append(batch, p); len(batch) == page || waiting > pageTexts {
			if err := flush(); err != nil {
				return d, err
			}
		}
	}
	if err := flush(); err != nil {
		return d, err
	}
	var gone []store.ItemID
	for uid, item := range have {
		if !seen[uid] {
			gone = append(gone, item)
		}
	}
	for some := range slices.Chunk(gone, 1000) {
		if _, err := s.store.DropObjects(ctx, as, f.Mailbox, f.Folder, some); err != nil {
			return d, err
		}
		d.dropped += len(some)
	}
	return d, nil
}

// have lists what is in the folder, by UID.
func (s *Service) have(ctx context.Context, as directory.Principal, f *store.Feed) (map[string]store.ItemID, error) {
	have := make(map[string]store.ItemID)
	for after := store.ItemID(0); ; {
		list, err := s.store.ObjectList(ctx, as, f.Mailbox, f.Folder, after, 1000)
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			have[o.UID] = o.Item
			after = o.Item
		}
		if len(list) < 1000 {
			return have, nil
		}
	}
}

// put writes those of some pieces that say something new. What is no object is
// skipped: one bad event hides no good one.
func (s *Service) put(ctx context.Context, as directory.Principal, f *store.Feed, have map[string]store.ItemID, batch []objectfile.Piece, d *diff) error {
	old, err := s.texts(ctx, as, f, have, batch)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for _, p := range batch {
		text, err := cleaned(p.Text, p.UID)
		if err != nil {
			mu.Lock()
			d.skipped++
			mu.Unlock()
			continue
		}
		if was := old[p.UID]; was != nil && same(was, text) {
			mu.Lock()
			d.objects++
			mu.Unlock()
			continue
		}
		g.Go(func() error {
			res, err := s.store.PutObject(ctx, as, f.Mailbox, store.PutObject{
				Folder: f.Folder, UID: p.UID, Feed: true,
				Edit: func(*store.Object) (store.Edit, error) { return store.Edit{Text: text}, nil },
			})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				d.objects++
				if res.Changed {
					d.put++
				}
				return nil
			case slices.Contains([]fault.Kind{fault.Invalid, fault.TooLarge, fault.Limit}, fault.Of(err)):
				d.skipped++
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

// texts are those that are there already of some pieces, by UID.
func (s *Service) texts(ctx context.Context, as directory.Principal, f *store.Feed, have map[string]store.ItemID, batch []objectfile.Piece) (map[string][]byte, error) {
	old := make(map[string][]byte)
	var items []store.ItemID
	for _, p := range batch {
		if item := have[p.UID]; item != 0 {
			items = append(items, item)
		}
	}
	err := store.EachObject(items, func(page []store.ItemID) ([]*store.Object, error) {
		return s.store.Objects(ctx, as, f.Mailbox, page)
	}, func(o *store.Object) error {
		old[o.UID] = o.Text
		return nil
	})
	return old, err
}

// madeUID is the UID of an event that has none: it follows from what it says.
func madeUID(text []byte) string {
	if root, _, err := ical.Parse(text, ical.Object); err == nil {
		text = said(root).Append(nil)
	}
	return fmt.Sprintf("feed-%x", sha256.Sum256(text))[:37]
}

// cleaned is what is kept of an object: it has its UID, and rings no alarms, for
// they are whoever published the calendar's.
func cleaned(text []byte, uid string) ([]byte, error) {
	root, _, err := ical.Parse(text, ical.Object)
	if err != nil {
		return nil, err
	}
	for _, cal := range root.Parts("VCALENDAR") {
		for _, c := range cal.Parts("VEVENT", "VTODO") {
			if c.Text("UID") == "" {
				c.SetText("UID", uid)
			}
			for _, alarm := range c.Parts("VALARM") {
				c.RemovePart(alarm)
			}
		}
	}
	return root.Append(nil), nil
}

// same tells whether two texts say the same.
func same(old, text []byte) bool {
	if bytes.Equal(old, text) {
		return true
	}
	a, _, err := ical.Parse(old, ical.Object)
	if err != nil {
		return false
	}
	b, _, err := ical.Parse(text, ical.Object)
	return err == nil && said(a).Equal(said(b))
}

// said is what a calendar says but for what many programs write anew whenever they
// are asked: who wrote it, when, and the rules of zones.
func said(c *ical.Component) *ical.Component {
	out := &ical.Component{Name: c.Name, Properties: c.Properties.Clone()}
	for _, name := range []string{"PRODID", "VERSION", "CALSCALE", "DTSTAMP", "LAST-MODIFIED"} {
		out.Remove(name)
	}
	for _, part := range c.Children {
		if !part.Is("VTIMEZONE") {
			out.Children = append(out.Children, said(part))
		}
	}
	return out
}
