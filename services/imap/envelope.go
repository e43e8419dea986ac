package imap

import (
	"maps"
	"slices"

	"waypost/internal/mail"
	"waypost/services/imap/imapwire"
)

// writeEnvelope writes ENVELOPE (RFC 9051 section 7.5.2). Absent Sender and
// Reply-To are From.
func writeEnvelope(e *imapwire.Encoder, env *mail.Envelope) {
	e.Byte('(')
	e.NString(env.DateText)
	e.SP()
	e.NText(env.Subject)
	sender, replyTo := env.Sender, env.ReplyTo
	if len(sender) == 0 {
		sender = env.From
	}
	if len(replyTo) == 0 {
		replyTo = env.From
	}
	for _, list := range [...][]mail.Address{env.From, sender, replyTo, env.To, env.Cc, env.Bcc} {
		e.SP()
		writeAddresses(e, list)
	}
	e.SP()
	e.NString(env.InReplyTo)
	e.SP()
	e.NString(env.MessageID)
	e.Byte(')')
}

func writeAddresses(e *imapwire.Encoder, list []mail.Address) {
	if len(list) == 0 {
		e.NIL()
		return
	}
	e.Byte('(')
	for i := range list {
		a := &list[i]
		e.Byte('(')
		e.NText(a.Name)
		e.Raw(" NIL ")
		switch {
		case a.IsGroupEnd():
			e.Raw("NIL NIL")
		case a.IsGroupStart():
			e.Text(a.Mailbox)
			e.Raw(" NIL")
		default:
			e.String(a.Mailbox)
			e.SP()
			e.String(a.Host)
		}
		e.Byte(')')
	}
	e.Byte(')')
}

// writeStructure writes BODY or, extended, BODYSTRUCTURE of a part.
func writeStructure(e *imapwire.Encoder, p *mail.Part, extended bool) {
	e.Byte('(')
	if p.IsMultipart() && len(p.Children) > 0 {
		for _, child := range p.Children {
			writeStructure(e, child, extended)
		}
		e.SP()
		e.String(p.Subtype)
		if extended {
			e.SP()
			writeParams(e, p.Params)
			writeExtension(e, p)
		}
		e.Byte(')')
		return
	}
	e.String(p.Type)
	e.SP()
	e.String(p.Subtype)
	e.SP()
	writeParams(e, p.Params)
	e.SP()
	e.NString(p.ID)
	e.SP()
	e.NText(p.Description)
	e.SP()
	if p.Encoding == "" {
		e.String("7bit")
	} else {
		e.String(p.Encoding)
	}
	e.SP()
	e.Number(uint64(max(p.Size(), 0)))
	switch {
	case p.IsMessage() && p.Message != nil && p.Envelope != nil:
		e.SP()
		writeEnvelope(e, p.Envelope)
		e.SP()
		writeStructure(e, p.Message, extended)
		e.SP()
		e.Number(uint64(max(p.Lines, 0)))
	case p.Type == "text":
		e.SP()
		e.Number(uint64(max(p.Lines, 0)))
	}
	if extended {
		e.SP()
		e.NString(p.MD5)
		writeExtension(e, p)
	}
	e.Byte(')')
}

// writeParams writes parameters in the order of their names.
func writeParams(e *imapwire.Encoder, params map[string]string) {
	if len(params) == 0 {
		e.NIL()
		return
	}
	e.Byte('(')
	if len(params) == 1 { // the common charset or boundary needs no sorting
		for name, value := range params {
			writeParam(e, name, value)
		}
	} else {
		for i, name := range slices.Sorted(maps.Keys(params)) {
			if i > 0 {
				e.SP()
			}
			writeParam(e, name, params[name])
		}
	}
	e.Byte(')')
}

func writeParam(e *imapwire.Encoder, name, value string) {
	e.String(name)
	e.SP()
	e.Text(value)
}

// writeExtension writes disposition, language and location.
func writeExtension(e *imapwire.Encoder, p *mail.Part) {
	e.SP()
	if p.Disposition == "" {
		e.NIL()
	} else {
		e.Byte('(')
		e.String(p.Disposition)
		e.SP()
		writeParams(e, p.DispParams)
		e.Byte(')')
	}
	e.SP()
	switch len(p.Language) {
	case 0:
		e.NIL()
	case 1:
		e.String(p.Language[0])
	default:
		e.Byte('(')
		for i, l := range p.Language {
			if i > 0 {
				e.SP()
			}
			e.String(l)
		}
		e.Byte(')')
	}
	e.SP()
	e.NString(p.Location)
}
