package smtp

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/internal/corpus"
	"waypost/internal/envelope"
)

// Every real message comes through byte for byte, in DATA and in BDAT, as
// another implementation of the client sends it. The line ends, which the
// repositories it comes from do not keep, are made CRLF before.
func TestCorpus(t *testing.T) {
	dir := filepath.Join(corpus.Dir(t), "mail")
	w, addrs := open(t, func(o *Options) { o.MaxSize = 50 << 20 })
	c, err := gosmtp.Dial(addrs["mx"])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	chunks := dialTest(t, addrs["mx"])
	defer chunks.Close()
	reply := func() string {
		var b [4096]byte
		n, err := chunks.Read(b[:])
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	reply()
	fmt.Fprintf(chunks, "EHLO client.example\r\n")
	reply()
	n := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(envelope.CRLF(strings.NewReader(string(raw))))
		if err != nil {
			return err
		}
		m := string(b)
		if !strings.HasSuffix(m, "\r\n") {
			m += "\r\n" // DATA cannot carry another end
		}
		if err := c.SendMail("x@out.example", []string{"alice@example.test"}, strings.NewReader(m)); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		fmt.Fprintf(chunks, "MAIL FROM:<x@out.example>\r\nRCPT TO:<bob@example.test>\r\n")
		half := len(m) / 2
		fmt.Fprintf(chunks, "BDAT %d\r\n%sBDAT %d LAST\r\n%s", half, m[:half], len(m)-half, m[half:])
		for got := ""; strings.Count(got, "\r\n") < 4; {
			if got += reply(); strings.Contains(got, "\r\n5") || strings.Contains(got, "\r\n4") {
				return fmt.Errorf("%s: %s", path, got)
			}
		}
		for _, who := range []string{"alice@example.test", "bob@example.test"} {
			box := w.box(who)
			if last := box[len(box)-1]; !strings.HasSuffix(last, "\r\n"+m) || len(box) != n+1 {
				t.Errorf("%s: %s got something else", path, who)
			}
		}
		n++
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d messages", n)
}
