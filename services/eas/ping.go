package eas

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// The Status values of Ping (MS-ASCMD 2.2.3.177.11).
const (
	pingExpired    = 1
	pingChanges    = 2
	pingMissing    = 3
	pingSyntax     = 4
	pingInterval   = 5
	pingTooMany    = 6
	pingFolderSync = 7
)

// pingScope is where a phone's last interval and folders are kept, which it
// need not repeat.
const pingScope = "ping"

// pinged are the parameters of a Ping.
type pinged struct {
	Interval int              `json:"i"` // seconds
	Folders  []store.FolderID `json:"f"`
}

// ping is held until a folder has something that the phone was not told of by
// the last sync key issued for it (MS-ASCMD 2.2.1.13, 3.1.5.8).
func (s *Server) ping(ctx context.Context, r *request) error {
	p, answer, err := s.pingParameters(ctx, r)
	if err != nil {
		return err
	}
	if answer != nil {
		return r.told(answer)
	}
	w := &pingWait{s: s, r: r, folders: p.Folders}
	return s.park(ctx, r, time.Duration(p.Interval)*time.Second, w)
}

// pingParameters reads the request; what it leaves out is as in the last one.
// An answer is a refusal.
func (s *Server) pingParameters(ctx context.Context, r *request) (pinged, *wbxml.Node, error) {
	refuse := func(n int, more ...*wbxml.Node) (pinged, *wbxml.Node, error) {
		return pinged{}, wbxml.New(wbxml.PingPing, wbxml.NewInt(wbxml.PingStatus, n)).Add(more...), nil
	}
	req, err := r.tree(nil)
	if err != nil {
		return pinged{}, nil, err
	}
	st, err := s.store.SyncState(ctx, r.who, r.box(), r.client(), pingScope)
	if err != nil {
		return pinged{}, nil, err
	}
	var last, p pinged
	_ = json.Unmarshal(st.Data, &last) // one that cannot be read is none
	if p.Interval, err = req.Int(wbxml.PingHeartbeatInterval, last.Interval); err != nil {
		return refuse(pingSyntax)
	}
	for f := range req.Child(wbxml.PingFolders).All(wbxml.PingFolder) {
		id, ok := parseFolderID(f.Get(wbxml.PingId))
		switch {
		case !ok || id == 0:
			return refuse(pingFolderSync)
		case slices.Contains(p.Folders, id):
			return refuse(pingSyntax)
		case len(p.Folders) >= s.opt.MaxFolders:
			return refuse(pingTooMany, wbxml.NewInt(wbxml.PingMaxFolders, s.opt.MaxFolders))
		}
		p.Folders = append(p.Folders, id)
	}
	if len(p.Folders) == 0 {
		p.Folders = last.Folders
	}
	if p.Interval == 0 || len(p.Folders) == 0 {
		return refuse(pingMissing)
	}
	low, high := int(s.opt.MinHeartbeat/time.Second), int(s.opt.MaxHeartbeat/time.Second)
	if nearest := min(max(p.Interval, low), high); nearest != p.Interval {
		return refuse(pingInterval, wbxml.NewInt(wbxml.PingHeartbeatInterval, nearest))
	}
	if p.Interval != last.Interval || !slices.Equal(p.Folders, last.Folders) {
		data, err := json.Marshal(p)
		if err != nil {
			return pinged{}, nil, err
		}
		err = s.store.SaveSyncState(ctx, r.who, r.box(), r.client(), pingScope, st.Generation, data, st.Generation > 0)
		if err != nil && fault.Of(err) != fault.Conflict { // another Ping of the same phone
			return pinged{}, nil, err
		}
	}
	return p, nil, nil
}

// pingWait is what a held Ping keeps: a few words a folder.
type pingWait struct {
	s       *Server
	r       *request
	folders []store.FolderID
	tree    bool             // the folder tree has changed
	changed []store.FolderID // the folders that have
	begun   bool
	treeAt  store.Seq   // the tree is as the phone knows it up to here
	seenAt  []store.Seq // so is each of folders
}

// ready looks whether there is something to tell.
func (w *pingWait) ready(ctx context.Context) (bool, error) {
	all, seq, err := w.s.store.Folders(ctx, w.r.who, w.r.box())
	if err != nil {
		return false, err
	}
	if !w.begun || seq != w.treeAt {
		t, err := w.s.loadTrees(ctx, w.r)
		if err != nil {
			return false, err
		}
		if t.current == nil || t.current.Seq != seq && t.current.diff(visible(all, w.r.version)).count() > 0 {
			w.tree = true
			return true, nil
		}
		w.treeAt = seq
	}
	if !w.begun {
		w.begun = true
		w.seenAt = make([]store.Seq, len(w.folders))
	}
	for i, id := range w.folders {
		at := slices.IndexFunc(all, func(f store.Folder) bool { return f.ID == id })
		if at < 0 {
			w.tree = true
			return true, nil
		}
		if w.seenAt[i] > 0 && all[at].HighestSeq <= w.seenAt[i] {
			continue
		}
		pending, err := w.pending(ctx, all[at])
		if err != nil {
			return false, err
		}
		if pending {
			w.changed = append(w.changed, id)
		} else {
			w.seenAt[i] = max(all[at].HighestSeq, 1)
		}
	}
	return len(w.changed) > 0, nil
}

// answer tells what ready found.
func (w *pingWait) answer(context.Context) error { return w.r.told(w.document()) }

func (w *pingWait) document() *wbxml.Node {
	n := wbxml.New(wbxml.PingPing)
	switch {
	case w.tree:
		return n.Add(wbxml.NewInt(wbxml.PingStatus, pingFolderSync))
	case len(w.changed) == 0:
		return n.Add(wbxml.NewInt(wbxml.PingStatus, pingExpired))
	}
	folders := wbxml.New(wbxml.PingFolders)
	for _, id := range w.changed {
		folders.Add(wbxml.NewText(wbxml.PingFolder, folderServerID(id)))
	}
	return n.Add(wbxml.NewInt(wbxml.PingStatus, pingChanges), folders)
}

// pending tells whether the folder has changes after the key issued last. A
// folder that was never synchronised has.
func (w *pingWait) pending(ctx context.Context, f store.Folder) (bool, error) {
	st, err := w.s.store.SyncState(ctx, w.r.who, w.r.box(), w.r.client(), collectionScope(f.ID))
	if err != nil || st.Generation == 0 {
		return err == nil, err
	}
	m, _, err := cutSeen(st.Data)
	if err != nil {
		return true, nil // Sync will ask for a new beginning
	}
	return m.More || f.HighestSeq > m.Seq, nil
}
