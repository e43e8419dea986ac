// Package autodiscover tells phones and mail programs where their server is:
// POX for ActiveSync (MS-ASCMD 2.2.1.1) and for Outlook's own schema
// (MS-OXDSCLI), and the JSON form, version 2.
//
// Its law: it answers every question that a client asks with something that ends
// its search. POX wants a sign-in, since it shows a name; JSON wants none and
// answers alike for every address, so that it reveals nobody.
package autodiscover

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"waypost/directory"
	"waypost/internal/fault"
)

const maxBody = 64 << 10 // bytes; real requests are below 1 KiB

// The schemas that may be asked for, and those of the answers.
const (
	mobileSchema  = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"
	outlookSchema = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
	outerSchema   = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
)

// Authenticator checks credentials.
type Authenticator interface {
	SignIn(ctx context.Context, c directory.Credentials) (directory.Session, error)
}

// People is what the door asks of the directory.
type People interface {
	User(ctx context.Context, as directory.Principal, id directory.ObjectID) (directory.User, error)
}

// Options of the door.
type Options struct {
	// Host names the HTTPS door as the client should reach it: a name, with a
	// port where it is not 443.
	Host func(*http.Request) string
	// MailHost and the ports are what Outlook's schema announces for IMAP and
	// submission; a port of 0 leaves the protocol out.
	MailHost                  func(*http.Request) string
	IMAPSPort, SubmissionPort int
	ClientAddr                func(*http.Request) netip.Addr
	Log                       *slog.Logger
}

// Server is the door, an http.Handler for everything below /autodiscover/.
type Server struct {
	people People
	auth   Authenticator
	o      Options
}

// New makes the door.
func New(people People, auth Authenticator, o Options) *Server {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Server{people, auth, o}
}

// ServeHTTP answers one question and logs one line about it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	path := strings.ToLower(r.URL.Path)
	result, user := "", ""
	switch {
	case strings.HasPrefix(path, "/autodiscover/autodiscover.json"):
		result = s.json(w, r, path)
	case path == "/autodiscover/autodiscover.xml":
		result, user = s.pox(w, r)
	default:
		http.NotFound(w, r)
		result = "not found"
	}
	s.o.Log.Info("autodiscover", "proto", "autodiscover", "cmd", r.Method+" "+path, "user", user, "dur", time.Since(start), "result", result)
}

// json answers version 2: GET, no sign-in, and the same for every address.
func (s *Server) json(w http.ResponseWriter, r *http.Request, path string) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return "method"
	}
	host := s.o.Host(r)
	answer := map[string]string{}
	status := http.StatusOK
	query := r.URL.Query()
	protocol := query.Get("Protocol")
	for k, v := range query {
		if strings.EqualFold(k, "protocol") && len(v) > 0 {
			protocol = v[0]
		}
	}
	switch strings.ToLower(protocol) {
	case "activesync":
		answer["Protocol"], answer["Url"] = "ActiveSync", "https://"+host+"/Microsoft-Server-ActiveSync"
	case "autodiscoverv1":
		answer["Protocol"], answer["Url"] = "AutodiscoverV1", "https://"+host+"/autodiscover/autodiscover.xml"
	case "":
		status = http.StatusBadRequest
		answer["ErrorCode"], answer["ErrorMessage"] = "MandatoryParameterMissing", "A valid value must be provided for the query parameter 'Protocol'"
	default:
		status = http.StatusBadRequest
		answer["ErrorCode"] = "InvalidProtocol"
		answer["ErrorMessage"] = fmt.Sprintf("The given protocol value '%.40s' is invalid. Supported values are 'ActiveSync,AutodiscoverV1'", protocol)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "private")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // the client went away
	return http.StatusText(status)
}

// pox answers the XML forms. A client first asks without credentials and wants a
// 401; then it asks again with its address, so a wrong schema is answered inside
// a 200 and ends the search.
func (s *Server) pox(w http.ResponseWriter, r *http.Request) (result, user string) {
	who, err := s.signIn(r)
	if err != nil {
		switch fault.Of(err) {
		case fault.Unavailable, fault.Limit, fault.Internal:
			w.Header().Set("Retry-After", "30")
			http.Error(w, fault.Say(err), http.StatusServiceUnavailable)
		default:
			w.Header().Set("WWW-Authenticate", `Basic realm="Waypost", charset="UTF-8"`)
			http.Error(w, "sign in", http.StatusUnauthorized)
		}
		return fault.Of(err).String(), ""
	}
	ask, err := readRequest(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		s.fail(w, 600, "Invalid Request")
		return "600", who.Address
	}
	u, err := s.people.User(r.Context(), who, who.ID)
	if err != nil {
		s.fail(w, 603, "Internal error, try again later")
		return "603", who.Address
	}
	switch {
	case ask.schema == "" && !ask.mobile:
		s.fail(w, 600, "Invalid Request")
		return "600", who.Address
	case ask.schema == mobileSchema || ask.schema == "":
		s.write(w, s.mobile(r, u))
	case ask.schema == outlookSchema:
		s.write(w, s.outlook(r, u))
	default:
		s.fail(w, 601, "The requested schema version is not supported")
		return "601", who.Address
	}
	return "ok", who.Address
}

