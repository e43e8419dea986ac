package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

const (
	maxGrants        = 1000 // of a folder
	maxShared        = 5000 // that one answer lists
	maxSubscriptions = 500  // of a mailbox
)

// Grants lists who has rights in a folder.
func (s *Store) Grants(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID) (list []store.Grant, err error) {
	defer fault.Wrap(&err, "rights in folder %d of mailbox %d", folder, box)
	if _, err := s.Folder(ctx, as, box, folder); err != nil {
		return nil, err
	}
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return nil, err
	}
	if err := x.may(folder, store.RightOwner); err != nil {
		return nil, err
	}
	err = reading(ctx, func() error {
		rows, err := h.db.Query(ctx, "select grantee, rights from mail.share where mailbox = $1 and folder = $2 order by grantee",
			int64(box), int64(folder))
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (g store.Grant, err error) {
			var rights int32
			err = row.Scan(&g.To, &rights)
			g.Rights = store.Rights(rights)
			return g, err
		})
		return err
	})
	return list, err
}

// SetGrant gives rights, or other ones.
func (s *Store) SetGrant(ctx context.Context, as directory.Principal, box store.MailboxID, owner directory.ObjectID, folder store.FolderID, g store.Grant) (err error) {
	defer fault.Wrap(&err, "give rights in folder %d of mailbox %d", folder, box)
	switch {
	case g.To < 0 || g.Rights&^store.RightsAll != 0 || owner <= 0:
		return fault.New(fault.Invalid, "rights that make no sense")
	case g.To == owner:
		return fault.New(fault.Invalid, "the owner of the mailbox may do everything already")
	case g.To == store.Everyone && g.Rights.Has(store.RightPrivate):
		return fault.New(fault.Invalid, "private items cannot be shown to everyone")
	}
	return s.regrant(ctx, as, box, folder, func(c *change, class store.Class, now map[directory.ObjectID]store.Rights) error {
		if was, ok := now[g.To]; ok && was == g.Rights {
			return errNothing
		} else if !ok && len(now) >= maxGrants {
			return fault.New(fault.Limit, "at most %d grants a folder", maxGrants)
		}
		if class != store.ClassCalendar && g.Rights&(store.RightFreeBusy|store.RightDetails) != 0 {
			return fault.New(fault.Invalid, "only a calendar says when somebody is busy")
		}
		c.last.Queue(`insert into mail.share as s (mailbox, folder, grantee, owner, rights, seq) values ($1, $2, $3, $4, $5, $6)
			on conflict (mailbox, folder, grantee) do update set rights = excluded.rights`,
			int64(box), int64(folder), int64(g.To), int64(owner), int32(g.Rights), int64(c.seq))
		return nil
	})
}

// RemoveGrant takes a grant away.
func (s *Store) RemoveGrant(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, to directory.ObjectID) (err error) {
	defer fault.Wrap(&err, "take rights in folder %d of mailbox %d away", folder, box)
	return s.regrant(ctx, as, box, folder, func(c *change, _ store.Class, now map[directory.ObjectID]store.Rights) error {
		if _, ok := now[to]; !ok {
			return errNothing
		}
		c.last.Queue("delete from mail.share where mailbox = $1 and folder = $2 and grantee = $3", int64(box), int64(folder), int64(to))
		return nil
	})
}

// regrant changes who has rights in a folder. It is a change of the folder too, so
// that those who watch it hear of it, and all rows get its number.
func (s *Store) regrant(ctx context.Context, as directory.Principal, box store.MailboxID, folder store.FolderID, fn func(*change, store.Class, map[directory.ObjectID]store.Rights) error) error {
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return err
	}
	if err := x.may(folder, store.RightOwner); err != nil {
		return err
	}
	_, err = s.changeIn(ctx, h, box, changeOf{run: func(ctx context.Context, c *change) error {
		var class store.Class
		var grantees []int64
		var rights []int32
		err := c.tx.QueryRow(ctx, `select class, array(select grantee from mail.share where mailbox = $1 and folder = $2 order by grantee),
				array(select rights from mail.share where mailbox = $1 and folder = $2 order by grantee)
			from mail.folder where mailbox = $1 and id = $2`, int64(box), int64(folder)).Scan(&class, &grantees, &rights)
		if errors.Is(err, pgx.ErrNoRows) {
			return noFolder()
		}
		if err != nil {
			return err
		}
		now := make(map[directory.ObjectID]store.Rights, len(grantees))
		for i, to := range grantees {
			now[directory.ObjectID(to)] = store.Rights(rights[i])
		}
		if err := fn(c, class, now); err != nil {
			return err
		}
		c.hierarchy = true
		c.folder(folder)
		c.last.Queue("update mail.share set seq = $3 where mailbox = $1 and folder = $2", int64(box), int64(folder), int64(c.seq))
		c.last.Queue("update mail.folder set changed_seq = $3 where mailbox = $1 and id = $2", int64(box), int64(folder), int64(c.seq))
		return nil
	}})
	return err
}

