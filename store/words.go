package store

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
