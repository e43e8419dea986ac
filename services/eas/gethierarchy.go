package eas

import (
	"context"
	"net/http"

	"waypost/services/eas/wbxml"
)

// getHierarchy lists the mail folders (MS-ASCMD 2.2.1.8, up to 12.1). It has no
// Status: a failure is HTTP 500.
func (s *Server) getHierarchy(ctx context.Context, r *request) error {
	folders, _, err := s.store.Folders(ctx, r.who, r.box())
	if err != nil {
		r.err = err
		return httpError{http.StatusInternalServerError}
	}
	answer := wbxml.New(wbxml.FolderHierarchyFolders)
	for _, l := range visible(folders, r.version) {
		kind := l.kind
		if kind > 6 {
			kind = typeGeneric // here only 1 to 6 exist
		}
		answer.Add(wbxml.New(wbxml.FolderHierarchyFolder,
			wbxml.NewText(wbxml.FolderHierarchyDisplayName, l.name),
			wbxml.NewText(wbxml.FolderHierarchyServerId, folderServerID(l.id)),
			wbxml.NewInt(wbxml.FolderHierarchyType, kind),
			wbxml.NewText(wbxml.FolderHierarchyParentId, folderServerID(l.parent))))
	}
	return r.reply(answer)
}
