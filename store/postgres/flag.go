package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/store"
)

// Flag changes marks of items of one folder, all in one change.
func (s *Store) Flag(ctx context.Context, as directory.Principal, box store.MailboxID, f store.FlagChange) (res store.FlagResult, err error) {
	defer fault.Wrap(&err, "flag in folder %d of mailbox %d", f.Folder, box)
	add, err := keywords(f.Add)
	if err != nil {
		return res, err
	}
	items, err := distinct(f.Items)
	if err != nil {
		return res, err
	}
	h, x, err := s.enter(ctx, as, box)
	if err != nil {
		return res, err
	}
	if err := s.mayMark(ctx, h, x, box, f.Folder, items); err != nil {
		return res, err
	}
	var found []store.Entry
	seq, err := s.changeIn(ctx, h, box, changeOf{
		first: func(b *pgx.Batch) { queueItems(b, box, items, &found) },
		run: func(_ context.Context, c *change) error {
			res = store.FlagResult{}
			var w marks
			byItem := index(found)
			d := c.folder(f.Folder)
			for _, item := range items {
				e := byItem[item]
				if e == nil || e.Folder != f.Folder {
					continue
				}
				was := e.Changed
				if f.UnchangedSince != nil && e.Changed > *f.UnchangedSince {
					res.Modified = append(res.Modified, item)
				} else {
					before := e.Flags
					changed, err := mark(e, &f, add)
					if err != nil {
						return err
					}
					if changed {
						e.Changed = c.seq
						d.mark(before, -1)
						d.mark(e.Flags, 1)
						if err := w.add(e); err != nil {
							return err
						}
					}
				}
				res.Entries, res.Was = append(res.Entries, *e), append(res.Was, was)
			}
			if len(w.items) == 0 {
				return errNothing
			}
			w.write(c)
			return nil
		},
	})
	if err != nil {
		return store.FlagResult{}, err
	}
	res.Seq = seq
	return res, nil
}

func index(list []store.Entry) map[store.ItemID]*store.Entry {
	m := make(map[store.ItemID]*store.Entry, len(list))
	for i := range list {
		m[list[i].Item] = &list[i]
	}
	return m
}

// mark changes an entry and tells whether that made a difference.
func mark(e *store.Entry, f *store.FlagChange, add []string) (changed bool, err error) {
	flags := e.Flags&^f.Clear | f.Set
	var list []string
	if f.Replace {
		list = add
	} else {
		for _, k := range e.Keywords {
			if !slices.Contains(f.Remove, k) && !slices.Contains(add, k) {
				list = append(list, k)
			}
		}
		list = append(list, add...)
		slices.Sort(list)
	}
	if len(list) > maxKeywords {
		return false, fault.New(fault.Limit, "an item has at most %d keywords", maxKeywords)
	}
	changed = flags != e.Flags || !slices.Equal(list, e.Keywords)
	if f.Props != nil {
		var copied *store.Props
		if e.Props != nil {
			copied = cloneProps(e.Props)
		}
		props := f.Props(e.Item, copied)
		was, err := propsText(e.Props)
		if err != nil {
			return false, err
		}
		is, err := propsText(props)
		if err != nil {
			return false, err
		}
		if (was == nil) != (is == nil) || was != nil && *was != *is {
			changed = true
			e.Props = props
			if is == nil {
				e.Props = nil
			}
		}
	}
	e.Flags, e.Keywords = flags, list
	return changed, nil
}

func cloneProps(p *store.Props) *store.Props {
	q := *p
	if p.FollowUp != nil {
		f := *p.FollowUp
		q.FollowUp = &f
	}
	return &q
}

// marks are the entries whose marks a change writes.
type marks struct {
	items           []int64
	flags           []int32
	keywords, props []*string
}

func (w *marks) add(e *store.Entry) error {
	props, err := propsText(e.Props)
	if err != nil {
		return err
	}
	w.items, w.flags = append(w.items, int64(e.Item)), append(w.flags, int32(e.Flags))
	w.keywords, w.props = append(w.keywords, keywordText(e.Keywords)), append(w.props, props)
	return nil
}

func (w *marks) write(c *change) {
	// Most changes set the same flags and nothing else: then one short
	// statement does, without a row for each item.
	if same(w.flags) && allNil(w.keywords) && allNil(w.props) {
		c.last.Queue(`update mail.entry set changed_seq = $2, flags = $3, keywords = null, props = null,
			shown_seq = case when flags & $5 <> 0 and $3 & $5 = 0 then $2 else shown_seq end
			where mailbox = $1 and item = any($4)`, int64(c.box), int64(c.seq), w.flags[0], w.items, int32(store.Deleted))
		return
	}
	c.last.Queue(`
		update mail.entry e set changed_seq = $2, flags = u.flags, keywords = string_to_array(u.keywords, ' '), props = u.props::jsonb,
			shown_seq = case when e.flags & $7 <> 0 and u.flags & $7 = 0 then $2 else shown_seq end
		from unnest($3::bigint[], $4::int[], $5::text[], $6::text[]) as u (item, flags, keywords, props)
		where e.mailbox = $1 and e.item = u.item`,
		int64(c.box), int64(c.seq), w.items, w.flags, w.keywords, w.props, int32(store.Deleted))
}

func same(list []int32) bool {
	for _, n := range list {
		if n != list[0] {
			return false
		}
	}
	return true
}

func allNil(list []*string) bool {
	for _, t := range list {
		if t != nil {
			return false
		}
	}
	return true
}
