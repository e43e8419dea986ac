package remote

import (
	"container/list"
	"strings"
	"sync"
	"time"

	"waypost/directory"
)

// cache keeps answers of Resolve. They hold while the feed is heard: a change
// of an object drops the answers that name it, and, because it may have taken a
// name that nobody had, those that name nobody.
type cache struct {
	mu     sync.Mutex
	limit  int
	heard  bool
	at     time.Time
	usn    directory.USN // of the newest news
	age    int64         // counts the news; an answer asked for before them is not kept
	byName map[string]*list.Element
	byUse  *list.List // of *answer, newest first
	byID   map[directory.ObjectID]map[*answer]struct{}
}

type answer struct {
	address string
	r       directory.Resolution
}

// ids are the objects whose changes end the answer; 0 stands for every object.
// Nobody's address may become somebody's, and so may one that was answered by
// less than itself: without its +detail, or for the duty of a postmaster.
func (a *answer) ids() []directory.ObjectID {
	id := a.r.Target.ID + a.r.Group
	local, _, _ := strings.Cut(strings.ToLower(a.address), "@")
	if id != 0 && (strings.Contains(local, "+") || local == "postmaster" || local == "abuse" || strings.HasPrefix(local, `"`)) {
		return []directory.ObjectID{id, 0}
	}
	return []directory.ObjectID{id}
}

func (c *cache) init(limit int) {
	c.limit = limit
	c.clear()
}

func (c *cache) clear() {
	c.byName, c.byUse = make(map[string]*list.Element), list.New()
	c.byID = make(map[directory.ObjectID]map[*answer]struct{})
}

// get gives the kept answer, and the age to put a new one with.
func (c *cache) get(address string) (r directory.Resolution, age int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.heard || time.Since(c.at) > silence {
		return r, -1, false
	}
	e := c.byName[address]
	if e == nil {
		return r, c.age, false
	}
	c.byUse.MoveToFront(e)
	return e.Value.(*answer).r, c.age, true
}

// put keeps an answer that was asked for at age and comes from a view at usn.
func (c *cache) put(address string, r directory.Resolution, usn directory.USN, age int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A server that lags behind another would bring back what is over.
	if !c.heard || age != c.age || usn < c.usn || c.byName[address] != nil {
		return
	}
	a := &answer{address, r}
	c.byName[address] = c.byUse.PushFront(a)
	for _, id := range a.ids() {
		if c.byID[id] == nil {
			c.byID[id] = make(map[*answer]struct{})
		}
		c.byID[id][a] = struct{}{}
	}
	for c.byUse.Len() > c.limit {
		c.drop(c.byUse.Back().Value.(*answer))
	}
}

func (c *cache) drop(a *answer) {
	c.byUse.Remove(c.byName[a.address])
	delete(c.byName, a.address)
	for _, id := range a.ids() {
		delete(c.byID[id], a)
		if len(c.byID[id]) == 0 {
			delete(c.byID, id)
		}
	}
}

// hear takes news from the feed.
func (c *cache) hear(changes []directory.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard, c.at = true, time.Now()
	for _, ch := range changes {
		c.usn = max(c.usn, ch.USN)
		if ch.ID == 0 {
			continue
		}
		c.age++
		if ch.Kind == 0 { // a domain, perhaps: any address may change its standing
			c.clear()
			continue
		}
		for a := range c.byID[ch.ID] {
			c.drop(a)
		}
		for a := range c.byID[0] {
			c.drop(a)
		}
	}
}

// lost ends the use of what is kept until the feed is heard again.
func (c *cache) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard, c.usn = false, 0
	c.age++
	c.clear()
}