// madeRights are what somebody has in a folder that it made itself.
var madeRights = store.ShareRoles[0].Rights

// inherit gives a new folder the rights of the one above, as Exchange does, and its
// maker those of a folder's owner.
func (c *change) inherit(f *store.Folder, x *access) {
	f.Rights = store.RightsAll
	if !x.all {
		f.Rights = x.rights(f.Parent) | madeRights
	}
	if f.Parent == 0 {
		return
	}
	maker, rights := int64(0), int32(0)
	if !x.all {
		maker, rights = int64(x.who), int32(madeRights)
	}
	c.last.Queue(`
		insert into mail.share (mailbox, folder, grantee, owner, rights, seq)
		select $1, $3, grantee, owner, case when grantee = $4 then rights | $5 else rights end, $6 from mail.share where mailbox = $1 and folder = $2`,
		int64(c.box), int64(f.Parent), int64(f.ID), maker, rights, int64(c.seq))
	if !x.all {
		c.last.Queue(`
			insert into mail.share (mailbox, folder, grantee, owner, rights, seq)
			select $1, $3, $4, owner, $5, $6 from mail.share where mailbox = $1 and folder = $2 limit 1
			on conflict do nothing`,
			int64(c.box), int64(f.Parent), int64(f.ID), maker, int32(x.rights(f.Parent)|madeRights), int64(c.seq))
	}
}

// Views tells what somebody sees of the calendars of a mailbox.
func (s *Store) Views(ctx context.Context, as directory.Principal, box store.MailboxID) (views map[store.FolderID]store.Rights, err error) {
	defer fault.Wrap(&err, "calendars of mailbox %d", box)
	if as.ID == 0 && !as.MayUse(box) {
		return nil, fault.New(fault.Denied, "sign in first")
	}
	var grantees []int64
	if !as.MayUse(box) {
		if grantees, err = s.grantees(ctx, as.ID); err != nil {
			return nil, err
		}
	}
	for _, h := range s.homesOf(box) {
		views = map[store.FolderID]store.Rights{}
		err := reading(ctx, func() error {
			b := &pgx.Batch{}
			b.Queue("select id from mail.folder where mailbox = $1 and class = 'calendar'", int64(box)).Query(func(rows pgx.Rows) error {
				var f store.FolderID
				_, err := pgx.ForEachRow(rows, []any{&f}, func() error {
					views[f] = store.RightFreeBusy // nothing was said to anybody
					if as.MayUse(box) {
						views[f] = store.RightsAll
					}
					return nil
				})
				return err
			})
			b.Queue("select "+sharedCols+" from mail.share s where mailbox = $1 and grantee = any($2)", int64(box), grantees).
				Query(func(rows pgx.Rows) error {
					all, err := readGiven(rows, as.ID)
					for f, g := range all[box] {
						if _, ok := views[f]; ok {
							views[f] = g.rights
						}
					}
					return err
				})
			return h.db.Batch(ctx, b)
		})
		if err != nil || len(views) > 0 {
			return views, err
		}
	}
	return nil, nil
}

// sharedCols are read by readGiven.
const sharedCols = "s.mailbox, s.folder, s.grantee, s.rights, s.seq, s.owner"

