package eas

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"waypost/services/eas/wbxml"
)

// A conversation is a file that reads like the standard: what a phone sends and
// what it gets, documents as text.
//
//	# a comment
//	= version 14.1              sets what the next requests say: version, user,
//	                            password, device, type, agent, policy, accept
//	! block                     does something behind the phone's back
//	> FolderSync a=b            a command with parameters of the query,
//	<…>                         and its document; none is an empty body
//	< 200                       the answer's code, with headers that must be there
//	<…>                         and its document
//
// In an answer … is any text, and alone on a line any lines; $name keeps what
// it stands for, and gives it back in what is sent later.
type conversation struct {
	t       *testing.T
	name    string
	handler http.Handler
	does    map[string]func(args []string) error
	set     map[string]string
	vars    map[string]string
	answer  *httptest.ResponseRecorder
}

// converse plays every conversation that a pattern of testdata names.
func converse(t *testing.T, pattern string, setup func(t *testing.T) (http.Handler, map[string]func([]string) error)) {
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no conversation %s: %v", pattern, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			c := &conversation{
				t: t, name: filepath.Base(f), vars: map[string]string{},
				set: map[string]string{"user": "ann", "password": "secret", "device": "dev1", "type": "SmartPhone", "version": "14.1"},
			}
			c.handler, c.does = setup(t)
			c.play(string(text))
		})
	}
}

func (c *conversation) play(text string) {
	c.t.Helper()
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); {
		at, line := i+1, strings.TrimSpace(lines[i])
		i++
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		mark, rest, _ := strings.Cut(line, " ")
		from := i
		for i < len(lines) && !regexp.MustCompile(`^([=!>#]|< \d)`).MatchString(lines[i]) {
			i++
		}
		body := strings.TrimRight(strings.Join(lines[from:i], "\n"), "\n ")
		var err error
		switch mark {
		case "=":
			name, value, _ := strings.Cut(rest, " ")
			c.set[name] = c.fill(value)
		case "!":
			words := strings.Fields(c.fill(rest))
			do := c.does[words[0]]
			if do == nil {
				err = fmt.Errorf("nothing is called %q", words[0])
			} else {
				err = do(words[1:])
			}
		case ">":
			err = c.send(rest, body)
		case "<":
			err = c.expect(rest, body)
		default:
			err = fmt.Errorf("no mark: %s", line)
		}
		if err != nil {
			c.t.Fatalf("%s:%d: %v", c.name, at, err)
		}
	}
}

var variable = regexp.MustCompile(`\$[a-z][a-z0-9]*`)

func (c *conversation) fill(s string) string {
	return variable.ReplaceAllStringFunc(s, func(v string) string {
		if value, ok := c.vars[v]; ok {
			return value
		}
		return v
	})
}

func (c *conversation) send(line, body string) error {
	var sent []byte
	if strings.TrimSpace(body) != "" {
		n, err := wbxml.Parse(c.fill(body))
		if err != nil {
			return err
		}
		if sent, err = wbxml.Marshal(n); err != nil {
			return err
		}
	}
	words := strings.Fields(c.fill(line))
	method := http.MethodPost
	q := url.Values{"User": {c.set["user"]}, "DeviceId": {c.set["device"]}, "DeviceType": {c.set["type"]}}
	if words[0] == http.MethodOptions || words[0] == http.MethodGet {
		method, q = words[0], nil
	} else {
		q.Set("Cmd", words[0])
	}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		if value, err := url.QueryUnescape(value); err == nil {
			q.Set(name, value)
		}
	}
	req := httptest.NewRequest(method, Path+"?"+q.Encode(), bytes.NewReader(sent))
	if c.set["user"] != "" {
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.set["user"]+":"+c.set["password"])))
	}
	for name, header := range map[string]string{
		"version": "MS-ASProtocolVersion", "agent": "User-Agent", "policy": "X-MS-PolicyKey",
		"accept": "Accept-Encoding", "multipart": "MS-ASAcceptMultiPart",
	} {
		if v := c.set[name]; v != "" {
			req.Header.Set(header, v)
		}
	}
	if len(sent) > 0 {
		req.Header.Set("Content-Type", typeWBXML)
	}
	c.answer = httptest.NewRecorder()
	c.handler.ServeHTTP(c.answer, req)
	return nil
}

func (c *conversation) expect(line, want string) error {
	if c.answer == nil {
		return fmt.Errorf("nothing was asked")
	}
	code, headers, _ := strings.Cut(line, " ")
	got, err := c.document()
	if err != nil {
		return err
	}
	if fmt.Sprint(c.answer.Code) != code {
		return fmt.Errorf("code %d, want %s\n%s", c.answer.Code, code, got)
	}
	for h := range strings.SplitSeq(headers, "; ") {
		if name, value, ok := strings.Cut(h, ": "); ok && !c.match(value, c.answer.Header().Get(name)) {
			return fmt.Errorf("%s is %q, want %q", name, c.answer.Header().Get(name), value)
		}
	}
	if !c.match(strings.TrimSpace(want), strings.TrimSpace(got)) {
		return fmt.Errorf("got\n%s\nwant\n%s", got, c.fill(want))
	}
	return nil
}

// document is the answer's body as text, checked for elements that the version
// does not have.
func (c *conversation) document() (string, error) {
	b := c.answer.Body.Bytes()
	if len(b) == 0 || c.answer.Header().Get("Content-Type") != typeWBXML {
		return string(b), nil
	}
	n, err := decodeDocument(b)
	if err != nil {
		return "", err
	}
	if v, ok := wbxml.ParseVersion(c.set["version"]); ok {
		if err := foreign(n, v); err != nil {
			return "", err
		}
	}
	return n.String(), nil
}

func decodeDocument(b []byte) (*wbxml.Node, error) {
	d := wbxml.NewDecoder(bytes.NewReader(b), wbxml.Limits{})
	n := d.Tree(nil)
	if err := d.Err(); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	if d.Offset() != int64(len(b)) {
		return nil, fmt.Errorf("answer: %d bytes after the document", int64(len(b))-d.Offset())
	}
	return n, nil
}

// foreign finds an element that version v does not have.
func foreign(n *wbxml.Node, v wbxml.Version) error {
	if !n.Tag.In(v) {
		return fmt.Errorf("%v is no element of %v", n.Tag, v)
	}
	for _, c := range n.Children {
		if err := foreign(c, v); err != nil {
			return err
		}
	}
	return nil
}

// match compares an answer with what is wanted, and keeps its variables.
func (c *conversation) match(want, got string) bool {
	var pattern strings.Builder
	var names []string
	pattern.WriteString(`(?s)^`)
	for i, line := range strings.Split(c.fill(want), "\n") {
		if i > 0 {
			pattern.WriteString(`\n`)
		}
		if strings.TrimSpace(line) == "…" {
			pattern.WriteString(`.*?`)
			continue
		}
		line = strings.ReplaceAll(regexp.QuoteMeta(line), "…", `[^\n<]*`)
		line = regexp.MustCompile(`\\\$[a-z][a-z0-9]*`).ReplaceAllStringFunc(line, func(v string) string {
			names = append(names, strings.TrimPrefix(v, `\`))
			return `([^\n<]*)`
		})
		pattern.WriteString(line)
	}
	m := regexp.MustCompile(pattern.String() + `$`).FindStringSubmatch(got)
	if m == nil {
		return false
	}
	for i, name := range names {
		c.vars[name] = m[i+1]
	}
	return true
}

// body reads an answer whole, for tests that are no conversation.
func body(t *testing.T, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
