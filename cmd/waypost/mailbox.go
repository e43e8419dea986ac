package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/internal/mailfile"
	"waypost/store"
)

type mailboxCmd struct {
	Import mailboxImportCmd `cmd:"" help:"Bring messages, calendars and contacts into a mailbox. Safe to repeat: what is there already is passed over."`
	Export struct {
		Address string `arg:""`
		Dir     string `arg:"" type:"path" help:"A folder that does not exist yet."`
	} `cmd:"" help:"Write a mailbox: Maildirs, one .ics for each calendar, task list and folder of notes, one .vcf for each address book."`
	Show struct {
		Address string `arg:""`
	} `cmd:"" help:"Show a mailbox's folders and sizes."`
	Settings mailboxSettingsCmd `cmd:"" help:"Show time zone, working hours and language of somebody, or change them; what is not named stays."`
	Deleted  deletedCmd         `cmd:"" help:"List what was deleted for good and can still be restored."`
	Restore  restoreCmd         `cmd:"" help:"Bring back what was deleted for good."`
}

type mailboxImportCmd struct {
	Address   string `arg:"" help:"Whose mailbox."`
	Path      string `arg:"" type:"path" help:"An mbox file, a Maildir, one .eml, a calendar (.ics), an address book (.vcf), a folder of them, or an export."`
	Folder    string `help:"Put everything into or below this folder instead of where the files say."`
	NewFolder bool   `help:"Calendars and contacts into a folder of their own, named as the calendar is (X-WR-CALNAME), else as the file."`
}

// boxOf gives the mailbox of an address and who the command line acts as in it.
func (a *app) boxOf(ctx context.Context, address string) (directory.Principal, store.MailboxID, error) {
	u, err := a.dir.UserByAddress(ctx, operator(), address)
	if err != nil {
		return directory.Principal{}, 0, err
	}
	as := operator()
	as.Mailbox, as.HomeMDB, as.Address = u.Mailbox, u.HomeMDB, u.Address
	return as, u.Mailbox, nil
}

// folders finds or makes folders by their path.
type folders struct {
	a    *app
	as   directory.Principal
	box  store.MailboxID
	list []store.Folder
}

// standard maps the usual names of other systems to the standard folders.
var standard = map[string]store.Role{
	"inbox": store.RoleInbox, "sent": store.RoleSent, "sent items": store.RoleSent, "sent mail": store.RoleSent,
	"drafts": store.RoleDrafts, "trash": store.RoleTrash, "deleted items": store.RoleTrash, "deleted messages": store.RoleTrash,
	"junk": store.RoleJunk, "spam": store.RoleJunk, "junk e-mail": store.RoleJunk, "junk email": store.RoleJunk,
	"archive": store.RoleArchive,
}

func (f *folders) at(ctx context.Context, path []string) (store.Folder, error) {
	if len(path) == 0 {
		path = []string{"inbox"}
	}
	return f.find(ctx, path, store.ClassMail)
}

// find finds or makes a folder. Where a folder of another class has the name of
// one for objects, the class stands behind it.
func (f *folders) find(ctx context.Context, path []string, class store.Class) (store.Folder, error) {
	var parent store.Folder
	for i, name := range path {
		last := i == len(path)-1 && class != store.ClassMail
		at := f.index(parent.ID, name, i == 0)
		if last && at >= 0 && f.list[at].Class != class {
			name = fmt.Sprintf("%s (%s)", name, class)
			at = f.index(parent.ID, name, false)
		}
		if at >= 0 {
			parent = f.list[at]
			continue
		}
		made, err := f.a.mail.CreateFolder(ctx, f.as, f.box, store.Folder{Parent: parent.ID, Name: name, Class: class, Subscribed: true})
		if err != nil {
			return store.Folder{}, fmt.Errorf("folder %s: %w", strings.Join(path[:i+1], "/"), err)
		}
		f.list = append(f.list, made)
		parent = made
	}
	return parent, nil
}

func (f *folders) index(parent store.FolderID, name string, first bool) int {
	return slices.IndexFunc(f.list, func(g store.Folder) bool {
		return g.Parent == parent && strings.EqualFold(g.Name, name) ||
			first && g.Role != store.RoleNone && g.Role == standard[strings.ToLower(name)]
	})
}

