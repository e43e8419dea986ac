package eas

import (
	"context"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
)

// folderDelete deletes a folder with what is below it (MS-ASCMD 2.2.1.4). The
// next FolderSync tells of the folders below.
func (s *Server) folderDelete(ctx context.Context, r *request) error {
	req, err := r.tree(nil)
	if err != nil {
		return err
	}
	id, ok := parseFolderID(req.Get(wbxml.FolderHierarchyServerId))
	if !ok || id == 0 {
		return r.replyStatus(treeNotFound)
	}
	c := treeChange{Command: "delete", ID: id}
	return s.treeEdit(ctx, r, req.Get(wbxml.FolderHierarchySyncKey), c, func(h *hierarchy, _ *treeChange) error {
		err := s.store.DeleteFolder(ctx, r.who, r.box(), id, true)
		if _, known := h.Known[id]; known && err != nil && fault.Of(err) == fault.NotFound {
			err = nil // deleted by a request whose end got lost
		}
		delete(h.Known, id)
		return err
	})
}
