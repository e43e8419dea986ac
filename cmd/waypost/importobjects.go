package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"waypost/internal/fault"
	"waypost/internal/mailfile"
	"waypost/internal/objectfile"
	"waypost/store"
	"waypost/store/object"
)

// mailboxImported is what an import into a mailbox did.
type mailboxImported struct {
	Imported, Present int // messages
	Objects           objectsImported
}

// objectsImported counts events, tasks, notes and contacts.
type objectsImported struct {
	Files    int
	Added    int
	Changed  int // are newer in the file
	Present  int
	Older    int // are there with another text that is not known to be older
	Gone     int // came with an import before and were deleted since
	Refused  int
	Refusals []objectRefusal
}

// objectRefusal is an object that was not taken.
type objectRefusal struct {
	File string
	Line int    `json:"line,omitempty"`
	UID  string `json:"uid,omitempty"`
	Why  string
	at   string
}

func (r *mailboxImported) people(w io.Writer, address string) {
	o := &r.Objects
	if r.Imported+r.Present > 0 || o.Files == 0 {
		fmt.Fprintf(w, "%s imported into %s, %d were there already.\n", count(r.Imported, "message"), address, r.Present)
	}
	if o.Files == 0 {
		return
	}
	fmt.Fprintf(w, "%s added to %s, %d changed, %d were there already", count(o.Added, "object"), address, o.Changed, o.Present)
	for _, x := range []struct {
		n    int
		text string
	}{
		{o.Older, "%d left as they are, the file's are not newer"}, {o.Gone, "%d were imported before and deleted since"}, {o.Refused, "%d refused"},
	} {
		if x.n > 0 {
			fmt.Fprintf(w, ", "+x.text, x.n)
		}
	}
	fmt.Fprintln(w, ".")
	for i, x := range o.Refusals {
		if i == shownRefusals {
			fmt.Fprintf(w, "  and %d more; --json has the first %d\n", o.Refused-shownRefusals, maxTold)
			break
		}
		fmt.Fprintf(w, "  %s%s: %s\n", x.File, x.at, x.Why)
	}
}

// manifestName is the file of an export that says which folder each file is.
const manifestName = "folders.json"

// exportedFolder is a line of it.
type exportedFolder struct {
	File  string            `json:"file"`
	Path  []string          `json:"path"`
	Class store.Class       `json:"class"`
	Role  store.Role        `json:"role,omitempty"`
	Props store.FolderProps `json:"props"`
}

// objectImporter brings the objects of files into a mailbox.
type objectImporter struct {
	folders   *folders
	root      string // what is imported
	below     []string
	newFolder bool
	exported  map[string]exportedFolder // by file, when an export is imported

	mu  sync.Mutex
	sum *objectsImported
}

// recall reads what an export says of its files.
func (m *objectImporter) recall() error {
	raw, err := os.ReadFile(filepath.Join(m.root, manifestName))
	if err != nil {
		return nil // a single file, or no export
	}
	var list struct{ Folders []exportedFolder }
	if err := json.Unmarshal(raw, &list); err != nil {
		return fault.New(fault.Invalid, "%s of the export cannot be read: %v", manifestName, err)
	}
	m.exported = map[string]exportedFolder{}
	for _, f := range list.Folders {
		m.exported[f.File] = f
	}
	return nil
}

// importers is how many objects are written at once: the store combines them.
const importers = 8

// file imports one file. What is wrong with it is told and no reason to stop.
func (m *objectImporter) file(ctx context.Context, it mailfile.Item) error {
	name, err := filepath.Rel(m.root, it.Name)
	if err != nil || name == "." {
		name = filepath.Base(it.Name)
	}
	m.sum.Files++
	text, err := io.ReadAll(io.LimitReader(it.Body, int64(objectfile.MaxSize)+1))
	if err != nil {
		return err
	}
	f, err := objectfile.Read(text)
	if err != nil {
		m.refuse(name, objectfile.Piece{}, err)
		return nil
	}
	to := &destination{m: m, file: name, about: f.About, made: map[store.Class]store.Folder{}}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(importers)
	for p := range f.Pieces() {
		if ctx.Err() != nil {
			break
		}
		if p.Err != nil {
			m.refuse(name, p, p.Err)
			continue
		}
		folder, err := to.folder(ctx, p)
		if err != nil {
			_ = work.Wait()
			return err
		}
		work.Go(func() error { return m.piece(ctx, name, folder, p) })
	}
	return work.Wait()
}

// piece imports one object.
func (m *objectImporter) piece(ctx context.Context, file string, to store.FolderID, p objectfile.Piece) error {
	became, err := m.put(ctx, to, p)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err == nil:
		*became++
	case ctx.Err() != nil:
		return ctx.Err()
	case slices.Contains([]fault.Kind{fault.Invalid, fault.TooLarge, fault.Limit, fault.Conflict, fault.Exists}, fault.Of(err)):
		m.mu.Unlock()
		m.refuse(file, p, err)
		m.mu.Lock()
	default:
		return fmt.Errorf("%s: %w", p.Where(), err)
	}
	return nil
}