func (a *app) mailboxImport(ctx context.Context, c *cli) error {
	in := c.Mailbox.Import
	as, box, err := a.boxOf(ctx, in.Address)
	if err != nil {
		return err
	}
	total, err := mailfile.Size(in.Path)
	if err != nil {
		return fault.From(fault.Of(err), err, "%s cannot be read", in.Path)
	}
	bar := progress("importing", total, true)
	res, err := a.importInto(ctx, as, box, in, func(n int64) { _ = bar.Add64(n) })
	_ = bar.Finish()
	if err != nil {
		return err
	}
	if info, err := os.Stat(in.Path); err == nil && !info.IsDir() && info.Size() > 0 && res.Imported+res.Present+res.Objects.Files == 0 {
		return fault.New(fault.Invalid, "there is no message in %s: it is neither an mbox file, an .eml, a calendar nor an address book", in.Path)
	}
	if err := a.out.show(res, func(w io.Writer) { res.people(w, in.Address) }); err != nil {
		return err
	}
	if n := res.Objects.Refused; n > 0 {
		return fault.New(fault.Invalid, "%s refused", was(n, "object"))
	}
	return nil
}

// importInto brings files into a mailbox; read is told of every piece that was read.
func (a *app) importInto(ctx context.Context, as directory.Principal, box store.MailboxID, in mailboxImportCmd, read func(int64)) (*mailboxImported, error) {
	if _, err := a.mail.Mailbox(ctx, as, box); err != nil {
		return nil, err
	}
	list, _, err := a.mail.Folders(ctx, as, box)
	if err != nil {
		return nil, err
	}
	into := &folders{a: a, as: as, box: box, list: list}
	var below []string
	if in.Folder != "" {
		below = strings.Split(in.Folder, "/")
	}
	res := &mailboxImported{Objects: objectsImported{Refusals: []objectRefusal{}}}
	objects := &objectImporter{folders: into, sum: &res.Objects, root: in.Path, below: below, newFolder: in.NewFolder}
	if err := objects.recall(); err != nil {
		return nil, err
	}
	err = mailfile.Walk(ctx, in.Path, read, func(it mailfile.Item) error {
		if it.Objects {
			return objects.file(ctx, it)
		}
		to, err := into.at(ctx, append(below[:len(below):len(below)], it.Folder...))
		if err != nil {
			return err
		}
		m := store.NewMessage{Folder: to.ID, Flags: flagsOf(it), Received: it.Received}
		added, err := a.addMessage(ctx, as, box, m, it.Body, true)
		if err != nil {
			return err
		}
		if added.Repeated {
			res.Present++
		} else {
			res.Imported++
		}
		return nil
	})
	return res, err
}

// addMessage streams a message into a mailbox. With once, the same content in
// the same folder is stored a single time, so that an import may be repeated.
func (a *app) addMessage(ctx context.Context, as directory.Principal, box store.MailboxID, m store.NewMessage, body io.Reader, once bool) (store.Added, error) {
	w, err := a.mail.NewBlob(ctx, as.HomeMDB)
	if err != nil {
		return store.Added{}, err
	}
	defer w.Abort()
	summary, err := mail.Parse(io.TeeReader(body, w))
	if err != nil {
		return store.Added{}, err
	}
	if m.Blob, err = w.Close(ctx); err != nil {
		return store.Added{}, err
	}
	m.Summary = summary
	if once {
		m.Once = fmt.Sprintf("import %d %x", m.Folder, m.Blob.Hash)
	}
	if m.Received.IsZero() {
		m.Received = summary.Date
	}
	return a.mail.Add(ctx, as, box, m)
}

func flagsOf(it mailfile.Item) (f store.Flags) {
	for _, b := range []struct {
		on   bool
		flag store.Flags
	}{{it.Seen, store.Seen}, {it.Answered, store.Answered}, {it.Flagged, store.Flagged}, {it.Deleted, store.Deleted}, {it.Draft, store.Draft}} {
		if b.on {
			f |= b.flag
		}
	}
	return f
}

// paths gives each folder's path, parents being before children in the list.
func paths(list []store.Folder) map[store.FolderID][]string {
	out := map[store.FolderID][]string{}
	for _, f := range list {
		out[f.ID] = append(out[f.Parent][:len(out[f.Parent]):len(out[f.Parent])], f.Name)
	}
	return out
}

func (a *app) mailboxExport(ctx context.Context, c *cli) error {
	in := c.Mailbox.Export
	as, box, err := a.boxOf(ctx, in.Address)
	if err != nil {
		return err
	}
	if _, err := os.Stat(in.Dir); !errors.Is(err, os.ErrNotExist) {
		return fault.New(fault.Exists, "%s is there already; name a folder that is not", in.Dir)
	}
	info, err := a.mail.Mailbox(ctx, as, box)
	if err != nil {
		return err
	}
	list, _, err := a.mail.Folders(ctx, as, box)
	if err != nil {
		return err
	}
	path := paths(list)
	bar := progress("exporting", info.Items, false)
	n, objects, err := a.exportAll(ctx, as, box, list, path, in.Dir, bar)
	_ = bar.Finish()
	if err != nil {
		return err
	}
	what := count(n, "message")
	if objects > 0 {
		what += " and " + count(objects, "object")
	}
	return a.out.done(map[string]any{"exported": n, "objects": objects, "dir": in.Dir}, "%s written below %s.", what, in.Dir)
}

