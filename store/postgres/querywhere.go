package postgres

import (
	"context"
	"fmt"
	"strings"

	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/store"
)

// condition writes a condition as SQL over e (entry) and m (message).
func (x *querier) condition(ctx context.Context, c *store.Condition, level int) (string, error) {
	if x.tests++; x.tests > maxTests || level > maxLevels {
		return "", fault.New(fault.Limit, "a question has at most %d conditions on %d levels", maxTests, maxLevels)
	}
	if c.Op == store.OpTest {
		return x.test(ctx, c)
	}
	list := make([]string, 0, len(c.Of))
	for i := range c.Of {
		sql, err := x.condition(ctx, &c.Of[i], level+1)
		if err != nil {
			return "", err
		}
		list = append(list, sql)
	}
	switch c.Op {
	case store.OpAnd:
		return "(" + strings.Join(append(list, "true"), " and ") + ")", nil
	case store.OpOr:
		return "(" + strings.Join(append(list, "false"), " or ") + ")", nil
	case store.OpNot:
		return "not (" + strings.Join(append(list, "false"), " or ") + ")", nil
	}
	return "", fault.New(fault.Invalid, "no such way to join conditions")
}

// test writes one test as SQL that is never null.
func (x *querier) test(ctx context.Context, c *store.Condition) (string, error) {
	switch c.Test {
	case store.TestFolder:
		return "e.folder = any(" + x.arg(ids(c.Folders)) + ")", nil
	case store.TestNotFolder:
		return "e.folder <> all(" + x.arg(ids(c.Folders)) + ")", nil
	case store.TestBefore:
		return "e.received < " + x.arg(from(c.Time)), nil
	case store.TestAfter:
		return "e.received >= " + x.arg(from(c.Time)), nil
	case store.TestMinSize:
		return "e.size >= " + x.arg(c.Size), nil
	case store.TestMaxSize:
		return "e.size < " + x.arg(c.Size), nil
	case store.TestMark:
		return x.marked("e", c.Mark), nil
	case store.TestAllInThread:
		return "not " + x.inThread("not "+x.marked("t", c.Mark)), nil
	case store.TestSomeInThread:
		return x.inThread(x.marked("t", c.Mark)), nil
	case store.TestThread:
		return "m.thread = " + x.arg(int64(c.Thread)), nil
	case store.TestHasAttachment:
		return x.hasFile(ctx, c)
	case store.TestText:
		return x.text(c), nil
	case store.TestHeader:
		return x.header(ctx, c)
	}
	return "", fault.New(fault.Invalid, "no such test")
}

// marked tests a mark of an entry.
func (x *querier) marked(entry string, m store.Mark) string {
	if m.Flag != 0 {
		return fmt.Sprintf("(%s.flags & %d <> 0)", entry, m.Flag)
	}
	return fmt.Sprintf("exists (select from unnest(%s.keywords) k where lower(k) = %s)", entry, x.arg(strings.ToLower(m.Keyword)))
}

// inThread tests whether a message of the same conversation is as cond says of t.
func (x *querier) inThread(cond string) string {
	return fmt.Sprintf(`exists (select from mail.message tm join mail.entry t on t.mailbox = tm.mailbox and t.item = tm.item
		where tm.mailbox = $1 and tm.thread = m.thread and t.folder = any(%s) and t.flags & %d = 0 and %s)`,
		x.arg(x.folders), store.Deleted, cond)
}

// text is the condition that the index of words found an item, or that a newer one
// has the words in its listing columns.
func (x *querier) text(c *store.Condition) string {
	list := store.Words(c.Text)
	if len(list) == 0 {
		return "true"
	}
	found := x.words[c]
	sql := among("e.item", found.Items, x.arg)
	if x.last <= found.Upto {
		return sql
	}
	columns := []string{"m.people"}
	switch c.In {
	case store.InAny:
		columns = []string{"m.subject", "m.people", "m.preview"}
	case store.InSubject:
		columns = []string{"m.subject"}
	case store.InBody:
		columns = []string{"m.preview"}
	}
	return "(" + sql + " or e.item > " + x.arg(int64(found.Upto)) + " and " + listed(list, x.arg, columns...) + ")"
}

// hasFile is the condition of having an attachment.
func (x *querier) hasFile(ctx context.Context, c *store.Condition) (string, error) {
	found := x.words[c]
	sql := among("e.item", found.Items, x.arg)
	if x.last <= found.Upto {
		return sql, nil
	}
	newer, err := x.those(ctx, found.Upto, func(s *mail.Summary) bool { return s.Attachments > 0 })
	return "(" + sql + " or " + newer + ")", err
}

// known are the fields of a header that a Summary keeps.
var known = map[string]func(*mail.Summary) string{
	"subject": func(s *mail.Summary) string { return s.Subject },
	"from": func(s *mail.Summary) string {
		return mail.FormatAddresses(s.From) + people(&mail.Envelope{From: s.From})
	},
	"sender":      func(s *mail.Summary) string { return people(&mail.Envelope{From: s.Sender}) },
	"reply-to":    func(s *mail.Summary) string { return people(&mail.Envelope{From: s.ReplyTo}) },
	"to":          func(s *mail.Summary) string { return people(&mail.Envelope{From: s.To}) },
	"cc":          func(s *mail.Summary) string { return people(&mail.Envelope{From: s.Cc}) },
	"bcc":         func(s *mail.Summary) string { return people(&mail.Envelope{From: s.Bcc}) },
	"message-id":  func(s *mail.Summary) string { return s.MessageID },
	"in-reply-to": func(s *mail.Summary) string { return s.InReplyTo },
	"references":  func(s *mail.Summary) string { return strings.Join(s.References, " ") },
	"date":        func(s *mail.Summary) string { return s.DateText },
	"list-id":     func(s *mail.Summary) string { return s.ListID },
}

func (x *querier) header(ctx context.Context, c *store.Condition) (string, error) {
	value := known[strings.ToLower(c.Header)]
	if value == nil {
		return "", fault.New(fault.Invalid, "that field of the header cannot be searched")
	}
	want := fold(strings.TrimSpace(c.Text))
	return x.those(ctx, 0, func(s *mail.Summary) bool {
		v := value(s)
		return v != "" && strings.Contains(fold(v), want)
	})
}

// those tests what only a Summary tells: it looks at all messages after an item, and
// names those for which fn holds.
func (x *querier) those(ctx context.Context, after store.ItemID, fn func(*mail.Summary) bool) (string, error) {
	rows, err := x.tx.Query(ctx, "select item, summary from mail.message where mailbox = $1 and item > $2 order by item", int64(x.box), int64(after))
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var found []store.ItemID
	for rows.Next() {
		v := rows.RawValues()
		sum, err := mail.DecodeSummary(v[1])
		if err != nil {
			return "", err
		}
		if fn(sum) {
			found = append(found, store.ItemID(int64Of(v[0])))
		}
	}
	if err := rows.Err(); err != nil {
		return "", err
	}
	return among("e.item", found, x.arg), nil
}
