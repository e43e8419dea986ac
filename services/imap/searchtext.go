package imap

import (
	"bytes"
	"io"
	"strings"

	"waypost/internal/mail"
	"waypost/store"
)

// bodyKey is BODY: the text parts of the message, decoded, and the headers of
// embedded messages. headers adds the message's own: TEXT. What machines write into
// headers for machines does not count, and of HTML its text does.
func bodyKey(text string, headers bool) searchKey {
	folded := fold(text)
	return hinted(text, store.WordsBody|store.WordsHeader, func(s *searched, f *fetched) (bool, error) {
		if headers {
			h, err := f.fields()
			if err != nil || fieldsContain(h, folded) {
				return err == nil, err
			}
		}
		found := folded == ""
		var failed error
		msg := f.received()
		f.summary().Root.Walk(func(p *mail.Part, _ int) bool {
			if found || failed != nil {
				return false
			}
			if failed = s.ctx.Err(); failed != nil {
				return false
			}
			switch {
			case p.IsMessage() && p.Message != nil:
				h, err := mail.ReadFields(msg, p.Message)
				failed = err
				found = err == nil && fieldsContain(h, folded)
			case p.Type != "text":
			case p.Subtype == "html":
				found, failed = contains(strings.NewReader(mail.HTMLToText(p.Text(msg), 0)), folded)
			default:
				found, failed = contains(p.Text(msg), folded)
			}
			return true
		})
		return found, failed
	})
}

func fieldsContain(h mail.Fields, folded string) bool {
	for i := range h.Len() {
		name, v := h.At(i)
		if mail.MachineField(name) {
			continue
		}
		if strings.Contains(fold(name+": "+mail.DecodeHeader(v)), folded) {
			return true
		}
	}
	return false
}

// contains looks for folded in a stream of UTF-8. It keeps one buffer, so that
// a text of any length costs the same; white space counts as written but for
// line ends, which count as one space each.
func contains(r io.Reader, folded string) (bool, error) {
	if folded == "" {
		return true, nil
	}
	needle := []byte(folded)
	buf := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buf)
	var window []byte // folded text whose end may begin the needle
	raw := 0          // bytes of buf that are not folded yet: a rune cut in two
	for {
		n, err := r.Read(buf[raw:])
		n += raw
		whole := n
		if err == nil {
			whole = n - mail.CutRune(buf[:n])
		}
		window = appendFolded(window, buf[:whole])
		if bytes.Contains(window, needle) {
			return true, nil
		}
		if keep := len(needle) - 1; len(window) > keep {
			window = append(window[:0], window[len(window)-keep:]...)
		}
		raw = copy(buf[:], buf[whole:n])
		if err == io.EOF { //nolint:errorlint // by the contract of io.Reader
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// appendFolded appends text in lower case with line ends as spaces.
func appendFolded(dst, text []byte) []byte {
	from := len(dst)
	dst = append(dst, bytes.ToLower(text)...)
	// A line may end between two words of what is sought.
	out := dst[:from]
	for _, c := range dst[from:] {
		switch c {
		case '\r':
		case '\n':
			out = append(out, ' ')
		default:
			out = append(out, c)
		}
	}
	return out
}