func (a *app) exportAll(ctx context.Context, as directory.Principal, box store.MailboxID, list []store.Folder, path map[store.FolderID][]string, dir string, bar *progressbar.ProgressBar) (n, objects int, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, 0, err
	}
	out := &objectExporter{a: a, as: as, box: box, dir: dir, bar: bar}
	for _, f := range list {
		if f.Origin != store.OriginOwn {
			continue // it comes from elsewhere, and would come back twice
		}
		if f.Class != store.ClassMail {
			err = out.folder(ctx, f, path[f.ID])
		} else {
			n, err = a.exportFolder(ctx, as, box, f, path[f.ID], dir, n, bar)
		}
		if err != nil {
			return n, out.n, err
		}
	}
	return n, out.n, out.close()
}

func (a *app) exportFolder(ctx context.Context, as directory.Principal, box store.MailboxID, f store.Folder, path []string, dir string, n int, bar *progressbar.ProgressBar) (int, error) {
	const page = 500
	for after := store.UID(0); ; {
		_, entries, err := a.mail.Entries(ctx, as, box, f.ID, after, page)
		if err != nil {
			return n, err
		}
		for _, e := range entries {
			content, err := a.mail.Content(ctx, as, box, e.Item)
			if fault.Of(err) == fault.NotFound && err != nil {
				continue // deleted meanwhile
			}
			if err != nil {
				return n, err
			}
			it := mailfile.Item{
				Folder: path, Received: e.Received, Body: io.NewSectionReader(content, 0, content.Size()),
				Seen: e.Flags&store.Seen != 0, Answered: e.Flags&store.Answered != 0, Flagged: e.Flags&store.Flagged != 0,
				Deleted: e.Flags&store.Deleted != 0, Draft: e.Flags&store.Draft != 0,
			}
			if err := mailfile.Write(dir, fmt.Sprintf("%d.%d.waypost", e.Received.Unix(), e.Item), it); err != nil {
				return n, err
			}
			n++
			_ = bar.Add(1)
		}
		if len(entries) < page {
			return n, nil
		}
		after = entries[len(entries)-1].UID
	}
}

func (a *app) mailboxShow(ctx context.Context, c *cli) error {
	as, box, err := a.boxOf(ctx, c.Mailbox.Show.Address)
	if err != nil {
		return err
	}
	m, err := a.mail.Mailbox(ctx, as, box)
	if err != nil {
		return err
	}
	u, err := a.dir.UserByAddress(ctx, operator(), as.Address)
	if err != nil {
		return err
	}
	if u.Quota > 0 {
		m.Quota = u.Quota // the directory's word goes before the default
	}
	list, _, err := a.mail.Folders(ctx, as, box)
	if err != nil {
		return err
	}
	path := paths(list)
	rows := make([][]any, len(list))
	for i, f := range list {
		rows[i] = []any{strings.Join(path[f.ID], "/"), f.Class, f.Total, f.Unread, bytesText(f.Size)}
	}
	if a.out.json {
		return a.out.show(map[string]any{"mailbox": m, "folders": list}, nil)
	}
	if err := a.out.list(nil, []any{"Folder", "Holds", "Items", "Unread", "Size"}, rows); err != nil {
		return err
	}
	quota := "without limit"
	if m.Quota > 0 {
		quota = "of " + bytesText(m.Quota)
	}
	fmt.Fprintf(a.out.out, "\n%s, %s %s; recoverable %s.\n", count(m.Items, "item"), bytesText(m.Used), quota, bytesText(m.Recoverable))
	return nil
}

type deviceCmd struct {
	List struct {
		Address string `arg:""`
	} `cmd:"" help:"List a user's phones."`
	Show struct {
		Address string `arg:""`
		ID      string `arg:""`
	} `cmd:"" help:"Show one phone."`
	Wipe struct {
		Address string `arg:""`
		ID      string `arg:""`
		Account bool   `help:"Only the account's data; needs a phone that speaks version 16.1."`
		Cancel  bool   `help:"Take a wipe back that the phone has not carried out."`
	} `cmd:"" help:"Erase a phone at its next contact."`
	Block struct {
		Address string `arg:""`
		ID      string `arg:""`
	} `cmd:"" help:"Refuse a phone."`
	Allow struct {
		Address string `arg:""`
		ID      string `arg:""`
	} `cmd:"" help:"Accept a phone again after block or wipe."`
	Remove struct {
		Address string `arg:""`
		ID      string `arg:""`
	} `cmd:"" help:"Forget a phone; it sets itself up anew at its next contact."`
}

