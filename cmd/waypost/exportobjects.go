package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/schollz/progressbar/v3"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/internal/objectfile"
	"waypost/store"
)

// objectExporter writes folders of objects, one file each, and which folder each
// file is.
type objectExporter struct {
	a    *app
	as   directory.Principal
	box  store.MailboxID
	dir  string
	bar  *progressbar.ProgressBar
	list []exportedFolder
	n    int
}

// folder writes one folder.
func (x *objectExporter) folder(ctx context.Context, f store.Folder, path []string) error {
	props, err := x.a.mail.FolderProps(ctx, x.as, x.box, []store.FolderID{f.ID})
	if err != nil {
		return err
	}
	ext := ".ics"
	if f.Class == store.ClassContacts {
		ext = ".vcf"
	}
	file, err := x.create(strings.Join(path, " - "), ext)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // closed below when all went well
	w := bufio.NewWriterSize(file, 256<<10)
	add, end := func(text []byte) error { _, err := w.Write(text); return err }, func() error { return nil }
	if ext == ".ics" {
		p := props[0]
		cal, err := objectfile.NewCalendar(w, objectfile.About{Name: f.Name, Description: p.Description, Color: p.Color, Zone: p.Zone})
		if err != nil {
			return err
		}
		add, end = cal.Add, cal.Close
	}
	if err := x.objects(ctx, f.ID, add); err != nil {
		return err
	}
	if err := end(); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	x.list = append(x.list, exportedFolder{File: filepath.Base(file.Name()), Path: path, Class: f.Class, Role: f.Role, Props: props[0]})
	return file.Close()
}

// create makes the file of a folder; a name that is taken gets a number.
func (x *objectExporter) create(name, ext string) (*os.File, error) {
	name = strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' || r < ' ' {
			return '_'
		}
		return r
	}, name)
	for len(name) > 200 {
		name = strings.ToValidUTF8(name[:200], "")
	}
	if strings.HasPrefix(name, ".") {
		name = "_" + name
	}
	for n := 1; ; n++ {
		try := name
		if n > 1 {
			try = fmt.Sprintf("%s %d", name, n)
		}
		f, err := os.OpenFile(filepath.Join(x.dir, try+ext), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if !errors.Is(err, os.ErrExist) {
			return f, err
		}
	}
}

// objects gives the texts of a folder's objects, in the order of their ids.
func (x *objectExporter) objects(ctx context.Context, folder store.FolderID, add func([]byte) error) error {
	const page = 500
	for after := store.ItemID(0); ; {
		list, err := x.a.mail.ObjectList(ctx, x.as, x.box, folder, after, page)
		if err != nil {
			return err
		}
		ids := make([]store.ItemID, len(list))
		for i, o := range list {
			ids[i] = o.Item
		}
		for len(ids) > 0 {
			some, err := x.a.mail.Objects(ctx, x.as, x.box, ids)
			if fault.Of(err) == fault.Limit && err != nil {
				for len(some) > 0 && some[len(some)-1] == nil { // did not fit
					some = some[:len(some)-1]
				}
				if len(some) > 0 {
					err = nil
				}
			}
			if err != nil {
				return err
			}
			for _, o := range some {
				if o == nil {
					continue // deleted meanwhile
				}
				if err := add(o.Text); err != nil {
					return fmt.Errorf("UID %s: %w", o.UID, err)
				}
				x.n++
				_ = x.bar.Add(1)
			}
			ids = ids[len(some):]
		}
		if len(list) < page {
			return nil
		}
		after = list[len(list)-1].Item
	}
}

// close writes which folder each file is.
func (x *objectExporter) close() error {
	raw, err := json.MarshalIndent(map[string]any{"folders": x.list}, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(x.dir, manifestName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // closed below when all went well
	if _, err := io.WriteString(f, string(raw)+"\n"); err != nil {
		return err
	}
	return f.Close()
}
