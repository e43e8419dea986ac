package jmap

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/cases"

	"waypost/internal/fault"
	"waypost/store"
)

// maxMailboxName bounds a mailbox's name in bytes.
const maxMailboxName = 250

var mailboxProperties = []string{
	"id", "name", "parentId", "role", "sortOrder", "totalEmails", "unreadEmails", "totalThreads", "unreadThreads", "myRights", "isSubscribed",
}

// mailboxes are folders of mail (RFC 8621 section 2).
var mailboxes = &small{
	kind: &kind{
		name:       "Mailbox",
		state:      mailState,
		properties: mailboxProperties,
		all: func(ctx context.Context, c *call) (ids []string, err error) {
			folders, err := c.mailFolders(ctx)
			for _, f := range folders {
				ids = append(ids, f.ID.String())
			}
			return ids, err
		},
		read:    readMailboxes,
		changes: mailboxChanges,
		mutable: []string{"name", "parentId", "sortOrder", "isSubscribed", "role"},
		unset:   object{"sortOrder": int64(0), "isSubscribed": true},
		create:  createMailbox,
		update: func(ctx context.Context, c *call, list []*update) {
			// What is refused now may be right when others have changed, as when two
			// change places (RFC 8620 section 5.3): the final state counts.
			for before := len(list) + 1; len(list) > 0 && len(list) < before; {
				before = len(list)
				list = slices.DeleteFunc(list, func(u *update) bool {
					u.err = updateMailbox(ctx, c, u)
					return u.err == nil
				})
			}
		},
		destroy: destroyMailboxes,
	},
	condition: mailboxCondition,
	sorts:     []string{"sortOrder", "name", "parentId"},
	compare: func(property string, a, b object) int {
		switch property {
		case "sortOrder":
			return cmp.Compare(a[property].(int64), b[property].(int64))
		case "parentId":
			x, _ := a[property].(string)
			y, _ := b[property].(string)
			return strings.Compare(x, y)
		}
		fold := cases.Fold()
		return strings.Compare(fold.String(a["name"].(string)), fold.String(b["name"].(string)))
	},
	arrange: arrangeTree,
}

// mailState is the state of Mailbox, Thread and Email: the newest change of mail.
func mailState(ctx context.Context, c *call) (string, error) {
	seq, err := c.store.MailSeq(ctx, c.who, c.box)
	return seqText(seq), err
}

func seqText(s store.Seq) string { return strconv.FormatInt(int64(s), 10) }

// roles are those of IANA's registry that our standard folders have. The outbox
// has none there.
var roles = map[store.Role]string{
	store.RoleInbox: "inbox", store.RoleDrafts: "drafts", store.RoleSent: "sent", store.RoleTrash: "trash",
	store.RoleJunk: "junk", store.RoleArchive: "archive",
}

// mailFolders lists the folders of mail.
func (c *call) mailFolders(ctx context.Context) ([]store.Folder, error) {
	all, _, err := c.store.Folders(ctx, c.who, c.box)
	return slices.DeleteFunc(all, func(f store.Folder) bool { return f.Class != store.ClassMail }), err
}

func readMailboxes(ctx context.Context, c *call, ids, properties []string) (map[string]object, error) {
	folders, err := c.mailFolders(ctx)
	if err != nil {
		return nil, err
	}
	isMail := make(map[store.FolderID]bool, len(folders))
	for _, f := range folders {
		isMail[f.ID] = true
	}
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	folders = slices.DeleteFunc(folders, func(f store.Folder) bool { return !wanted[f.ID.String()] })
	var counts map[store.FolderID]store.ThreadCount
	if slices.ContainsFunc(properties, func(p string) bool { return slices.Contains(countProperties, p) }) {
		if counts, err = c.store.ThreadCounts(ctx, c.who, c.box); err != nil {
			return nil, err
		}
	}
	var props []store.FolderProps
	if slices.Contains(properties, "sortOrder") && len(folders) > 0 {
		folderIDs := make([]store.FolderID, len(folders))
		for i, f := range folders {
			folderIDs[i] = f.ID
		}
		if props, err = c.store.FolderProps(ctx, c.who, c.box, folderIDs); err != nil {
			return nil, err
		}
	}
	found := make(map[string]object, len(folders))
	for i, f := range folders {
		n := counts[f.ID]
		o := object{
			"id": f.ID.String(), "name": f.Name, "parentId": nil, "role": nil, "sortOrder": int64(0),
			"totalEmails": int64(n.Items), "unreadEmails": int64(n.Unread), "totalThreads": int64(n.Threads), "unreadThreads": int64(n.UnreadThreads),
			"isSubscribed": f.Subscribed, "myRights": rightsOf(&f),
		}
		if isMail[f.Parent] {
			o["parentId"] = f.Parent.String()
		}
		if role, ok := roles[f.Role]; ok {
			o["role"] = role
		}
		if props != nil {
			o["sortOrder"] = sortOrder(&f, &props[i])
		}
		found[f.ID.String()] = o
	}
	return found, nil
}

