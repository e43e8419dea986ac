package jmap

import (
	"context"
	"errors"
	"slices"

	"waypost/internal/fault"
	"waypost/store"
)

// emailKeys are what messages are sorted by (RFC 8621 section 4.4.2), whether a
// keyword belongs to it, and whether it depends on other messages of the thread.
var emailKeys = []struct {
	property string
	by       store.SortKey
	keyword  bool
	threads  bool
}{
	{"receivedAt", store.ByReceived, false, false},
	{"sentAt", store.BySent, false, false},
	{"size", store.BySize, false, false},
	{"from", store.ByFrom, false, false},
	{"to", store.ByTo, false, false},
	{"subject", store.BySubject, false, false},
	{"hasKeyword", store.ByMark, true, false},
	{"allInThreadHaveKeyword", store.ByAllInThread, true, true},
	{"someInThreadHaveKeyword", store.BySomeInThread, true, true},
}

func emailSorts() (list []string) {
	for _, k := range emailKeys {
		list = append(list, k.property)
	}
	return list
}

// emailFilter is a filter with what it depends on.
type emailFilter struct {
	store.Condition
	threads bool // on other messages of the thread
	mutable bool // on what may change
}

func joinEmails(op string, of []emailFilter) (f emailFilter) {
	f.Op = map[string]store.Op{"AND": store.OpAnd, "OR": store.OpOr, "NOT": store.OpNot}[op]
	for _, e := range of {
		f.Of = append(f.Of, e.Condition)
		f.threads, f.mutable = f.threads || e.threads, f.mutable || e.mutable
	}
	return f
}

func notEmail(of store.Condition) store.Condition {
	return store.Condition{Op: store.OpNot, Of: []store.Condition{of}}
}

// textFields are the conditions that look for text.
var textFields = map[string]store.Field{
	"text": store.InAny, "from": store.InFrom, "to": store.InTo, "cc": store.InCc, "bcc": store.InBcc, "subject": store.InSubject, "body": store.InBody,
}

// emailCondition reads a FilterCondition (section 4.4.1).
func emailCondition(o object) (f emailFilter, err error) {
	f.Op = store.OpAnd
	for name, v := range o {
		c := store.Condition{}
		ok := false
		text, isText := v.(string)
		n, isNumber := v.(int64)
		switch name {
		case "inMailbox":
			f.mutable, ok = true, isText
			c = inMailboxes(store.TestFolder, text)
		case "inMailboxOtherThan":
			var ids []string
			ids, err = stringList(v, name)
			f.mutable, ok = true, err == nil && v != nil
			c = inMailboxes(store.TestNotFolder, ids...)
		case "before", "after":
			c.Test = store.TestBefore
			if name == "after" {
				c.Test = store.TestAfter
			}
			c.Time, ok = parseUTC(v)
		case "minSize", "maxSize":
			c.Test = store.TestMinSize
			if name == "maxSize" {
				c.Test = store.TestMaxSize
			}
			c.Size, ok = n, isNumber && n >= 0
		case "hasKeyword", "notKeyword":
			c.Test, c.Mark, ok = store.TestMark, markOf(text), isText
			if f.mutable = true; name == "notKeyword" {
				c = notEmail(c)
			}
		case "allInThreadHaveKeyword":
			c.Test, c.Mark, ok = store.TestAllInThread, markOf(text), isText
			f.threads, f.mutable = true, true
		case "someInThreadHaveKeyword", "noneInThreadHaveKeyword":
			c.Test, c.Mark, ok = store.TestSomeInThread, markOf(text), isText
			if f.threads, f.mutable = true, true; name == "noneInThreadHaveKeyword" {
				c = notEmail(c)
			}
		case "hasAttachment":
			var want bool
			c.Test = store.TestHasAttachment
			if want, ok = v.(bool); ok && !want {
				c = notEmail(c)
			}
		case "header":
			var list []string
			list, err = stringList(v, name)
			if ok = err == nil && (len(list) == 1 || len(list) == 2); ok {
				c.Test, c.Header = store.TestHeader, list[0]
				if len(list) == 2 {
					c.Text = list[1]
				}
			}
		default:
			in, known := textFields[name]
			if !known {
				return f, methodFault("unsupportedFilter", "there is no condition %q", name)
			}
			c.Test, c.In, c.Text, ok = store.TestText, in, text, isText
		}
		if !ok {
			return f, invalidArguments("the condition %q is of another type", name)
		}
		f.Of = append(f.Of, c)
	}
	return f, nil
}

