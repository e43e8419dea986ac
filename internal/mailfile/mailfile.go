// Package mailfile reads and writes messages in files: mbox, Maildir and folders
// of .eml; files of other objects it finds. Messages come out with CRLF line ends, as the store keeps them, and
// are streamed: nothing is held whole in memory.
package mailfile

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Item is a message found in files.
type Item struct {
	Folder   []string // path below the root of the import; empty for the root
	Name     string   // where it was found, for errors
	Seen     bool
	Answered bool
	Flagged  bool
	Deleted  bool
	Draft    bool
	Received time.Time // zero if the files do not tell
	// Objects: it is no message but a file of iCalendar or vCard, as it is.
	Objects bool
	Body    io.Reader // valid during the call only
}

// Walk calls fn for every message below path, which may be an mbox file, a
// single message, a Maildir (nested ones are folders), or a folder of .eml and
// mbox files, and once for every file of iCalendar or vCard objects there. read is told how many bytes were consumed, for progress; it may be nil.
func Walk(ctx context.Context, path string, read func(int64), fn func(Item) error) error {
	if read == nil {
		read = func(int64) {}
	}
	w := &walker{ctx: ctx, read: read, fn: fn}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return w.file(path, nil, info)
	}
	return w.dir(path, nil)
}

// Size gives the bytes of all files below path, for a progress bar.
func Size(path string) (total int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

type walker struct {
	ctx  context.Context
	read func(int64)
	fn   func(Item) error
}

func (w *walker) dir(path string, folder []string) error {
	if isMaildir(path) {
		if err := w.maildir(path, folder); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		full := filepath.Join(path, e.Name())
		switch {
		case e.IsDir() && isMaildir(path) && (e.Name() == "cur" || e.Name() == "new" || e.Name() == "tmp"):
		case e.IsDir() && isMaildir(path) && strings.HasPrefix(e.Name(), "."):
			// Maildir++ keeps ".Parent.Child" beside cur.
			err = w.dir(full, append(folder[:len(folder):len(folder)], strings.Split(e.Name()[1:], ".")...))
		case e.IsDir():
			err = w.dir(full, append(folder[:len(folder):len(folder)], e.Name()))
		case isMaildir(path):
			// Index files of the program that wrote the Maildir.
		case e.Type().IsRegular():
			info, ierr := e.Info()
			if ierr != nil {
				return ierr
			}
			err = w.file(full, folder, info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isMaildir(path string) bool {
	for _, sub := range []string{"cur", "new"} {
		if info, err := os.Stat(filepath.Join(path, sub)); err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

func (w *walker) maildir(path string, folder []string) error {
	for _, sub := range []string{"cur", "new"} {
		entries, err := os.ReadDir(filepath.Join(path, sub))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !e.Type().IsRegular() {
				continue
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			it := Item{Folder: folder, Received: info.ModTime()}
			if _, flags, ok := strings.Cut(e.Name(), ":2,"); ok {
				it.Seen, it.Answered = strings.Contains(flags, "S"), strings.Contains(flags, "R")
				it.Flagged, it.Deleted = strings.Contains(flags, "F"), strings.Contains(flags, "T")
				it.Draft = strings.Contains(flags, "D")
			}
			if err := w.message(filepath.Join(path, sub, e.Name()), it); err != nil {
				return err
			}
		}
	}
	return nil
}

// objects are how the names of calendar and contact files end.
var objects = map[string]bool{".ics": true, ".ical": true, ".ifb": true, ".vcs": true, ".vcf": true, ".vcard": true}

// isObjects tells a file of objects by its name, or by how it begins.
func isObjects(ext string, head []byte) bool {
	head = bytes.TrimPrefix(head, []byte("\ufeff"))
	return objects[ext] || len(head) >= 7 && strings.EqualFold(string(head[:7]), "BEGIN:V")
}

// file reads one file: an mbox if it begins with "From ", a file of objects, else
// one message.
func (w *walker) file(path string, folder []string, info os.FileInfo) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 10)
	n, _ := io.ReadFull(f, head)
	head = head[:n]
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	ext := strings.ToLower(filepath.Ext(path))
	switch {
	case bytes.HasPrefix(head, []byte("From ")):
		return w.mbox(f, path, folder)
	case isObjects(ext, head):
		if err := w.ctx.Err(); err != nil {
			return err
		}
		it := Item{Folder: folder, Name: path, Received: info.ModTime(), Objects: true, Body: countReader{f, w.read}}
		if err := w.fn(it); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	case ext == ".csv" || ext == ".json" || ext == ".txt":
		return nil
	}
	return w.message(path, Item{Folder: folder, Received: info.ModTime()})
}

func (w *walker) message(path string, it Item) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	it.Name = path
	it.Body = NewCRLF(countReader{f, w.read})
	if err := w.fn(it); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// mbox reads the "mboxrd" form: messages are separated by lines that begin with
// "From " after an empty line, and ">From " is unquoted by one ">".
func (w *walker) mbox(f io.Reader, path string, folder []string) error {
	r := &mboxReader{r: bufio.NewReaderSize(countReader{f, w.read}, 64<<10), start: true}
	for i := 1; ; i++ {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		received, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		it := Item{Folder: folder, Name: fmt.Sprintf("%s, message %d", path, i), Received: received, Body: NewCRLF(r)}
		if err := w.fn(it); err != nil {
			return fmt.Errorf("%s: %w", it.Name, err)
		}
	}
}

// mboxReader reads the messages of an mbox one after the other: next begins a
// message, Read gives its bytes until the next separator.
type mboxReader struct {
	r       *bufio.Reader
	line    []byte // rest of the line being handed out
	blank   int    // bytes of a held-back blank line, which may end the message
	blanks  [2]byte
	start   bool // at a line start
	sep     []byte
	midline bool // the last fragment did not end its line
	afterNL bool // the line before was empty, or there was none
	done    bool
}

func (m *mboxReader) next() (time.Time, error) {
	// What the caller did not read of the message before is skipped.
	if m.sep == nil && !m.start {
		if _, err := io.Copy(io.Discard, m); err != nil {
			return time.Time{}, err
		}
	}
	if m.start {
		m.start = false
		line, err := m.r.ReadBytes('\n')
		if err != nil && len(line) == 0 {
			return time.Time{}, err
		}
		m.sep = line
	}
	if m.sep == nil {
		return time.Time{}, io.EOF
	}
	at := separatorDate(m.sep)
	m.sep, m.done, m.line, m.blank, m.midline, m.afterNL = nil, false, nil, 0, false, false
	return at, nil
}

// separatorDate reads the asctime date of "From sender Thu Nov 24 06:01:02 2026".
func separatorDate(line []byte) time.Time {
	fields := strings.Fields(string(line))
	for i := len(fields) - 5; i >= 1; i-- {
		if t, err := time.Parse("Mon Jan 2 15:04:05 2006", strings.Join(fields[i:i+5], " ")); err == nil {
			return t
		}
	}
	return time.Time{}
}

func (m *mboxReader) Read(p []byte) (int, error) {
	for len(m.line) == 0 {
		if m.done {
			return 0, io.EOF
		}
		if err := m.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, m.line)
	m.line = m.line[n:]
	return n, nil
}

// fill reads the next line, or piece of a long one, into m.line. An empty line
// is held back, because one that precedes a separator belongs to the mbox.
func (m *mboxReader) fill() error {
	frag, err := m.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case err != nil && len(frag) == 0:
		m.done = true
		m.line, m.blank = append(m.line[:0], m.blanks[:m.blank]...), 0
		return nil
	}
	first := !m.midline
	m.midline = frag[len(frag)-1] != '\n'
	held := m.blank
	if first {
		if m.blank > 0 && bytes.HasPrefix(frag, []byte("From ")) {
			m.sep = bytes.Clone(frag)
			for m.midline {
				more, err := m.r.ReadSlice('\n')
				if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
					break
				}
				m.midline = more[len(more)-1] != '\n'
			}
			m.done, m.blank = true, 0
			return nil
		}
		if s := string(frag); s == "\n" || s == "\r\n" {
			out := append([]byte(nil), m.blanks[:held]...)
			m.blank = copy(m.blanks[:], frag)
			m.line = out
			return nil
		}
		if quoted := bytes.TrimLeft(frag, ">"); len(quoted) < len(frag) && bytes.HasPrefix(quoted, []byte("From ")) {
			frag = frag[1:]
		}
	}
	m.blank = 0
	m.line = append(append([]byte(nil), m.blanks[:held]...), frag...)
	return nil
}

type countReader struct {
	r    io.Reader
	read func(int64)
}

func (c countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.read(int64(n))
	return n, err
}

// NewCRLF turns bare LF and bare CR into CRLF.
func NewCRLF(r io.Reader) io.Reader { return &crlf{r: bufio.NewReaderSize(r, 16<<10)} }

type crlf struct {
	r    *bufio.Reader
	held byte // an LF still to be given out
}

func (c *crlf) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if c.held != 0 {
			p[n], c.held = c.held, 0
			n++
			continue
		}
		if n > 0 && c.r.Buffered() == 0 {
			return n, nil
		}
		b, err := c.r.ReadByte()
		if err != nil {
			if n > 0 && errors.Is(err, io.EOF) {
				return n, nil
			}
			return n, err
		}
		switch b {
		case '\n':
			p[n], c.held = '\r', '\n'
		case '\r':
			if next, err := c.r.Peek(1); err == nil && next[0] == '\n' {
				_, _ = c.r.Discard(1)
			}
			p[n], c.held = '\r', '\n'
		default:
			p[n] = b
		}
		n++
	}
	return n, nil
}
