package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"waypost/directory"
	"waypost/directory/access"
	dirpg "waypost/directory/postgres"
	"waypost/directory/tree"
	"waypost/internal/fault"
	"waypost/internal/ldif"
)

type directoryCmd struct {
	Import struct {
		File    string `arg:"" type:"existingfile" help:"LDIF (RFC 2849): entries and changes."`
		Restart bool   `help:"Begin at the first line instead of where an interrupted try stopped."`
	} `cmd:"" help:"Take entries and changes from an LDIF file. Repeating goes on where it stopped; an entry is taken as a whole or not at all."`
	Export struct {
		File        string   `arg:"" optional:"" default:"-" help:"The file to write; standard output if not given."`
		Base        string   `help:"Only this entry and what is below it; everything but the schema if not given." placeholder:"DN"`
		Filter      string   `help:"Only entries that the filter finds (RFC 4515)." placeholder:"FILTER"`
		Attributes  []string `help:"Only these attributes." placeholder:"NAME"`
		Operational bool     `help:"Also what the server keeps itself, like objectGUID; an import leaves it out."`
	} `cmd:"" help:"Write entries as LDIF, and behind them the rights on them. Passwords are not part of it: a backup is one of the database."`
	Search struct {
		Filter     string   `arg:"" optional:"" default:"(objectClass=*)" help:"What to find (RFC 4515), like '(anr=smith)'."`
		Base       string   `help:"Where to look; everywhere if not given." placeholder:"DN"`
		Scope      string   `enum:"base,one,sub" default:"sub" help:"base, one or sub."`
		Attributes []string `help:"Only these attributes." placeholder:"NAME"`
		Limit      int      `default:"1000" help:"How many entries at most; 0: all."`
	} `cmd:"" help:"Find entries and show them as LDIF."`
	Show struct {
		DN string `arg:"" name:"dn" help:"The entry's name, or the address or account of a person or group."`
	} `cmd:"" help:"Show an entry with everything that is kept of it."`
	Check struct{} `cmd:"" help:"Verify the whole directory: tree, links, names, and the view in memory against the tables."`
	Prep  struct {
		Forest struct {
			LDIF   string `name:"ldif" help:"Extend the schema by what the file defines." placeholder:"FILE" type:"existingfile"`
			DryRun bool   `help:"Only say what would be changed."`
		} `cmd:"" help:"Prepare the forest, once: schema and configuration. Can be run again; undone only by restoring a backup."`
		Domain struct {
			Name   string `arg:"" optional:"" name:"domain" help:"The domain; all of them if not given."`
			DryRun bool   `help:"Only say what would be changed."`
		} `cmd:"" help:"Prepare a domain: containers and groups of its own. Can be run again; undone only by restoring a backup."`
	} `cmd:"" help:"Prepare the forest or a domain, and say what is changed."`
}

// treeOf joins what an import needs of the directory.
type treeOf struct {
	tree.Tree
	bulk *dirpg.Store
}

func (t treeOf) AddEntries(ctx context.Context, as directory.Principal, list []dirpg.NewEntry, o tree.Options) ([]dirpg.Added, error) {
	return t.bulk.AddEntries(ctx, as, list, o)
}

// tree is the directory by name and attribute.
func (a *app) tree() bulkTree { return treeOf{a.more.bulk.Tree(), a.more.bulk} }

func (a *app) directoryImport(ctx context.Context, c *cli) error {
	in := c.Directory.Import
	f, err := os.Open(in.File)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fault.New(fault.Invalid, "%s is not a regular file: it is read several times", in.File)
	}
	path, err := filepath.Abs(in.File)
	if err != nil {
		return err
	}
	m := &importer{
		dir: a.tree(), as: operator(), from: &fileFeed{f, info.Size()}, state: path + ".position",
		imported: imported{Of: fmt.Sprintf("%s, %d bytes, %s", path, info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano))},
	}
	sum, err := a.imports(ctx, m, in.Restart, true)
	if err != nil {
		return err
	}
	if err := a.out.show(sum, func(w io.Writer) { sum.people(w, in.File, m.from.unit()) }); err != nil {
		return err
	}
	if sum.Refused > 0 {
		return fault.New(fault.Invalid, "%s refused", was(sum.Refused, "record"))
	}
	return nil
}

func was(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " was"
	}
	return fmt.Sprintf("%d %ss were", n, noun)
}

// imports runs an import with a bar, and says how to go on when it is
// interrupted.
func (a *app) imports(ctx context.Context, m *importer, restart, bytes bool) (*importReport, error) {
	bar := progress("importing", m.from.total(), bytes)
	var memory steady
	defer memory.end()
	m.progress = func(at place) { _ = bar.Set64(at.Offset); memory.keep() }
	sum, err := m.run(ctx, restart)
	if err != nil {
		_ = bar.Exit()
		return nil, fmt.Errorf("%w; %s taken in so far, the same command goes on from there", err, was(m.Sum.Added+m.Sum.Changed+m.Sum.Present, "record"))
	}
	_ = bar.Finish()
	return sum, nil
}

