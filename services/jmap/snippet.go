package jmap

import (
	"context"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"waypost/internal/mail"
	"waypost/store"
)

const (
	snippetText = 64 << 10 // bytes of a body that are looked at
	maxSnippet  = 255      // bytes of SearchSnippet.preview (RFC 8621 section 5)
)

// getSnippets answers SearchSnippet/get (section 5.1).
func getSnippets(ctx context.Context, c *call) error {
	f, err := filterTree(c.args["filter"], 0, emailCondition, joinEmails)
	if err != nil {
		return err
	}
	ids, err := c.idsOrNull("emailIds")
	if err != nil || ids == nil {
		return invalidArguments("emailIds is a list of ids")
	}
	if len(ids) > maxObjectsInGet {
		return methodFault("requestTooLarge", "more than %d ids", maxObjectsInGet)
	}
	subject, body := wordsOf(&f.Condition)
	entries, err := c.store.EntriesOf(ctx, c.who, c.box, itemIDs(distinct(ids)))
	if err != nil {
		return err
	}
	var items []store.ItemID
	for _, e := range entries {
		if e.Flags&store.Deleted == 0 {
			items = append(items, e.Item)
		}
	}
	msgs, err := c.store.Messages(ctx, c.who, c.box, items)
	if err != nil {
		return err
	}
	if len(body) > 0 && len(items) > 0 {
		if err := c.store.Warm(ctx, c.who, c.box, items); err != nil {
			return err
		}
	}
	found := map[string]bool{}
	list := []any{}
	for i, m := range msgs {
		if m == nil {
			continue
		}
		id := items[i].String()
		found[id] = true
		o := object{"emailId": id, "subject": nil, "preview": nil}
		if marked, ok := highlight(m.Summary.Subject, subject, 0); ok {
			o["subject"] = marked
		}
		if len(body) > 0 {
			text, err := c.bodyText(ctx, m)
			if err != nil {
				return err
			}
			if marked, ok := highlight(text, body, maxSnippet); ok {
				o["preview"] = marked
			}
		}
		list = append(list, o)
	}
	out := object{"accountId": c.account, "list": list, "notFound": nil}
	if missing := slices.DeleteFunc(distinct(ids), func(id string) bool { return found[id] }); len(missing) > 0 {
		out["notFound"] = missing
	}
	return c.respond(c.name, out)
}

// wordsOf gives what a filter looks for in subjects and bodies. What must not be
// there is not shown.
func wordsOf(c *store.Condition) (subject, body [][]rune) {
	switch {
	case c.Op == store.OpNot:
	case c.Op != store.OpTest:
		for i := range c.Of {
			s, b := wordsOf(&c.Of[i])
			subject, body = append(subject, s...), append(body, b...)
		}
	case c.Test == store.TestText:
		words := store.Words(c.Text)
		for _, w := range words {
			r := []rune(w)
			if c.In == store.InAny || c.In == store.InSubject {
				subject = append(subject, r)
			}
			if c.In == store.InAny || c.In == store.InBody {
				body = append(body, r)
			}
		}
	}
	return subject, body
}

// bodyText is the beginning of what a person reads of a message, on one line.
func (c *call) bodyText(ctx context.Context, m *store.Message) (string, error) {
	plain, html, _ := m.Summary.Bodies()
	if plain == nil && html == nil {
		return "", nil
	}
	content, err := c.store.Content(ctx, c.who, c.box, m.Item)
	if err != nil {
		return "", err
	}
	msg := &message{sum: m.Summary, content: content, size: m.Size, prefix: int64(len(m.Prefix))}
	text := ""
	if plain != nil {
		raw, err := io.ReadAll(io.LimitReader(plain.Text(msg.body()), snippetText))
		if err != nil {
			return "", err
		}
		text = strings.ToValidUTF8(string(raw), "")
	} else {
		text = mail.HTMLToText(html.Text(msg.body()), snippetText)
	}
	return strings.Join(strings.Fields(text), " "), nil
}

// highlight escapes text and marks words in it; ok is false when none occurs. With
// a limit it is the piece around the first one, of at most so many bytes.
func highlight(text string, words [][]rune, limit int) (string, bool) {
	runes := []rune(text)
	lower := make([]rune, len(runes))
	for i, r := range runes {
		lower[i] = unicode.ToLower(r)
	}
	// end gives where the longest word that begins at i ends.
	end := func(i int) int {
		n := 0
		for _, w := range words {
			if len(w) > n && len(lower)-i >= len(w) && slices.Equal(lower[i:i+len(w)], w) {
				n = len(w)
			}
		}
		return i + n
	}
	first := 0
	for first < len(runes) && end(first) == first {
		first++
	}
	if first == len(runes) {
		return "", false
	}
	start := 0
	if limit > 0 {
		start = max(0, first-40)
		for start > 0 && start < first && runes[start-1] != ' ' {
			start++
		}
	}
	var b strings.Builder
	for i := start; i < len(runes); {
		piece, next := escape(runes[i]), i+1
		if e := end(i); e > i {
			piece, next = "", e
			for _, r := range runes[i:e] {
				piece += escape(r)
			}
			piece = "<mark>" + piece + "</mark>"
		}
		if limit > 0 && b.Len()+len(piece) > limit {
			break
		}
		b.WriteString(piece)
		i = next
	}
	return b.String(), b.Len() > 0
}

func escape(r rune) string {
	switch r {
	case '&':
		return "&amp;"
	case '<':
		return "&lt;"
	case '>':
		return "&gt;"
	}
	return string(utf8.AppendRune(nil, r))
}