var countProperties = []string{"totalEmails", "unreadEmails", "totalThreads", "unreadThreads"}

// sortOrder is the order that somebody gave, else that of the standard folders.
func sortOrder(f *store.Folder, p *store.FolderProps) int64 {
	if n, err := strconv.ParseUint(p.Order, 10, 31); err == nil {
		return int64(n)
	}
	if i := slices.Index([]store.Role{store.RoleInbox, store.RoleDrafts, store.RoleSent, store.RoleArchive, store.RoleJunk, store.RoleTrash, store.RoleOutbox}, f.Role); i >= 0 {
		return int64(i + 1)
	}
	return 10
}

// rightsOf are what an owner may do with a folder.
func rightsOf(f *store.Folder) object {
	own := f.Role == store.RoleNone
	return object{
		"mayReadItems": true, "mayAddItems": true, "mayRemoveItems": true, "maySetSeen": true, "maySetKeywords": true,
		"mayCreateChild": true, "mayRename": own, "mayDelete": own, "maySubmit": true,
	}
}

func mailboxChanges(ctx context.Context, c *call, since string, limit int) (*changes, error) {
	seq, err := parseSeq(since)
	if err != nil {
		return nil, err
	}
	// The state first: what comes between is told once more, not left out.
	now, err := c.store.MailSeq(ctx, c.who, c.box)
	if err != nil {
		return nil, err
	}
	if seq > now {
		return nil, methodFault("cannotCalculateChanges", "there was no such state")
	}
	tree, err := c.store.FolderChanges(ctx, c.who, c.box, seq)
	if err != nil {
		return nil, err
	}
	folders, err := c.mailFolders(ctx)
	if err != nil {
		return nil, err
	}
	ch := &changes{state: seqText(now)}
	onlyCounts := true
	for _, f := range folders {
		switch {
		case f.Created > seq:
			ch.created = append(ch.created, f.ID.String())
			onlyCounts = false
		case f.Changed > seq:
			ch.updated = append(ch.updated, f.ID.String())
			onlyCounts = false
		case f.HighestSeq > seq:
			ch.updated = append(ch.updated, f.ID.String())
		}
	}
	for _, id := range tree.Gone {
		ch.destroyed = append(ch.destroyed, id.String())
	}
	if len(ch.created)+len(ch.updated)+len(ch.destroyed) > limit {
		return nil, methodFault("cannotCalculateChanges", "there are more changes than %d", limit)
	}
	ch.extra = object{"updatedProperties": nil}
	if onlyCounts && len(ch.updated) > 0 {
		ch.extra["updatedProperties"] = countProperties
	}
	return ch, nil
}

