package mailfile

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Write puts a message into the Maildir of its folder below root, made if
// needed. name must be unique there. The file appears whole or not at all: it is
// written in tmp and renamed into cur.
func Write(root, name string, it Item) (err error) {
	dir := root
	for _, part := range it.Folder {
		dir = filepath.Join(dir, safe(part))
	}
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	tmp := filepath.Join(dir, "tmp", name)
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(tmp)
		}
	}()
	if _, err = io.Copy(f, it.Body); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if !it.Received.IsZero() {
		if err = os.Chtimes(tmp, it.Received, it.Received); err != nil {
			return err
		}
	}
	// The letters stand in ASCII order, as the Maildir page demands.
	flags := ""
	for _, f := range []struct {
		on     bool
		letter string
	}{{it.Draft, "D"}, {it.Flagged, "F"}, {it.Answered, "R"}, {it.Seen, "S"}, {it.Deleted, "T"}} {
		if f.on {
			flags += f.letter
		}
	}
	return os.Rename(tmp, filepath.Join(dir, "cur", fmt.Sprintf("%s:2,%s", name, flags)))
}

// safe makes a folder's name a file's: no separator, no hidden or special name.
func safe(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' || r < ' ' {
			return '_'
		}
		return r
	}, name)
	if strings.HasPrefix(name, ".") || name == "" || name == "cur" || name == "new" || name == "tmp" {
		name = "_" + name
	}
	return name
}
