package smtp

import (
	"context"
	"slices"
	"time"

	"waypost/internal/envelope"
	"waypost/internal/mail"
	"waypost/internal/smtpguard"
)

// once are the fields that may stand in a header once (RFC 5322 section 3.6).
// Two of them are shown differently by different readers, so our people's
// messages must not have them.
var once = []string{"from", "sender", "subject", "date", "message-id", "reply-to", "to", "cc", "content-type", "mime-version", "content-transfer-encoding"}

// stripped are fields that do not leave with a submitted message.
var stripped = []string{"bcc", "resent-bcc", "return-path"}

// submitted checks the header of a message of whoever signed in and completes
// it (RFC 6409 sections 6.1 and 8).
func (s *session) submitted(ctx context.Context, tx *transaction, h envelope.Header, spool *envelope.Spool) (envelope.Body, error) {
	if !h.Ended {
		return nil, smtpguard.Errorf(552, [3]int{5, 3, 4}, "Header too big")
	}
	for _, name := range once {
		if h.Count(name) > 1 {
			return nil, smtpguard.Errorf(554, [3]int{5, 6, 0}, "More than one "+name+" field")
		}
	}
	for _, field := range []string{"from", "sender"} {
		for _, a := range mail.ParseAddresses(h.Get(field)) {
			if a.IsGroupStart() || a.IsGroupEnd() {
				continue
			}
			addr, err := envelope.Canonical(a.Addr())
			if err != nil {
				return nil, smtpguard.Errorf(550, [3]int{5, 1, 7}, "Bad address in "+field)
			}
			if err := s.maySendAs(ctx, addr); err != nil {
				return nil, err
			}
		}
	}
	now := time.Now()
	head := h.Bytes(func(name string) bool { return slices.Contains(stripped, name) })
	if n := len(head); n > 0 && head[n-1] != '\n' { // a header alone, cut off
		head = append(head, "\r\n"...)
	}
	if h.Count("from") == 0 {
		head = append(head, "From: <"+s.who.Address+">\r\n"...)
	}
	if h.Count("date") == 0 {
		head = append(head, "Date: "+now.Format(time.RFC1123Z)+"\r\n"...)
	}
	if h.Count("message-id") == 0 {
		domain := envelope.Domain(tx.env.From)
		if domain == "" {
			domain = s.srv.o.Hostname
		}
		head = append(head, "Message-ID: <"+tx.env.ID+"@"+domain+">\r\n"...)
	}
	if h.End == 0 && !startsEmpty(spool) {
		head = append(head, "\r\n"...) // a body without header
	}
	return &envelope.Replaced{Head: head, Skip: h.End, Of: spool}, nil
}

// startsEmpty tells whether a message begins with the empty line that ends a
// header.
func startsEmpty(spool *envelope.Spool) bool {
	var b [2]byte
	n, _ := spool.ReadAt(b[:], 0)
	return n == 2 && b == [2]byte{'\r', '\n'}
}
