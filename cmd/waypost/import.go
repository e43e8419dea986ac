package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"waypost/directory"
	dirpg "waypost/directory/postgres"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/internal/ldif"
)

// The directory's side of an import.
type bulkTree interface {
	tree.Tree
	// AddEntries adds up to 5,000 entries in one transaction and tells of each
	// what became of it; a refused one leaves nothing.
	AddEntries(ctx context.Context, as directory.Principal, list []dirpg.NewEntry, o tree.Options) ([]dirpg.Added, error)
}

const (
	maxBatch      = 5000    // entries; the directory's bound
	maxBatchBytes = 4 << 20 // of their values
	maxBatchLinks = 50_000  // names of other objects among these
	tries         = 3       // of what fails for want of time
	maxTold       = 1000    // refusals kept for the report; all are in the file beside
)

// place is how far an import has come: bytes and lines of a file, or records of
// a generated organisation (Line is then 0).
type place struct {
	Offset int64 `json:"offset"`
	Line   int   `json:"line"`
}

// feed gives the records from a place on. wrong is a record that cannot be
// read; at is the place behind it.
type feed interface {
	each(from place, fn func(rec *ldif.Record, wrong *ldif.SyntaxError, at place) error) error
	total() int64 // of Offset
	unit() string // what item.line counts: lines or records
}

// refusal is a record that was not taken.
type refusal struct {
	Line int
	DN   string
	Why  string
}

// importReport is what an import did.
type importReport struct {
	Added, Changed, Present, Refused int
	// LeftOut counts values that the directory keeps itself or cannot take over.
	LeftOut  map[string]int
	Refusals []refusal
	Report   string // the file with all refusals; "" when there are none
	Resumed  bool
	Seconds  float64
}

// imported is what is kept beside a file between two tries.
type imported struct {
	Of        string // what is imported: name, size, time
	Directory string // objectGUID of the forest's root domain
	At        place
	Waiting   []int // lines of entries that want another first
	Sum       importReport
}

type importer struct {
	dir      bulkTree
	as       directory.Principal
	from     feed
	state    string // the file of imported; "" for none
	progress func(place)
	batch    int                  // entries; 0: maxBatch
	every    func(at place) error // called behind each batch, before its place is noted; may be nil

	imported
	waiting map[int]bool // lines
	told    *os.File
}

// run imports everything. What wants an entry that comes later in the file is
// tried again behind the end, until nothing is gained any more.
func (m *importer) run(ctx context.Context, restart bool) (*importReport, error) {
	begun := time.Now()
	m.waiting = map[int]bool{}
	if !restart {
		if err := m.recall(ctx); err != nil {
			return nil, err
		}
	} else {
		_ = os.Remove(m.reportName()) // of the try before
	}
	if m.Sum.LeftOut == nil {
		m.Sum.LeftOut = map[string]int{}
	}
	defer func() {
		if m.told != nil {
			_ = m.told.Close()
		}
	}()
	if err := m.pass(ctx, m.At, nil, false); err != nil {
		return nil, err
	}
	for len(m.waiting) > 0 {
		before := len(m.waiting)
		if err := m.pass(ctx, place{}, m.again(), false); err != nil {
			return nil, err
		}
		if len(m.waiting) == before {
			if err := m.pass(ctx, place{}, m.again(), true); err != nil {
				return nil, err
			}
			break
		}
	}
	m.Sum.Seconds = time.Since(begun).Seconds()
	if m.state != "" {
		if err := os.Remove(m.state); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return &m.Sum, nil
}

// again takes the lines that wait, for another pass.
func (m *importer) again() map[int]bool {
	only := m.waiting
	m.waiting = map[int]bool{}
	return only
}

// batch is what is written at once.
type batch struct {
	items []item
	at    place // behind it
}

// pass goes through the records once. only are lines to look at (nil: all);
// last refuses what still wants something.
func (m *importer) pass(ctx context.Context, from place, only map[int]bool, last bool) error {
	batches := make(chan *batch, 1) // parsing goes on while a batch is written
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error {
		defer close(batches)
		return m.read(ctx, from, only, batches)
	})
	work.Go(func() error {
		for b := range batches {
			if err := m.write(ctx, b, only != nil, last); err != nil {
				return err
			}
		}
		return nil
	})
	return work.Wait()
}

var errEnough = errors.New("all that waits was read")