func (s *Server) signIn(r *http.Request) (directory.Principal, error) {
	login, password, ok := r.BasicAuth()
	if !ok {
		return directory.Principal{}, fault.New(fault.Unauthenticated, "sign in")
	}
	// Desktop programs send Latin-1.
	if !utf8.ValidString(login) || !utf8.ValidString(password) {
		login, password = latin1(login), latin1(password)
	}
	c := directory.Credentials{Login: login, Password: password, Door: "autodiscover"}
	if s.o.ClientAddr != nil {
		c.From = s.o.ClientAddr(r)
	}
	session, err := s.auth.SignIn(r.Context(), c)
	return session.Principal, err
}

func latin1(s string) string {
	out := make([]rune, len(s))
	for i := range len(s) {
		out[i] = rune(s[i])
	}
	return string(out)
}

// request is what a client asked.
type request struct {
	address, schema string
	mobile          bool // the request's own namespace says mobilesync
}

// readRequest reads a request tolerantly: elements count by their local name,
// since namespaces are often broken.
func readRequest(r io.Reader) (q request, err error) {
	d := xml.NewDecoder(r)
	d.Strict = false
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	depth, seen := 0, false
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) && seen {
			return q, nil
		}
		if err != nil {
			return q, err
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if depth++; depth > 16 {
				return q, errors.New("too deep")
			}
			seen = seen || strings.EqualFold(t.Name.Local, "Autodiscover")
			q.mobile = q.mobile || strings.Contains(t.Name.Space, "mobilesync")
			var into *string
			switch strings.ToLower(t.Name.Local) {
			case "emailaddress":
				into = &q.address
			case "acceptableresponseschema":
				into = &q.schema
			default:
				continue
			}
			if err := d.DecodeElement(into, &t); err != nil {
				return q, err
			}
			depth--
			*into = strings.TrimSpace(*into)
		case xml.EndElement:
			depth--
		case xml.Directive:
			return q, errors.New("a document type is not allowed")
		}
	}
}

// The outer and the inner namespace differ, and iOS needs both exact.
type envelope struct {
	XMLName  xml.Name `xml:"Autodiscover"`
	Space    string   `xml:"xmlns,attr"`
	Response any      `xml:"Response"`
}

type mobileResponse struct {
	Space   string `xml:"xmlns,attr"`
	Culture string
	Name    string         `xml:"User>DisplayName"`
	Address string         `xml:"User>EMailAddress"`
	Servers []mobileServer `xml:"Action>Settings>Server"`
}

type mobileServer struct{ Type, Url, Name string }

func (s *Server) mobile(r *http.Request, u directory.User) envelope {
	url := "https://" + s.o.Host(r) + "/Microsoft-Server-ActiveSync"
	return envelope{Space: outerSchema, Response: mobileResponse{
		Space: mobileSchema, Culture: "en:us", Name: u.Name, Address: u.Address,
		Servers: []mobileServer{{"MobileSync", url, url}},
	}}
}

type outlookResponse struct {
	Space     string            `xml:"xmlns,attr"`
	Name      string            `xml:"User>DisplayName"`
	Address   string            `xml:"User>AutoDiscoverSMTPAddress"`
	Type      string            `xml:"Account>AccountType"`
	Action    string            `xml:"Account>Action"`
	Protocols []outlookProtocol `xml:"Account>Protocol"`
}

type outlookProtocol struct {
	Type           string
	Server         string
	Port           int `xml:",omitempty"`
	LoginName      string
	DomainRequired string
	SPA            string
	SSL            string
	Encryption     string `xml:",omitempty"`
	AuthRequired   string
}

func (s *Server) outlook(r *http.Request, u directory.User) envelope {
	out := outlookResponse{Space: outlookSchema, Name: u.Name, Address: u.Address, Type: "email", Action: "settings"}
	host := hostOnly(s.o.Host(r))
	if s.o.MailHost != nil {
		host = s.o.MailHost(r)
	}
	add := func(kind string, port int) {
		if port != 0 {
			out.Protocols = append(out.Protocols, outlookProtocol{
				Type: kind, Server: host, Port: port, LoginName: u.Address, DomainRequired: "off", SPA: "off", SSL: "on", Encryption: "SSL", AuthRequired: "on",
			})
		}
	}
	add("IMAP", s.o.IMAPSPort)
	add("SMTP", s.o.SubmissionPort)
	out.Protocols = append(out.Protocols, outlookProtocol{
		Type: "MobileSync", Server: "https://" + s.o.Host(r) + "/Microsoft-Server-ActiveSync", LoginName: u.Address, DomainRequired: "off", SPA: "off", SSL: "on", AuthRequired: "on",
	})
	return envelope{Space: outerSchema, Response: out}
}

func hostOnly(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return hostport
}

type errorResponse struct {
	Error struct {
		Time      string `xml:",attr"`
		ID        string `xml:"Id,attr"`
		ErrorCode int
		Message   string
		DebugData string
	}
}

// fail answers a framework error (MS-OXDSCLI 2.2.4.1.1.2), with HTTP 200 as
// clients expect.
func (s *Server) fail(w http.ResponseWriter, code int, message string) {
	var e errorResponse
	now := time.Now().UTC()
	e.Error.Time, e.Error.ID = now.Format("15:04:05.0000000"), fmt.Sprint(uint32(now.UnixNano()))
	e.Error.ErrorCode, e.Error.Message = code, message
	s.write(w, envelope{Space: outerSchema, Response: e})
}

func (s *Server) write(w http.ResponseWriter, v envelope) {
	b, err := xml.Marshal(v)
	if err != nil {
		s.o.Log.Error("autodiscover answer", "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.Header().Set("Cache-Control", "private")
	_, _ = w.Write(append([]byte(xml.Header), b...)) // the client went away
}
