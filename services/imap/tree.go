package imap

import (
	"context"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"

	"waypost/internal/fault"
	"waypost/store"
)

// delimiter separates the levels of mailbox names.
const delimiter = "/"

// tree is the mail folders of a mailbox under the names that IMAP gives them:
// paths from the root, the inbox being INBOX wherever and however it is called.
// Folders of other classes do not exist at this door.
type tree struct {
	nodes  []node // parents before children
	byPath map[string]int
	byID   map[store.FolderID]int
}

type node struct {
	store.Folder
	path     string
	children bool
}

// tree reads the folders. It is one query of a few rows, and always the truth.
func (c *conn) tree(ctx context.Context) (*tree, error) {
	all, _, err := c.server.mail.Folders(ctx, c.who, c.box)
	if err != nil {
		return nil, err
	}
	return newTree(all), nil
}

func newTree(all []store.Folder) *tree {
	t := &tree{
		nodes:  make([]node, 0, len(all)),
		byPath: make(map[string]int, len(all)),
		byID:   make(map[store.FolderID]int, len(all)),
	}
	for _, f := range all {
		if f.Class != store.ClassMail {
			continue
		}
		path := f.Name
		switch up, ok := t.byID[f.Parent]; {
		case f.Role == store.RoleInbox:
			path = "INBOX"
		case ok:
			path = t.nodes[up].path + delimiter + f.Name
			t.nodes[up].children = true
		case f.Parent != 0:
			continue // below a folder that is not for mail
		case strings.EqualFold(path, "INBOX"):
			continue // the name belongs to the inbox
		}
		t.byID[f.ID] = len(t.nodes)
		t.nodes = append(t.nodes, node{Folder: f, path: path})
	}
	// The inbox first, then by name; what is below a folder stays behind it.
	slices.SortFunc(t.nodes, func(a, b node) int {
		if in := a.path == "INBOX"; in != (b.path == "INBOX") {
			if in {
				return -1
			}
			return 1
		}
		return strings.Compare(a.path, b.path)
	})
	for i := range t.nodes {
		t.byPath[t.nodes[i].path], t.byID[t.nodes[i].ID] = i, i
	}
	return t
}

// find gives the folder of a name as Decoder.Mailbox reads it.
func (t *tree) find(path string) (*node, bool) {
	i, ok := t.byPath[canonical(path)]
	if !ok {
		return nil, false
	}
	return &t.nodes[i], true
}

// canonical folds the first level INBOX: "inbox/a" is below the inbox.
func canonical(path string) string {
	if len(path) > 5 && path[5] == delimiter[0] && strings.EqualFold(path[:5], "INBOX") {
		return "INBOX" + path[5:]
	}
	return path
}

var errNoMailbox = no("NONEXISTENT", "No such mailbox")

// folder finds one folder by name.
func (c *conn) folder(ctx context.Context, path string) (*node, error) {
	t, err := c.tree(ctx)
	if err != nil {
		return nil, err
	}
	n, ok := t.find(path)
	if !ok {
		return nil, errNoMailbox
	}
	return n, nil
}

// specialUse are the attributes of the standard folders (RFC 6154).
var specialUse = map[store.Role]imap.MailboxAttr{
	store.RoleDrafts:  imap.MailboxAttrDrafts,
	store.RoleSent:    imap.MailboxAttrSent,
	store.RoleTrash:   imap.MailboxAttrTrash,
	store.RoleJunk:    imap.MailboxAttrJunk,
	store.RoleArchive: imap.MailboxAttrArchive,
}

func roleOf(attr string) (store.Role, bool) {
	for role, a := range specialUse {
		if strings.EqualFold(string(a), attr) {
			return role, true
		}
	}
	return store.RoleNone, false
}

// makePath creates the folder of a path and those above it that are missing
// (RFC 9051 section 6.3.4), and returns it with its place.
func (c *conn) makePath(ctx context.Context, t *tree, path string, role store.Role) (store.Folder, error) {
	path = canonical(path)
	if _, ok := t.find(path); ok {
		return store.Folder{}, no("ALREADYEXISTS", "There is a mailbox of that name")
	}
	parent, name, err := c.makeParents(ctx, t, path)
	if err != nil {
		return store.Folder{}, err
	}
	return c.server.mail.CreateFolder(ctx, c.who, c.box, store.Folder{
		Parent: parent, Name: name, Role: role, Class: store.ClassMail, Subscribed: false,
	})
}

// makeParents makes what is missing above a path and splits off its last name.
func (c *conn) makeParents(ctx context.Context, t *tree, path string) (parent store.FolderID, name string, err error) {
	levels := strings.Split(path, delimiter)
	if len(levels) > maxLevels {
		return 0, "", no("LIMIT", "Too many levels")
	}
	at := ""
	for i, level := range levels {
		if level == "" {
			return 0, "", no("CANNOT", "A level of the name is empty")
		}
		if i == len(levels)-1 {
			break
		}
		if i > 0 {
			at += delimiter
		}
		at += level
		if n, ok := t.find(at); ok {
			parent = n.ID
			continue
		}
		f, err := c.server.mail.CreateFolder(ctx, c.who, c.box, store.Folder{
			Parent: parent, Name: level, Class: store.ClassMail,
		})
		if err != nil {
			return 0, "", err
		}
		parent = f.ID
	}
	return parent, levels[len(levels)-1], nil
}

// maxLevels bounds the depth of names that clients make.
const maxLevels = 32

// orTryCreate tells the client that CREATE may help (RFC 9051 section 7.1) when
// the destination of a copy or an append does not exist.
func orTryCreate(err error) error {
	if err == errNoMailbox { //nolint:errorlint // the very value
		return no("TRYCREATE", "No such mailbox")
	}
	return err
}

// isGoneFolder tells whether err says that the folder itself is gone.
func isGoneFolder(err error) bool { return fault.Of(err) == fault.NotFound }