// parseSeq reads a state that is one number.
func parseSeq(state string) (store.Seq, error) {
	n, err := strconv.ParseInt(state, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != state {
		return 0, methodFault("cannotCalculateChanges", "there was no such state")
	}
	return store.Seq(n), nil
}

func mailboxCondition(o object) (match, error) {
	var all []match
	for name, want := range o {
		switch v := want.(type) {
		case string:
			switch name {
			case "parentId", "role":
				all = append(all, func(o object) bool { return o[name] == want })
				continue
			case "name":
				fold := cases.Fold()
				v = fold.String(v)
				all = append(all, func(o object) bool { return strings.Contains(cases.Fold().String(o["name"].(string)), v) })
				continue
			}
		case nil:
			if name == "parentId" || name == "role" {
				all = append(all, func(o object) bool { return o[name] == nil })
				continue
			}
		case bool:
			switch name {
			case "hasAnyRole":
				all = append(all, func(o object) bool { return (o["role"] != nil) == v })
				continue
			case "isSubscribed":
				all = append(all, func(o object) bool { return o[name] == want })
				continue
			}
		}
		if !slices.Contains([]string{"parentId", "role", "name", "hasAnyRole", "isSubscribed"}, name) {
			return nil, methodFault("unsupportedFilter", "there is no condition %q", name)
		}
		return nil, invalidArguments("the condition %q is of another type", name)
	}
	return joinMatches("AND", all), nil
}

// arrangeTree does what sortAsTree and filterAsTree ask.
func arrangeTree(c *call, q *query, m match, all []object) ([]object, bool, error) {
	asTree, err := c.bool("sortAsTree")
	if err != nil {
		return nil, false, err
	}
	whole, err := c.bool("filterAsTree")
	if err != nil {
		return nil, false, err
	}
	if whole {
		byID := map[any]object{}
		for _, o := range all {
			byID[o["id"]] = o
		}
		all = slices.DeleteFunc(all, func(o object) bool {
			for o["parentId"] != nil {
				if o = byID[o["parentId"]]; !m(o) {
					return true
				}
			}
			return false
		})
	}
	if asTree {
		below := map[any][]object{}
		there := map[any]bool{}
		for _, o := range all {
			there[o["id"]] = true
		}
		for _, o := range all {
			parent := o["parentId"]
			if !there[parent] {
				parent = nil
			}
			below[parent] = append(below[parent], o) // they are sorted already
		}
		var sorted []object
		var add func(parent any)
		add = func(parent any) {
			for _, o := range below[parent] {
				sorted = append(sorted, o)
				add(o["id"])
			}
		}
		add(nil)
		all = sorted
	}
	// A child's place depends on what is above it.
	return all, !asTree && !whole, nil
}

func createMailbox(ctx context.Context, c *call, o object) (string, object, error) {
	f := store.Folder{Class: store.ClassMail, Subscribed: true}
	var bad []string
	var order *int64
	for name, v := range o {
		ok := false
		switch name {
		case "name":
			f.Name, ok = v.(string)
		case "parentId":
			if v == nil {
				ok = true
				break
			}
			id, isText := v.(string)
			if !isText {
				break
			}
			id, err := c.reference(id)
			if err != nil {
				return "", nil, err
			}
			f.Parent, ok = store.ParseFolderID(id)
		case "role":
			switch v {
			case nil:
				ok = true
			case "archive":
				f.Role, ok = store.RoleArchive, true
			}
		case "sortOrder":
			n, isNumber := v.(int64)
			ok = isNumber && n >= 0 && n < 1<<31
			order = &n
		case "isSubscribed":
			f.Subscribed, ok = v.(bool)
		}
		if !ok {
			bad = append(bad, name)
		}
	}
	if _, ok := o["name"]; !ok {
		bad = append(bad, "name")
	}
	if len(bad) > 0 {
		return "", nil, invalidProperties("", bad...)
	}
	if f.Parent != 0 {
		if parent, err := c.store.Folder(ctx, c.who, c.box, f.Parent); err != nil || parent.Class != store.ClassMail {
			return "", nil, invalidProperties("there is no such mailbox", "parentId")
		}
	}
	f, err := c.store.CreateFolder(ctx, c.who, c.box, f)
	if err != nil {
		return "", nil, folderProblem(err)
	}
	if order != nil {
		if err := c.setOrder(ctx, f.ID, *order); err != nil {
			return "", nil, err
		}
	}
	id := f.ID.String()
	made, err := readMailboxes(ctx, c, []string{id}, mailboxProperties)
	if err != nil || made[id] == nil {
		return id, object{"id": id}, err
	}
	given := made[id]
	for name := range o {
		delete(given, name)
	}
	return id, given, nil
}

// folderProblem tells what is wrong with a folder's name or place.
func folderProblem(err error) error {
	switch fault.Of(err) {
	case fault.Exists, fault.Invalid:
		return invalidProperties(fault.Say(err), "name")
	case fault.NotFound, fault.Limit:
		return invalidProperties(fault.Say(err), "parentId")
	}
	return err
}

func (c *call) setOrder(ctx context.Context, id store.FolderID, n int64) error {
	_, err := c.store.UpdateFolderProps(ctx, c.who, c.box, id, func(p *store.FolderProps) error {
		p.Order = strconv.FormatInt(n, 10)
		return nil
	})
	return err
}

func updateMailbox(ctx context.Context, c *call, u *update) error {
	id, _ := store.ParseFolderID(u.id)
	f, err := c.store.Folder(ctx, c.who, c.box, id)
	if err != nil {
		return err
	}
	name, parent, order, subscribed := f.Name, f.Parent, int64(-1), f.Subscribed
	var bad []string
	for p, v := range u.changes {
		ok := false
		switch p {
		case "name":
			name, ok = v.(string)
		case "parentId":
			if v == nil {
				parent, ok = 0, true
				break
			}
			to, isText := v.(string)
			if !isText {
				break
			}
			if to, err = c.reference(to); err != nil {
				return err
			}
			if parent, ok = store.ParseFolderID(to); ok {
				to, err := c.store.Folder(ctx, c.who, c.box, parent)
				ok = err == nil && to.Class == store.ClassMail
			}
		case "sortOrder":
			n, isNumber := v.(int64)
			order, ok = n, isNumber && n >= 0 && n < 1<<31
		case "isSubscribed":
			subscribed, ok = v.(bool)
		case "role": // standard folders stay what they are
		}
		if !ok {
			bad = append(bad, p)
		}
	}
	if len(bad) > 0 {
		return invalidProperties("", bad...)
	}
	// What may be refused comes first, so that nothing is done by halves.
	if name != f.Name || parent != f.Parent {
		if _, err := c.store.RenameFolder(ctx, c.who, c.box, id, parent, name); err != nil {
			if parent != f.Parent && name == f.Name && fault.Of(err) == fault.Invalid {
				return invalidProperties(fault.Say(err), "parentId")
			}
			return folderProblem(err)
		}
	}
	if order >= 0 {
		if err := c.setOrder(ctx, id, order); err != nil {
			return err
		}
	}
	if subscribed != f.Subscribed {
		return c.store.SubscribeFolder(ctx, c.who, c.box, id, subscribed)
	}
	return nil
}

func destroyMailboxes(ctx context.Context, c *call, ids []string) map[string]error {
	errs := map[string]error{}
	withEmails, _ := c.args["onDestroyRemoveEmails"].(bool)
	folders, err := c.mailFolders(ctx)
	byID := map[string]store.Folder{}
	children := map[store.FolderID]int{}
	for _, f := range folders {
		byID[f.ID.String()] = f
		children[f.Parent]++
	}
	// Children first, so that a tree goes in one call whatever its order.
	depth := func(id string) (n int) {
		for f, ok := byID[id]; ok; f, ok = byID[f.Parent.String()] {
			n++
		}
		return n
	}
	order := slices.Clone(ids)
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(depth(b), depth(a)) })
	for _, id := range order {
		f, ok := byID[id]
		switch {
		case err != nil:
			errs[id] = err
		case !ok:
			errs[id] = &setError{kind: "notFound"}
		case f.Role != store.RoleNone:
			errs[id] = &setError{kind: "forbidden", text: "standard mailboxes stay"}
		case children[f.ID] > 0:
			errs[id] = &setError{kind: "mailboxHasChild"}
		case f.Total > f.Deleted && !withEmails:
			errs[id] = &setError{kind: "mailboxHasEmail"}
		default:
			e := c.store.DeleteFolder(ctx, c.who, c.box, f.ID, false)
			if fault.Of(e) == fault.Conflict && e != nil {
				e = &setError{kind: "mailboxHasChild"}
			}
			if errs[id] = e; e == nil {
				children[f.Parent]--
			}
		}
	}
	return errs
}
