package imap

import (
	"strconv"

	"waypost/store"
)

// Object ids (RFC 8474): a letter for the kind, so that ids of different kinds
// never look the same, and the store's number.

func folderID(id store.FolderID) string { return "F" + strconv.FormatInt(int64(id), 10) }
func emailID(id store.ItemID) string    { return "M" + strconv.FormatInt(int64(id), 10) }
func threadID(id store.ThreadID) string { return "T" + strconv.FormatInt(int64(id), 10) }

// parseObjectID reads an id of the kind; 0 if it is none, which nothing has.
func parseObjectID(kind byte, s string) int64 {
	if len(s) < 2 || s[0] != kind || s[1] == '+' || s[1] == '-' {
		return 0
	}
	n, err := strconv.ParseInt(s[1:], 10, 64)
	if err != nil || n <= 0 {
		return 0
	}
	return n
}
