package eas

import (
	"io"
	"strings"

	"waypost/internal/mail"
)

const (
	contentMessage  = "urn:content-classes:message"
	contentCalendar = "urn:content-classes:calendarmessage"
)

// class gives MessageClass and ContentClass (MS-ASEMAIL 2.2.2.49, 2.2.2.22).
// Only answers to meetings and reports need a look into the message.
func (x *message) class() (message, content string) {
	s := x.m.Summary
	switch s.CalendarMethod {
	case "REQUEST":
		return "IPM.Schedule.Meeting.Request", contentCalendar
	case "CANCEL":
		return "IPM.Schedule.Meeting.Canceled", contentCalendar
	case "REPLY":
		return "IPM.Schedule.Meeting.Resp." + x.answer(), contentCalendar
	case "COUNTER":
		return "IPM.Schedule.Meeting.Resp.Tent", contentCalendar
	}
	switch {
	case s.Has(mail.Report):
		return x.report(), contentMessage
	case s.Has(mail.SMIME | mail.Signed):
		if s.Root.MediaType() == "multipart/signed" {
			return "IPM.Note.SMIME.MultipartSigned", contentMessage
		}
		return "IPM.Note.SMIME", contentMessage
	case s.Has(mail.SMIME):
		return "IPM.Note.SMIME", contentMessage
	}
	return "IPM.Note", contentMessage
}

// head reads the beginning of the first part of one of the types.
func (x *message) head(types ...string) string {
	var found *mail.Part
	x.m.Summary.Root.Walk(func(p *mail.Part, _ int) bool {
		for _, t := range types {
			if found == nil && p.MediaType() == t {
				found = p
			}
		}
		return found == nil && !p.IsMessage()
	})
	if found == nil {
		return ""
	}
	c, err := x.received()
	if err != nil {
		return ""
	}
	b, _ := io.ReadAll(io.LimitReader(found.Decoded(c), 16<<10))
	return string(b)
}

// answer is the word for the PARTSTAT of the one who answers (RFC 5546 3.2.3).
func (x *message) answer() string {
	text := x.head("text/calendar", "application/ics")
	text = strings.NewReplacer("\r\n ", "", "\r\n\t", "", "\n ", "", "\n\t", "").Replace(text)
	text = strings.ToUpper(text)
	for {
		i := strings.Index(text, "\nATTENDEE")
		if i < 0 {
			return "Tent"
		}
		line, rest, _ := strings.Cut(text[i+1:], "\n")
		switch {
		case strings.Contains(line, "PARTSTAT=ACCEPTED"):
			return "Pos"
		case strings.Contains(line, "PARTSTAT=DECLINED"):
			return "Neg"
		case strings.Contains(line, "PARTSTAT=TENTATIVE"):
			return "Tent"
		}
		text = "\n" + rest
	}
}

// report is the class of a bounce or a receipt (RFC 3464 2.3.3, RFC 8098 3.2.6).
func (x *message) report() string {
	switch strings.ToLower(x.m.Summary.Root.Params["report-type"]) {
	case "delivery-status":
		text := strings.ToLower(x.head("message/delivery-status", "message/global-delivery-status"))
		switch field(text, "action") {
		case "delivered", "relayed", "expanded":
			return "REPORT.IPM.NOTE.DR"
		case "delayed":
			return "REPORT.IPM.NOTE.DELAYED"
		}
		return "REPORT.IPM.NOTE.NDR"
	case "disposition-notification":
		text := strings.ToLower(x.head("message/disposition-notification", "message/global-disposition-notification"))
		if strings.Contains(field(text, "disposition"), "displayed") {
			return "REPORT.IPM.NOTE.IPNRN"
		}
		return "REPORT.IPM.NOTE.IPNNRN"
	}
	return "IPM.Note"
}

// field gives the value of the first field of that name in lower-case text.
func field(text, name string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
