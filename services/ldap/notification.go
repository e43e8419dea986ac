package ldap

import "waypost/directory/tree"

func (o *op) readNotification(controlValue) error {
	o.ctl.notify = true
	return nil
}

// notify is AD's change notification (MS-ADTS 3.1.1.3.4.1.9): the search stays
// open and gives each entry that changes, as it is then; deleted ones as their
// tombstones when those are shown.
func (s *search) notify() error {
	if s.filter.Op != tree.Present || !sameName(s.filter.Attribute, "objectClass") {
		return refuse(codeUnwilling, "change notification takes the filter (objectClass=*) only")
	}
	if err := s.beginWatch(); err != nil {
		return err
	}
	return s.follow(s.c.server.tree.USN(), func(e *tree.Event, first bool) error {
		switch {
		case e.Present || first:
			return nil
		case e.Entry != nil:
			return s.give(e.Entry)
		case !s.ctl.deleted:
			return nil
		}
		entry, err := s.tombstone(e.GUID)
		if entry == nil || err != nil {
			return err
		}
		return s.give(entry)
	})
}
