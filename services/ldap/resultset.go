package ldap

import (
	"container/list"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"waypost/directory/tree"
	"waypost/internal/fault"
)

// setID names a remembered result; it cannot be guessed.
type setID [16]byte

// resultSet is the order of a sorted result: paging and scrolling in it must not
// sort everything again, nor change with what is written meanwhile. Its entries
// are read when they are given.
type resultSet struct {
	id      setID
	binding [sha256.Size]byte // of the search, and whose it is
	guids   [][16]byte
	used    time.Time
	place   *list.Element
}

const (
	// setsTotal bounds all results that are remembered, in entries of 16 bytes.
	setsTotal = 2_000_000
	// setsIdle is how long one is remembered unused.
	setsIdle = 10 * time.Minute
)

// resultSets are those of all connections, the last used first.
type resultSets struct {
	mu    sync.Mutex
	byID  map[setID]*resultSet
	byUse list.List
	total int
}

// keep remembers a result, and forgets others for it.
func (r *resultSets) keep(binding [sha256.Size]byte, guids [][16]byte) *resultSet {
	set := &resultSet{binding: binding, guids: guids, used: time.Now()}
	_, _ = rand.Read(set.id[:])
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID == nil {
		r.byID = make(map[setID]*resultSet)
	}
	r.byID[set.id] = set
	set.place = r.byUse.PushFront(set)
	r.total += len(guids)
	for e := r.byUse.Back(); e != nil; e = r.byUse.Back() {
		old := e.Value.(*resultSet)
		if old == set || r.total <= setsTotal && time.Since(old.used) < setsIdle {
			break
		}
		r.forget(old)
	}
	return set
}

// get gives a remembered result of the same search; nil when it is forgotten.
func (r *resultSets) get(id setID, binding [sha256.Size]byte) *resultSet {
	r.mu.Lock()
	defer r.mu.Unlock()
	set := r.byID[id]
	if set == nil || set.binding != binding || time.Since(set.used) > setsIdle {
		return nil
	}
	set.used = time.Now()
	r.byUse.MoveToFront(set.place)
	return set
}

// drop forgets a result that was given to its end.
func (r *resultSets) drop(id setID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if set := r.byID[id]; set != nil {
		r.forget(set)
	}
}

func (r *resultSets) forget(set *resultSet) {
	delete(r.byID, set.id)
	r.byUse.Remove(set.place)
	r.total -= len(set.guids)
}

// sortedSet sorts the whole result and remembers its order.
func (s *search) sortedSet() (*resultSet, error) {
	q := s.q
	q.Sort, q.Attributes, q.Ranges = s.ctl.sort.keys, []string{"1.1"}, nil
	var guids [][16]byte
	err := s.run(&q, func(e *tree.Entry) error {
		guids = append(guids, e.GUID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.c.server.sets.keep(s.binding(), guids), nil
}

// fetch gives one entry of a remembered result, if it is still in the search.
func (s *search) fetch(guid [16]byte) (there bool, err error) {
	q := s.q
	q.Base, q.Scope = byGUID(guid), tree.Base
	err = s.run(&q, func(e *tree.Entry) error {
		there = true
		return s.give(e)
	})
	if err != nil && fault.Of(err) == fault.NotFound {
		return false, nil
	}
	return there, err
}

// byGUID is the base that names an object by its objectGUID.
func byGUID(guid [16]byte) tree.DN {
	return tree.DN{{{Attribute: tree.ByGUID, Value: string(guid[:])}}}
}
