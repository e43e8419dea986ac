package store

import "strconv"

// The text forms of ids, the same at every door: a letter for the kind, so that
// ids of different kinds never look alike and none begins with a digit (RFC 8620
// section 1.2 advises so), and the number. At most 20 characters of [A-Z0-9].

// String gives the folder's id as clients see it.
func (id FolderID) String() string { return text('F', int64(id)) }

// String gives the item's id as clients see it.
func (id ItemID) String() string { return text('M', int64(id)) }

// String gives the thread's id as clients see it.
func (id ThreadID) String() string { return text('T', int64(id)) }

// ParseFolderID reads what FolderID.String wrote; ok is false for anything else.
func ParseFolderID(s string) (id FolderID, ok bool) {
	n, ok := parse('F', s)
	return FolderID(n), ok
}

// ParseItemID reads what ItemID.String wrote; ok is false for anything else.
func ParseItemID(s string) (id ItemID, ok bool) {
	n, ok := parse('M', s)
	return ItemID(n), ok
}

// ParseThreadID reads what ThreadID.String wrote; ok is false for anything else.
func ParseThreadID(s string) (id ThreadID, ok bool) {
	n, ok := parse('T', s)
	return ThreadID(n), ok
}

func text(kind byte, n int64) string {
	var b [24]byte
	b[0] = kind
	return string(strconv.AppendInt(b[:1], n, 10))
}

func parse(kind byte, s string) (int64, bool) {
	// One id has one text: no sign, no leading zero.
	if len(s) < 2 || len(s) > 20 || s[0] != kind || s[1] < '1' || s[1] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(s[1:], 10, 64)
	return n, err == nil
}
