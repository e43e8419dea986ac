package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waypost/directory/authn"
	dirpg "waypost/directory/postgres"
	"waypost/directory/tree"
	"waypost/internal/config"
	"waypost/internal/fault"
	"waypost/internal/ldif"
	"waypost/internal/orggen"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

// newApp is the command line on a new, empty directory; out is what it printed.
func newApp(t *testing.T) (a *app, out *bytes.Buffer) {
	t.Helper()
	log := quietLog()
	ctx, cancel := context.WithCancel(context.Background())
	db, err := pgdb.Open(ctx, pgtest.New(t, migrations.Directory), pgdb.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), MaxConns: 4})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	h := authn.NewHasher(authn.Params{Memory: 1 << 10, Time: 1, Threads: 1})
	store, err := dirpg.Open(ctx, db, dirpg.Options{Hash: h.Hash, Among: h.Among, Log: log})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = store.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait(); db.Close() })
	out = &bytes.Buffer{}
	a = &app{cfg: &config.Config{Data: t.TempDir()}, out: output{json: true, out: out}, dir: authn.Near(store, authn.New(store, h, authn.Options{Log: log}))}
	a.more.bulk = store
	return a, out
}

// sound fails the test for everything that Check finds.
func sound(t *testing.T, a *app) {
	t.Helper()
	findings, err := a.more.bulk.Check(t.Context())
	for _, f := range findings {
		t.Errorf("unsound: %s", f)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ldifFile writes text into a file.
func ldifFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "test.ldif")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// importer opens a file as waypost directory import does.
func importerOf(t *testing.T, a *app, name string, size int) *importer {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return &importer{dir: a.tree(), as: operator(), from: &fileFeed{f, info.Size()}, state: name + ".position", batch: size, imported: imported{Of: name}}
}

func runImport(t *testing.T, m *importer) *importReport {
	t.Helper()
	sum, err := m.run(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

type counts struct{ Added, Changed, Present, Refused int }

func (r *importReport) counts() counts { return counts{r.Added, r.Changed, r.Present, r.Refused} }

// export gives the directory as LDIF.
func export(t *testing.T, a *app) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "out.ldif")
	c := &cli{}
	c.Directory.Export.File = name
	if err := a.directoryExport(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const smallForest = `version: 1

# Groups before their members, and in a circle.
dn: DC=x,DC=test
objectClass: domainDNS
dc: x

dn: CN=All,OU=Sales,DC=x,DC=test
objectClass: group
member: CN=Inner,OU=Sales,DC=x,DC=test
member: CN=Ann Lee,OU=Sales,DC=x,DC=test

dn: CN=Inner,OU=Sales,DC=x,DC=test
objectClass: group
member: CN=All,OU=Sales,DC=x,DC=test

dn: OU=Sales,DC=x,DC=test
objectClass: organizationalUnit
ou: Sales

dn: CN=Ann Lee,OU=Sales,DC=x,DC=test
objectClass: top
objectClass: user
cn: Ann Lee
mail: ann@x.test
proxyAddresses: smtp:lee@x.test
userPassword: {SSHA}bm90IGEgcGFzc3dvcmQ=
objectGUID:: AAAAAAAAAAAAAAAAAAAAAA==
memberOf: CN=All,OU=Sales,DC=x,DC=test
description;lang-de: Verkauf

dn: CN=Bob,OU=Sales,DC=x,DC=test
objectClass: user
manager: CN=Nobody,DC=x,DC=test

nonsense

dn: CN=Cem,OU=Sales,DC=x,DC=test
objectClass: user
mail: ann@x.test

dn: CN=Dan,OU=Nowhere,DC=x,DC=test
objectClass: user

dn: CN=Ann Lee,OU=Sales,DC=x,DC=test
changetype: modify
replace: title
title: Head
-
add: telephoneNumber
telephoneNumber: +49 1
-

dn: OU=Old,DC=x,DC=test
changetype: add
objectClass: organizationalUnit

dn: CN=Eve,OU=Old,DC=x,DC=test
objectClass: user

dn: CN=Eve,OU=Old,DC=x,DC=test
changetype: modrdn
newrdn: CN=Eva
deleteoldrdn: 1
newsuperior: OU=Sales,DC=x,DC=test

dn: OU=Old,DC=x,DC=test
control: 1.2.840.113556.1.4.805 true
changetype: delete

dn: CN=Eva,OU=Sales,DC=x,DC=test
control: 1.2.3.4 true
changetype: delete
`

func TestImport(t *testing.T) {
	for _, size := range []int{0, 1, 2, 3} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			a, _ := newApp(t)
			name := ldifFile(t, smallForest)
			sum := runImport(t, importerOf(t, a, name, size))
			want := counts{Added: 7, Changed: 3, Refused: 5}
			if size == 1 {
				// A circle cannot be closed by entries that come one by one.
				want.Added, want.Refused = want.Added-2, want.Refused+2
			}
			if diff := cmp.Diff(want, sum.counts()); diff != "" {
				t.Errorf("%s\n%+v", diff, sum.Refusals)
			}
			var got []string
			for _, r := range sum.Refusals {
				got = append(got, r.text())
			}
			for _, want := range []string{
				"36: \"nonsense\" is no attribute line",
				"32: CN=Bob,OU=Sales,DC=x,DC=test: manager: no such object: CN=Nobody,DC=x,DC=test",
				"38: CN=Cem,OU=Sales,DC=x,DC=test: ann@x.test is taken",
				"42: CN=Dan,OU=Nowhere,DC=x,DC=test: no such object",
				"71: CN=Eva,OU=Sales,DC=x,DC=test: control 1.2.3.4 is not known",
			} {
				if !slices.Contains(got, want) {
					t.Errorf("refusals %q lack %q", got, want)
				}
			}
			report, err := os.ReadFile(name + ".refused")
			if err != nil || strings.Count(string(report), "\n") != sum.Refused || !strings.Contains(string(report), "line 42: CN=Dan") {
				t.Errorf("the report (%v):\n%s", err, report)
			}
			wantLeft := map[string]int{"hashes of passwords": 1, "kept by the server: objectGUID": 1, "kept by the server: memberOf": 1, "values in another language or with other options": 1}
			if diff := cmp.Diff(wantLeft, sum.LeftOut); diff != "" {
				t.Error(diff)
			}
			if _, err := os.Stat(name + ".position"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the position stays behind: %v", err)
			}
			sound(t, a)
		})
	}
}

