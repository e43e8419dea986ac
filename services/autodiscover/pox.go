package autodiscover

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"waypost/directory"
	"waypost/internal/fault"
)

// The schemas (MS-ASCMD 2.2.3.6, MS-OXDSCLI 2.2.3).
const (
	schemaAnswer      = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
	schemaMobile      = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"
	schemaOutlook     = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
	requestForOutlook = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
)

// The error codes of the framework (MS-OXDSCLI 2.2.4.1.1.2).
const (
	errAddress  = 500 // the address is unknown
	errNothing  = 501 // the address has no such configuration
	errRequest  = 600
	errSchema   = 601 // nobody here speaks the schema asked for
	errInternal = 603
)

var errorTexts = map[int]string{
	errAddress:  "The email address cannot be found.",
	errNothing:  "There is no configuration for this address.",
	errRequest:  "Invalid Request",
	errSchema:   "Provider is not available",
	errInternal: "Internal error",
}

// poxError is an answer that holds a framework error.
type poxError struct{ code int }

func (e poxError) Error() string { return fmt.Sprintf("error code %d", e.code) }

// maxRequest is the longest request, in bytes.
const maxRequest = 64 << 10

// poxRequest is what a request asks.
type poxRequest struct {
	address string
	schema  string // AcceptableResponseSchema
	outlook bool   // the request's own schema is Outlook's
}

// readRequest reads a request tolerantly: namespaces are often broken, so
// elements are known by their names alone.
func readRequest(r io.Reader) (poxRequest, error) {
	var q poxRequest
	limited := &io.LimitedReader{R: r, N: maxRequest + 1}
	d := xml.NewDecoder(limited)
	d.Strict = false
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	var into *string
	for {
		tok, err := d.Token()
		switch {
		case limited.N <= 0:
			return q, fault.New(fault.TooLarge, "the request is too large")
		case errors.Is(err, io.EOF):
			q.address, q.schema = strings.TrimSpace(q.address), strings.TrimSpace(q.schema)
			return q, nil
		case err != nil:
			return q, fault.From(fault.Invalid, err, "the request is no XML")
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			into = nil
			switch strings.ToLower(tok.Name.Local) {
			case "emailaddress":
				into = &q.address
			case "acceptableresponseschema":
				into = &q.schema
			case "autodiscover":
				q.outlook = strings.EqualFold(tok.Name.Space, requestForOutlook)
			}
		case xml.EndElement:
			into = nil
		case xml.CharData:
			if into != nil {
				*into += string(tok)
			}
		}
	}
}

// pox gives the answer to a request for XML.
func (h *Handler) pox(r *http.Request, l *line) (string, error) {
	u, err := h.signIn(r, l)
	if err != nil {
		return "", err
	}
	if r.Method != http.MethodPost {
		return "", poxError{errRequest}
	}
	q, err := readRequest(r.Body)
	switch {
	case err != nil:
		return "", err
	case q.address == "":
		return "", poxError{errRequest}
	case q.schema == "" && q.outlook:
		return "", poxError{errRequest}
	case !owns(u, q.address):
		return "", poxError{errAddress}
	}
	switch strings.ToLower(q.schema) {
	case "", strings.ToLower(schemaMobile): // phones that say nothing are phones
		l.cmd = "mobilesync"
		if u.Mailbox == 0 {
			return "", poxError{errNothing}
		}
		return h.mobile(r, u), nil
	case strings.ToLower(schemaOutlook):
		l.cmd = "outlook"
		if u.Mailbox == 0 || len(h.opt.Protocols) == 0 {
			return "", poxError{errNothing}
		}
		return h.outlook(u), nil
	}
	return "", poxError{errSchema}
}

func owns(u directory.User, address string) bool {
	is := func(a string) bool { return directory.Fold(a) == directory.Fold(address) }
	return is(u.Address) || is(u.UPN) || slices.ContainsFunc(u.Addresses, is)
}

// esc makes text safe inside an element.
func esc(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder does not fail
	return b.String()
}

const declaration = `<?xml version="1.0" encoding="utf-8"?>` + "\n"

// mobile is the answer to a phone (MS-ASCMD 2.2.1.1). The two namespaces differ,
// and iOS wants both exactly so.
func (h *Handler) mobile(r *http.Request, u directory.User) string {
	url := esc(h.activeSync(r))
	var b strings.Builder
	fmt.Fprintf(&b, declaration+`<Autodiscover xmlns="%s"><Response xmlns="%s"><Culture>en:us</Culture>`, schemaAnswer, schemaMobile)
	fmt.Fprintf(&b, `<User><DisplayName>%s</DisplayName><EMailAddress>%s</EMailAddress></User>`, esc(displayName(u)), esc(u.Address))
	fmt.Fprintf(&b, `<Action><Settings><Server><Type>MobileSync</Type><Url>%s</Url><Name>%s</Name></Server></Settings></Action>`, url, url)
	b.WriteString(`</Response></Autodiscover>`)
	return b.String()
}

func displayName(u directory.User) string {
	if u.Name != "" {
		return u.Name
	}
	return u.Address
}

// outlook is the answer to a mail program's set-up (MS-OXDSCLI 2.2.4.1.1).
func (h *Handler) outlook(u directory.User) string {
	var b strings.Builder
	fmt.Fprintf(&b, declaration+`<Autodiscover xmlns="%s"><Response xmlns="%s">`, schemaAnswer, schemaOutlook)
	fmt.Fprintf(&b, `<User><DisplayName>%s</DisplayName><AutoDiscoverSMTPAddress>%s</AutoDiscoverSMTPAddress></User>`, esc(displayName(u)), esc(u.Address))
	b.WriteString(`<Account><AccountType>email</AccountType><Action>settings</Action>`)
	for _, p := range h.opt.Protocols {
		encryption := "TLS"
		if p.TLS {
			encryption = "SSL"
		}
		fmt.Fprintf(&b, `<Protocol><Type>%s</Type><Server>%s</Server><Port>%d</Port><LoginName>%s</LoginName>`,
			esc(p.Type), esc(p.Server), p.Port, esc(u.Address))
		fmt.Fprintf(&b, `<DomainRequired>off</DomainRequired><SPA>off</SPA><SSL>on</SSL><Encryption>%s</Encryption><AuthRequired>on</AuthRequired></Protocol>`, encryption)
	}
	b.WriteString(`</Account></Response></Autodiscover>`)
	return b.String()
}

// errorAnswer is a framework error.
func (h *Handler) errorAnswer(e poxError) string {
	now := h.opt.Now()
	return fmt.Sprintf(declaration+`<Autodiscover xmlns="%s"><Response><Error Time="%s" Id="%d"><ErrorCode>%d</ErrorCode><Message>%s</Message><DebugData/></Error></Response></Autodiscover>`,
		schemaAnswer, now.Format("15:04:05.0000000"), uint32(now.UnixNano()), e.code, errorTexts[e.code])
}
