package postgres

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// access is what somebody may do in a mailbox. Its owner, and the product itself,
// may do everything; others what they were given, folder by folder.
type access struct {
	all     bool
	who     directory.ObjectID // of others
	folders map[store.FolderID]given
}

// given are somebody's rights in a folder.
type given struct {
	rights store.Rights
	seq    store.Seq          // of the newest change of the folder's rights
	owner  directory.ObjectID // of the mailbox
}

var everything = &access{all: true}

// enter is open for methods that others may use too. A folder that they may not
// see is not there for them, and neither is a mailbox without one that they do. The
// rights are read with every call, so one that is taken away is gone at once.
func (s *Store) enter(ctx context.Context, as directory.Principal, box store.MailboxID) (*home, *access, error) {
	if as.ID == 0 || box <= 0 || as.MayUse(box) {
		h, err := s.open(as, box)
		return h, everything, err
	}
	grantees, err := s.grantees(ctx, as.ID)
	if err != nil {
		return nil, nil, err
	}
	for _, h := range s.homesOf(box) {
		x := &access{who: as.ID}
		err := reading(ctx, func() error {
			rows, err := h.db.Query(ctx, "select "+sharedCols+" from mail.share s where mailbox = $1 and grantee = any($2)",
				int64(box), grantees)
			if err != nil {
				return err
			}
			all, err := readGiven(rows, as.ID)
			x.folders = all[box]
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		for _, g := range x.folders {
			if g.rights.Has(store.RightVisible) {
				s.foundAt(box, h)
				return h, x, nil
			}
		}
	}
	return nil, nil, fault.New(fault.NotFound, "no such mailbox")
}

// readGiven gives somebody's rights by mailbox and folder (MS-OXCPERM 3.1.4.1): its
// own row counts alone, without one those of its groups together, without any that
// of everyone.
func readGiven(rows pgx.Rows, who directory.ObjectID) (map[store.MailboxID]map[store.FolderID]given, error) {
	all := map[store.MailboxID]map[store.FolderID]given{}
	type place struct {
		box    store.MailboxID
		folder store.FolderID
	}
	rank := map[place]int{} // 1 everyone, 2 groups, 3 itself
	var at place
	var to directory.ObjectID
	var g given
	var rights int32
	_, err := pgx.ForEachRow(rows, []any{&at.box, &at.folder, &to, &rights, &g.seq, &g.owner}, func() error {
		n := 2
		switch to {
		case who:
			n = 3
		case store.Everyone:
			n = 1
		}
		g.rights = store.Rights(rights)
		if n < rank[at] {
			return nil
		}
		if all[at.box] == nil {
			all[at.box] = map[store.FolderID]given{}
		}
		if n == rank[at] {
			g.rights |= all[at.box][at.folder].rights
		}
		rank[at], all[at.box][at.folder] = n, g
		return nil
	})
	return all, err
}

// homesOf are the mailbox databases in which somebody else's mailbox may be, the
// likeliest first.
func (s *Store) homesOf(box store.MailboxID) []*home {
	s.whereMu.Lock()
	known := s.where[box]
	s.whereMu.Unlock()
	list := make([]*home, 0, len(s.homes))
	if known != nil {
		list = append(list, known)
	}
	if h := s.homes[DefaultHome]; h != known {
		list = append(list, h)
	}
	for name, h := range s.homes {
		if h != known && name != DefaultHome {
			list = append(list, h)
		}
	}
	return list
}

// maxWhere bounds the memory of where mailboxes are; it begins anew when it is full.
const maxWhere = 100_000

func (s *Store) foundAt(box store.MailboxID, h *home) {
	if len(s.homes) == 1 {
		return
	}
	s.whereMu.Lock()
	defer s.whereMu.Unlock()
	if s.where == nil || len(s.where) >= maxWhere {
		s.where = map[store.MailboxID]*home{}
	}
	s.where[box] = h
}

// groups remembers for a moment which groups somebody is in.
type groups struct {
	mu sync.Mutex
	m  map[directory.ObjectID]knownGroups
}

type knownGroups struct {
	ids   []int64
	until time.Time
}

// groupsFor bounds how long a change of membership takes to count.
const groupsFor = 3 * time.Second

// grantees are all whose grants count for somebody.
func (s *Store) grantees(ctx context.Context, who directory.ObjectID) ([]int64, error) {
	list := []int64{int64(who), int64(store.Everyone)}
	if s.opts.Groups == nil {
		return list, nil
	}
	now := time.Now()
	s.groups.mu.Lock()
	known, ok := s.groups.m[who]
	s.groups.mu.Unlock()
	if !ok || now.After(known.until) {
		found, err := s.opts.Groups(ctx, who)
		if err != nil {
			return nil, fault.From(fault.Unavailable, err, "who is in which group cannot be asked")
		}
		known = knownGroups{ids(found), now.Add(groupsFor)}
		s.groups.mu.Lock()
		if s.groups.m == nil || len(s.groups.m) >= maxWhere {
			s.groups.m = map[directory.ObjectID]knownGroups{}
		}
		s.groups.m[who] = known
		s.groups.mu.Unlock()
	}
	return append(list, known.ids...), nil
}

// rights are those in a folder, none in one that may not be seen.
func (x *access) rights(f store.FolderID) store.Rights {
	if x.all {
		return store.RightsAll
	}
	if r := x.folders[f].rights; r.Has(store.RightVisible) {
		return r
	}
	return 0
}

// may checks for rights in a folder.
func (x *access) may(f store.FolderID, need store.Rights) error {
	switch r := x.rights(f); {
	case x.all:
		return nil
	case r == 0:
		return noFolder()
	case !r.Has(need):
		return fault.New(fault.Denied, "the owner of the folder does not allow this")
	}
	return nil
}

// mayRead checks that something of a folder's items may be seen.
func (x *access) mayRead(folders ...store.FolderID) error {
	for _, f := range folders {
		if x.all {
			return nil
		}
		if err := x.may(f, 0); err != nil {
			return err
		}
		if x.rights(f).View() == store.ViewNone {
			return x.may(f, store.RightRead)
		}
	}
	return nil
}

// show completes a folder for who asks; false when that one may not see it.
func (x *access) show(f *store.Folder) bool {
	f.Rights = x.rights(f.ID)
	if x.all {
		return true
	}
	if x.rights(f.Parent) == 0 {
		f.Parent = 0
	}
	// What others knew before their rights changed is void.
	f.Floor = max(f.Floor, x.folders[f.ID].seq)
	return f.Rights != 0
}

// byOwn is a right that everybody has over what it made itself, or over all.
func (x *access) byOwn(o *objectRow, own, all store.Rights) error {
	r := x.rights(o.Folder)
	if o.creator == x.who && r.Has(own) {
		return nil
	}
	return x.may(o.Folder, all)
}

// mayChange checks a change or removal of an object whose text was read.
func (x *access) mayChange(o *objectRow, own, all store.Rights) error {
	if x.all {
		return nil
	}
	if err := x.byOwn(o, own, all); err != nil {
		return err
	}
	return x.maySeeWhole(o)
}

// maySeeWhole checks that an object's text may be seen as it is.
func (x *access) maySeeWhole(o *objectRow) error {
	if x.all {
		return nil
	}
	if err := x.may(o.Folder, store.RightRead); err != nil {
		return err
	}
	if o.creator == x.who {
		return nil
	}
	if err := x.may(o.Folder, store.RightPrivate); err != nil && private(o) {
		return err
	}
	return nil
}

// visibleItems are items, 0 in place of those in folders that may not be read.
func (s *Store) visibleItems(ctx context.Context, h *home, x *access, box store.MailboxID, items []store.ItemID) ([]store.ItemID, error) {
	found, err := s.list(ctx, h, len(items), "select "+entryCols+" from mail.entry where mailbox = $1 and item = any($2)", int64(box), ids(items))
	if err != nil {
		return nil, err
	}
	entry := index(found)
	seen := make([]store.ItemID, len(items))
	for i, item := range items {
		if e := entry[item]; e != nil && x.mayRead(e.Folder) == nil {
			seen[i] = item
		}
	}
	return seen, nil
}

// searched are the folders that a search by somebody else looks into.
func (x *access) searched(folders []store.FolderID) ([]store.FolderID, error) {
	if len(folders) > 0 {
		return folders, x.mayRead(folders...)
	}
	for f := range x.folders {
		if x.mayRead(f) == nil {
			folders = append(folders, f)
		}
	}
	return folders, nil
}

// each asks about items of a folder: of objects may, with their texts when asked
// for; of messages, which are nobody's own, the right over all.
func (s *Store) each(ctx context.Context, h *home, x *access, box store.MailboxID, folder store.FolderID, items []store.ItemID, texts bool, messages store.Rights, may func(*objectRow) error) error {
	if x.all {
		return nil
	}
	if err := x.may(folder, 0); err != nil {
		return err
	}
	for part := range slices.Chunk(items, maxPage) {
		cols := objectCols
		if texts {
			cols = objectText
		}
		rows, err := s.objectRows(ctx, h, "select "+cols+" from mail.object where mailbox = $1 and folder = $2 and item = any($3)",
			int64(box), int64(folder), ids(part))
		if err != nil {
			return err
		}
		for _, o := range rows {
			if texts {
				if _, err := s.texts(ctx, h, []*objectRow{o}, store.MaxObject); err != nil {
					return err
				}
			}
			if err := may(o); err != nil {
				return err
			}
			o.Text = nil
		}
		if len(rows) == len(part) || x.rights(folder).Has(messages) {
			continue
		}
		found, err := s.list(ctx, h, len(part), "select "+entryCols+` from mail.entry where mailbox = $1 and folder = $2 and item = any($3)
			and not exists (select from mail.object o where o.mailbox = entry.mailbox and o.item = entry.item)`,
			int64(box), int64(folder), ids(part))
		if err != nil {
			return err
		}
		if len(found) > 0 {
			return x.may(folder, messages)
		}
	}
	return nil
}

// mayRemove checks that items may leave a folder.
func (s *Store) mayRemove(ctx context.Context, h *home, x *access, box store.MailboxID, folder store.FolderID, items []store.ItemID) error {
	return s.each(ctx, h, x, box, folder, items, true, store.RightDeleteAll, func(o *objectRow) error {
		return x.mayChange(o, store.RightDeleteOwn, store.RightDeleteAll)
	})
}

// mayMark checks that items of a folder may be marked.
func (s *Store) mayMark(ctx context.Context, h *home, x *access, box store.MailboxID, folder store.FolderID, items []store.ItemID) error {
	return s.each(ctx, h, x, box, folder, items, false, store.RightEditAll, func(o *objectRow) error {
		return x.byOwn(o, store.RightEditOwn, store.RightEditAll)
	})
}

// mayPlace checks that items of a folder may be copied or moved into another one.
func (s *Store) mayPlace(ctx context.Context, h *home, x *access, box store.MailboxID, from store.FolderID, items []store.ItemID, to store.FolderID, move bool) error {
	if x.all {
		return nil
	}
	if err := x.may(to, store.RightCreate); err != nil {
		return err
	}
	if move {
		return s.mayRemove(ctx, h, x, box, from, items)
	}
	return s.each(ctx, h, x, box, from, items, true, store.RightRead, x.maySeeWhole)
}