// inMailboxes tests folders; one that there is not is in none.
func inMailboxes(test store.Test, ids ...string) store.Condition {
	c := store.Condition{Test: test, Folders: []store.FolderID{}}
	for _, id := range ids {
		if f, ok := store.ParseFolderID(id); ok {
			c.Folders = append(c.Folders, f)
		}
	}
	return c
}

// emailQuestion is a query as the store understands it.
func (c *call) emailQuestion(q *query) (sq store.Query, f emailFilter, err error) {
	f, err = filterTree(q.filter, 0, emailCondition, joinEmails)
	if err != nil {
		return sq, f, err
	}
	if sq.Collapse, err = c.bool("collapseThreads"); err != nil {
		return sq, f, err
	}
	f.threads, f.mutable = f.threads || sq.Collapse, f.mutable || sq.Collapse
	for _, s := range q.sort {
		i := slices.Index(emailSorts(), s.property)
		if i < 0 {
			return sq, f, methodFault("unsupportedSort", "Email is not sorted by %q", s.property)
		}
		k := emailKeys[i]
		if k.keyword && s.keyword == "" {
			return sq, f, invalidArguments("sort by %s names a keyword", s.property)
		}
		sq.Sort = append(sq.Sort, store.Sort{By: k.by, Desc: s.desc, Mark: markOf(s.keyword)})
		f.threads, f.mutable = f.threads || k.threads, f.mutable || k.keyword
	}
	sq.Where = simplify(&f.Condition)
	sq.Total = q.total
	return sq, f, nil
}

// simplify takes what joins nothing away, so that the store sees a plain folder as
// one.
func simplify(c *store.Condition) *store.Condition {
	for (c.Op == store.OpAnd || c.Op == store.OpOr) && len(c.Of) == 1 {
		c = &c.Of[0]
	}
	if c.Op == store.OpAnd && len(c.Of) == 0 {
		return nil
	}
	return c
}

// queryFault tells what of a question the store did not take.
func queryFault(err error) error {
	switch fault.Of(err) {
	case fault.Invalid, fault.Limit:
		return methodFault("unsupportedFilter", "%s", fault.Say(err))
	}
	return err
}

func queryEmails(ctx context.Context, c *call) error {
	return getQuery(ctx, c, func(ctx context.Context, c *call, q *query) (*result, error) {
		sq, _, err := c.emailQuestion(q)
		if err != nil {
			return nil, err
		}
		sq.Position, sq.AnchorOffset, sq.Limit = q.position, q.anchorOffset, max(q.limit, 1)
		if q.anchor != "" {
			var ok bool
			if sq.Anchor, ok = store.ParseItemID(q.anchor); !ok {
				return nil, methodFault("anchorNotFound", "")
			}
		}
		found, err := c.store.Query(ctx, c.who, c.box, sq)
		switch {
		case fault.Of(err) == fault.NotFound && err != nil:
			return nil, methodFault("anchorNotFound", "")
		case err != nil:
			return nil, queryFault(err)
		}
		ids := idTexts(found.Items)
		return &result{
			state: seqText(found.Seq), changeable: true, position: found.Position, total: found.Total, ids: ids[:min(q.limit, len(ids))],
		}, nil
	})
}

// queryEmailChanges tells what became of an answer to Email/query: of each message
// that changed, and where it depends on others of its thread of those too, whether
// it is in the answer now, and where. (RFC 8620 section 5.6 allows to name more as
// removed than were there.)
func queryEmailChanges(ctx context.Context, c *call) error {
	return getQueryChanges(ctx, c, func(ctx context.Context, c *call, q *query, since, upTo string) (*delta, error) {
		sq, f, err := c.emailQuestion(q)
		if err != nil {
			return nil, err
		}
		base, err := parseSeq(since)
		if err != nil {
			return nil, err
		}
		// Changes and answer have to be of one moment.
		for range 10 {
			m, err := c.store.MailChanges(ctx, c.who, c.box, store.MailPosition{Base: base}, maxChanges)
			if err != nil {
				return nil, err
			}
			if m.More {
				return nil, methodFault("cannotCalculateChanges", "too much has changed")
			}
			affected := slices.Concat(m.Created, m.Updated)
			if f.threads {
				if affected, err = c.withThreads(ctx, &m); err != nil {
					return nil, err
				}
			}
			sq.Find = affected
			sq.Limit = 1
			if len(affected) > maxAffected {
				return nil, methodFault("cannotCalculateChanges", "too much has changed")
			}
			found, err := c.store.Query(ctx, c.who, c.box, sq)
			if err != nil {
				return nil, queryFault(err)
			}
			if found.Seq != m.Position.Base {
				continue
			}
			d := &delta{state: seqText(found.Seq), total: found.Total, removed: idTexts(m.Destroyed)}
			last := -1 // of what the client knows
			if upTo != "" && !f.mutable {
				if last, err = c.place(ctx, sq, upTo); err != nil {
					return nil, err
				}
			}
			for _, item := range affected {
				if !slices.Contains(m.Created, item) || f.threads {
					d.removed = append(d.removed, item.String())
				}
				if at, ok := found.At[item]; ok && (last < 0 || at <= last) {
					d.added = append(d.added, added{item.String(), at})
				}
			}
			return d, nil
		}
		return nil, fault.New(fault.Unavailable, "the mailbox keeps changing")
	})
}

