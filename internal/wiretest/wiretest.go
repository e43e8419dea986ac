// Package wiretest plays conversations with a server of a line protocol from
// files, so that a test reads like the standard. It is imported by tests only.
//
// A line of a file is one of
//
//	# a comment (as is an empty line)
//	ann C: text      ann sends text and CRLF
//	ann B: "a\x00b"  ann sends the bytes of a Go string, without CRLF
//	ann B: "x" *99   the same, so many times
//	ann S: pattern   ann receives a line; "…" in it stands for any text
//	ann S: …         alone: any number of lines, up to one that fits what follows
//	ann S: <closed>  the server closes the connection
//	ann TLS:         ann begins TLS on the connection
//
// A connection is opened when its name first occurs. A server's line that was
// not expected fails at the next S line of that connection, and what is left
// unread at the end of the file is ignored.
package wiretest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Wait bounds the wait for one line.
const Wait = 10 * time.Second

// Peer opens the connections of one conversation.
type Peer struct {
	// Dial opens the connection called name.
	Dial func(t testing.TB, name string) net.Conn
	// TLS makes the client's side of TLS; needed for the verb TLS only.
	TLS func(net.Conn) net.Conn
}

// Run plays every file that fits pattern as a subtest, each against the Peer
// that start makes for it.
func Run(t *testing.T, pattern string, start func(t *testing.T) Peer) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no conversations fit %s (%v)", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			lines, err := Read(file)
			if err != nil {
				t.Fatal(err)
			}
			Play(t, lines, start(t))
		})
	}
}

// Line is one line of a conversation.
type Line struct {
	At   string // file:line
	Name string // of the connection
	Verb string // C, B, S or TLS
	Text string
}

// Read reads a conversation.
func Read(file string) ([]Line, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var lines []Line
	for n, raw := range strings.Split(string(b), "\n") {
		if raw = strings.TrimSuffix(raw, "\r"); strings.TrimSpace(raw) == "" || strings.HasPrefix(raw, "#") {
			continue
		}
		at := fmt.Sprintf("%s:%d", file, n+1)
		name, rest, ok := strings.Cut(raw, " ")
		verb, text, colon := strings.Cut(rest, ":")
		if !ok || !colon {
			return nil, fmt.Errorf("%s: not a line of a conversation: %q", at, raw)
		}
		text = strings.TrimPrefix(text, " ")
		switch verb {
		case "C", "S", "TLS":
		case "B":
			if text, err = goString(text); err != nil {
				return nil, fmt.Errorf("%s: B needs a Go string: %w", at, err)
			}
		default:
			return nil, fmt.Errorf("%s: unknown verb %q", at, verb)
		}
		lines = append(lines, Line{at, name, verb, text})
	}
	return lines, nil
}

func goString(s string) (string, error) {
	s, times := strings.TrimSpace(s), 1
	if i := strings.LastIndex(s, "\" *"); i >= 0 {
		n, err := strconv.Atoi(s[i+3:])
		if err != nil {
			return "", err
		}
		s, times = s[:i+1], n
	}
	s, err := strconv.Unquote(s)
	return strings.Repeat(s, times), err
}

// Sent gives what each connection of a conversation sends altogether: seeds for
// fuzzing.
func Sent(lines []Line) map[string]string {
	sent := map[string]string{}
	for _, l := range lines {
		switch l.Verb {
		case "C":
			sent[l.Name] += l.Text + "\r\n"
		case "B":
			sent[l.Name] += l.Text
		}
	}
	return sent
}

type client struct {
	conn net.Conn
	r    *bufio.Reader
	skip bool // any lines may come before the next that fits
	log  []string
}

// Play plays a conversation.
func Play(t *testing.T, lines []Line, p Peer) {
	t.Helper()
	clients := map[string]*client{}
	defer func() {
		for _, c := range clients {
			_ = c.conn.Close()
		}
	}()
	for _, l := range lines {
		c := clients[l.Name]
		if c == nil {
			conn := p.Dial(t, l.Name)
			c = &client{conn: conn, r: bufio.NewReader(conn)}
			clients[l.Name] = c
		}
		if err := c.play(l, p); err != nil {
			from := max(0, len(c.log)-12)
			t.Fatalf("%s: %s: %v\nthe last lines of %s:\n%s", l.At, l.Name, err, l.Name, strings.Join(c.log[from:], "\n"))
		}
	}
}

func (c *client) play(l Line, p Peer) error {
	_ = c.conn.SetDeadline(time.Now().Add(Wait))
	switch l.Verb {
	case "C", "B":
		text := l.Text
		if l.Verb == "C" {
			text += "\r\n"
		}
		c.note("C", strings.TrimSuffix(text, "\r\n"))
		_, err := io.WriteString(c.conn, text)
		return err
	case "TLS":
		if p.TLS == nil {
			return errors.New("no TLS here")
		}
		if c.r.Buffered() > 0 {
			return errors.New("the server sent more before TLS")
		}
		c.conn = p.TLS(c.conn)
		c.r = bufio.NewReader(c.conn)
		return nil
	}
	if l.Text == "…" {
		c.skip = true
		return nil
	}
	for {
		line, err := c.r.ReadString('\n')
		if l.Text == "<closed>" {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return errors.New("the connection stays open")
			}
			if err != nil {
				return nil
			}
			if c.skip {
				c.note("S", line)
				continue
			}
			return fmt.Errorf("got %q, want the connection closed", line)
		}
		if err != nil {
			return fmt.Errorf("got %q and %w, want %q", line, err, l.Text)
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		c.note("S", line)
		if Match(l.Text, line) {
			c.skip = false
			return nil
		}
		if !c.skip {
			return fmt.Errorf("got %q, want %q", line, l.Text)
		}
	}
}

func (c *client) note(who, line string) {
	if len(line) > 300 {
		line = line[:300] + "..."
	}
	c.log = append(c.log, who+": "+line)
}

// Match tells whether a line fits a pattern, in which "…" is any text.
func Match(pattern, line string) bool {
	parts := strings.Split(pattern, "…")
	if len(parts) == 1 {
		return pattern == line
	}
	if !strings.HasPrefix(line, parts[0]) {
		return false
	}
	line = line[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(line, part)
		if i < 0 {
			return false
		}
		line = line[i+len(part):]
	}
	return strings.HasSuffix(line, last)
}
