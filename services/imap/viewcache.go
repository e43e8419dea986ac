package imap

import (
	"container/list"
	"sync"

	"waypost/store"
)

// viewCache keeps the views of folders that were selected lately, so that
// SELECT costs what has changed since and not what the folder holds. What it
// holds is never changed: a view that shares it copies before its first change.
// The store checks rights at every use, for a view is brought up to date by a
// call as the principal before anything of it is shown.
type viewCache struct {
	max int // rows

	mu   sync.Mutex
	rows int
	lru  *list.List // of *cachedView, latest in front
	byID map[viewKey]*list.Element
}

type viewKey struct {
	box         store.MailboxID
	folder      store.FolderID
	uidValidity uint32
}

type cachedView struct {
	key   viewKey
	pos   store.Position
	rows  []row
	words wordTable
}

func newViewCache(max int) *viewCache {
	return &viewCache{max: max, lru: list.New(), byID: make(map[viewKey]*list.Element)}
}

// get gives the cached view, or nil.
func (vc *viewCache) get(k viewKey) *cachedView {
	vc.mu.Lock()
	defer vc.mu.Unlock()
	el, ok := vc.byID[k]
	if !ok {
		return nil
	}
	vc.lru.MoveToFront(el)
	return el.Value.(*cachedView)
}

// put shares v with the connections to come, unless a newer one is there.
func (vc *viewCache) put(k viewKey, v *view) {
	if v.goneN > 0 || len(v.rows) > vc.max/4 {
		return
	}
	vc.mu.Lock()
	defer vc.mu.Unlock()
	if el, ok := vc.byID[k]; ok {
		old := el.Value.(*cachedView)
		if v.pos.Seq < old.pos.Seq || v.pos == old.pos {
			return
		}
		vc.drop(el)
	}
	v.shared = true
	vc.byID[k] = vc.lru.PushFront(&cachedView{key: k, pos: v.pos, rows: v.rows, words: v.words})
	vc.rows += len(v.rows) + rowsOfEmpty
	for vc.rows > vc.max {
		vc.drop(vc.lru.Back())
	}
}

// rowsOfEmpty is what an empty view counts for, in rows.
const rowsOfEmpty = 16

func (vc *viewCache) drop(el *list.Element) {
	cv := vc.lru.Remove(el).(*cachedView)
	delete(vc.byID, cv.key)
	vc.rows -= len(cv.rows) + rowsOfEmpty
}