// shared runs a query of sharedCols and gives the folders that somebody may see.
func (s *Store) shared(ctx context.Context, h *home, who directory.ObjectID, sql string, args ...any) (list []store.Shared, err error) {
	err = reading(ctx, func() error {
		list = nil
		boxes := []int64{}
		folders := []int64{}
		rows, err := h.db.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		all, err := readGiven(rows, who)
		if err != nil {
			return err
		}
		for box, given := range all {
			for f, g := range given {
				if g.rights.Has(store.RightVisible) {
					boxes, folders = append(boxes, int64(box)), append(folders, int64(f))
				}
			}
		}
		if len(boxes) == 0 {
			return nil
		}
		rows, err = h.db.Query(ctx, "select f.mailbox, "+folderCols+` from unnest($1::bigint[], $2::bigint[]) as u (box, folder)
			cross join lateral (select * from mail.folder where mailbox = u.box and id = u.folder offset 0) f order by f.mailbox, name_key`, boxes, folders)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (x store.Shared, err error) {
			err = row.Scan(append([]any{&x.Box}, folderTargets(&x.Folder)...)...)
			x.Owner = all[x.Box][x.Folder.ID].owner
			(&access{who: who, folders: all[x.Box]}).show(&x.Folder)
			return x, err
		})
		for i := range list {
			s.foundAt(list[i].Box, h)
		}
		return err
	})
	return list, err
}

// SharedWith lists the folders that were given to somebody.
func (s *Store) SharedWith(ctx context.Context, as directory.Principal) (list []store.Shared, err error) {
	defer fault.Wrap(&err, "what is shared with %d", as.ID)
	if as.ID == 0 {
		return nil, fault.New(fault.Denied, "sign in first")
	}
	grantees, err := s.grantees(ctx, as.ID)
	if err != nil {
		return nil, err
	}
	grantees = slices.DeleteFunc(grantees, func(id int64) bool { return id == int64(store.Everyone) })
	for _, h := range s.homes {
		// The index on grantee answers it.
		found, err := s.shared(ctx, h, as.ID, "select "+sharedCols+" from mail.share s where grantee = any($1) and mailbox <> $2 limit $3",
			grantees, int64(as.Mailbox), maxShared)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

// Subscriptions lists those that somebody may see.
func (s *Store) Subscriptions(ctx context.Context, as directory.Principal) (list []store.Subscription, err error) {
	defer fault.Wrap(&err, "subscriptions of mailbox %d", as.Mailbox)
	h, err := s.open(as, as.Mailbox)
	if err != nil {
		return nil, err
	}
	all, err := s.subscribed(ctx, h, as.Mailbox)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return s.alive(ctx, as, all)
}

const subscriptionsSQL = "select id, owner, owner_box, folder, name, data from mail.subscription where mailbox = $1 order by id"

// subscribed reads a mailbox's subscriptions, the rights aside.
func (s *Store) subscribed(ctx context.Context, h *home, box store.MailboxID) (all []store.Subscription, err error) {
	err = reading(ctx, func() error {
		rows, err := h.db.Query(ctx, subscriptionsSQL, int64(box))
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, scanSubscription)
		return err
	})
	return all, err
}

// alive leaves out the subscriptions of folders that may not be seen, and completes
// the others: one question for each mailbox database.
func (s *Store) alive(ctx context.Context, as directory.Principal, all []store.Subscription) (list []store.Subscription, err error) {
	grantees, err := s.grantees(ctx, as.ID)
	if err != nil {
		return nil, err
	}
	type place struct {
		box    store.MailboxID
		folder store.FolderID
	}
	found := map[place]store.Shared{}
	var boxes, folders []int64
	for _, x := range all {
		boxes, folders = append(boxes, int64(x.Box)), append(folders, int64(x.Folder.ID))
	}
	for _, h := range s.homes {
		shared, err := s.shared(ctx, h, as.ID, "select "+sharedCols+` from unnest($2::bigint[], $3::bigint[]) as u (box, in_folder)
			join mail.share s on s.mailbox = u.box and s.folder = u.in_folder and s.grantee = any($1)`, grantees, boxes, folders)
		if err != nil {
			return nil, err
		}
		for _, x := range shared {
			found[place{x.Box, x.Folder.ID}] = x
		}
	}
	for _, x := range all {
		if now, ok := found[place{x.Box, x.Folder.ID}]; ok {
			x.Shared = now
			list = append(list, x)
		}
	}
	return list, nil
}

// SubscribeShared adds a folder of somebody else to one's own.
func (s *Store) SubscribeShared(ctx context.Context, as directory.Principal, sub store.Subscription) (made store.Subscription, err error) {
	defer fault.Wrap(&err, "subscribe folder %d of mailbox %d", sub.Folder.ID, sub.Box)
	h, err := s.open(as, as.Mailbox)
	if err != nil {
		return made, err
	}
	if sub.Box == as.Mailbox {
		return made, fault.New(fault.Invalid, "this is in the mailbox already")
	}
	data, err := subscriptionData(&sub)
	if err != nil {
		return made, err
	}
	// What may not be seen is not there.
	seen, err := s.alive(ctx, as, []store.Subscription{sub})
	if err != nil {
		return made, err
	}
	if len(seen) == 0 {
		return made, noFolder()
	}
	made = seen[0]
	_, err = s.changeIn(ctx, h, as.Mailbox, changeOf{ids: 1, run: func(ctx context.Context, c *change) error {
		all, err := c.subscribed(ctx)
		if err != nil {
			return err
		}
		for _, x := range all {
			if x.Box == sub.Box && x.Folder.ID == sub.Folder.ID {
				made.ID, made.Name, made.Props = x.ID, x.Name, x.Props
				return errNothing
			}
		}
		if len(all) >= maxSubscriptions {
			return fault.New(fault.Limit, "at most %d folders of others", maxSubscriptions)
		}
		made.ID = store.FolderID(c.firstID)
		c.hierarchy = true
		c.last.Queue("insert into mail.subscription (mailbox, id, owner, owner_box, folder, name, data) values ($1, $2, $3, $4, $5, $6, $7)",
			int64(c.box), int64(made.ID), int64(made.Owner), int64(sub.Box), int64(sub.Folder.ID), sub.Name, data)
		return nil
	}})
	return made, err
}

func (c *change) subscribed(ctx context.Context) (list []store.Subscription, err error) {
	rows, err := c.tx.Query(ctx, subscriptionsSQL, int64(c.box))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanSubscription)
}

