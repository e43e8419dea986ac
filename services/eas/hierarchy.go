package eas

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

type folderStore interface {
	Folders(ctx context.Context, as directory.Principal, box store.MailboxID) ([]store.Folder, store.Seq, error)
	Folder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID) (store.Folder, error)
	CreateFolder(ctx context.Context, as directory.Principal, box store.MailboxID, f store.Folder) (store.Folder, error)
	RenameFolder(ctx context.Context, as directory.Principal, box store.MailboxID, id, parent store.FolderID, name string) (store.Folder, error)
	DeleteFolder(ctx context.Context, as directory.Principal, box store.MailboxID, id store.FolderID, deep bool) error
}

// The types of folders (MS-ASCMD 2.2.3.186.3).
const (
	typeGeneric      = 1
	typeUserMail     = 12
	typeUserCalendar = 13
	typeUserContacts = 14
	typeUserTasks    = 15
	typeUserNotes    = 17
)

// standardTypes has the type of each standard folder that has one.
var standardTypes = map[store.Role]int{
	store.RoleInbox: 2, store.RoleDrafts: 3, store.RoleTrash: 4, store.RoleSent: 5, store.RoleOutbox: 6,
	store.RoleTasks: 7, store.RoleCalendar: 8, store.RoleContacts: 9, store.RoleNotes: 10,
}

// servedClass is a class of folders that phones see.
type servedClass struct {
	name  string        // in ActiveSync
	made  int           // the type of a folder that a user made
	since wbxml.Version // the first one that knows the class
	items itemClass     // nil for mail
}

// served has the classes of folders that phones see.
var served = map[store.Class]servedClass{
	store.ClassMail:     {"Email", typeUserMail, wbxml.V25, nil},
	store.ClassCalendar: {"Calendar", typeUserCalendar, wbxml.V25, appointmentItems{}},
	store.ClassContacts: {"Contacts", typeUserContacts, wbxml.V25, contactItems{}},
	store.ClassTasks:    {"Tasks", typeUserTasks, wbxml.V25, taskItems{}},
	store.ClassNotes:    {"Notes", typeUserNotes, wbxml.V140, noteItems{}},
}

// madeClass gives the class for a type that a phone asks for in FolderCreate.
func madeClass(folderType int, v wbxml.Version) (store.Class, bool) {
	for class, c := range served {
		if v >= c.since && folderType == c.made || folderType == typeGeneric && class == store.ClassMail {
			return class, true
		}
	}
	return "", false
}

// listed is a folder as a phone is told of it.
type listed struct {
	id, parent store.FolderID
	name       string
	kind       int
}

// sum is what the phone's copy is compared by.
func (l listed) sum() uint32 {
	h := fnv.New32a()
	fmt.Fprintf(h, "%d/%d/%s", l.parent, l.kind, l.name)
	return h.Sum32()
}

func (l listed) node(tag wbxml.Tag) *wbxml.Node {
	return wbxml.New(tag,
		wbxml.NewText(wbxml.FolderHierarchyServerId, folderServerID(l.id)),
		wbxml.NewText(wbxml.FolderHierarchyParentId, folderServerID(l.parent)),
		wbxml.NewText(wbxml.FolderHierarchyDisplayName, l.name),
		wbxml.NewInt(wbxml.FolderHierarchyType, l.kind),
	)
}

// folderServerID writes a folder's id as every door does; the root is "0"
// (MS-ASCMD 2.2.3.128).
func folderServerID(id store.FolderID) string {
	if id == 0 {
		return "0"
	}
	return id.String()
}

// parseFolderID reads a folder's id; ok is false for what we never gave out.
func parseFolderID(s string) (id store.FolderID, ok bool) {
	if s == "0" {
		return 0, true
	}
	return store.ParseFolderID(s)
}

// visible lists the folders that version v sees, parents before children. A
// folder below a hidden one hangs at the root.
func visible(folders []store.Folder, v wbxml.Version) []listed {
	var list []listed
	shown := map[store.FolderID]bool{}
	for _, f := range folders {
		class, ok := served[f.Class]
		if !ok || v < class.since {
			continue
		}
		l := listed{id: f.ID, parent: f.Parent, name: f.Name, kind: class.made}
		if t, ok := standardTypes[f.Role]; ok {
			l.kind = t
		}
		if !shown[f.Parent] {
			l.parent = 0
		}
		shown[f.ID] = true
		list = append(list, l)
	}
	return list
}

