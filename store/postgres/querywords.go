package postgres

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strings"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/mail"
	"waypost/store"
	"waypost/store/words"
)

// Of the messages that have all words of a phrase so many are read, the newest
// first, to see whether the words follow each other; the others are taken as found.
const (
	maxVerified      = 500
	maxVerifiedBytes = 32 << 20
)

// wordsIn says which fields of the index are meant.
var wordsIn = map[store.Field]store.WordField{
	store.InAny: store.WordsAnywhere, store.InFrom: store.WordsFrom, store.InTo: store.WordsTo, store.InCc: store.WordsCc,
	store.InBcc: store.WordsBcc, store.InSubject: store.WordsSubject, store.InBody: store.WordsBody,
}

// conditionWords asks the index of words for every condition that needs it, before
// the question itself takes its snapshot.
func (s *Store) conditionWords(ctx context.Context, as directory.Principal, box store.MailboxID, where *store.Condition) (map[*store.Condition]store.WithWords, error) {
	var tests []*store.Condition
	var walk func(c *store.Condition)
	walk = func(c *store.Condition) {
		if c.Op == store.OpTest && (c.Test == store.TestText || c.Test == store.TestHasAttachment) {
			tests = append(tests, c)
		}
		for i := range c.Of {
			walk(&c.Of[i])
		}
	}
	if where != nil {
		walk(where)
	}
	if len(tests) == 0 {
		return nil, nil
	}
	if len(tests) > maxWords {
		return nil, fault.New(fault.Limit, "more than %d conditions of words", maxWords)
	}
	h, err := s.open(as, box)
	if err != nil {
		return nil, err
	}
	all := make(map[*store.Condition]store.WithWords, len(tests))
	for _, c := range tests {
		found, err := s.testWords(ctx, h, box, c)
		if err != nil {
			return nil, err
		}
		all[c] = found
	}
	return all, nil
}

func (s *Store) testWords(ctx context.Context, h *home, box store.MailboxID, c *store.Condition) (found store.WithWords, err error) {
	if c.Test == store.TestHasAttachment {
		return s.matching(ctx, h, box, words.NewMark(words.HasFile))
	}
	fields, ok := wordsIn[c.In]
	if !ok {
		return found, fault.New(fault.Invalid, "no such field")
	}
	list := store.Words(c.Text)
	if len(list) > maxWords {
		return found, fault.New(fault.Limit, "more than %d words", maxWords)
	}
	found, err = s.matching(ctx, h, box, matcher(store.WordQuery{Text: strings.Join(list, " "), Fields: fields}))
	list = slices.DeleteFunc(list, func(p string) bool { return !strings.Contains(p, " ") })
	if err != nil || len(list) == 0 {
		return found, err
	}
	found.Items, err = s.withPhrases(ctx, h, box, found.Items, fields, list)
	return found, err
}

// withPhrases leaves those of items in which the words of each phrase follow each
// other.
func (s *Store) withPhrases(ctx context.Context, h *home, box store.MailboxID, items []store.ItemID, fields store.WordField, list []string) ([]store.ItemID, error) {
	from := max(0, len(items)-maxVerified)
	kept := items[:from:from]
	var messages []*message
	if err := s.readMessages(ctx, h, box, ids(items[from:]), func(m *message) { messages = append(messages, m) }); err != nil {
		return nil, err
	}
	slices.SortFunc(messages, func(a, b *message) int { return cmp.Compare(b.Item, a.Item) })
	size := int64(0)
	for i, m := range messages {
		if size += m.blobSize; size > maxVerifiedBytes {
			for _, m := range messages[i:] {
				kept = append(kept, m.Item)
			}
			messages = messages[:i]
			break
		}
	}
	for i, p := range list {
		list[i] = words.Fold(p)
	}
	err := s.contents(ctx, h, messages, func(m *message, c io.ReaderAt) error {
		text, err := fieldText(m.Summary, c, fields)
		if err != nil && (ctx.Err() != nil || fault.Of(err) == fault.Unavailable) {
			return err
		}
		text = strings.Join(strings.Fields(words.Fold(text)), " ")
		if !slices.ContainsFunc(list, func(p string) bool { return !strings.Contains(text, p) }) {
			kept = append(kept, m.Item)
		}
		return nil
	})
	slices.Sort(kept)
	return kept, err
}

// fieldText is the text of a message's fields, one after the other.
func fieldText(sum *mail.Summary, c io.ReaderAt, fields store.WordField) (string, error) {
	var b strings.Builder
	left := int64(words.MaxText)
	err := eachText(sum, c, func(f words.Field, r io.Reader) error {
		for bit, field := range wordFields {
			if field == f && fields&bit != 0 {
				n, err := io.Copy(&b, io.LimitReader(r, left))
				left -= n
				b.WriteByte(' ')
				return err
			}
		}
		return nil
	})
	return b.String(), err
}
