package eas

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"unicode/utf8"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// maxFolderName is the longest name a phone may give (MS-ASCMD 2.2.3.48).
const maxFolderName = 256

// treeFaults has, for each kind of fault, the Status of a folder command; 0
// leaves the fault to the common table.
var treeFaults = map[fault.Kind]int{
	fault.Internal:        treeServerError,
	fault.Invalid:         treeMalformed,
	fault.Unauthenticated: 0,
	fault.Denied:          treeSpecial,
	fault.NotFound:        treeNotFound,
	fault.Exists:          treeExists,
	fault.Conflict:        treeServerError,
	fault.OverQuota:       0,
	fault.TooLarge:        treeMalformed,
	fault.Limit:           treeUnknownError,
	fault.Resync:          treeKeyMismatch,
	fault.Unavailable:     treeServerError,
}

// treeEdit makes a phone's change to the folder tree: key must be the phone's
// newest, or the one before with the same change, whose answer was lost. do
// makes the change and says what the phone knows afterwards.
func (s *Server) treeEdit(ctx context.Context, r *request, key string, c treeChange, do func(h *hierarchy, c *treeChange) error) error {
	var made treeChange
	var issued string
	err := again(func() error {
		t, err := s.loadTrees(ctx, r)
		if err != nil {
			return err
		}
		base, replay, ok := t.base(key)
		if !ok {
			return statusOfTree(treeKeyMismatch)
		}
		if replay && t.current.Did.same(c) {
			made, issued = *t.current.Did, t.current.Key
			return nil
		}
		next := &hierarchy{Key: newKey(), Seq: base.Seq, Known: maps.Clone(base.Known)}
		if next.Known == nil {
			next.Known = map[store.FolderID]uint32{}
		}
		made = c
		if err := do(next, &made); err != nil {
			return err
		}
		// The tree has a newer change than Seq says: ours, and perhaps others.
		next.Seq, next.Did = -1, &made
		issued = next.Key
		return s.saveTree(ctx, r, t, next, replay)
	})
	if err != nil {
		return r.treeFailed(err)
	}
	answer := wbxml.New(r.command.root,
		wbxml.NewInt(wbxml.FolderHierarchyStatus, treeOK),
		wbxml.NewText(wbxml.FolderHierarchySyncKey, issued))
	if made.Made != 0 {
		answer.Add(wbxml.NewText(wbxml.FolderHierarchyServerId, folderServerID(made.Made)))
	}
	r.done(strconv.Itoa(treeOK))
	return r.reply(answer)
}

// treeError is a refusal with a Status of the folder commands.
type treeError struct {
	status int
	err    error
}

func (e treeError) Error() string { return fmt.Sprintf("folder status %d: %v", e.status, e.err) }

func (e treeError) Unwrap() error { return e.err }

func statusOfTree(n int) error { return treeError{status: n} }

// treeFailed answers a folder command that failed. A failed change issues no key.
func (r *request) treeFailed(err error) error {
	n := treeFaults[fault.Of(err)]
	if t, ok := errors.AsType[treeError](err); ok {
		n = t.status
	}
	if n == 0 {
		return err
	}
	if fault.Of(err) == fault.Internal {
		if _, told := errors.AsType[treeError](err); !told {
			r.err = err // ours: for the log
		}
	}
	return r.replyStatus(n)
}

// learn notes a folder as the phone has it now.
func (h *hierarchy) learn(f store.Folder) {
	l := listed{id: f.ID, parent: f.Parent, name: f.Name, kind: served[f.Class].made}
	if t, ok := standardTypes[f.Role]; ok {
		l.kind = t
	}
	if _, ok := h.Known[l.parent]; !ok {
		l.parent = 0
	}
	h.Known[l.id] = l.sum()
}

// folderName checks a name that a phone gives.
func folderName(s string) error {
	if s == "" || utf8.RuneCountInString(s) > maxFolderName {
		return statusOfTree(treeMalformed)
	}
	return nil
}
