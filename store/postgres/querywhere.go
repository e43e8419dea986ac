package postgres

import (
	"context"
	"fmt"
	"slices"
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
		return x.those(ctx, nil, func(s *mail.Summary) bool { return s.Attachments > 0 })
	case store.TestText:
		return x.text(ctx, c)
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

// text looks for words. It is the one place that knows where they are looked
// for: in the folded listing columns, anywhere in them.
func (x *querier) text(ctx context.Context, c *store.Condition) (string, error) {
	words := phrases(c.Text)
	if len(words) > maxWords {
		return "", fault.New(fault.Limit, "more than %d words", maxWords)
	}
	columns := map[store.Field][]string{
		store.InAny: {"m.subject", "m.people", "m.preview"}, store.InSubject: {"m.subject"}, store.InBody: {"m.preview"},
	}[c.In]
	if columns == nil {
		list := lists[c.In]
		if list == nil {
			return "", fault.New(fault.Invalid, "no such field")
		}
		return x.those(ctx, words, func(s *mail.Summary) bool { return contains(people(&mail.Envelope{From: list(s)}), words) })
	}
	all := []string{"true"}
	for _, w := range words {
		a := x.arg(w)
		var any []string
		for _, col := range columns {
			any = append(any, fmt.Sprintf("position(%s in %s) > 0", a, col))
		}
		all = append(all, "("+strings.Join(any, " or ")+")")
	}
	return "(" + strings.Join(all, " and ") + ")", nil
}

// lists are the fields with addresses.
var lists = map[store.Field]func(*mail.Summary) []mail.Address{
	store.InFrom: func(s *mail.Summary) []mail.Address { return s.From },
	store.InTo:   func(s *mail.Summary) []mail.Address { return s.To },
	store.InCc:   func(s *mail.Summary) []mail.Address { return s.Cc },
	store.InBcc:  func(s *mail.Summary) []mail.Address { return s.Bcc },
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
	return x.those(ctx, nil, func(s *mail.Summary) bool {
		v := value(s)
		return v != "" && strings.Contains(fold(v), want)
	})
}

// those tests what only a Summary tells: it looks at all messages whose people
// have words, and names those for which fn holds.
func (x *querier) those(ctx context.Context, words []string, fn func(*mail.Summary) bool) (string, error) {
	sql := "select item, summary from mail.message where mailbox = $1"
	args := []any{int64(x.box)}
	for _, w := range words {
		args = append(args, w)
		sql += fmt.Sprintf(" and position($%d in people) > 0", len(args))
	}
	rows, err := x.tx.Query(ctx, sql, args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	found := []int64{}
	for rows.Next() {
		v := rows.RawValues()
		sum, err := mail.DecodeSummary(v[1])
		if err != nil {
			return "", err
		}
		if fn(sum) {
			found = append(found, int64Of(v[0]))
		}
	}
	if err := rows.Err(); err != nil {
		return "", err
	}
	return "e.item = any(" + x.arg(found) + ")", nil
}

func contains(text string, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}

// phrases divides what somebody looks for into folded words; what stands between
// quotation marks is one, in which a backslash takes the next character as it is
// (RFC 8621 section 4.4.1).
func phrases(s string) (list []string) {
	var word strings.Builder
	end := func() {
		if w := strings.Join(strings.Fields(fold(word.String())), " "); w != "" {
			list = append(list, w)
		}
		word.Reset()
	}
	var quote rune
	escaped := false
	for i, r := range s {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case quote != 0 && r == '\\':
			escaped = true
		case quote != 0 && r == quote:
			end()
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case (r == '"' || r == '\'') && word.Len() == 0 && strings.ContainsRune(s[i+1:], r):
			quote = r
		case r == ' ' || r == '\t' || r == '\r' || r == '\n':
			end()
		default:
			word.WriteRune(r)
		}
	}
	end()
	return list
}
