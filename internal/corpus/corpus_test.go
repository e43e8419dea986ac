package corpus

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	beside, named := filepath.Join(top, "shared", "corpus"), filepath.Join(top, "elsewhere")
	write(t, filepath.Join(top, "module", "go.mod"), "module m\n")
	write(t, filepath.Join(top, "module", "a", "b", "x.go"), "package b\n")
	write(t, filepath.Join(beside, index), "path,kind\n")
	write(t, filepath.Join(named, index), "path,kind\n")
	for _, tt := range []struct{ name, cwd, env, want string }{
		{"beside the module", "module", "", beside},
		{"from a package", "module/a/b", "", beside},
		{"named", "module/a/b", named, named},
		{"named, outside of a module", "elsewhere", named, named},
		{"named, but not there", "module", filepath.Join(top, "missing"), ""},
		{"outside of a module", "elsewhere", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("WAYPOST_CORPUS", tt.env)
			t.Chdir(filepath.Join(top, filepath.FromSlash(tt.cwd)))
			got, err := Find()
			if got != tt.want || (err != nil) != (tt.want == "") {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// skipper notes whether the test would be skipped.
type skipper struct {
	testing.TB
	skipped bool
}

func (*skipper) Helper()       {}
func (s *skipper) Skip(...any) { s.skipped = true }

func TestDirSkips(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("WAYPOST_CORPUS", dir)
	s := &skipper{TB: t}
	Dir(s)
	if !s.skipped {
		t.Error("a test without corpus goes on")
	}
	write(t, filepath.Join(dir, index), "path,kind\n")
	s.skipped = false
	if got := Dir(s); got != dir || s.skipped {
		t.Errorf("got %q, skipped %t, want %q", got, s.skipped, dir)
	}
}

func TestRows(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, index), "path,kind,tags\na.eml,mail,x y\nb.ics,ics,\nc.eml,mail,\"z, z\"\n")
	got, err := Rows(dir, "mail")
	if err != nil {
		t.Fatal(err)
	}
	want := []Row{
		{"path": "a.eml", "kind": "mail", "tags": "x y"},
		{"path": "c.eml", "kind": "mail", "tags": "z, z"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	write(t, filepath.Join(dir, index), "")
	if _, err := Rows(dir, "mail"); err == nil {
		t.Error("an empty manifest is no mistake")
	}
}