// Whatever an import was interrupted at, the next one completes it, and one
// more finds that everything is there.
func TestImportResumed(t *testing.T) {
	profile, err := orggen.Named("tiny")
	if err != nil {
		t.Fatal(err)
	}
	g, err := orggen.New(orggen.Options{Profile: profile, Seed: 3, Root: "x.test"})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := ldif.NewWriter(&b)
	if err := g.From(0, w.Write); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	name := ldifFile(t, b.String())
	a, _ := newApp(t)
	stop := errors.New("interrupted")
	tries := 0
	for ; ; tries++ {
		m := importerOf(t, a, name, 50)
		n := 0
		m.every = func(place) error {
			if n++; n > 1 || tries%3 == 2 { // sometimes before anything was noted
				return stop
			}
			return nil
		}
		if tries > 20 {
			m.every = nil
		}
		sum, err := m.run(t.Context(), false)
		if errors.Is(err, stop) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if sum.Added+sum.Present < profile.Total() || sum.Refused != 0 || !sum.Resumed {
			t.Errorf("in the end: %+v", sum)
		}
		break
	}
	if tries < 8 {
		t.Errorf("only %d interruptions", tries)
	}
	again := runImport(t, importerOf(t, a, name, 0))
	if diff := cmp.Diff(counts{Present: profile.Total()}, again.counts()); diff != "" {
		t.Errorf("once more: %s\n%+v", diff, again.Refusals)
	}
	sound(t, a)
}

