package smtpguard

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"waypost/internal/envelope"
)

// state is where a conversation stands (RFC 5321 section 4.1.4).
type state uint8

const (
	fresh   state = 1 << iota // before EHLO
	greeted                   // between transactions
	hasFrom                   // MAIL was accepted
	hasTo                     // and a RCPT
	inData                    // chunks are under way

	always = fresh | greeted | hasFrom | hasTo | inData
	ready  = greeted | hasFrom | hasTo | inData
)

// command says how the guard treats a command. run may answer by itself and
// returns the line for the library, or "".
type command struct {
	in  state
	run func(c *Conn, arg string) string
}

// commands is every command that is known. Others are answered 500 5.5.2.
var commands map[string]command

func init() {
	commands = map[string]command{
		"EHLO":     {always, (*Conn).hello},
		"HELO":     {always, (*Conn).hello},
		"LHLO":     {always, (*Conn).hello},
		"MAIL":     {greeted, (*Conn).mail},
		"RCPT":     {hasFrom | hasTo, (*Conn).rcpt},
		"DATA":     {hasTo, (*Conn).data},
		"BDAT":     {always, (*Conn).bdat}, // in a wrong state its chunk must still be read
		"RSET":     {always, (*Conn).rset},
		"NOOP":     {always, func(*Conn, string) string { return "NOOP" }},
		"QUIT":     {always, func(*Conn, string) string { return "QUIT" }},
		"VRFY":     {always, (*Conn).vrfy},
		"HELP":     {always, (*Conn).help},
		"AUTH":     {greeted, (*Conn).auth},
		"STARTTLS": {fresh | greeted, (*Conn).startTLS},
		"EXPN":     {always, (*Conn).notImplemented},
		"TURN":     {always, (*Conn).notImplemented},
		"ETRN":     {always, (*Conn).notImplemented},
		"SEND":     {always, (*Conn).notImplemented},
		"SOML":     {always, (*Conn).notImplemented},
		"SAML":     {always, (*Conn).notImplemented},
		// A browser made to talk to us sends a request line first.
		"GET":     {always, (*Conn).stranger},
		"POST":    {always, (*Conn).stranger},
		"PUT":     {always, (*Conn).stranger},
		"CONNECT": {always, (*Conn).stranger},
	}
}

// command takes one line without its CRLF and returns what the library shall
// see of it, or "" when the guard has answered.
func (c *Conn) command(line string) string {
	verb, arg, _ := strings.Cut(strings.TrimRight(line, " \t"), " ")
	verb, arg = strings.ToUpper(verb), strings.TrimSpace(arg)
	known, ok := commands[verb]
	c.begin(verb, ok)
	switch {
	case !ok:
		c.fail(500, "5.5.2", "Command unrecognised")
		return ""
	case hasControl(line):
		c.fail(500, "5.5.2", "Control characters in command")
		return ""
	case known.in&c.state == 0 && c.state&fresh != 0:
		c.fail(503, "5.5.1", "Introduce yourself first")
		return ""
	case known.in&c.state == 0:
		c.fail(503, "5.5.1", "Bad sequence of commands")
		return ""
	}
	return known.run(c, arg)
}

func hasControl(line string) bool {
	for i := 0; i < len(line); i++ {
		if line[i] < ' ' && line[i] != '\t' || line[i] == 0x7f {
			return true
		}
	}
	return false
}

func (c *Conn) hello(arg string) string {
	name, _, _ := strings.Cut(arg, " ")
	if c.srv.LMTP != (c.verb == "LHLO") {
		c.fail(500, "5.5.1", map[bool]string{true: "This is LMTP, use LHLO", false: "This is SMTP, use EHLO"}[c.srv.LMTP])
		return ""
	}
	if name == "" || len(name) > envelope.MaxDomain || !envelope.ASCII(name) {
		c.fail(501, "5.5.4", "A domain or address literal is required")
		return ""
	}
	c.extended, c.helo = c.verb != "HELO", name
	return c.verb + " " + name
}

func (c *Conn) mail(arg string) string {
	path, ok := cutFold(arg, "FROM:")
	if !ok {
		c.fail(501, "5.5.4", "Syntax: MAIL FROM:<address>")
		return ""
	}
	from, rest, err := envelope.ParsePath(strings.TrimSpace(path))
	if err != nil || from == "postmaster" || rest != "" && rest[0] != ' ' {
		c.fail(501, "5.1.7", "Bad sender address syntax")
		return ""
	}
	p := Params{Size: -1}
	line := "MAIL FROM:<" + from + ">"
	for _, param := range strings.Fields(rest) {
		key, value, _ := strings.Cut(param, "=")
		switch key = strings.ToUpper(key); {
		case key == "SIZE": // RFC 1870; the library reads 32 bits
			n, err := strconv.ParseUint(value, 10, 63)
			if err != nil {
				c.fail(501, "5.5.4", "Bad SIZE")
				return ""
			}
			if c.srv.MaxSize > 0 && int64(n) > c.srv.MaxSize {
				c.reply(552, "5.3.4", "Message too big")
				return ""
			}
			p.Size = int64(n)
		case key == "BODY" && (strings.EqualFold(value, "7BIT") || strings.EqualFold(value, "8BITMIME")),
			key == "AUTH" && value != "" && !strings.Contains(value, "="):
			line += " " + param
		case key == "SMTPUTF8" && c.extended:
			p.UTF8 = true
			line += " SMTPUTF8"
		case key == "XID" && c.Peer() && envelope.ValidID(value):
			p.ID = value
		case key == "XTRACE" && c.Peer():
			n, err := strconv.ParseUint(value, 10, 16)
			if err != nil {
				c.fail(501, "5.5.4", "Bad XTRACE")
				return ""
			}
			p.Trace = int64(n)
		case key == "XOWN" && value == "" && c.Peer():
			p.Own = true
		default:
			c.fail(555, "5.5.4", "MAIL parameter not recognised")
			return ""
		}
	}
	if !p.UTF8 && !envelope.ASCII(from) {
		c.fail(553, "5.6.7", "Address needs SMTPUTF8") // RFC 6531 section 3.5
		return ""
	}
	c.path, c.params = from, p
	return line
}