// maxAffected bounds how many messages one /queryChanges looks at.
const maxAffected = 20_000

// place gives the index of a message in an answer, -1 when it is not there.
func (c *call) place(ctx context.Context, sq store.Query, id string) (int, error) {
	item, ok := store.ParseItemID(id)
	if !ok {
		return -1, nil
	}
	sq.Find, sq.Limit = []store.ItemID{item}, 1
	found, err := c.store.Query(ctx, c.who, c.box, sq)
	if err != nil {
		return -1, queryFault(err)
	}
	if at, ok := found.At[item]; ok {
		return at, nil
	}
	return -1, nil
}

var errThreadsUnknown = methodFault("cannotCalculateChanges", "of what is gone for long the conversation is not known")

// withThreads gives all messages of the threads of what changed.
func (c *call) withThreads(ctx context.Context, m *store.MailChanges) ([]store.ItemID, error) {
	if m.ThreadsUnknown {
		return nil, errThreadsUnknown
	}
	threads := map[store.ThreadID]bool{}
	for _, t := range slices.Concat(m.CreatedThreads, m.UpdatedThreads, m.DestroyedThreads) {
		threads[t] = true
	}
	if len(m.Updated) > 0 {
		list, err := c.store.Messages(ctx, c.who, c.box, m.Updated)
		if err != nil {
			return nil, err
		}
		for _, msg := range list {
			if msg != nil {
				threads[msg.Thread] = true
			}
		}
	}
	ids := make([]store.ThreadID, 0, len(threads))
	for t := range threads {
		ids = append(ids, t)
	}
	slices.Sort(ids)
	seen := map[store.ItemID]bool{}
	all := []store.ItemID{}
	for page := range slices.Chunk(ids, 1000) {
		lists, _, err := c.store.Threads(ctx, c.who, c.box, page)
		if err != nil {
			return nil, err
		}
		for _, items := range lists {
			for _, item := range items {
				if !seen[item] {
					seen[item] = true
					all = append(all, item)
				}
			}
		}
	}
	return all, nil
}

// threads are conversations (section 3).
var threads = &kind{
	name:       "Thread",
	state:      mailState,
	properties: []string{"id", "emailIds"},
	read: func(ctx context.Context, c *call, ids, _ []string) (map[string]object, error) {
		var list []store.ThreadID
		for _, id := range ids {
			if t, ok := store.ParseThreadID(id); ok {
				list = append(list, t)
			}
		}
		items, _, err := c.store.Threads(ctx, c.who, c.box, list)
		if err != nil {
			return nil, err
		}
		found := map[string]object{}
		for i, t := range list {
			if len(items[i]) > 0 {
				found[t.String()] = object{"id": t.String(), "emailIds": idTexts(items[i])}
			}
		}
		return found, nil
	},
	changes: func(ctx context.Context, c *call, since string, limit int) (*changes, error) {
		ch, m, err := mailChanges(ctx, c, since, limit)
		if err != nil {
			return nil, err
		}
		if m.ThreadsUnknown {
			return nil, errThreadsUnknown
		}
		ch.created, ch.updated, ch.destroyed = idTexts(m.CreatedThreads), idTexts(m.UpdatedThreads), idTexts(m.DestroyedThreads)
		return ch, nil
	},
}

// notSet is what a SetError says of a fault in an argument.
func notSet(err error) error {
	var m *methodError
	if errors.As(err, &m) {
		return invalidProperties(m.text)
	}
	return err
}