func deviceState(d store.Device) string {
	switch {
	case d.Wipe != "":
		return "wipe " + d.Wipe
	case d.Blocked:
		return "blocked"
	case d.PolicyKey == 0:
		return "not provisioned"
	}
	return "ok"
}

func (a *app) deviceList(ctx context.Context, c *cli) error {
	as, box, err := a.boxOf(ctx, c.Device.List.Address)
	if err != nil {
		return err
	}
	all, err := a.mail.Devices(ctx, as, box)
	if err != nil {
		return err
	}
	rows := make([][]any, len(all))
	for i, d := range all {
		all[i].Secret = nil
		rows[i] = []any{d.ID, d.Type, d.Info["model"], d.Version, deviceState(d), when(d.LastSeen)}
	}
	return a.out.list(all, []any{"ID", "Type", "Model", "Protocol", "State", "Last seen"}, rows)
}

func (a *app) deviceShow(ctx context.Context, c *cli) error {
	as, box, err := a.boxOf(ctx, c.Device.Show.Address)
	if err != nil {
		return err
	}
	d, err := a.device(ctx, as, box, c.Device.Show.ID)
	if err != nil {
		return err
	}
	d.Secret = nil
	return a.out.show(d, func(w io.Writer) {
		fmt.Fprintf(w, "%s  %s  %s\n", d.ID, d.Type, deviceState(d))
		fmt.Fprintf(w, "agent %s, protocol %s\nfirst seen %s, last seen %s from %s\n", d.Agent, d.Version, when(d.FirstSeen), when(d.LastSeen), d.LastFrom)
		for _, k := range slices.Sorted(maps.Keys(d.Info)) {
			fmt.Fprintf(w, "%-16s %s\n", k, d.Info[k])
		}
	})
}

// device gives a phone of a mailbox by its id, in whatever case.
func (a *app) device(ctx context.Context, as directory.Principal, box store.MailboxID, id string) (store.Device, error) {
	d, err := a.mail.Device(ctx, as, box, strings.ToLower(id))
	if isNotFound(err) {
		return d, fault.New(fault.NotFound, "%s has no phone %s; see: waypost device list %s", as.Address, id, as.Address)
	}
	return d, err
}

// changeDevice changes a phone that is known; unlike the store's verb it makes none.
func (a *app) changeDevice(ctx context.Context, address, id string, fn func(*store.Device) error, say string) error {
	as, box, err := a.boxOf(ctx, address)
	if err != nil {
		return err
	}
	known, err := a.device(ctx, as, box, id)
	if err != nil {
		return err
	}
	id = known.ID
	d, err := a.mail.UpdateDevice(ctx, as, box, id, fn)
	if err != nil {
		return err
	}
	d.Secret = nil
	return a.out.done(d, say, id)
}

func (a *app) deviceWipe(ctx context.Context, c *cli) error {
	in := c.Device.Wipe
	if in.Cancel {
		return a.changeDevice(ctx, in.Address, in.ID, func(d *store.Device) error {
			if d.Wipe == "done" {
				return fault.New(fault.Conflict, "the phone has carried the wipe out; use: waypost device allow")
			}
			d.Wipe, d.WipeAccount, d.WipeAt = "", false, time.Time{}
			return nil
		}, "The wipe of %s is taken back.")
	}
	return a.changeDevice(ctx, in.Address, in.ID, func(d *store.Device) error {
		if in.Account && d.Version != "16.1" {
			return fault.New(fault.Invalid, "the phone speaks version %s and would erase everything; without --account that is what is asked for", d.Version)
		}
		d.Wipe, d.WipeAccount, d.WipeAt = "pending", in.Account, time.Now()
		return nil
	}, "%s is erased at its next contact.")
}

func (a *app) deviceBlock(ctx context.Context, c *cli) error {
	return a.changeDevice(ctx, c.Device.Block.Address, c.Device.Block.ID, func(d *store.Device) error { d.Blocked = true; return nil }, "%s is refused from now on.")
}

func (a *app) deviceAllow(ctx context.Context, c *cli) error {
	return a.changeDevice(ctx, c.Device.Allow.Address, c.Device.Allow.ID, func(d *store.Device) error {
		d.Blocked, d.Wipe, d.WipeAccount, d.WipeAt = false, "", false, time.Time{}
		return nil
	}, "%s is accepted again.")
}

func (a *app) deviceRemove(ctx context.Context, c *cli) error {
	as, box, err := a.boxOf(ctx, c.Device.Remove.Address)
	if err != nil {
		return err
	}
	known, err := a.device(ctx, as, box, c.Device.Remove.ID)
	if err != nil {
		return err
	}
	id := known.ID
	if err := a.mail.RemoveDevice(ctx, as, box, id); err != nil {
		return err
	}
	return a.out.done(map[string]string{"removed": id}, "%s is forgotten.", id)
}