// A directory's export makes the same directory.
func TestExportImport(t *testing.T) {
	profile, err := orggen.Named("tiny")
	if err != nil {
		t.Fatal(err)
	}
	profile.Contacts = 16 // those behind have addresses that come back in another form
	o := orggen.Options{Profile: profile, Seed: 11, Root: "x.test", Photos: 0.2, Passwords: 1, Broken: true}
	g, err := orggen.New(o)
	if err != nil {
		t.Fatal(err)
	}
	a, out := newApp(t)
	res := generated{}
	if err := a.orgFill(t.Context(), g, o, false, &res); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, f := range g.Planted() {
		if f.Refused {
			refused++
		}
	}
	if diff := cmp.Diff(counts{Added: profile.Total(), Refused: refused}, res.Import.counts()); diff != "" {
		t.Errorf("%s\n%+v", diff, res.Import.Refusals)
	}
	if !json.Valid(out.Bytes()) {
		t.Errorf("no JSON: %s", out)
	}
	// Rights name people by number, and get them back by name.
	domain, err := tree.ParseDN("DC=x,DC=test")
	if err != nil {
		t.Fatal(err)
	}
	help := domain.Child(tree.RDN{{Attribute: "cn", Value: `Help "Desk", too`}})
	done, err := a.tree().AddEntry(t.Context(), operator(), help, []tree.Attribute{
		{Name: "objectClass", Values: []string{"group"}}, {Name: "sAMAccountName", Values: []string{"help"}}, {Name: "mail", Values: []string{"help@bücher.example"}},
	}, tree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	right := fmt.Sprintf("allow #%d reset-password,write attributes(lockoutTime) on below(user)", done.ID)
	if _, err := a.tree().ModifyEntry(t.Context(), operator(), domain, []tree.Modification{{Op: tree.ModAdd, Name: "accessControlEntry", Values: []string{right}}}, tree.Options{}); err != nil {
		t.Fatal(err)
	}
	first := export(t, a)
	for _, want := range []string{
		"\ndn: DC=x,DC=test\nchangetype: modify\nreplace: accessControlEntry\n", "accessControlEntry: allow \"CN=Help \\22Desk", "\ndc: x\n", "\nmail: help@xn--bcher-kva.example\n",
	} {
		if !strings.Contains(strings.ReplaceAll(first, "\n ", ""), want) {
			t.Errorf("no %q in the export", want)
		}
	}
	b, _ := newApp(t)
	sum := runImport(t, importerOf(t, b, ldifFile(t, first), 100))
	if sum.Refused != 0 || sum.Added == 0 {
		t.Errorf("%+v", sum)
	}
	sorted := func(text string) []string {
		var list []string
		for rec := range strings.SplitSeq(text, "\n\n") {
			lines := strings.Split(strings.TrimSpace(rec), "\n")
			slices.Sort(lines) // the order of values is each directory's own
			list = append(list, strings.Join(lines, "\n"))
		}
		slices.Sort(list)
		return list
	}
	if diff := cmp.Diff(sorted(first), sorted(export(t, b))); diff != "" {
		t.Errorf("the second directory differs:\n%s", diff[:min(len(diff), 3000)])
	}
	sound(t, b)
}

const schemaFile = `dn: cn=schema
changetype: modify
add: attributeTypes
attributeTypes: ( 1.3.6.1.4.1.99999.1.1 NAME 'badgeColour' DESC 'Colour of the badge' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
-
add: objectClasses
objectClasses: ( 1.3.6.1.4.1.99999.2.1 NAME 'badgeHolder' SUP top AUXILIARY MAY ( badgeColour $ badgeNumber ) )
-

dn: CN=Badge-Number,CN=Schema,CN=Configuration,DC=y
changetype: add
objectClass: attributeSchema
lDAPDisplayName: badgeNumber
attributeID: 1.3.6.1.4.1.99999.1.2
attributeSyntax: 2.5.5.9
oMSyntax: 2
isSingleValued: TRUE
searchFlags: 1
`

func TestPrep(t *testing.T) {
	a, out := newApp(t)
	name := ldifFile(t, schemaFile)
	if err := a.prepForest(t.Context(), &cli{}); fault.Of(err) != fault.NotFound {
		t.Errorf("without a domain: %v", err)
	}
	if _, err := a.dir.AddDomain(t.Context(), operator(), "x.test"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.dir.AddDomain(t.Context(), operator(), "eu.x.test"); err != nil {
		t.Fatal(err)
	}
	prep := func(dry bool) (forest, domain prepared) {
		t.Helper()
		c := &cli{}
		c.Directory.Prep.Forest.LDIF, c.Directory.Prep.Forest.DryRun, c.Directory.Prep.Domain.DryRun = name, dry, dry
		for _, x := range []struct {
			run  func(context.Context, *cli) error
			into *prepared
		}{{a.prepForest, &forest}, {a.prepDomain, &domain}} {
			out.Reset()
			if err := x.run(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(out.Bytes(), x.into); err != nil {
				t.Fatal(err)
			}
		}
		return forest, domain
	}
	dryForest, dryDomain := prep(true)
	forest, domain := prep(false)
	if diff := cmp.Diff(dryForest.Changed, forest.Changed); diff != "" {
		t.Errorf("done otherwise than said: %s", diff)
	}
	if diff := cmp.Diff(dryDomain.Changed, domain.Changed); diff != "" {
		t.Errorf("done otherwise than said: %s", diff)
	}
	for _, want := range []string{
		"Added attribute badgeColour (1.3.6.1.4.1.99999.1.1) to the schema.", "Added attribute badgeNumber (1.3.6.1.4.1.99999.1.2) to the schema.",
		"Added class badgeHolder (1.3.6.1.4.1.99999.2.1) to the schema.",
	} {
		if !slices.Contains(forest.Changed, want) {
			t.Errorf("%q lacks %q", forest.Changed, want)
		}
	}
	if want := "Added CN=Exchange Domain Servers,CN=Users,DC=eu,DC=x,DC=test (group)."; !slices.Contains(domain.Changed, want) {
		t.Errorf("%q lacks %q", domain.Changed, want)
	}
	forest, domain = prep(false)
	if len(forest.Changed)+len(domain.Changed) != 0 || forest.Present == 0 {
		t.Errorf("the second time: %+v, %+v", forest, domain)
	}
	sum := runImport(t, importerOf(t, a, ldifFile(t, "dn: CN=Ann,CN=Users,DC=x,DC=test\nobjectClass: user\nobjectClass: badgeHolder\nbadgeColour: red\nbadgeNumber: 7\n"), 0))
	if sum.Added != 1 {
		t.Errorf("the new class: %+v", sum.Refusals)
	}
	name = ldifFile(t, strings.Replace(schemaFile, "'badgeColour'", "'otherName'", 1))
	c := &cli{}
	c.Directory.Prep.Forest.LDIF = name
	if err := a.prepForest(t.Context(), c); fault.Of(err) != fault.Exists || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("another name for the same: %v", err)
	}
	sound(t, a)
}

func TestDelegate(t *testing.T) {
	a, out := newApp(t)
	runImport(t, importerOf(t, a, ldifFile(t, smallForest), 0))
	do := func(change func(*delegateCmd)) (string, error) {
		out.Reset()
		c := &cli{}
		change(&c.Delegate)
		err := a.delegate(t.Context(), c)
		return out.String(), err
	}
	give := func(rights ...string) func(*delegateCmd) {
		return func(d *delegateCmd) { d.Admin, d.On, d.Allow = "ann@x.test", "Sales", rights }
	}
	if _, err := do(give("reset-password", "edit-users")); err != nil {
		t.Fatal(err)
	}
	if got, err := do(give("reset-password", "create-users")); err != nil || strings.Count(got, "allow ") != 1 {
		t.Errorf("more: %s (%v)", got, err)
	}
	list := func(d *delegateCmd) { d.List, d.Admin = true, "lee@x.test" }
	if got, err := do(list); err != nil || strings.Count(got, `"who": "CN=Ann Lee,OU=Sales,DC=x,DC=test"`) != 3 {
		t.Errorf("list: %s (%v)", got, err)
	}
	if got, err := do(func(d *delegateCmd) { give("edit-users")(d); d.Revoke = true }); err != nil || !strings.Contains(got, "@person") {
		t.Errorf("revoke one: %s (%v)", got, err)
	}
	if got, err := do(func(d *delegateCmd) { give()(d); d.On, d.Revoke = "OU=Sales,DC=x,DC=test", true }); err != nil || strings.Count(got, "allow ") != 2 {
		t.Errorf("revoke all: %s (%v)", got, err)
	}
	if got, err := do(list); err != nil || strings.TrimSpace(got) != "[]" {
		t.Errorf("nothing is left: %s (%v)", got, err)
	}
	for _, tt := range []struct {
		change func(*delegateCmd)
		kind   fault.Kind
	}{
		{give("everything"), fault.Invalid},
		{give(), fault.Invalid},
		{func(d *delegateCmd) { give("edit-users")(d); d.Admin = "nobody" }, fault.NotFound},
		{func(d *delegateCmd) { give("edit-users")(d); d.On = "Nowhere" }, fault.NotFound},
	} {
		if _, err := do(tt.change); fault.Of(err) != tt.kind || err == nil {
			t.Errorf("got %v, want %v", err, tt.kind)
		}
	}
}

func TestSearchAndShow(t *testing.T) {
	a, out := newApp(t)
	runImport(t, importerOf(t, a, ldifFile(t, smallForest), 0))
	c := &cli{}
	c.Directory.Search.Filter, c.Directory.Search.Scope, c.Directory.Search.Attributes = "(anr=ann)", "sub", []string{"cn", "mail"}
	out.Reset()
	a.out.json = false
	if err := a.directorySearch(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if want := "version: 1\n\ndn: CN=Ann Lee,OU=Sales,DC=x,DC=test\ncn: Ann Lee\nmail: ann@x.test\n"; out.String() != want {
		t.Errorf("got %q, want %q", out, want)
	}
	out.Reset()
	c.Directory.Show.DN = "lee@x.test"
	if err := a.directoryShow(t.Context(), c); err != nil || !strings.Contains(out.String(), "\nobjectGUID:: ") || !strings.Contains(out.String(), "\ntitle: Head\n") {
		t.Errorf("%v: %s", err, out)
	}
	a.out.json = true
	out.Reset()
	if err := a.directoryShow(t.Context(), c); err != nil || !json.Valid(out.Bytes()) {
		t.Errorf("%v: %s", err, out)
	}
	c.Directory.Show.DN = "nobody"
	if err := a.directoryShow(t.Context(), c); fault.Of(err) != fault.NotFound {
		t.Errorf("got %v", err)
	}
	if err := a.directoryCheck(t.Context(), c); err != nil {
		t.Error(err)
	}
}