// put writes an object unless it is there, and gives where that is counted. An
// object without a UID gets one that follows from its text, and each text is
// written into a folder once: so an import may be repeated, whatever the mailbox's
// owner did with it meanwhile.
func (m *objectImporter) put(ctx context.Context, to store.FolderID, p objectfile.Piece) (*int, error) {
	made := fmt.Sprintf("import-%x", sha256.Sum256(p.Text))[:39]
	read, err := object.Parse(p.Text, made, time.Now())
	if err != nil {
		return nil, err
	}
	sum := m.sum
	var became *int
	res, err := m.folders.a.mail.PutObject(ctx, m.folders.as, m.folders.box, store.PutObject{
		Folder: to, UID: read.UID, Once: fmt.Sprintf("import %d %x", to, sha256.Sum256(read.Text)),
		Edit: func(old *store.Object) (store.Edit, error) {
			if old == nil {
				became = &sum.Added
				return store.Edit{Text: read.Text}, nil
			}
			text, what, err := objectfile.Update(old.Text, read.Text)
			became = map[objectfile.Became]*int{objectfile.Same: &sum.Present, objectfile.Older: &sum.Older, objectfile.Updated: &sum.Changed}[what]
			return store.Edit{Text: text}, err
		},
	})
	switch {
	case err != nil:
		return nil, err
	case res.Repeated && res.Entry.Folder == 0:
		return &sum.Gone, nil
	case res.Repeated:
		return &sum.Present, nil
	}
	return became, nil
}

func (m *objectImporter) refuse(file string, p objectfile.Piece, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sum.Refused++
	if len(m.sum.Refusals) == maxTold {
		return
	}
	r := objectRefusal{File: file, Line: p.Line, UID: p.UID, Why: whyOf(err)}
	if p.Line > 0 {
		r.at = ", " + p.Where()
	}
	m.sum.Refusals = append(m.sum.Refusals, r)
}

// destination is where the objects of a file go.
type destination struct {
	m     *objectImporter
	file  string
	about objectfile.About
	made  map[store.Class]store.Folder
}

// classOf is the class of folder that an object belongs into. A journal entry
// without a day is a note (RFC 5545 section 3.6.3 has it that way).
func classOf(p objectfile.Piece) store.Class {
	switch {
	case p.Kind == "VEVENT":
		return store.ClassCalendar
	case p.Kind == "VTODO":
		return store.ClassTasks
	case p.Kind == "VJOURNAL" && p.Dated:
		return store.ClassJournal
	case p.Kind == "VJOURNAL":
		return store.ClassNotes
	}
	return store.ClassContacts
}

var classRoles = map[store.Class]store.Role{
	store.ClassCalendar: store.RoleCalendar, store.ClassTasks: store.RoleTasks, store.ClassJournal: store.RoleJournal,
	store.ClassNotes: store.RoleNotes, store.ClassContacts: store.RoleContacts,
}

func (d *destination) folder(ctx context.Context, p objectfile.Piece) (store.FolderID, error) {
	class := classOf(p)
	said, exported := d.m.exported[filepath.ToSlash(d.file)]
	if exported {
		class = said.Class
	}
	if f, ok := d.made[class]; ok {
		return f.ID, nil
	}
	fs := d.m.folders
	path, role := slices.Clone(d.m.below), store.RoleNone
	switch {
	case exported && len(path) == 0 && said.Role != store.RoleNone:
		role = said.Role
	case exported:
		path = append(path, said.Path...)
	case d.m.newFolder:
		path = append(path, d.name())
	case len(path) == 0:
		role = classRoles[class]
	}
	if role != store.RoleNone {
		if i := slices.IndexFunc(fs.list, func(f store.Folder) bool { return f.Role == role }); i >= 0 {
			d.made[class] = fs.list[i]
			return fs.list[i].ID, nil
		}
		return 0, fault.New(fault.NotFound, "the mailbox has no folder %s", role)
	}
	before := len(fs.list)
	f, err := fs.find(ctx, path, class)
	if err != nil {
		return 0, err
	}
	if len(fs.list) > before && (exported || d.m.newFolder) {
		props := said.Props
		if !exported {
			props = propsOf(d.about)
		}
		_, err := fs.a.mail.UpdateFolderProps(ctx, fs.as, fs.box, f.ID, func(p *store.FolderProps) error {
			props.Path = "" // the address is the new folder's own
			*p = props
			return nil
		})
		if err != nil && fault.Of(err) != fault.Invalid { // what the calendar says of itself may make no sense
			return 0, err
		}
	}
	d.made[class] = f
	return f.ID, nil
}

// name is that of a new folder: the calendar's, else the file's, or that of the
// folder which it is in, which may hold a file for each object.
func (d *destination) name() string {
	name := strings.TrimSpace(d.about.Name)
	if name == "" && filepath.Dir(d.file) != "." {
		name = filepath.Base(filepath.Dir(d.file))
	}
	if name == "" {
		name = d.file
		if info, err := os.Stat(d.m.root); err == nil && info.IsDir() {
			name = filepath.Base(d.m.root)
		}
		name = strings.TrimSuffix(name, filepath.Ext(name))
	}
	name = strings.Map(func(c rune) rune {
		if c == '/' || c < ' ' || c == 0x7f {
			return '-'
		}
		return c
	}, name)
	for len(name) > 200 {
		name = strings.ToValidUTF8(name[:200], "")
	}
	return name
}

// propsOf takes over what a calendar says of itself.
func propsOf(a objectfile.About) store.FolderProps {
	p := store.FolderProps{Description: a.Description}
	if strings.HasPrefix(a.Color, "#") && (len(a.Color) == 7 || len(a.Color) == 9) {
		p.Color = a.Color
	}
	if l, err := time.LoadLocation(a.Zone); err == nil && a.Zone != "" {
		p.Zone = l.String()
	}
	return p
}
