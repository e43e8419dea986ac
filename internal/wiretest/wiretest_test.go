package wiretest

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, line string
		want          bool
	}{
		{"a OK", "a OK", true},
		{"a OK", "a OK done", false},
		{"a OK …", "a OK done", true},
		{"…", "", true},
		{"* … FETCH (…)", "* 1 FETCH (UID 2)", true},
		{"* … FETCH (…)", "* 1 FETCH UID 2)", false},
		{"a…a", "a", false},
		{"a…b…c", "axxbc", true},
	}
	for _, tt := range tests {
		if got := Match(tt.pattern, tt.line); got != tt.want {
			t.Errorf("Match(%q, %q) = %v, want %v", tt.pattern, tt.line, got, tt.want)
		}
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "echo.txt")
	text := "# an echo\nann S: hello …\nann C: one\nann S: one\nann B: \"tw\"\nann B: \"o\" *1\nann B: \"\\r\\n\"\nann S: two\nann C: b\nann S: …\nann S: b\nann C: quit\nann S: …\nann S: <closed>\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	Run(t, filepath.Join(dir, "*.txt"), func(*testing.T) Peer {
		return Peer{Dial: func(_ testing.TB, name string) net.Conn {
			here, there := net.Pipe()
			go func() {
				defer there.Close() //nolint:errcheck // a test's pipe
				r := bufio.NewReader(there)
				_, _ = there.Write([]byte("hello " + name + "\r\n"))
				for {
					line, err := r.ReadString('\n')
					if err != nil || strings.HasPrefix(line, "quit") {
						return
					}
					if line == "b\r\n" {
						line = "noise\r\n" + line
					}
					_, _ = there.Write([]byte(line))
				}
			}()
			return here
		}}
	})
	lines, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := Sent(lines)["ann"], "one\r\ntwo\r\nb\r\nquit\r\n"; got != want {
		t.Errorf("Sent = %q, want %q", got, want)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, text := range []string{"ann", "ann X: y", "ann B: nostring"} {
		file := filepath.Join(t.TempDir(), "x.txt")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if lines, err := Read(file); err == nil {
			t.Errorf("Read(%q) = %v, want an error", text, lines)
		}
	}
}
