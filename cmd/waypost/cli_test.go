package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"waypost/directory"
	"waypost/internal/config"
)

// words splits an example as a shell would, as far as the examples need it.
func words(t *testing.T, line string) []string {
	t.Helper()
	line, _, _ = strings.Cut(line, " > ")
	var all []string
	for _, m := range regexp.MustCompile(`'([^']*)'|(\S+)`).FindAllStringSubmatch(line, -1) {
		all = append(all, m[1]+m[2])
	}
	if len(all) == 0 || all[0] != "waypost" {
		t.Fatalf("an example that does not begin with waypost: %q", line)
	}
	return all[1:]
}

// The grammar and the table of commands are the same set, every command says
// what it does, and every example is a right use of its command.
func TestCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "people.csv")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var c cli
	for _, n := range grammar(&c).Model.Leaves(false) {
		path := pathOf(n)
		seen[path] = true
		if n.Help == "" || !strings.HasSuffix(n.Help, ".") {
			t.Errorf("%s: help %q", path, n.Help)
		}
		cmd, ok := commands[path]
		if !ok {
			t.Errorf("%s is in the grammar and does nothing", path)
			continue
		}
		var c cli
		ctx, err := grammar(&c).Parse(words(t, strings.NewReplacer("people.csv", file, "forest.ldif", file).Replace(cmd.example)))
		if err != nil {
			t.Errorf("%s: its example %q: %v", path, cmd.example, err)
			continue
		}
		if got := pathOf(ctx.Selected()); got != path {
			t.Errorf("the example of %s is one of %s", path, got)
		}
	}
	for path := range commands {
		if !seen[path] {
			t.Errorf("%s is not in the grammar", path)
		}
	}
}

func TestHelpShowsTheExample(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"queue retry --help", "Example:\n  waypost queue retry all\n"},
		{"user --help", "user import"},
		{"--help", "device wipe"},
	} {
		var c cli
		var out strings.Builder
		k := grammar(&c)
		k.Stdout, k.Exit = &out, func(int) {}
		_, _ = k.Parse(strings.Fields(tt.args))
		if !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: got\n%s\nwant %q in it", tt.args, out.String(), tt.want)
		}
	}
}

func TestMisuseSaysWhereToLook(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"frob", "unexpected argument frob; see: waypost --help"},
		{"user add", "; see: waypost user add --help"},
		{"user add a@b --name x --quota big", `"big" is not a size like 512KiB, 50MiB or 2GiB; see: waypost user add --help`},
		{"queue show x", "; see: waypost queue show --help"},
	} {
		var c cli
		_, err := grammar(&c).Parse(strings.Fields(tt.args))
		if err == nil || !strings.HasSuffix(misused(err).Error(), tt.want) {
			t.Errorf("%s: got %v, want %q at its end", tt.args, err, tt.want)
		}
	}
}

var _ kong.HelpPrinter = help

