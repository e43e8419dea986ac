package imap

import (
	"strings"

	"github.com/emersion/go-imap/v2"

	"waypost/services/imap/imapwire"
	"waypost/store"
)

// systemFlags are the names of the store's flags, in the order in which they
// are written. The names with a dollar sign are of the registry of keywords
// (RFC 5788), so clients see them as keywords.
var systemFlags = []struct {
	flag store.Flags
	name imap.Flag
}{
	{store.Answered, imap.FlagAnswered},
	{store.Flagged, imap.FlagFlagged},
	{store.Deleted, imap.FlagDeleted},
	{store.Seen, imap.FlagSeen},
	{store.Draft, imap.FlagDraft},
	{store.Forwarded, imap.FlagForwarded},
	{store.MDNSent, imap.FlagMDNSent},
	{store.Junk, imap.FlagJunk},
	{store.NotJunk, imap.FlagNotJunk},
	{store.Phishing, imap.FlagPhishing},
}

// Limits of the store on keywords.
const (
	maxKeyword  = 64 // bytes
	maxKeywords = 64 // of a message
)

func systemFlag(f imap.Flag) (store.Flags, bool) {
	for _, s := range systemFlags {
		if strings.EqualFold(string(s.name), string(f)) {
			return s.flag, true
		}
	}
	return 0, false
}

// splitFlags sorts what a client wrote into system flags and keywords. \Recent
// cannot be set and is ignored, as in RFC 3501 section 2.3.2; any other flag
// with a backslash does not exist.
func splitFlags(flags []imap.Flag) (system store.Flags, keywords []string, err error) {
	for _, f := range flags {
		if s, ok := systemFlag(f); ok {
			system |= s
			continue
		}
		if strings.HasPrefix(string(f), `\`) {
			if strings.EqualFold(string(f), `\Recent`) {
				continue
			}
			return 0, nil, bad("", "No such system flag")
		}
		if len(f) > maxKeyword {
			return 0, nil, no("LIMIT", "A keyword may have %d bytes", maxKeyword)
		}
		keywords = append(keywords, string(f))
	}
	if len(keywords) > maxKeywords {
		return 0, nil, no("LIMIT", "A message may have %d keywords", maxKeywords)
	}
	return system, keywords, nil
}

// writeFlags writes (flags).
func writeFlags(e *imapwire.Encoder, flags store.Flags, keywords []string) {
	e.Byte('(')
	first := true
	for _, s := range systemFlags {
		if flags&s.flag != 0 {
			if !first {
				e.Byte(' ')
			}
			first = false
			e.Raw(string(s.name))
		}
	}
	for _, k := range keywords {
		if !first {
			e.Byte(' ')
		}
		first = false
		e.Raw(k)
	}
	e.Byte(')')
}