// shownRefusals is how many refusals are shown to people.
const shownRefusals = 20

// people prints the report.
func (r *importReport) people(w io.Writer, what, unit string) {
	fmt.Fprintf(w, "%s: %s added, %d changed, %d there already, %d refused, in %.1f s.\n", what, countOf(r.Added, "entry", "entries"), r.Changed, r.Present, r.Refused, r.Seconds)
	for _, why := range slices.Sorted(maps.Keys(r.LeftOut)) {
		if n := r.LeftOut[why]; n > 0 {
			fmt.Fprintf(w, "Left out, %s: %s.\n", count(n, "value"), why)
		}
	}
	for i, x := range r.Refusals {
		if i == shownRefusals {
			break
		}
		fmt.Fprintf(w, "  %s %s\n", unit, x.text())
	}
	if r.Refused > shownRefusals {
		fmt.Fprintf(w, "  and %d more\n", r.Refused-shownRefusals)
	}
	if r.Report != "" {
		fmt.Fprintf(w, "All refusals are in %s.\n", r.Report)
	}
}

func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// toFile writes a file by way of a new one that takes its name in the end, or
// to out when name is "-".
func toFile(name string, out io.Writer, write func(io.Writer) error) error {
	if name == "-" {
		return write(out)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // which is gone when all went well
	if err := write(f); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// notExported are attributes that make sense in this directory only. Rights are
// written behind the entries, with names in place of numbers.
var notExported = map[string]bool{access.AttributeName: true, "nTSecurityDescriptor": true}

func (a *app) directoryExport(ctx context.Context, c *cli) error {
	in := c.Directory.Export
	q := tree.Query{Scope: tree.Sub, DomainScope: true, Attributes: in.Attributes}
	if len(q.Attributes) == 0 {
		q.Attributes = []string{"*", access.AttributeName}
	}
	if in.Operational {
		q.Attributes = append(q.Attributes, "+")
	}
	bases, err := a.bases(in.Base)
	if err != nil {
		return err
	}
	if in.Filter != "" {
		if q.Filter, err = tree.ParseFilter(in.Filter); err != nil {
			return err
		}
	} else {
		q.Filter = &tree.Filter{Op: tree.Present, Attribute: "objectClass"}
	}
	n := 0
	bar := progress("exporting", -1, false)
	err = toFile(in.File, a.out.out, func(w io.Writer) error {
		out := ldif.NewWriter(w)
		var rights []*ldif.Record
		seen := map[int64]bool{} // only needed where contexts overlap
		for _, base := range bases {
			q := q
			q.Base = base
			if err := a.tree().Search(ctx, operator(), &q, func(e *tree.Entry) error {
				if len(bases) > 1 {
					if seen[int64(e.ID)] {
						return nil
					}
					seen[int64(e.ID)] = true
				}
				if n++; n%1000 == 0 {
					_ = bar.Set(n)
				}
				if len(in.Attributes) == 0 && !in.Operational {
					if r := a.exportedRights(e); r != nil {
						rights = append(rights, r)
					}
				}
				return out.Write(a.exported(e, in.Operational, len(in.Attributes) > 0))
			}); err != nil {
				return err
			}
		}
		for _, r := range rights {
			if err := out.Write(r); err != nil {
				return err
			}
		}
		return out.Flush()
	})
	if err != nil {
		_ = bar.Exit()
		return err
	}
	_ = bar.Finish()
	if in.File == "-" {
		return nil
	}
	return a.out.done(map[string]any{"entries": n, "file": in.File}, "%s written to %s.", countOf(n, "entry", "entries"), in.File)
}

// exported makes a record of an entry.
func (a *app) exported(e *tree.Entry, operational, chosen bool) *ldif.Record {
	r := &ldif.Record{DN: e.DN, Attributes: make([]ldif.Attribute, 0, len(e.Attributes))}
	sch := a.tree().Schema()
	for _, x := range e.Attributes {
		s, ok := sch.Attribute(x.Name)
		if ok && !operational && !chosen && (notExported[s.Name] || s.ServerOnly || s.Constructed || s.Back()) {
			continue
		}
		if len(x.Values) > 0 {
			r.Attributes = append(r.Attributes, ldif.Attribute{Name: x.Name, Values: x.Values})
		}
	}
	if len(r.Attributes) == 0 {
		// Nothing that was asked for: a record without attributes is none.
		r.Attributes = []ldif.Attribute{{Name: "distinguishedName", Values: []string{e.DN}}}
	}
	return r
}

// bases are the names to look below: the one given, or every naming context but
// the schema. What lies below another one is in it already.
func (a *app) bases(base string) ([]tree.DN, error) {
	if base != "" {
		dn, err := tree.ParseDN(base)
		return []tree.DN{dn}, err
	}
	var all []tree.DN
	for _, dn := range a.tree().Contexts() {
		if strings.EqualFold(dn[0][0].Value, "Schema") && strings.EqualFold(dn[0][0].Attribute, "cn") {
			continue
		}
		all = append(all, dn)
	}
	if len(all) == 0 {
		return nil, fault.New(fault.NotFound, "the directory has no domain yet; add one with: waypost domain add NAME")
	}
	return all, nil
}

func (a *app) directorySearch(ctx context.Context, c *cli) error {
	in := c.Directory.Search
	q := tree.Query{Scope: map[string]tree.Scope{"base": tree.Base, "one": tree.One, "sub": tree.Sub}[in.Scope], Attributes: in.Attributes, Global: in.Base == ""}
	var err error
	if q.Filter, err = tree.ParseFilter(in.Filter); err != nil {
		return err
	}
	if in.Base != "" {
		if q.Base, err = tree.ParseDN(in.Base); err != nil {
			return err
		}
	} else if q.Scope == tree.Base {
		return fault.New(fault.Invalid, "--scope base needs --base")
	}
	q.Limit = in.Limit
	var list []entryJSON
	w := ldif.NewWriter(a.out.out)
	err = a.tree().Search(ctx, operator(), &q, func(e *tree.Entry) error {
		if a.out.json {
			list = append(list, a.entryJSON(e))
			return nil
		}
		return w.Write(a.exported(e, true, true))
	})
	if err != nil && (fault.Of(err) != fault.Limit || in.Limit == 0) {
		return err
	}
	if a.out.json {
		return errors.Join(a.out.show(list, nil), err)
	}
	return errors.Join(w.Flush(), err)
}

// entryJSON is an entry for programs; values that are no text are base64.
type entryJSON struct {
	DN         string         `json:"dn"`
	Attributes map[string]any `json:"attributes"`
}

func (a *app) entryJSON(e *tree.Entry) entryJSON {
	x := entryJSON{DN: e.DN, Attributes: map[string]any{}}
	sch := a.tree().Schema()
	for _, at := range e.Attributes {
		if s, ok := sch.Attribute(at.Name); ok && s.Syntax.Binary() {
			raw := make([][]byte, len(at.Values))
			for i, v := range at.Values {
				raw[i] = []byte(v)
			}
			x.Attributes[at.Name] = raw
			continue
		}
		x.Attributes[at.Name] = at.Values
	}
	return x
}

func (a *app) directoryShow(ctx context.Context, c *cli) error {
	dn, err := a.named(ctx, c.Directory.Show.DN)
	if err != nil {
		return err
	}
	var found *tree.Entry
	err = a.tree().Search(ctx, operator(), &tree.Query{Base: dn, Scope: tree.Base, Attributes: []string{"*", "+"}}, func(e *tree.Entry) error {
		found = e
		// What a class may have is the schema's to tell.
		e.Attributes = slices.DeleteFunc(e.Attributes, func(x tree.Attribute) bool { return strings.HasPrefix(x.Name, "allowed") })
		return nil
	})
	if err == nil && found == nil {
		err = fault.New(fault.NotFound, "no entry %s", dn)
	}
	if err != nil {
		return err
	}
	return a.out.show(a.entryJSON(found), func(w io.Writer) {
		out := ldif.NewWriter(w)
		_ = out.Write(a.exported(found, true, true))
		_ = out.Flush()
	})
}

// named finds an object by its DN, or by a person's or group's address, account
// or UPN.
func (a *app) named(ctx context.Context, name string) (tree.DN, error) {
	if strings.Contains(name, "=") {
		return tree.ParseDN(name)
	}
	var f tree.Filter
	f.Op = tree.Or
	for _, attribute := range []string{"mail", "userPrincipalName", "sAMAccountName", "proxyAddresses"} {
		v := name
		if attribute == "proxyAddresses" {
			v = "smtp:" + name
		}
		f.Parts = append(f.Parts, tree.Filter{Op: tree.Equal, Attribute: attribute, Value: v})
	}
	var found []tree.DN
	err := a.tree().Search(ctx, operator(), &tree.Query{Scope: tree.Sub, Global: true, Filter: &f, Attributes: []string{"1.1"}, Limit: 2}, func(e *tree.Entry) error {
		dn, err := tree.ParseDN(e.DN)
		found = append(found, dn)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fault.New(fault.NotFound, "nobody is called %s", name)
	case len(found) > 1:
		return nil, fault.New(fault.Invalid, "%s is the name of several; give a DN", name)
	}
	return found[0], nil
}

func (a *app) directoryCheck(ctx context.Context, _ *cli) error {
	begun := time.Now()
	var memory steady
	memory.keep()
	defer memory.end()
	findings, err := a.more.bulk.Check(ctx)
	if err != nil {
		return err
	}
	res := struct {
		Findings []string
		Seconds  float64
	}{findings, time.Since(begun).Seconds()}
	if err := a.out.show(res, func(w io.Writer) {
		for _, f := range findings {
			fmt.Fprintln(w, f)
		}
		if len(findings) == 0 {
			fmt.Fprintf(w, "The directory is sound (%.1f s).\n", res.Seconds)
		}
	}); err != nil {
		return err
	}
	if len(findings) > 0 {
		return fault.New(fault.Internal, "%s in the directory", countOf(len(findings), "thing is not as it should be", "things are not as they should be"))
	}
	return nil
}