func (c *Conn) rcpt(arg string) string {
	path, ok := cutFold(arg, "TO:")
	if !ok {
		c.fail(501, "5.5.4", "Syntax: RCPT TO:<address>")
		return ""
	}
	to, rest, err := envelope.ParsePath(strings.TrimSpace(path))
	switch {
	case err != nil || to == "":
		c.fail(501, "5.1.3", "Bad recipient address syntax")
		return ""
	case strings.TrimSpace(rest) != "":
		c.fail(555, "5.5.4", "RCPT parameter not recognised")
		return ""
	case !c.params.UTF8 && !envelope.ASCII(to):
		c.fail(553, "5.6.7", "Address needs SMTPUTF8")
		return ""
	}
	if to == "postmaster" { // RFC 5321 section 4.5.1; the library refuses it
		to = "postmaster@" + c.srv.Postmaster
	}
	c.path = to
	return "RCPT TO:<" + to + ">"
}

func (c *Conn) data(arg string) string {
	if arg != "" {
		c.fail(501, "5.5.4", "DATA takes no argument")
		return ""
	}
	// Before the 354 a client cannot know whether its message would be read as
	// commands (RFC 2920 section 3.1: DATA ends a group).
	if c.buffered() {
		c.doom(554, "5.5.0", "Message sent before it was asked for")
		return ""
	}
	return "DATA"
}

// bdat: RFC 3030 section 2. The chunk follows whatever the answer is.
func (c *Conn) bdat(arg string) string {
	f := strings.Fields(arg)
	if len(f) == 0 {
		c.doom(501, "5.5.4", "Chunk size missing")
		return ""
	}
	size, err := strconv.ParseUint(f[0], 10, 63)
	if err != nil {
		// Where the next command begins cannot be known.
		c.doom(501, "5.5.4", "Malformed chunk size")
		return ""
	}
	last := len(f) == 2 && strings.EqualFold(f[1], "LAST")
	limit := uint64(c.srv.MaxSize)
	switch {
	case limit > 0 && size > 2*limit, size > 1<<32-1:
		c.doom(552, "5.3.4", "Message too big")
	case (len(f) > 2 || len(f) == 2 && !last) && c.state == inData:
		c.doom(501, "5.5.4", "Syntax: BDAT size [LAST]")
	case len(f) > 2 || len(f) == 2 && !last:
		c.skip(int64(size))
		c.fail(501, "5.5.4", "Syntax: BDAT size [LAST]")
	case c.state&(hasTo|inData) == 0:
		c.skip(int64(size))
		c.fail(503, "5.5.1", "Bad sequence of commands")
	default:
		if c.state != inData {
			c.scan = scanner{}
		}
		c.chunk, c.final = int64(size), last
		line := "BDAT " + f[0]
		if last {
			line += " LAST"
			if size == 0 && c.scan.open() {
				c.doom(554, "5.5.2", bareText)
				return ""
			}
		}
		c.mode = modeChunk
		return line
	}
	return ""
}

func (c *Conn) rset(string) string { return "RSET" }

func (c *Conn) vrfy(string) string {
	c.reply(252, "2.5.0", "Send some mail, I will try my best") // RFC 5321 section 3.5.3
	return ""
}

func (c *Conn) help(string) string {
	c.reply(214, "2.0.0", "See RFC 5321")
	return ""
}

func (c *Conn) notImplemented(string) string {
	c.fail(502, "5.5.1", "Command not implemented")
	return ""
}

func (c *Conn) stranger(string) string {
	c.doom(500, "5.5.2", "Not a mail client")
	return ""
}

// auth passes AUTH on once it is well-formed (RFC 4954 section 4).
func (c *Conn) auth(arg string) string {
	f := strings.Fields(arg)
	switch {
	case len(f) == 0 || len(f) > 2:
		c.fail(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]")
	case c.authed:
		c.fail(503, "5.5.1", "Already authenticated")
	case len(f) == 2 && f[1] != "=" && !isBase64(f[1]):
		c.fail(501, "5.5.2", "Cannot decode response")
	default:
		return "AUTH " + strings.Join(f, " ")
	}
	return ""
}

// authLine takes a client's answer to a 334. What is no base64 becomes "*",
// which the library answers 501 as RFC 4954 wants it.
func authLine(line string) string {
	if line == "*" || line != "=" && !isBase64(line) {
		return "*"
	}
	return line
}

func isBase64(s string) bool {
	_, err := base64.StdEncoding.DecodeString(s)
	return err == nil
}

func (c *Conn) startTLS(arg string) string {
	switch {
	case arg != "":
		c.fail(501, "5.5.4", "STARTTLS takes no argument")
	case c.srv.TLS == nil:
		c.fail(502, "5.5.1", "STARTTLS not available")
	case c.tls != nil:
		c.fail(503, "5.5.1", "TLS already active")
	case c.buffered():
		// RFC 3207 section 6: what came in clear must not run under TLS.
		c.doom(554, "5.5.0", "Commands sent before TLS was ready")
	default:
		c.upgrade()
	}
	return ""
}

// cutFold is strings.CutPrefix ignoring case.
func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func replyLine(code int, status, text string) string {
	if status == "" {
		return fmt.Sprintf("%d %s\r\n", code, text)
	}
	return fmt.Sprintf("%d %s %s\r\n", code, status, text)
}
