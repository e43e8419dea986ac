package relay

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"waypost/internal/envelope"
)

// report is what a notice says about one recipient.
type report struct {
	rcpt   Recipient
	last   Last
	action string // RFC 3464 section 2.3.3: "failed", "delayed"
	until  time.Time
}

// maxHead bounds what a notice quotes of the original's header, in bytes.
const maxHead = 64 << 10

var subjects = map[string]string{
	"failed":  "Undelivered: your message could not be delivered",
	"delayed": "Delayed: your message has not been delivered yet",
}

var openings = map[string]string{
	"failed": "Your message could not be delivered to the following recipients, and no\r\n" +
		"further attempt will be made.\r\n",
	"delayed": "Your message has not been delivered to the following recipients yet. It is\r\n" +
		"still being tried; you need not send it again.\r\n",
}

// notice writes a delivery status notification (RFC 3464) to the sender of w.
// All reports have the same action. With an error the notice lacks the
// original's header.
func (r *Relay) notice(ctx context.Context, w Work, reports []report, now time.Time) (Notice, error) {
	action := reports[0].action
	// One for each event: repeating the attempt repeats the id.
	id := fmt.Sprintf("%s.%s%d-%d", w.ID, action[:1], reports[0].rcpt.ID, reports[0].rcpt.Warned)
	if len(id) > envelope.MaxID {
		id = fmt.Sprintf("n%d.%s%d-%d", w.Message, action[:1], reports[0].rcpt.ID, reports[0].rcpt.Warned)
	}
	head, err := r.head(ctx, w)

	utf8 := w.UTF8 || !envelope.ASCII(w.From)
	for _, rep := range reports {
		utf8 = utf8 || !envelope.ASCII(rep.rcpt.Address)
	}
	utf8 = utf8 || !envelope.ASCII(string(head))
	plain, status, headers, encoding := "7bit", "message/delivery-status", "text/rfc822-headers", "7bit"
	for _, rep := range reports { // a moderator's comment
		if !envelope.ASCII(rep.last.Text) {
			plain = "8bit"
		}
	}
	if utf8 { // RFC 6533
		status, headers, encoding = "message/global-delivery-status", "message/global-headers", "8bit"
		plain = encoding
	}
	boundary := "=_" + strings.NewReplacer(".", "_", ":", "_").Replace(id) + "_="

	var b bytes.Buffer
	field := func(name, value string) { b.WriteString(name + ": " + value + "\r\n") }
	part := func(contentType, encoding string) {
		b.WriteString("\r\n--" + boundary + "\r\n")
		field("Content-Type", contentType)
		field("Content-Transfer-Encoding", encoding)
		b.WriteString("\r\n")
	}
	field("From", "Mail Delivery System <"+r.o.Postmaster+">")
	field("To", "<"+w.From+">")
	field("Subject", subjects[action])
	field("Date", now.Format(time.RFC1123Z))
	field("Message-ID", "<"+id+"@"+r.o.Hostname+">")
	field("Auto-Submitted", "auto-replied") // RFC 3834 section 3.1.7
	field("MIME-Version", "1.0")
	field("Content-Type", "multipart/report; report-type=delivery-status;\r\n\tboundary=\""+boundary+"\"")

	part("text/plain; charset=utf-8", plain)
	b.WriteString(openings[action])
	for _, rep := range reports {
		fmt.Fprintf(&b, "\r\n  <%s>\r\n    %s\r\n", rep.rcpt.Address, oneLine(rep.last.String()))
	}

	part(status, encoding)
	field("Reporting-MTA", "dns; "+r.o.Hostname)
	field("X-Waypost-Id", w.ID)
	field("Arrival-Date", w.Created.UTC().Format(time.RFC1123Z))
	for _, rep := range reports {
		b.WriteString("\r\n")
		kind := "rfc822"
		if !envelope.ASCII(rep.rcpt.Address) {
			kind = "utf-8"
		}
		field("Final-Recipient", kind+"; "+rep.rcpt.Address)
		field("Action", rep.action)
		field("Status", rep.last.Status)
		if rep.last.Host != "" {
			field("Remote-MTA", "dns; "+rep.last.Host)
		}
		if rep.last.Code != 0 {
			diagnostic := oneLine(rep.last.String())
			if !utf8 {
				diagnostic = ascii(diagnostic)
			}
			field("Diagnostic-Code", "smtp; "+diagnostic)
		}
		field("Last-Attempt-Date", rep.last.At.UTC().Format(time.RFC1123Z))
		if !rep.until.IsZero() {
			field("Will-Retry-Until", rep.until.UTC().Format(time.RFC1123Z))
		}
	}

	part(headers, encoding)
	b.Write(head)
	b.WriteString("\r\n--" + boundary + "--\r\n")

	return Notice{
		Message: Message{
			Envelope: envelope.Envelope{ID: id, UTF8: utf8, Created: now},
			To:       []Address{{w.From, envelope.Domain(w.From)}},
			Due:      now, Expires: now.Add(bounceLife),
		},
		Body: b.Bytes(),
	}, err
}

// head is the original's header, as far as a notice quotes it.
func (r *Relay) head(ctx context.Context, w Work) ([]byte, error) {
	h, err := envelope.ReadHeader(r.queue.Content(ctx, w).Reader())
	if err != nil {
		return nil, err
	}
	head := append([]byte(nil), w.Trace...)
	for _, f := range h.Fields {
		if len(head)+len(f.Raw) > maxHead {
			break
		}
		head = append(head, f.Raw...)
	}
	return head, nil
}

func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), 800)]
}

// ascii puts question marks in place of what a field in ASCII cannot say.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, s)
}
