package dav

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"waypost/internal/fault"
	"waypost/store"
)

// A sync token is a place in the journal of a folder, written as a URI (RFC 6578
// section 4): "urn:waypost:sync:FOLDER:VALIDITY:SEQ:ITEM" has seen everything
// before it; with "@UID" behind, it is a first look at the folder as it was at SEQ,
// which has come as far as UID.
const tokenPrefix = "urn:waypost:sync:"

func tokenAt(f store.Folder, p store.Position) string {
	t := fmt.Sprintf("%s%s:%d:%d", tokenPrefix, f.ID, f.UIDValidity, p.Seq)
	if p.Item != store.MaxItem {
		t += ":" + strconv.FormatInt(int64(p.Item), 10)
	}
	return t
}

// token is what a client's sync token says.
type token struct {
	at    store.Position
	first bool
	uid   store.UID
}

// readToken reads a token of a folder; the empty one is a first look.
func readToken(f store.Folder, s string) (t token, err error) {
	if s == "" {
		return token{first: true, at: store.After(f.HighestSeq)}, nil
	}
	bad := failed(http.StatusForbidden, davName("valid-sync-token"), "")
	rest, ok := strings.CutPrefix(s, fmt.Sprintf("%s%s:%d:", tokenPrefix, f.ID, f.UIDValidity))
	if !ok {
		return t, bad
	}
	rest, uid, first := strings.Cut(rest, "@")
	seq, item, some := strings.Cut(rest, ":")
	n, err := strconv.ParseInt(seq, 10, 64)
	if err != nil || n < 0 || store.Seq(n) > f.HighestSeq {
		return t, bad
	}
	t.at = store.After(store.Seq(n))
	if some {
		i, err := strconv.ParseInt(item, 10, 64)
		if err != nil || i < 0 {
			return t, bad
		}
		t.at.Item = store.ItemID(i)
	}
	if first {
		u, err := strconv.ParseUint(uid, 10, 32)
		if err != nil {
			return t, bad
		}
		t.first, t.uid = true, store.UID(u)
	}
	return t, nil
}

// syncCollection tells what changed since a token (RFC 6578 section 3.2).
func (s *Server) syncCollection(ctx context.Context, r *request, res *resource, n *node) error {
	if d := r.http.Header.Get("Depth"); d != "" && d != "0" && n.child(davName("sync-level")) == nil {
		return fault.New(fault.Invalid, "sync-collection has Depth 0")
	}
	t, err := readToken(res.folder, n.child(davName("sync-token")).text())
	if err != nil {
		return err
	}
	limit, err := readLimit(n.child(davName("limit")), fault.New(fault.Invalid, "nresults is a number"))
	if err != nil {
		return err
	}
	if r.data, err = readData(n.child(davName("prop")), time.UTC); err != nil {
		return err
	}
	if err := s.placeData(ctx, r, res); err != nil {
		return err
	}
	m := r.multistatus(readAsked(n))
	next, more := "", false
	if t.first {
		next, more, err = s.firstSync(ctx, r, res, m, t, limit)
	} else {
		next, more, err = s.nextSync(ctx, r, res, m, t, limit)
	}
	if err != nil {
		return err
	}
	if more { // RFC 6578 section 3.6
		if err := m.status(res.href, http.StatusInsufficientStorage, &condition{name: davName("number-of-matches-within-limits")}); err != nil {
			return err
		}
	}
	return m.end(func(x *xmlWriter) { x.text(davName("sync-token"), next) })
}

// firstSync tells what is in a folder, as far as it was there at the token. What
// came later is a change after it.
func (s *Server) firstSync(ctx context.Context, r *request, res *resource, m *multi, t token, limit int) (next string, more bool, err error) {
	told := 0
	for {
		ask := page
		if limit > 0 {
			ask = min(ask, limit-told)
		}
		if ask == 0 {
			return tokenAt(res.folder, t.at) + "@" + strconv.FormatUint(uint64(t.uid), 10), true, nil
		}
		_, entries, err := s.store.Entries(ctx, r.who, res.owner.box, res.folder.ID, t.uid, ask)
		if err != nil {
			return "", false, err
		}
		if len(entries) == 0 {
			return tokenAt(res.folder, t.at), false, nil
		}
		var items []store.ItemID
		for i := range entries {
			if entries[i].Entered <= t.at.Seq {
				items = append(items, entries[i].Item)
			}
		}
		t.uid = entries[len(entries)-1].UID
		told += len(items)
		if err := s.tell(ctx, r, res, m, items); err != nil {
			return "", false, err
		}
	}
}

// nextSync tells what changed after a position.
func (s *Server) nextSync(ctx context.Context, r *request, res *resource, m *multi, t token, limit int) (next string, more bool, err error) {
	at, told := t.at, 0
	for {
		ask := page
		if limit > 0 {
			ask = min(ask, limit-told)
		}
		if ask <= 0 {
			return tokenAt(res.folder, at), true, nil
		}
		c, err := s.store.Changes(ctx, r.who, res.owner.box, res.folder.ID, at, ask)
		if err != nil {
			return "", false, err
		}
		if err := s.tellGone(ctx, r, res, m, c.Gone); err != nil {
			return "", false, err
		}
		var items []store.ItemID
		for i := range c.Changed {
			items = append(items, c.Changed[i].Item)
		}
		if err := s.tell(ctx, r, res, m, items); err != nil {
			return "", false, err
		}
		told += len(c.Changed) + len(c.Gone)
		at = c.Position
		if !c.More {
			return tokenAt(res.folder, at), false, nil
		}
	}
}

// tell writes the objects that items are; those that are gone by now are told of
// by the next answer.
func (s *Server) tell(ctx context.Context, r *request, res *resource, m *multi, items []store.ItemID) error {
	if len(items) == 0 {
		return nil
	}
	list, err := s.store.ObjectsOf(ctx, r.who, res.owner.box, items)
	if err != nil {
		return err
	}
	var here []*store.Object
	for _, o := range list {
		if o != nil && o.Folder == res.folder.ID {
			here = append(here, o)
		}
	}
	give := func(o *store.Object) error { return m.add(ctx, res.of(o)) }
	if r.data != nil {
		return s.withTexts(ctx, r, res, here, give)
	}
	for _, o := range here {
		if err := give(o); err != nil {
			return err
		}
	}
	return nil
}

// tellGone writes the names at which there is nothing any more. A name that
// another object has taken is told of with that one.
func (s *Server) tellGone(ctx context.Context, r *request, res *resource, m *multi, gone []store.Tombstone) error {
	var names []string
	seen := map[string]bool{}
	for i := range gone {
		if n := gone[i].Name; n != "" && !seen[n] {
			seen[n] = true
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return nil
	}
	now, err := s.store.ObjectsNamed(ctx, r.who, res.owner.box, res.folder.ID, names)
	if err != nil {
		return err
	}
	for i, name := range names {
		if i < len(now) && now[i] != nil {
			continue
		}
		if err := m.status(res.with(name).href, http.StatusNotFound, nil); err != nil {
			return err
		}
	}
	return nil
}
