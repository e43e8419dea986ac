package eas

import (
	"context"
	"slices"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Status values of MoveItems (MS-ASCMD 2.2.3.177.10): success is 3.
const (
	moveBadSource = 1
	moveBadDest   = 2
	moveOK        = 3
	moveSame      = 4
	moveFailed    = 5
	moveLocked    = 7
	maxMoves      = 1000 // MS-ASCMD 3.1.5.10
)

var moveFaults = map[fault.Kind]int{
	fault.Internal:        moveFailed,
	fault.Invalid:         moveFailed,
	fault.Unauthenticated: moveFailed,
	fault.Denied:          moveBadDest,
	fault.NotFound:        moveBadDest,
	fault.Exists:          moveFailed,
	fault.Conflict:        moveFailed, // there is an object with that UID
	fault.OverQuota:       moveFailed,
	fault.TooLarge:        moveFailed,
	fault.Limit:           moveLocked,
	fault.Resync:          moveFailed,
	fault.Unavailable:     moveLocked,
}

type moveItem struct {
	id, from, to string
	item         store.ItemID
	src, dst     store.FolderID
	status       int
}

// moveItems answers MoveItems (MS-ASCMD 2.2.1.12). An item keeps its id. A
// repeated move finds the item where it was to go, and succeeds again.
func (s *Server) moveItems(ctx context.Context, r *request) error {
	n, err := r.tree(nil)
	if err != nil {
		return err
	}
	var moves []*moveItem
	for m := range n.All(wbxml.MoveMove) {
		moves = append(moves, &moveItem{id: m.Get(wbxml.MoveSrcMsgId), from: m.Get(wbxml.MoveSrcFldId), to: m.Get(wbxml.MoveDstFldId)})
	}
	if len(moves) == 0 || len(moves) > maxMoves {
		return status(StatusInvalidXML)
	}
	release, err := s.locks.take(ctx, r.phone())
	if err != nil {
		return err
	}
	defer release()
	if err := s.move(ctx, r, moves); err != nil {
		return err
	}
	return r.stream(func(e *wbxml.Encoder) error {
		e.Start(wbxml.MoveMoveItems)
		for _, m := range moves {
			e.Start(wbxml.MoveResponse)
			e.Text(wbxml.MoveSrcMsgId, m.id)
			e.Int(wbxml.MoveStatus, int64(m.status))
			if m.status == moveOK {
				e.Text(wbxml.MoveDstMsgId, m.id)
			}
			e.End()
		}
		e.End()
		return nil
	})
}

// move carries the moves out, those between the same two folders together.
func (s *Server) move(ctx context.Context, r *request, moves []*moveItem) error {
	folders, _, err := s.store.Folders(ctx, r.who, r.box())
	if err != nil {
		return err
	}
	known := map[store.FolderID]store.Class{}
	for i := range folders {
		if f := &folders[i]; knows(f, r.version) {
			known[f.ID] = f.Class
		}
	}
	type pair struct{ src, dst store.FolderID }
	groups := map[pair][]*moveItem{}
	var order []pair
	for _, m := range moves {
		var okItem, okSrc, okDst bool
		m.item, okItem = parseItem(m.id)
		m.src, okSrc = parseFolderID(m.from)
		m.dst, okDst = parseFolderID(m.to)
		switch {
		case !okItem || !okSrc || known[m.src] == "":
			m.status = moveBadSource
		case !okDst || known[m.dst] != known[m.src]: // an item keeps its class
			m.status = moveBadDest
		case m.src == m.dst:
			m.status = moveSame
		default:
			p := pair{m.src, m.dst}
			if groups[p] == nil {
				order = append(order, p)
			}
			groups[p] = append(groups[p], m)
		}
	}
	for _, p := range order {
		if err := s.moveGroup(ctx, r, p.src, p.dst, groups[p]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) moveGroup(ctx context.Context, r *request, src, dst store.FolderID, group []*moveItem) error {
	var items []store.ItemID
	for _, m := range group {
		items = append(items, m.item)
	}
	res, err := s.store.Move(ctx, r.who, r.box(), src, items, dst)
	if err != nil {
		for _, m := range group {
			m.status = moveFaults[fault.Of(err)]
		}
		r.log.Warn("move", "user", r.who.Address, "err", err)
		return nil
	}
	moved := map[store.ItemID]store.Placed{}
	for _, p := range res.Placed {
		if !p.Absent && !p.There {
			moved[p.Item] = p
		}
	}
	var missing []store.ItemID
	for _, m := range group {
		if _, ok := moved[m.item]; ok {
			m.status = moveOK
		} else {
			missing = append(missing, m.item)
		}
	}
	if len(missing) > 0 {
		entries, err := s.store.EntriesOf(ctx, r.who, r.box(), missing)
		if err != nil {
			return err
		}
		there := map[store.ItemID]store.Seq{}
		for _, e := range entries {
			if e.Folder == dst {
				there[e.Item] = e.Entered
			}
		}
		for _, m := range group {
			if _, ok := moved[m.item]; !ok {
				m.status = moveBadSource
				if there[m.item] != 0 {
					m.status = moveOK // the answer to the first try was lost, or another moved it
				}
			}
		}
		if err := s.noteThere(ctx, r, src, dst, there); err != nil {
			return err
		}
		var failed []store.ItemID
		for _, m := range group {
			if m.status == moveBadSource {
				failed = append(failed, m.item)
			}
		}
		if err := s.revokeMoves(ctx, r, src, dst, failed); err != nil {
			return err
		}
	}
	if len(moved) == 0 || res.Seq == 0 {
		return nil
	}
	return s.noteMoves(ctx, r, src, dst, res.Seq, moved)
}

// noteMoves tells the states of both collections that the phone knows of the
// moves: it is not told that the items left, nor that they came. Marks that it
// had not been told of before make it a change.
func (s *Server) noteMoves(ctx context.Context, r *request, src, dst store.FolderID, seq store.Seq, moved map[store.ItemID]store.Placed) error {
	knew := map[store.ItemID]bool{}
	err := s.noteEchoes(ctx, r, src, func(l *ledger) []echo {
		var es []echo
		for item, p := range moved {
			knew[item] = l.knewAll(item, p.Was)
			es = append(es, echo{item: item, seq: seq, left: true})
		}
		return es
	})
	if err != nil {
		return err
	}
	return s.noteEchoes(ctx, r, dst, func(*ledger) []echo {
		var es []echo
		for item := range moved {
			es = append(es, echo{item: item, seq: seq, arrival: true, stale: !knew[item]})
		}
		return es
	})
}

// noteThere tells both states that the phone knows of items that had come to
// the destination without it.
func (s *Server) noteThere(ctx context.Context, r *request, src, dst store.FolderID, there map[store.ItemID]store.Seq) error {
	if len(there) == 0 {
		return nil
	}
	for folder, kind := range map[store.FolderID]echo{src: {left: true}, dst: {arrival: true, stale: true}} {
		err := s.noteEchoes(ctx, r, folder, func(*ledger) []echo {
			var es []echo
			for item, seq := range there {
				kind.item, kind.seq = item, seq // it had left the source by then
				es = append(es, kind)
			}
			return es
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// revokeMoves takes back what was noted of moves that the phone now hears have
// failed: it was moved, the answer was lost, and meanwhile somebody else moved
// the item on. The phone still has it where it was.
func (s *Server) revokeMoves(ctx context.Context, r *request, src, dst store.FolderID, items []store.ItemID) error {
	if len(items) == 0 {
		return nil
	}
	drop := func(es []echo, ours func(echo) bool) []echo {
		return slices.DeleteFunc(es, func(e echo) bool { return ours(e) && slices.Contains(items, e.item) })
	}
	for folder, ours := range map[store.FolderID]func(echo) bool{
		src: func(e echo) bool { return e.left },
		dst: func(e echo) bool { return e.arrival },
	} {
		err := s.noteEchoes(ctx, r, folder, func(l *ledger) []echo {
			g := l.newest
			g.moves, g.pendingMoves = drop(g.moves, ours), drop(g.pendingMoves, ours)
			for i := range g.variants {
				g.variants[i].echoes = drop(g.variants[i].echoes, ours)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// noteEchoes adds to the state of a collection, if the phone has one.
func (s *Server) noteEchoes(ctx context.Context, r *request, folder store.FolderID, list func(*ledger) []echo) error {
	var err error
	for range maxTries {
		var st store.SyncState
		if st, err = s.store.SyncState(ctx, r.who, r.box(), r.client(), collectionScope(folder)); err != nil {
			return err
		}
		l := readLedger(folder, st)
		g := l.newest
		if g == nil {
			return nil
		}
		g.move(list(l))
		err = s.store.SaveSyncState(ctx, r.who, r.box(), r.client(), collectionScope(folder), l.store, l.newest.encode(), true)
		if err == nil || fault.Of(err) != fault.Conflict {
			break
		}
	}
	return err
}
