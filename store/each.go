package store

import "waypost/internal/fault"

// EachObject calls fn with the objects that there are of items, with their texts, in
// order. get is Objects for some mailbox; it is asked again for what did not fit.
func EachObject(items []ItemID, get func([]ItemID) ([]*Object, error), fn func(*Object) error) error {
	for len(items) > 0 {
		page := items[:min(len(items), maxObjects)]
		list, err := get(page)
		n := len(page)
		if err != nil {
			if fault.Of(err) != fault.Limit {
				return err
			}
			n = min(n, len(list))
			for n > 0 && list[n-1] == nil { // those that did not fit
				n--
			}
			if n == 0 {
				return err
			}
		}
		for _, o := range list[:n] {
			if o == nil {
				continue
			}
			if err := fn(o); err != nil {
				return err
			}
		}
		items = items[n:]
	}
	return nil
}

// maxObjects is how many Objects gives at a time.
const maxObjects = 1000
