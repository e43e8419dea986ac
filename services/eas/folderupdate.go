package eas

import (
	"context"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
)

// folderUpdate gives a folder another name or parent (MS-ASCMD 2.2.1.6). Some
// phones delete a folder by moving it into the deleted items.
func (s *Server) folderUpdate(ctx context.Context, r *request) error {
	req, err := r.tree(nil)
	if err != nil {
		return err
	}
	name := req.Get(wbxml.FolderHierarchyDisplayName)
	id, ok := parseFolderID(req.Get(wbxml.FolderHierarchyServerId))
	parent, okParent := parseFolderID(req.Get(wbxml.FolderHierarchyParentId))
	switch {
	case folderName(name) != nil:
		return r.replyStatus(treeMalformed)
	case !ok || id == 0:
		return r.replyStatus(treeNotFound)
	case !okParent:
		return r.replyStatus(treeNoParent)
	}
	c := treeChange{Command: "update", ID: id, Parent: parent, Name: name}
	return s.treeEdit(ctx, r, req.Get(wbxml.FolderHierarchySyncKey), c, func(h *hierarchy, _ *treeChange) error {
		f, err := s.store.RenameFolder(ctx, r.who, r.box(), id, parent, name)
		switch {
		case err == nil:
			h.learn(f)
			return nil
		case fault.Of(err) == fault.Denied:
			return treeError{treeExists, err} // 2 also stands for a special folder here
		case fault.Of(err) == fault.NotFound:
			if _, e := s.store.Folder(ctx, r.who, r.box(), id); e == nil {
				return treeError{treeNoParent, err}
			}
		}
		return err
	})
}
