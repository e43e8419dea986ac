package ldap

import (
	"time"

	"waypost/directory"
	"waypost/directory/tree"
)

// beginWatch makes the operation one that lasts until it is cut off: it gives
// its place back, and a connection has only some of them.
func (s *search) beginWatch() error {
	c := s.c
	c.mu.Lock()
	ended, many := c.ended, c.watches >= c.server.cfg.MaxWatches
	if !ended && !many {
		c.watches++
		s.op.watch = true
	}
	c.mu.Unlock()
	switch {
	case ended:
		return errAbandoned
	case many:
		return refuse(codeAdminLimit, "at most %d persistent searches on a connection", c.server.cfg.MaxWatches)
	}
	c.leave(s.op)
	s.q.Deadline = time.Time{}
	return nil
}

// follow watches the search from a position on. What is told after the first
// phase is sent at once.
func (s *search) follow(since directory.USN, fn func(e *tree.Event, first bool) error) error {
	q := s.q
	q.Since = since
	first := true
	return s.c.server.tree.Watch(s.ctx, s.who, &q, func(e *tree.Event) error {
		if err := fn(e, first); err != nil {
			return err
		}
		if e.Present {
			first = false
		}
		if first {
			return nil
		}
		return s.send()
	})
}