func TestPlain(t *testing.T) {
	when := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	type inner struct{ UIDNext int }
	for _, tt := range []struct {
		name string
		in   any
		want string
	}{
		{"no list", []directory.User(nil), `[]`},
		{"a kind", directory.Member{ID: 3, Kind: directory.KindRoom, Address: "r@x"}, `{"address":"r@x","id":3,"kind":"room","name":""}`},
		{"embedded", struct {
			inner
			Password string
		}{inner{1}, "p"}, `{"password":"p"}`},
		{"embedded and exported", struct {
			directory.Domain
			More bool
		}{directory.Domain{ID: 1, Name: "x", Created: when}, true}, `{"created":"2026-03-01T12:00:00Z","id":1,"more":true,"name":"x"}`},
		{"tags", struct {
			A string `json:"first"`
			B int    `json:"b,omitempty"`
			C string `json:"-"`
			HomeMDB,
			GUID string
		}{A: "a", C: "c"}, `{"first":"a","guid":"","homeMDB":""}`},
		{"size", map[string]any{"size": config.Size(5 << 30), "list": [2]string{"a", "b"}, "none": nil}, `{"list":["a","b"],"none":null,"size":"5GiB"}`},
	} {
		got, err := json.Marshal(plain(tt.in))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %s (%v), want %s", tt.name, got, err, tt.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 3 << 50: "3.0 PiB", 5000 << 50: "5000.0 PiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int]string{0: "0 members", 1: "1 member", 2: "2 members"} {
		if got := count(n, "member"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestReadPeople(t *testing.T) {
	user := func(address, name string, more func(*directory.NewUser)) directory.NewUser {
		u := directory.NewUser{User: directory.User{Kind: directory.KindUser, Enabled: true, Address: address, Name: name}}
		if more != nil {
			more(&u)
		}
		return u
	}
	for _, tt := range []struct {
		file, text string
		want       []person
		wrong      string
	}{
		{"a.csv", "Address, Name ,password,alias,room\nann@x,Ann,geheim-1,a@x b@x,\nr@x,Room,,,yes\n", []person{
			{2, user("ann@x", "Ann", func(u *directory.NewUser) { u.Password, u.Addresses = "geheim-1", []string{"a@x", "b@x"} })},
			{3, user("r@x", "Room", func(u *directory.NewUser) { u.Kind = directory.KindRoom })},
		}, ""},
		{"a.csv", "address,nam\nann@x,Ann\n", nil, `a.csv: unknown column "nam" in the header line`},
		{"a.csv", "address,name\nann@x\n", nil, "line 2: wrong number of fields"},
		{"a.csv", "address,name\nann@x,\n", nil, "a.csv, line 2: address and name are required"},
		{"a.csv", "", nil, "a.csv is empty: a header line is wanted"},
		{"a.LDIF", "version: 1\n\ndn: cn=Ann\nobjectClass: inetOrgPerson\nmail: ann@x\ncn:: QW5uIEzDtnc=\nproxyAddresses: SMTP:ann@x\nproxyAddresses: smtp:a@x\ntelephoneNumber: +49\n  1\n\ndn: cn=PC\nobjectClass: user\nobjectClass: computer\nmail: pc@x\n", []person{
			{3, user("ann@x", "Ann Löw", func(u *directory.NewUser) { u.Addresses, u.Phone = []string{"a@x"}, "+49 1" })},
		}, ""},
		{"a.ldif", "dn: cn=Ann\nchangetype: modify\n", nil, "a.ldif, line 1: a change record"},
		{"a.ldif", "dn: cn=Ann\njpegPhoto:< file:///etc/passwd\n", nil, "is a URL, which is not followed"},
		{"a.ldif", "nonsense\n", nil, `a.ldif, line 1: "nonsense" is no attribute line`},
	} {
		got, err := readPeople(strings.NewReader(tt.text), tt.file)
		if tt.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%q: got %v, want %q in it", tt.text, err, tt.wrong)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(person{}), cmpopts.EquateEmpty()); diff != "" || err != nil {
			t.Errorf("%q: %v\n%s", tt.text, err, diff)
		}
	}
}

// A key that no program reads is a promise that nobody keeps.
func TestEveryKeyIsRead(t *testing.T) {
	var code strings.Builder
	for _, dir := range []string{".", "../internal/roles"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(text)
		}
	}
	var walk func(reflect.Type, string)
	walk = func(ty reflect.Type, section string) {
		for i := range ty.NumField() {
			f := ty.Field(i)
			switch {
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type, f.Tag.Get("toml")+".")
			case f.Tag.Get("reserved") != "", f.Name == "MailURLs": // read by Database.Mail
			case !regexp.MustCompile(`\.` + f.Name + `\b`).MatchString(code.String()):
				t.Errorf("nothing reads %s%s", section, f.Tag.Get("toml"))
			}
		}
	}
	walk(reflect.TypeFor[config.Config](), "")
}

// What the documentation tells people to type is right.
func TestDocumentation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "people.csv")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^\s*(?:bin/)?(waypost [a-z][^\n&>|]*)`)
	block := regexp.MustCompile("(?ms)^ *```(sh|toml)?\n(.*?)^ *```")
	n := 0
	for _, doc := range []string{"../../README.md", "../../docs/running.md"} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range block.FindAllStringSubmatch(string(text), -1) {
			if b[1] == "toml" {
				path := filepath.Join(t.TempDir(), "waypost.toml")
				if err := os.WriteFile(path, []byte(b[2]), 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := config.Load(config.Source{File: path}); err != nil {
					t.Errorf("%s: %v", doc, err)
				}
			}
			for _, m := range command.FindAllStringSubmatch(b[2], -1) {
				n++
				var c cli
				line := strings.NewReplacer(`"`, `'`, "people.csv", file, "forest.ldif", file).Replace(m[1])
				if _, err := grammar(&c).Parse(words(t, line)); err != nil {
					t.Errorf("%s: %s: %v", doc, m[1], err)
				}
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d commands were found", n)
	}
}
