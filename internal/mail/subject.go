package mail

import "strings"

// BaseSubject applies RFC 5256 section 2.1 to a decoded subject: prefixes such
// as Re: and Fwd:, labels in brackets and (fwd) are taken away. reply says
// whether something showed the message to be a reply or a forward. The case of
// base is kept.
func BaseSubject(subject string) (base string, reply bool) {
	s := strings.Join(strings.Fields(subject), " ") // step 1
	for {
		for { // step 2: trailers
			t, ok := cutSuffixFold(s, "(fwd)")
			if !ok {
				break
			}
			s, reply = strings.TrimRight(t, " "), true
		}
		for again := true; again; {
			again = false
			if t, ok := cutLeader(s); ok { // step 3
				s, reply, again = t, true, true
			}
			if t, ok := cutBlob(s); ok && t != "" { // step 4
				s, again = t, true
			}
		}
		// step 6
		if len(s) > 6 && strings.EqualFold(s[:5], "[fwd:") && strings.HasSuffix(s, "]") {
			s, reply = strings.TrimSpace(s[5:len(s)-1]), true
			continue
		}
		return strings.TrimSpace(s), reply
	}
}

func cutSuffixFold(s, suffix string) (string, bool) {
	s = strings.TrimRight(s, " ")
	if n := len(s) - len(suffix); n >= 0 && strings.EqualFold(s[n:], suffix) {
		return s[:n], true
	}
	return s, false
}

// replyWords are the prefixes of the standard and those that Outlook writes in
// the languages it is often seen in.
var replyWords = [...]string{"re", "fwd", "fw", "aw", "wg", "sv", "vs", "vb", "vl", "tr", "rif", "antw", "odp", "ynt", "enc"}

// cutLeader removes one subj-leader: any blobs, a reply word, an optional blob and a colon.
func cutLeader(s string) (string, bool) {
	t := strings.TrimLeft(s, " ")
	for range 8 { // more labels are no one's habit
		b, ok := cutBlob(t)
		if !ok {
			break
		}
		t = b
	}
	for _, w := range replyWords {
		if len(t) <= len(w) || !strings.EqualFold(t[:len(w)], w) {
			continue
		}
		u := strings.TrimLeft(t[len(w):], " ")
		if b, ok := cutBlob(u); ok {
			u = b
		}
		if v, ok := strings.CutPrefix(u, ":"); ok {
			return strings.TrimLeft(v, " "), true
		}
		if v, ok := strings.CutPrefix(u, "："); ok { // the wide colon of East Asian writers
			return strings.TrimLeft(v, " "), true
		}
	}
	return s, false
}

// cutBlob removes one subj-blob, a label in brackets.
func cutBlob(s string) (string, bool) {
	if !strings.HasPrefix(s, "[") {
		return s, false
	}
	i := strings.IndexAny(s[1:], "[]")
	if i < 0 || s[1+i] != ']' || len(s) > 5 && strings.EqualFold(s[:5], "[fwd:") {
		return s, false
	}
	return strings.TrimLeft(s[i+2:], " "), true
}
