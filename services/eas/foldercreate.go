package eas

import (
	"context"
	"strings"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// folderCreate makes a folder (MS-ASCMD 2.2.1.3).
func (s *Server) folderCreate(ctx context.Context, r *request) error {
	req, err := r.tree(nil)
	if err != nil {
		return err
	}
	name := req.Get(wbxml.FolderHierarchyDisplayName)
	parent, ok := parseFolderID(req.Get(wbxml.FolderHierarchyParentId))
	kind, err := req.Int(wbxml.FolderHierarchyType, 0)
	class, fits := madeClass(kind, r.version)
	switch {
	case err != nil, !fits, folderName(name) != nil:
		return r.replyStatus(treeMalformed)
	case !ok:
		return r.replyStatus(treeNoParent)
	}
	c := treeChange{Command: "create", Parent: parent, Name: name}
	return s.treeEdit(ctx, r, req.Get(wbxml.FolderHierarchySyncKey), c, func(h *hierarchy, c *treeChange) error {
		f, err := s.store.CreateFolder(ctx, r.who, r.box(), store.Folder{Parent: parent, Name: name, Class: class, Subscribed: true})
		switch fault.Of(err) {
		case fault.Exists:
			if f, err = s.adopt(ctx, r, h, parent, name, class); err != nil {
				return err
			}
		case fault.NotFound:
			return treeError{treeNoParent, err}
		default:
			if err != nil {
				return err
			}
		}
		c.Made = f.ID
		h.learn(f)
		return nil
	})
}

// adopt finds the folder that is in the way of a new one. If the phone does not
// know it, it is what the phone asked for: made by a request whose end got lost,
// or by somebody else meanwhile.
func (s *Server) adopt(ctx context.Context, r *request, h *hierarchy, parent store.FolderID, name string, class store.Class) (store.Folder, error) {
	folders, _, err := s.store.Folders(ctx, r.who, r.box())
	if err != nil {
		return store.Folder{}, err
	}
	for _, f := range folders {
		if _, known := h.Known[f.ID]; !known && f.Parent == parent && f.Class == class && strings.EqualFold(f.Name, name) {
			return f, nil
		}
	}
	return store.Folder{}, statusOfTree(treeExists)
}