// read parses records into batches.
func (m *importer) read(ctx context.Context, from place, only map[int]bool, out chan<- *batch) error {
	b, size, links, left := &batch{}, 0, 0, len(only)
	send := func() error {
		select {
		case out <- b:
			b, size, links = &batch{items: make([]item, 0, len(b.items))}, 0, 0
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	sch, most := m.dir.Schema(), m.batch
	if most == 0 {
		most = maxBatch
	}
	err := m.from.each(from, func(rec *ldif.Record, wrong *ldif.SyntaxError, at place) error {
		line := 0
		if wrong != nil {
			line = wrong.Start
		} else {
			line = rec.Line
		}
		b.at = at
		if only != nil && !only[line] {
			return nil
		}
		it := item{line: line}
		if wrong != nil {
			if it.text, it.err = wrong.DN, errors.New(wrong.Why); wrong.Line != wrong.Start {
				it.err = wrong
			}
		} else {
			it = prepare(sch, rec)
		}
		b.items = append(b.items, it)
		size += it.size
		if links += it.links; len(b.items) >= most || size >= maxBatchBytes || links >= maxBatchLinks {
			if err := send(); err != nil {
				return err
			}
		}
		if left--; only != nil && left == 0 {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return send()
}

// write takes a batch in and notes how far the import is.
func (m *importer) write(ctx context.Context, b *batch, again, last bool) error {
	for items := b.items; len(items) > 0; {
		n := 0
		for n < len(items) && items[n].change == nil {
			n++
		}
		if n == 0 {
			if err := m.change(ctx, &items[0]); err != nil {
				return err
			}
			n = 1
		} else if err := m.add(ctx, items[:n], last); err != nil {
			return err
		}
		items = items[n:]
	}
	if m.every != nil {
		if err := m.every(b.at); err != nil {
			return err
		}
	}
	if !again {
		m.At = b.at
	}
	if m.progress != nil {
		m.progress(b.at)
	}
	return m.remember(again)
}

// add adds entries, those that can be; what wants something that is not there
// yet waits.
func (m *importer) add(ctx context.Context, items []item, last bool) error {
	list, at := make([]dirpg.NewEntry, 0, len(items)), make([]int, 0, len(items))
	for i := range items {
		for name, n := range items[i].left {
			m.Sum.LeftOut[name] += n
		}
		if items[i].err != nil {
			if err := m.refuse(&items[i], items[i].err); err != nil {
				return err
			}
			continue
		}
		list, at = append(list, items[i].entry), append(at, i)
	}
	added, err := m.addAll(ctx, list)
	if err != nil {
		return err
	}
	for k, a := range added {
		it := &items[at[k]]
		var r *tree.Refusal
		errors.As(a.Err, &r)
		switch {
		case a.Err == nil:
			m.Sum.Added++
		case r == nil && (fault.Of(a.Err) == fault.Internal || fault.Of(a.Err) == fault.Unavailable):
			return a.Err
		case r == nil:
			err = m.there(ctx, it, a.Err)
		case !last && (r.Code == tree.ResultNoSuchObject || r.Code == tree.ResultConstraintViolation && it.links > 0):
			m.waiting[it.line] = true
			for name, n := range it.left {
				m.Sum.LeftOut[name] -= n // it comes again
			}
		default:
			err = m.there(ctx, it, a.Err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addAll adds entries; what fails as a whole is halved until the culprit is
// alone. What is slow is tried again: it may have been done all the same, and
// is then found to be there.
func (m *importer) addAll(ctx context.Context, list []dirpg.NewEntry) ([]dirpg.Added, error) {
	if len(list) == 0 {
		return nil, nil
	}
	for try := 1; ; try++ {
		added, err := m.dir.AddEntries(ctx, m.as, list, tree.Options{From: "import"})
		kind := fault.Of(err)
		switch {
		case err == nil:
			return added, nil
		case ctx.Err() != nil, kind == fault.Denied:
			return nil, err
		case len(list) > 1:
			first, err := m.addAll(ctx, list[:len(list)/2])
			if err != nil {
				return nil, err
			}
			rest, err := m.addAll(ctx, list[len(list)/2:])
			return append(first, rest...), err
		case kind != fault.Unavailable:
			return []dirpg.Added{{Err: fault.From(fault.Invalid, err, "the directory cannot take it")}}, nil
		case try == tries:
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(try) * time.Second):
		}
	}
}

// there takes what was refused for good as present when the directory has the
// very same, whatever the reason was: it makes some entries itself that it
// would take from nobody.
func (m *importer) there(ctx context.Context, it *item, refused error) error {
	differs, err := m.differs(ctx, it)
	var r *tree.Refusal
	exists := errors.As(refused, &r) && r.Code == tree.ResultEntryAlreadyExists
	switch {
	case err != nil && fault.Of(err) != fault.NotFound && fault.Of(err) != fault.Invalid:
		return err
	case err != nil, len(differs) > 0 && !exists:
		return m.refuse(it, refused)
	case len(differs) > 0:
		return m.refuse(it, fault.New(fault.Exists, "it is there already with other values of %s", strings.Join(differs, ", ")))
	}
	m.Sum.Present++
	return nil
}

// refuse notes a record that was not taken.
func (m *importer) refuse(it *item, err error) error {
	r := refusal{Line: it.line, DN: strings.ToValidUTF8(it.text, "\ufffd"), Why: strings.ToValidUTF8(whyOf(err), "\ufffd")}
	m.Sum.Refused++
	if len(m.Sum.Refusals) < maxTold {
		m.Sum.Refusals = append(m.Sum.Refusals, r)
	}
	if m.state == "" {
		return nil
	}
	if m.told == nil {
		f, err := os.OpenFile(m.reportName(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		m.told = f
		m.Sum.Report = m.reportName()
	}
	_, err = fmt.Fprintf(m.told, "%s %s\n", m.from.unit(), r.text())
	return err
}

func (r refusal) text() string {
	if r.DN == "" {
		return fmt.Sprintf("%d: %s", r.Line, r.Why)
	}
	return fmt.Sprintf("%d: %s: %s", r.Line, r.DN, r.Why)
}

// whyOf is the fault's text without what it was wrapped in and without LDAP's
// number.
func whyOf(err error) string {
	var f *fault.Error
	if errors.As(err, &f) && f.Say != "" {
		return f.Say
	}
	return oneLine(err.Error())
}

func (m *importer) reportName() string { return strings.TrimSuffix(m.state, ".position") + ".refused" }

// root is the objectGUID of the forest's root domain: which directory it is.
func (m *importer) root(ctx context.Context) (string, error) {
	all := m.dir.Contexts()
	if len(all) == 0 {
		return "", nil
	}
	guid := ""
	err := m.dir.Search(ctx, m.as, &tree.Query{Base: all[0], Scope: tree.Base, Attributes: []string{"1.1"}}, func(e *tree.Entry) error {
		guid = fmt.Sprintf("%x", e.GUID)
		return nil
	})
	return guid, err
}

// recall goes on where another try was interrupted.
func (m *importer) recall(ctx context.Context) error {
	if m.state == "" {
		return nil
	}
	raw, err := os.ReadFile(m.state)
	if errors.Is(err, os.ErrNotExist) {
		_ = os.Remove(m.reportName()) // of another import of this name
		return nil
	}
	if err != nil {
		return err
	}
	root, err := m.root(ctx)
	if err != nil {
		return err
	}
	var was imported
	if err := json.Unmarshal(raw, &was); err != nil || was.Of != m.Of || was.Directory != root {
		_ = os.Remove(m.reportName())
		return nil // of another file, or of another directory: what is there is recognised
	}
	m.imported = was
	m.Sum.Resumed = true
	for _, line := range was.Waiting {
		m.waiting[line] = true
	}
	return nil
}

// remember notes the place behind the last batch. During a later pass the place
// stays: that pass is repeated.
func (m *importer) remember(again bool) error {
	if m.state == "" || again {
		return nil
	}
	m.Waiting = m.Waiting[:0]
	for line := range m.waiting {
		m.Waiting = append(m.Waiting, line)
	}
	slices.Sort(m.Waiting)
	if m.Directory == "" {
		root, err := m.root(context.Background())
		if err != nil {
			return err
		}
		m.Directory = root
	}
	raw, err := json.Marshal(m.imported)
	if err != nil {
		return err
	}
	tmp := m.state + ".new"
	if err := os.WriteFile(tmp, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, m.state)
}

// fileFeed reads an LDIF file.
type fileFeed struct {
	f    *os.File
	size int64
}

func (x *fileFeed) total() int64 { return x.size }
func (x *fileFeed) unit() string { return "line" }

func (x *fileFeed) each(from place, fn func(*ldif.Record, *ldif.SyntaxError, place) error) error {
	if _, err := x.f.Seek(from.Offset, io.SeekStart); err != nil {
		return err
	}
	r := ldif.Resume(x.f, ldif.Limits{}, from.Offset, from.Line)
	for {
		rec, err := r.Next()
		var wrong *ldif.SyntaxError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.As(err, &wrong):
			return fmt.Errorf("%s, line %d: %w", filepath.Base(x.f.Name()), r.Line(), err)
		}
		if err := fn(rec, wrong, place{r.Offset(), r.Line()}); err != nil {
			return err
		}
	}
}
