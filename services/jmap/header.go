package jmap

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"waypost/internal/mail"
)

// field is a field of a header as it was written, without its last line end.
type field struct {
	Name  string `json:"name"`
	Value string `json:"value"` // in Raw form (RFC 8621 section 4.1.2.1)
}

// splitFields divides a header block.
func splitFields(raw []byte) (list []field) {
	for len(raw) > 0 {
		end := bytes.IndexByte(raw, '\n') + 1
		for end > 0 && end < len(raw) && (raw[end] == ' ' || raw[end] == '\t') {
			n := bytes.IndexByte(raw[end:], '\n') + 1
			if n == 0 {
				end = 0
				break
			}
			end += n
		}
		if end == 0 {
			end = len(raw)
		}
		line := bytes.TrimRight(raw[:end], "\r\n")
		raw = raw[end:]
		if len(line) == 0 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok {
			if name = bytes.TrimRight(name, " \t"); isFieldName(string(name)) {
				list = append(list, field{string(name), rawText(value)})
			}
		}
	}
	return list
}

// rawText makes text of the bytes of a field: U+FFFD for what is no UTF-8, no NUL.
func rawText(b []byte) string {
	return strings.ReplaceAll(strings.ToValidUTF8(string(b), "\uFFFD"), "\x00", "")
}

// isFieldName: printable ASCII but the colon (section 4.1.3).
func isFieldName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < 33 || r > 126 || r == ':' })
}

// headerProperty is a property header:{name}[:as{form}][:all].
type headerProperty struct {
	property string
	name     string // as asked for
	form     string // Raw by default
	all      bool
}

// forms are the parsed forms with the fields that they may be used for, besides
// those that RFC 5322 and RFC 2369 do not define (sections 4.1.2.2 to 4.1.2.7).
var forms = map[string][]string{
	"Raw":              nil, // every field
	"Text":             {"subject", "comments", "keywords", "list-id"},
	"Addresses":        addressFields,
	"GroupedAddresses": addressFields,
	"MessageIds":       {"message-id", "in-reply-to", "references", "resent-message-id"},
	"Date":             {"date", "resent-date"},
	"URLs":             listFields,
}

var addressFields = []string{
	"from", "sender", "reply-to", "to", "cc", "bcc",
	"resent-from", "resent-sender", "resent-reply-to", "resent-to", "resent-cc", "resent-bcc",
}

// listFields are those of RFC 2369.
var listFields = []string{"list-help", "list-unsubscribe", "list-subscribe", "list-post", "list-owner", "list-archive"}

// definedFields are those of RFC 5322 and RFC 2369.
var definedFields = slices.Concat(addressFields, listFields, []string{
	"date", "message-id", "in-reply-to", "references", "subject", "comments", "keywords",
	"resent-date", "resent-message-id", "return-path", "received",
})

// parseHeaderProperty reads the name of such a property.
func parseHeaderProperty(p string) (h headerProperty, ok bool) {
	rest, ok := strings.CutPrefix(p, "header:")
	if !ok {
		return h, false
	}
	h = headerProperty{property: p, form: "Raw"}
	parts := strings.Split(rest, ":")
	h.name, parts = parts[0], parts[1:]
	if len(parts) > 0 && strings.HasPrefix(parts[0], "as") {
		h.form, parts = parts[0][2:], parts[1:]
	}
	if len(parts) > 0 && parts[0] == "all" {
		h.all, parts = true, parts[1:]
	}
	if len(parts) > 0 || !isFieldName(h.name) {
		return h, false
	}
	return h, formAllowed(h.form, h.name)
}

func formAllowed(form, name string) bool {
	fields, known := forms[form]
	name = strings.ToLower(name)
	return known && (form == "Raw" || slices.Contains(fields, name) || form == "Text" && name == "list-id" || !slices.Contains(definedFields, name))
}

// value gives the property of a header.
func (h *headerProperty) value(fields []field) any {
	all := []any{}
	for _, f := range fields {
		if strings.EqualFold(f.Name, h.name) {
			all = append(all, parsedForm(h.form, f.Value))
		}
	}
	if h.all {
		return all
	}
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// parsedForm gives a raw value in a form.
func parsedForm(form, raw string) any {
	switch form {
	case "Raw":
		return raw
	case "Text":
		return headerText(raw)
	case "Addresses":
		return addresses(mail.ParseAddresses(unfold(raw)))
	case "GroupedAddresses":
		return grouped(mail.ParseAddresses(unfold(raw)))
	case "MessageIds":
		return idsOrNil(mail.MessageIDs(unfold(raw)))
	case "Date":
		return dateOrNil(mail.ParseDate(unfold(raw)))
	case "URLs":
		return urls(unfold(raw))
	}
	return nil
}

func unfold(raw string) string {
	return strings.NewReplacer("\r", "", "\n", "").Replace(raw)
}

func headerText(raw string) string {
	return norm.NFC.String(strings.TrimLeft(mail.DecodeHeader(strings.TrimLeft(unfold(raw), " ")), " "))
}

func dateOrNil(t time.Time) any {
	if t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
		return nil
	}
	return dateText(t)
}

// dateText writes a Date (RFC 8620 section 1.4): fractions only where there are any.
func dateText(t time.Time) string { return t.Format("2006-01-02T15:04:05.999999999Z07:00") }

// utcText writes a UTCDate.
func utcText(t time.Time) string { return dateText(t.UTC()) }

// parseUTC reads a UTCDate.
func parseUTC(v any) (time.Time, bool) {
	s, ok := v.(string)
	if !ok || !strings.HasSuffix(s, "Z") || s != strings.ToUpper(s) {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	return t, err == nil
}

func idsOrNil(ids []string) any {
	if len(ids) == 0 {
		return nil
	}
	return ids
}

// urls reads a list of URLs in angle brackets; comments are left out (RFC 2369
// section 2).
func urls(s string) any {
	found := []string{}
	depth := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '(':
			depth++
		case s[i] == ')' && depth > 0:
			depth--
		case s[i] == '<' && depth == 0:
			end := strings.IndexByte(s[i:], '>')
			if end < 0 {
				return nil
			}
			found = append(found, strings.Join(strings.Fields(s[i+1:i+end]), ""))
			i += end
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found
}

// emailAddress is RFC 8621's EmailAddress.
func emailAddress(a mail.Address) object {
	o := object{"name": nil, "email": a.Addr()}
	if a.Name != "" {
		o["name"] = norm.NFC.String(a.Name)
	}
	return o
}

// addresses leaves the borders of groups out.
func addresses(list []mail.Address) []any {
	out := []any{}
	for _, a := range list {
		if !a.IsGroupStart() && !a.IsGroupEnd() {
			out = append(out, emailAddress(a))
		}
	}
	return out
}

// grouped gives EmailAddressGroups (section 4.1.2.4).
func grouped(list []mail.Address) []any {
	out := []any{}
	var at object
	begin := func(name any) {
		at = object{"name": name, "addresses": []any{}}
		out = append(out, at)
	}
	inside := false
	for _, a := range list {
		switch {
		case a.IsGroupStart():
			begin(norm.NFC.String(a.Mailbox))
			inside = true
		case a.IsGroupEnd():
			at, inside = nil, false
		default:
			if at == nil && !inside {
				begin(nil)
			}
			at["addresses"] = append(at["addresses"].([]any), emailAddress(a))
		}
	}
	return out
}

// addressesOrNil is null where there is no such field.
func addressesOrNil(list []mail.Address) any {
	if len(list) == 0 {
		return nil
	}
	return addresses(list)
}
