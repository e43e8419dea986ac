package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"waypost/internal/fault"
	"waypost/internal/ldif"
	"waypost/internal/orggen"
)

type orgCmd struct {
	Generate struct {
		Scale     string  `required:"" enum:"tiny,lab,production" help:"tiny (440 objects), lab (40,000; 14,000 people) or production (480,000; 280,000 people)."`
		Seed      uint64  `default:"1" help:"The same seed gives the same organisation."`
		Photos    float64 `default:"0.01" help:"The share of people with a photo, 0.0 to 1.0. Really it is 0.6; at production scale that is 1.2 GB more."`
		Passwords int     `default:"0" help:"How many people get a password, which the report shows; each costs a slow hash (50 ms) in the directory."`
		Domain    string  `help:"The root domain; that of the directory, or corp.test in one without." placeholder:"NAME"`
		LDIF      string  `name:"ldif" help:"Write an LDIF file (- for standard output) instead of filling the directory." placeholder:"FILE"`
		Faults    string  `help:"Also make entries that a directory must refuse, and list in FILE (JSON) all that was planted." placeholder:"FILE"`
		Restart   bool    `help:"Begin anew instead of where an interrupted try stopped."`
	} `cmd:"" help:"Make up an organisation to test with, in an LDIF file or in the directory. Repeating goes on where it stopped."`
}

// generated is what came of it.
type generated struct {
	Scale    string
	Seed     uint64
	Objects  map[string]int
	Total    int
	SHA256   string        `json:"sha256,omitempty"`
	Password string        `json:"password,omitempty"`
	Import   *importReport `json:"import,omitempty"`
}

func (a *app) orgGenerate(ctx context.Context, c *cli) error {
	in := c.Org.Generate
	o := orggen.Options{Seed: in.Seed, Root: in.Domain, Photos: in.Photos, Passwords: in.Passwords, Broken: in.Faults != ""}
	var err error
	if o.Profile, err = orggen.Named(in.Scale); err != nil {
		return err
	}
	if in.LDIF == "" {
		if err := a.open(ctx, needTree); err != nil {
			return err
		}
		defer a.more.close()
		if all := a.tree().Contexts(); len(all) > 0 {
			root := strings.Join(all[0].Labels(), ".")
			if in.Domain != "" && !strings.EqualFold(in.Domain, root) {
				return fault.New(fault.Invalid, "the root domain of this directory is %s; leave --domain out", root)
			}
			o.Root = root
		}
	}
	g, err := orggen.New(o)
	if err != nil {
		return err
	}
	if in.Faults != "" {
		if err := writePlanted(g, in.Faults); err != nil {
			return err
		}
	}
	res := generated{Scale: in.Scale, Seed: in.Seed, Objects: map[string]int{}, Total: g.Len()}
	kinds, counts := g.Counts()
	for i, k := range kinds {
		res.Objects[k] = counts[i]
	}
	if in.Passwords > 0 {
		res.Password = g.Password()
	}
	if in.LDIF != "" {
		return a.orgFile(ctx, g, in.LDIF, &res)
	}
	return a.orgFill(ctx, g, o, in.Restart, &res)
}

// orgFile writes the organisation as LDIF.
func (a *app) orgFile(ctx context.Context, g *orggen.Generator, name string, res *generated) error {
	bar := progress("writing entries", int64(g.Len()), false)
	sum := sha256.New()
	err := toFile(name, a.out.out, func(w io.Writer) error {
		out := ldif.NewWriter(io.MultiWriter(w, sum))
		err := g.From(0, func(r *ldif.Record) error {
			if r.Line%1000 == 0 {
				_ = bar.Set(r.Line)
				if err := ctx.Err(); err != nil {
					return err
				}
			}
			return out.Write(r)
		})
		if err != nil {
			return err
		}
		return out.Flush()
	})
	if err != nil {
		_ = bar.Exit()
		return err
	}
	_ = bar.Finish()
	res.SHA256 = hexOf(sum)
	if name == "-" {
		return nil // the entries are the output
	}
	return a.out.done(res, "%s written to %s (seed %d, SHA-256 %s).%s", count(res.Total, "object"), name, res.Seed, res.SHA256, passwordText(res.Password))
}

func hexOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

func passwordText(p string) string {
	if p == "" {
		return ""
	}
	return " The password is " + p + "."
}

// generatorFeed gives a generated organisation to an import.
type generatorFeed struct{ g *orggen.Generator }

func (x generatorFeed) total() int64 { return int64(x.g.Len()) }
func (x generatorFeed) unit() string { return "record" }

func (x generatorFeed) each(from place, fn func(*ldif.Record, *ldif.SyntaxError, place) error) error {
	return x.g.From(int(from.Offset), func(r *ldif.Record) error { return fn(r, nil, place{Offset: int64(r.Line)}) })
}

// orgFill puts the organisation into the directory.
func (a *app) orgFill(ctx context.Context, g *orggen.Generator, o orggen.Options, restart bool, res *generated) error {
	name := fmt.Sprintf("org-%s-%d", o.Profile.Name, o.Seed)
	m := &importer{
		dir: a.tree(), as: operator(), from: generatorFeed{g},
		state:    filepath.Join(a.cfg.Data, name+".position"),
		imported: imported{Of: fmt.Sprintf("%s %s photos %v passwords %d broken %t", name, o.Root, o.Photos, o.Passwords, o.Broken)},
	}
	if err := os.MkdirAll(a.cfg.Data, 0o755); err != nil {
		return err
	}
	sum, err := a.imports(ctx, m, restart, false)
	if err != nil {
		return err
	}
	res.Import = sum
	return a.out.show(res, func(w io.Writer) {
		sum.people(w, name, m.from.unit())
		if res.Password != "" {
			fmt.Fprintf(w, "The password of %s is %s.\n", countOf(o.Passwords, "person", "people"), res.Password)
		}
	})
}

// writePlanted lists what is odd or wrong on purpose.
func writePlanted(g *orggen.Generator, name string) error {
	return toFile(name, os.Stdout, func(w io.Writer) error {
		return output{json: true, out: w}.show(g.Planted(), nil)
	})
}
