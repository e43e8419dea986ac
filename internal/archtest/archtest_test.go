package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "waypost"

// Shelves used in several rows.
const (
	formats  = "internal/fault internal/envelope internal/mail internal/contentline internal/zone internal/recur internal/ical internal/vcard internal/tnef"
	database = "internal/pgdb internal/pgcluster migrations" // not for who talks to peers
)

// A rule says what a room may import of ours. In room, * stands for one name.
// A trailing slash opens a whole shelf; a leading minus closes part of it.
type rule struct{ room, may string }

var rooms = []rule{
	// Programs: nothing but wiring, so they may see everything.
	{"cmd/", "/"},
	{"bench", "/"},
	{"bench/", "/"},

	// Packages for tests; that only tests import them is checked apart.
	{"internal/archtest", ""},
	{"internal/e2e", "/"},
	{"test/", "/"},
	{"internal/pgtest", "internal/ migrations"},
	{"internal/corpus", ""},
	{"internal/wiretest", "internal/"},
	{"internal/browsertest", ""},
	{"store/storetest", "store directory internal/"},
	{"directory/directorytest", "directory directory/authn directory/schema directory/tree internal/"},

	// What the store reads of an object's text, without I/O.
	{"store/object", "store " + formats},
	// Text as words that are looked for, without I/O.
	{"store/words", "internal/mail"},

	// SQL lives here, each with a schema of its own.
	{"store/postgres", "store store/feed store/object store/words directory internal/ migrations"},
	{"store/feed", "store directory internal/ migrations"},
	{"directory/postgres", "directory directory/authn directory/schema directory/tree directory/access directory/index internal/ migrations"},
	{"services/*/postgres", "services/*/.. directory internal/ migrations"},

	// The directory as LDAP sees it, from what objects may be made of upwards.
	{"directory/schema", "internal/fault"},
	{"directory/tree", "directory directory/schema internal/fault"},
	{"directory/access", "directory directory/schema directory/tree internal/fault"},
	{"directory/index", "directory directory/schema directory/tree directory/access internal/fault"},

	// Near or far, the directory has the same methods.
	{"directory/authn", "directory internal/ -internal/pgdb -internal/pgcluster"},
	{"directory/remote", "directory directory/authn internal/ -internal/pgdb -internal/pgcluster"},

	// Wire packages: bytes to values and back. They know no mailbox.
	{"services/*/*/gen", ""},
	{"services/*/*", formats},

	{"services/ldap", "services/ldap/ directory directory/tree directory/schema directory/access internal/ -internal/pgdb -internal/pgcluster"},
	// The browser's pages may be embedded by their service only.
	{"services/web", "services/web/ store directory web internal/ -internal/pgdb -internal/pgcluster"},
	{"services/signin", "directory web/ internal/ -internal/pgdb -internal/pgcluster"},
	// One protocol or one role each; none imports another.
	{"services/*", "services/*/ store directory internal/ -internal/pgdb -internal/pgcluster"},

	{"store", "directory internal/fault internal/mail"},
	{"directory", "internal/fault"},
	{"migrations", "internal/fault"},
	{"web", ""},
	{"web/", ""},

	// Formats and tools.
	{"internal/demo", formats},
	{"internal/mailfile", formats},
	{"internal/ldif", "internal/fault"},
	{"internal/orggen", "internal/fault internal/ldif"},
	{"internal/*", formats},
}

// testRooms are imported by test files, and by each other.
var testRooms = []string{"store/storetest", "directory/directorytest", "internal/corpus", "internal/pgtest", "internal/wiretest", "internal/browsertest", "internal/e2e", "internal/archtest", "test/"}

// sqlRooms may name the database library: whoever else did would write SQL.
var sqlRooms = []string{"store/postgres", "directory/postgres", "services/*/postgres", "internal/pgdb", "internal/pgcluster", "internal/pgtest", "migrations"}

// sqlLibraries speak to PostgreSQL.
var sqlLibraries = []string{"github.com/jackc/pgx", "database/sql", "github.com/pressly/goose"}

// fits tells whether the package is in the room.
func fits(room, pkg string) bool {
	if shelf, ok := strings.CutSuffix(room, "/"); ok {
		return shelf == "" || strings.HasPrefix(pkg, shelf+"/")
	}
	ok, err := path.Match(room, pkg)
	return err == nil && ok
}

func fitsAny(rooms []string, pkg string) bool {
	return slices.ContainsFunc(rooms, func(room string) bool { return fits(room, pkg) })
}

// allows tells whether a package in the rule's room may import another.
func (r rule) allows(pkg, imported string) bool {
	if r.may == "/" {
		return true
	}
	ok := false
	for _, may := range strings.Fields(r.may) {
		// services/* in a row means the importer's own service.
		if rest, own := strings.CutPrefix(may, "services/*"); own {
			service := strings.Join(strings.SplitN(pkg, "/", 3)[:2], "/")
			if rest == "/.." {
				rest = ""
			}
			may = service + rest
		}
		if closed, minus := strings.CutPrefix(may, "-"); minus {
			if fits(closed, imported) {
				return false
			}
			continue
		}
		ok = ok || fits(may, imported)
	}
	return ok
}