func scanSubscription(row pgx.CollectableRow) (x store.Subscription, err error) {
	var data []byte
	if err = row.Scan(&x.ID, &x.Owner, &x.Box, &x.Folder.ID, &x.Name, &data); err == nil {
		err = json.Unmarshal(data, &x.Props)
	}
	return x, err
}

func subscriptionData(x *store.Subscription) (string, error) {
	if x.Name != "" {
		name, err := folderName(x.Name)
		if err != nil {
			return "", err
		}
		x.Name = name
	}
	if err := checkFolderProps(&x.Props); err != nil {
		return "", err
	}
	data, err := json.Marshal(store.FolderProps{Color: x.Props.Color, Order: x.Props.Order})
	return jsonText(data), err
}

// UpdateSubscription changes name and properties.
func (s *Store) UpdateSubscription(ctx context.Context, as directory.Principal, id store.FolderID, fn func(*store.Subscription) error) (sub store.Subscription, err error) {
	defer fault.Wrap(&err, "change subscription %d of mailbox %d", id, as.Mailbox)
	_, err = s.change(ctx, as, as.Mailbox, changeOf{run: func(ctx context.Context, c *change) error {
		all, err := c.subscribed(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(x store.Subscription) bool { return x.ID == id })
		if i < 0 {
			return noFolder()
		}
		sub = all[i]
		if err := fn(&sub); err != nil {
			return err
		}
		data, err := subscriptionData(&sub)
		if err != nil {
			return err
		}
		c.hierarchy = true
		c.last.Queue("update mail.subscription set name = $3, data = $4 where mailbox = $1 and id = $2", int64(c.box), int64(id), sub.Name, data)
		return nil
	}})
	return sub, err
}

// UnsubscribeShared takes a folder of somebody else away from one's own.
func (s *Store) UnsubscribeShared(ctx context.Context, as directory.Principal, id store.FolderID) (err error) {
	defer fault.Wrap(&err, "unsubscribe %d of mailbox %d", id, as.Mailbox)
	_, err = s.change(ctx, as, as.Mailbox, changeOf{run: func(ctx context.Context, c *change) error {
		all, err := c.subscribed(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(x store.Subscription) bool { return x.ID == id }) {
			return noFolder()
		}
		c.hierarchy = true
		c.last.Queue("delete from mail.subscription where mailbox = $1 and id = $2", int64(c.box), int64(id))
		return nil
	}})
	return err
}
