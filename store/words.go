package store

import (
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// WordField says where words are looked for; fields may be joined.
type WordField uint

// The fields.
const (
	WordsSubject WordField = 1 << iota
	WordsFrom
	WordsTo
	WordsCc
	WordsBcc
	WordsBody // every part that is text, and what embedded messages say of themselves
	WordsFile // names of attachments
	// WordsHeader are all fields of headers but those that mail.MachineField names,
	// with their names, of the message and of those in it.
	WordsHeader

	// WordsAnywhere is where people look.
	WordsAnywhere = WordsSubject | WordsFrom | WordsTo | WordsCc | WordsBcc | WordsBody | WordsFile
)

// WordQuery asks for messages by words, or parts of words of two letters and more.
// Case, accents and compatibility forms do not count.
type WordQuery struct {
	Text   string
	Fields WordField
	// Loose also finds messages with too many words to keep: for who looks at what
	// was found letter by letter, and must miss nothing.
	Loose bool
}

// WithWords is the answer: the items, ascending, wherever they are.
type WithWords struct {
	Items []ItemID
	// All: the text has no words by which anything could be left out.
	All bool
	// Behind: of the mailbox's items after Upto nothing is known yet.
	Behind bool
	Upto   ItemID
}

// Words divides what somebody looks for into folded words (NFC, without case);
// what stands between quotation marks is one, in which a backslash takes the next
// character as it is (RFC 8621 section 4.4.1).
func Words(s string) (list []string) {
	s = norm.NFC.String(strings.ToValidUTF8(s, ""))
	var word strings.Builder
	end := func() {
		if w := strings.Join(strings.Fields(norm.NFC.String(cases.Fold().String(word.String()))), " "); w != "" {
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