func ruleOf(pkg string) (rule, bool) {
	for _, r := range rooms {
		if fits(r.room, pkg) {
			return r, true
		}
	}
	return rule{}, false
}

type listed struct {
	ImportPath, Name, Doc string
	Imports               []string
	GoFiles               []string
}

func list(t *testing.T) []listed {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Name,Doc,Imports,GoFiles", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 {
			all = append(all, p)
		}
	}
}

// offences are the imports of one package that its rule does not allow.
func offences(p listed) []string {
	pkg, ours := strings.CutPrefix(p.ImportPath, module+"/")
	if !ours {
		return []string{"is outside of the module"}
	}
	r, ok := ruleOf(pkg)
	if !ok {
		return []string{"fits no row of the table: a new room is a decision"}
	}
	var bad []string
	for _, imported := range p.Imports {
		name, ours := strings.CutPrefix(imported, module+"/")
		switch {
		case !ours:
			for _, lib := range sqlLibraries {
				if (imported == lib || strings.HasPrefix(imported, lib+"/")) && !fitsAny(sqlRooms, pkg) && r.may != "/" {
					bad = append(bad, "imports "+imported+", but SQL is for packages named postgres")
				}
			}
		case !r.allows(pkg, name):
			bad = append(bad, "imports "+name+", its row "+r.room+" allows: "+r.may)
		case fitsAny(testRooms, name) && !fitsAny(testRooms, pkg):
			bad = append(bad, "imports "+name+" outside of a test")
		}
	}
	return bad
}

func TestImports(t *testing.T) {
	pkgs := list(t)
	if len(pkgs) < 10 {
		t.Fatalf("go list knows only %d packages", len(pkgs))
	}
	for _, p := range pkgs {
		for _, bad := range offences(p) {
			t.Errorf("%s %s", p.ImportPath, bad)
		}
	}
}

// A package says what it is for, and promises something.
func TestPackageComments(t *testing.T) {
	for _, p := range list(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func TestTheTableItself(t *testing.T) {
	for _, tt := range []struct {
		pkg, imports string
		ok           bool
	}{
		{"cmd/waypost", "store/postgres", true},
		{"cmd/waypost", "internal/pgtest", false},
		{"internal/mail", "internal/corpus", false},
		{"cmd/waypost", "github.com/jackc/pgx/v5", true},
		{"services/imap", "services/imap/imapwire", true},
		{"services/imap", "services/eas", false},
		{"services/imap", "services/eas/wbxml", false},
		{"services/imap", "store", true},
		{"services/imap", "store/postgres", false},
		{"services/imap", "internal/pgdb", false},
		{"services/imap", "internal/config", true},
		{"services/imap", "web", false},
		{"services/web", "web", true},
		{"services/smtp", "github.com/jackc/pgx/v5", false},
		{"services/smtp", "github.com/jackc/pgx/v5/pgxpool", false},
		{"services/imap/imapwire", "internal/mail", true},
		{"services/imap/imapwire", "store", false},
		{"services/eas/wbxml", "internal/fault", true},
		{"services/relay/postgres", "services/relay", true},
		{"services/relay/postgres", "services/smtp", false},
		{"services/relay/postgres", "store", false},
		{"services/relay/postgres", "internal/pgdb", true},
		{"services/relay/postgres", "github.com/jackc/pgx/v5", true},
		{"store", "directory", true},
		{"store", "internal/pgdb", false},
		{"store/postgres", "store", true},
		{"store/postgres", "directory/postgres", false},
		{"directory", "internal/fault", true},
		{"directory", "store", false},
		{"directory/remote", "directory/postgres", false},
		{"directory/schema", "directory", false},
		{"directory/tree", "directory/schema", true},
		{"directory/tree", "directory/access", false},
		{"directory/index", "directory/postgres", false},
		{"directory/postgres", "directory/index", true},
		{"services/ldap", "directory/tree", true},
		{"services/ldap", "directory/postgres", false},
		{"services/ldap", "directory/index", false},
		{"services/ldap/ber", "directory/tree", false},
		{"services/imap", "directory/tree", false},
		{"internal/mail", "store", false},
		{"internal/orggen", "internal/ldif", true},
		{"internal/orggen", "directory/schema", false},
		{"internal/ldif", "internal/mail", false},
		{"internal/config", "internal/fault", true},
		{"internal/pgdb", "internal/config", false},
		{"internal/pgtest", "migrations", true},
		{"unheard/of", "internal/fault", false},
	} {
		imports := tt.imports
		if !strings.Contains(imports, ".") {
			imports = module + "/" + imports
		}
		bad := offences(listed{ImportPath: module + "/" + tt.pkg, Imports: []string{imports}})
		if (len(bad) == 0) != tt.ok {
			t.Errorf("%s imports %s: got %v, want allowed %t", tt.pkg, tt.imports, bad, tt.ok)
		}
	}
}
