package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestApple plays transcripts of Apple's programs (testdata/apple) against the
// whole program. In them "> METHOD path" begins a request, with header lines and
// after an empty line its body; "< code" is the answer's, and then "has", "hasnot"
// look at its header and body and "let name = pattern" takes a part for {name}.
func TestApple(t *testing.T) {
	s := newSite(t)
	s.freePorts()
	s.serve()
	s.organisation("alice", "bob", "carol")
	s.calendar(t, "alice")
	s.calendar(t, "bob")
	files, err := filepath.Glob("testdata/apple/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) { playDAV(t, s, f) })
	}
}

// davStep is a request of a transcript and what is said about its answer.
type davStep struct {
	line                 int
	method, path, header string
	body                 []string
	anonymous            bool
	code                 string
	tests                []string
}

func readDAV(t *testing.T, file string) (steps []*davStep) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var at *davStep
	inBody := false
	n := 0
	for in := bufio.NewScanner(f); in.Scan(); {
		n++
		line := in.Text()
		switch {
		case strings.HasPrefix(line, "> "):
			words := strings.Fields(line[2:])
			at = &davStep{line: n, method: words[0], path: words[1], anonymous: len(words) > 2}
			steps = append(steps, at)
			inBody = false
		case strings.HasPrefix(line, "< ") && at != nil && at.code == "":
			at.code = line[2:]
		case strings.HasPrefix(line, "# ") && (at == nil || at.code != ""):
		case at != nil && at.code != "":
			if line != "" {
				at.tests = append(at.tests, line)
			}
		case at != nil && line == "" && !inBody:
			inBody = true
		case inBody:
			at.body = append(at.body, line)
		case at != nil:
			at.header += line + "\n"
		}
	}
	return steps
}

func playDAV(t *testing.T, s *site, file string) {
	vars := map[string]string{}
	fill := func(text string) string {
		for name, value := range vars {
			text = strings.ReplaceAll(text, "{"+name+"}", value)
		}
		return text
	}
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: noVerify}, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for _, step := range readDAV(t, file) {
		where := fmt.Sprintf("%s:%d: %s %s", file, step.line, step.method, fill(step.path))
		end := "\n"
		if len(step.body) > 0 && strings.HasPrefix(step.body[0], "BEGIN:") {
			end = "\r\n"
		}
		var body string
		if len(step.body) > 0 {
			body = strings.TrimRight(fill(strings.Join(step.body, end)), "\r\n") + end
		}
		req, err := http.NewRequestWithContext(context.Background(), step.method, "https://"+s.addr["https"]+fill(step.path), strings.NewReader(body))
		if err != nil {
			t.Fatal(where, err)
		}
		for line := range strings.SplitSeq(strings.TrimSpace(step.header), "\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				req.Header.Set(name, fill(value))
			}
		}
		if !step.anonymous {
			req.SetBasicAuth("alice@"+domain, password)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(where, err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(where, err)
		}
		var head strings.Builder
		_ = res.Header.Write(&head)
		all := strings.ReplaceAll(head.String(), "\r", "") + "\n" + string(b)
		if fmt.Sprint(res.StatusCode) != step.code {
			t.Fatalf("%s: %d, want %s\n%s", where, res.StatusCode, step.code, all)
		}
		for _, test := range step.tests {
			word, rest, _ := strings.Cut(test, " ")
			switch word {
			case "has":
				if !strings.Contains(all, fill(rest)) {
					t.Errorf("%s: no %s in\n%s", where, fill(rest), all)
				}
			case "hasnot":
				if strings.Contains(string(b), fill(rest)) {
					t.Errorf("%s: %s in\n%s", where, fill(rest), all)
				}
			case "let":
				name, pattern, _ := strings.Cut(rest, " = ")
				m := regexp.MustCompile(pattern).FindStringSubmatch(all)
				if m == nil {
					t.Fatalf("%s: no %s in\n%s", where, pattern, all)
				}
				vars[name] = m[1]
			default:
				t.Fatalf("%s: what is %q?", where, test)
			}
		}
	}
}
