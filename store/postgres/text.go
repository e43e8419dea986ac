package postgres

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"waypost/internal/fault"
	"waypost/internal/mail"
)

// fold makes text comparable: NFC, without case. Invalid bytes and NUL, which
// PostgreSQL refuses, are dropped.
func fold(s string) string {
	if ascii(s) {
		return strings.ToLower(s)
	}
	return norm.NFC.String(cases.Fold().String(norm.NFC.String(clean(s))))
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf || s[i] == 0 {
			return false
		}
	}
	return true
}

// clean makes text fit for PostgreSQL.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	return s
}

// nameKey is what must be unique among sibling folders.
func nameKey(name string) string { return fold(name) }

// folderName checks and normalises a folder's name.
func folderName(name string) (string, error) {
	if !utf8.ValidString(name) {
		return "", fault.New(fault.Invalid, "the folder name is not valid UTF-8")
	}
	name = norm.NFC.String(name)
	switch {
	case strings.TrimSpace(name) == "":
		return "", fault.New(fault.Invalid, "the folder name is empty")
	case len(name) > maxName:
		return "", fault.New(fault.Invalid, "the folder name is longer than %d bytes", maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return r == '/' || unicode.IsControl(r) }):
		return "", fault.New(fault.Invalid, "the folder name has a character that is not allowed")
	}
	return name, nil
}

// keywords checks keywords and gives them sorted, each once.
func keywords(list []string) ([]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	for _, k := range list {
		if k == "" || len(k) > maxKeyword || !utf8.ValidString(k) {
			return nil, fault.New(fault.Invalid, "a keyword has 1 to %d bytes", maxKeyword)
		}
		if strings.ContainsFunc(k, func(r rune) bool { return r <= ' ' || unicode.IsControl(r) || unicode.IsSpace(r) }) {
			return nil, fault.New(fault.Invalid, "a keyword has no spaces")
		}
	}
	list = slices.Clone(list)
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) > maxKeywords {
		return nil, fault.New(fault.Limit, "an item has at most %d keywords", maxKeywords)
	}
	return list, nil
}

// people gives the folded names and addresses of a message, for searching.
func people(e *mail.Envelope) string {
	var b strings.Builder
	for _, list := range [][]mail.Address{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		for _, a := range list {
			if b.Len() > 8<<10 {
				return fold(b.String()) // enough to find it by
			}
			if a.Name != "" {
				b.WriteString(a.Name)
				b.WriteByte(' ')
			}
			b.WriteString(a.Addr())
			b.WriteByte('\n')
		}
	}
	return fold(b.String())
}
