package eas

import (
	"context"
	"slices"
	"strconv"

	"waypost/services/eas/wbxml"
)

// The Status values of the folder commands (MS-ASCMD 2.2.3.177.3 to .6).
const (
	treeOK           = 1
	treeExists       = 2 // a folder of that name exists, or it is a special one
	treeSpecial      = 3
	treeNotFound     = 4
	treeNoParent     = 5
	treeServerError  = 6
	treeKeyMismatch  = 9
	treeMalformed    = 10
	treeUnknownError = 11
)

// folderSync tells the phone what changed in the folder tree (MS-ASCMD 2.2.1.5).
// Its key 0 begins the tree anew and leaves the collections' states alone: some
// clients send it at every refresh.
func (s *Server) folderSync(ctx context.Context, r *request) error {
	req, err := r.tree(nil)
	if err != nil {
		return err
	}
	key := req.Get(wbxml.FolderHierarchySyncKey)
	if key == "" {
		return r.replyStatus(treeMalformed)
	}
	return again(func() error { return s.syncTree(ctx, r, key) })
}

func (s *Server) syncTree(ctx context.Context, r *request, key string) error {
	t, err := s.loadTrees(ctx, r)
	if err != nil {
		return err
	}
	base, replay, ok := &hierarchy{}, false, key == "0"
	if !ok {
		if base, replay, ok = t.base(key); !ok {
			return r.replyStatus(treeKeyMismatch)
		}
	}
	folders, seq, err := s.store.Folders(ctx, r.who, r.box())
	if err != nil {
		return err
	}
	list := visible(folders, r.version)
	d := base.diff(list)
	switch {
	case replay && t.current.Did == nil && t.current.diff(list).count() == 0:
		// The lost answer, once more.
		key = t.current.Key
	case key == "0" || d.count() > 0:
		next := known(list, seq)
		if err := s.saveTree(ctx, r, t, next, replay); err != nil {
			return err
		}
		key = next.Key
	}
	return r.replyTree(key, d)
}

// replyTree answers FolderSync. Parents come before their children: Android
// drops a folder whose parent it does not know.
func (r *request) replyTree(key string, d treeDiff) error {
	slices.Sort(d.gone)
	changes := wbxml.New(wbxml.FolderHierarchyChanges, wbxml.NewInt(wbxml.FolderHierarchyCount, d.count()))
	for _, l := range d.update {
		changes.Add(l.node(wbxml.FolderHierarchyUpdate))
	}
	for _, id := range d.gone {
		changes.Add(wbxml.New(wbxml.FolderHierarchyDelete, wbxml.NewText(wbxml.FolderHierarchyServerId, folderServerID(id))))
	}
	for _, l := range d.add {
		changes.Add(l.node(wbxml.FolderHierarchyAdd))
	}
	r.done(strconv.Itoa(treeOK))
	return r.reply(wbxml.New(wbxml.FolderHierarchyFolderSync,
		wbxml.NewInt(wbxml.FolderHierarchyStatus, treeOK),
		wbxml.NewText(wbxml.FolderHierarchySyncKey, key),
		changes))
}