// hierarchyScope is where the state of the folder tree is kept. It stands apart
// from those of the collections, which therefore survive its key 0.
const hierarchyScope = "hierarchy"

// hierarchy is what a phone holds of the folder tree after it used Key.
type hierarchy struct {
	Key   string                    `json:"k"`
	Seq   store.Seq                 `json:"s"` // the tree's position that Known was made at
	Known map[store.FolderID]uint32 `json:"f"`
	Did   *treeChange               `json:"d,omitempty"` // the command that led here
}

// treeChange is a change that the phone made, with its answer.
type treeChange struct {
	Command string         `json:"c"`
	ID      store.FolderID `json:"i,omitempty"`
	Parent  store.FolderID `json:"p,omitempty"`
	Name    string         `json:"n,omitempty"`
	Made    store.FolderID `json:"m,omitempty"`
}

// same tells whether it is the same request.
func (c *treeChange) same(o treeChange) bool {
	return c != nil && c.Command == o.Command && c.ID == o.ID && c.Parent == o.Parent && c.Name == o.Name
}

// trees are the two generations of a phone's state.
type trees struct {
	generation        int64
	current, previous *hierarchy
}

// newKey draws a key. A key is never issued twice, so a lost one that comes back
// late fits nothing.
func newKey() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (s *Server) loadTrees(ctx context.Context, r *request) (trees, error) {
	if r.transient() {
		return trees{}, nil
	}
	st, err := s.store.SyncState(ctx, r.who, r.box(), r.client(), hierarchyScope)
	if err != nil {
		return trees{}, fmt.Errorf("folder tree's state: %w", err)
	}
	t := trees{generation: st.Generation}
	if st.Generation > 0 {
		t.current = readHierarchy(st.Data)
		t.previous = readHierarchy(st.Previous)
	}
	return t, nil
}

// readHierarchy reads a state; one that cannot be read is none, and the phone
// begins anew.
func readHierarchy(data []byte) *hierarchy {
	var h hierarchy
	if json.Unmarshal(data, &h) != nil || h.Key == "" {
		return nil
	}
	return &h
}

// save makes next the current generation; with instead it replaces the current
// one, whose key the phone never used.
func (s *Server) saveTree(ctx context.Context, r *request, t trees, next *hierarchy, instead bool) error {
	if r.transient() {
		return nil
	}
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	return s.store.SaveSyncState(ctx, r.who, r.box(), r.client(), hierarchyScope, t.generation, data, instead)
}

// base finds the state that a key names. replay is true for the key before the
// current one: the phone did not get the answer that carried the current one.
func (t trees) base(key string) (h *hierarchy, replay, ok bool) {
	switch {
	case t.current != nil && key == t.current.Key:
		return t.current, false, true
	case t.previous != nil && key == t.previous.Key:
		return t.previous, true, true
	}
	return nil, false, false
}

// treeDiff is the way from what a phone knows to what there is.
type treeDiff struct {
	add, update []listed
	gone        []store.FolderID
}

func (d treeDiff) count() int { return len(d.add) + len(d.update) + len(d.gone) }

func (h *hierarchy) diff(list []listed) treeDiff {
	var d treeDiff
	still := make(map[store.FolderID]bool, len(list))
	for _, l := range list {
		still[l.id] = true
		switch sum, known := h.Known[l.id]; {
		case !known:
			d.add = append(d.add, l)
		case sum != l.sum():
			d.update = append(d.update, l)
		}
	}
	for id := range h.Known {
		if !still[id] {
			d.gone = append(d.gone, id)
		}
	}
	return d
}

// known is the state of a phone that holds list.
func known(list []listed, seq store.Seq) *hierarchy {
	h := &hierarchy{Key: newKey(), Seq: seq, Known: make(map[store.FolderID]uint32, len(list))}
	for _, l := range list {
		h.Known[l.id] = l.sum()
	}
	return h
}

// conflicts is how often a command begins anew when another request of the same
// phone was faster.
const conflicts = 5

// again runs fn until it meets no other writer.
func again(fn func() error) error {
	var err error
	for range conflicts {
		if err = fn(); err == nil || fault.Of(err) != fault.Conflict {
			return err
		}
	}
	return err
}
