package dav

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program finds a program of Debian's, or skips (tools/ensure.sh dav).
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

// desk is a home folder with programs in it.
type desk struct {
	t   *testing.T
	dir string
}

func newDesk(t *testing.T) *desk { return &desk{t, t.TempDir()} }

func (d *desk) write(name, text string) {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) read(name string) string {
	b, _ := os.ReadFile(filepath.Join(d.dir, name))
	return string(b)
}

// try runs a program and gives what it said.
func (d *desk) try(name string, args ...string) (string, error) {
	cmd := exec.CommandContext(d.t.Context(), name, args...)
	cmd.Dir = d.dir
	cmd.Env = []string{"HOME=" + d.dir, "PATH=/usr/bin:/bin", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC", "XDG_CONFIG_HOME=" + d.dir + "/.config", "XDG_DATA_HOME=" + d.dir + "/.local/share", "XDG_CACHE_HOME=" + d.dir + "/.cache"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Stdin = strings.NewReader(strings.Repeat("y\n", 20))
	err := cmd.Run()
	return out.String(), err
}

func (d *desk) must(name string, args ...string) string {
	d.t.Helper()
	out, err := d.try(name, args...)
	if err != nil {
		d.t.Fatalf("%s %v: %v\n%s", filepath.Base(name), args, err, out)
	}
	return out
}

// files are the objects in a local collection, by name.
func (d *desk) files(dir string) map[string]string {
	d.t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(d.dir, dir))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			all[e.Name()] = d.read(filepath.Join(dir, e.Name()))
		}
	}
	return all
}

// TestVdirsyncer keeps local folders and the server alike in both directions,
// with conflicts, and has khal, khard and todoman look at and change them.
func TestVdirsyncer(t *testing.T) {
	vdirsyncer := program(t, "vdirsyncer")
	s := newSite(t, Options{})
	url := s.serve()
	d := newDesk(t)
	cal, tasks, book := s.standard("Calendar"), s.standard("Tasks"), s.standard("Contacts")
	last := func(p string) string { return filepath.Base(p) }
	d.write(".config/vdirsyncer/config", fmt.Sprintf(`
[general]
status_path = "%[1]s/status"
[pair cal]
a = "local"
b = "remote"
collections = ["from a", "from b"]
conflict_resolution = "b wins"
metadata = ["color", "displayname"]
[storage local]
type = "filesystem"
path = "%[1]s/cal"
fileext = ".ics"
[storage remote]
type = "caldav"
url = "%[2]s/"
username = "alice@example.test"
password = "secret"
[pair card]
a = "cards"
b = "books"
collections = [%[3]q]
conflict_resolution = "a wins"
[storage cards]
type = "filesystem"
path = "%[1]s/card"
fileext = ".vcf"
[storage books]
type = "carddav"
url = "%[2]s/dav/"
username = "alice@example.test"
password = "secret"
`, d.dir, url, last(book)))
	s.want(201, "PUT", cal+"server.ics", event("server", "DTSTART:20260301T100000Z\nDTEND:20260301T110000Z\nSUMMARY:Made at the server\nX-ODD:1"))
	s.want(201, "PUT", tasks+"task.ics", todo("task", "SUMMARY:Paint the fence"))
	s.want(201, "PUT", tasks+"stays.ics", todo("stays", "SUMMARY:Stays"))
	s.want(201, "PUT", book+"jane.vcf", card("jane", "FN:Jane Doe\nN:Doe;Jane;;;\nEMAIL:jane@example.test"))
	d.must(vdirsyncer, "discover")
	d.must(vdirsyncer, "sync")
	lc, lt, lb := "cal/"+last(cal), "cal/"+last(tasks), "card/"+last(book)
	if f := d.files(lc); len(f) != 1 || !strings.Contains(f["server.ics"], "X-ODD:1") {
		t.Fatalf("%v", f)
	}
	if f := d.files(lt); len(f) != 2 {
		t.Fatalf("%v", f)
	}
	if f := d.files(lb); len(f) != 1 || !strings.Contains(f["jane.vcf"], "Jane Doe") {
		t.Fatalf("%v", f)
	}

	// New here, changed there, deleted here.
	d.write(lc+"/local.ics", event("local", "DTSTART;TZID=Europe/Berlin:20260302T100000\nDURATION:PT1H\nSUMMARY:Made here"))
	s.want(204, "PUT", cal+"server.ics", event("server", "DTSTART:20260301T100000Z\nDTEND:20260301T110000Z\nSUMMARY:Changed there"))
	if err := os.Remove(filepath.Join(d.dir, lt, "task.ics")); err != nil {
		t.Fatal(err)
	}
	d.must(vdirsyncer, "sync")
	if !strings.Contains(d.files(lc)["server.ics"], "Changed there") {
		t.Error("the change at the server did not come")
	}
	s.has(s.want(200, "GET", cal+"local.ics", ""), "SUMMARY:Made here")
	s.want(404, "GET", tasks+"task.ics", "")

	// Changed on both sides: the server's event, the local card.
	d.write(lc+"/server.ics", event("server", "DTSTART:20260301T100000Z\nSUMMARY:Conflict here"))
	s.want(204, "PUT", cal+"server.ics", event("server", "DTSTART:20260301T100000Z\nSUMMARY:Conflict there"))
	d.write(lb+"/jane.vcf", card("jane", "FN:Jane Here\nN:Here;Jane;;;"))
	s.want(204, "PUT", book+"jane.vcf", card("jane", "FN:Jane There\nN:There;Jane;;;"))
	d.must(vdirsyncer, "sync")
	if !strings.Contains(d.files(lc)["server.ics"], "Conflict there") {
		t.Error("the server did not win")
	}
	s.has(s.want(200, "GET", book+"jane.vcf", ""), "FN:Jane Here")

	// A new local folder becomes a calendar.
	if err := os.MkdirAll(filepath.Join(d.dir, "cal/office"), 0o755); err != nil {
		t.Fatal(err)
	}
	d.write("cal/office/color", "#ff0000")
	d.write("cal/office/displayname", "Work at home")
	d.write("cal/office/w.ics", event("w", "DTSTART:20260301T100000Z\nSUMMARY:Working"))
	d.must(vdirsyncer, "discover")
	d.must(vdirsyncer, "sync")
	d.must(vdirsyncer, "metasync")
	s.has(s.want(200, "GET", calHome+"office/w.ics", ""), "SUMMARY:Working")
	s.has(s.want(207, "PROPFIND", calHome+"office/", `<propfind xmlns="DAV:"><prop><displayname/><calendar-color xmlns="http://apple.com/ns/ical/"/></prop></propfind>`, "Depth: 0"), "#FF0000")
	if got := strings.TrimSpace(d.read("cal/office/displayname")); got != "office" { // both have one, and the server wins
		t.Errorf("the folder is called %q", got)
	}
	// Once more: nothing is left to do.
	if out := d.must(vdirsyncer, "-v", "INFO", "sync"); strings.Contains(out, "Copying") || strings.Contains(out, "Deleting") {
		t.Errorf("not at rest:\n%s", out)
	}

	t.Run("khal", func(t *testing.T) {
		khal := program(t, "khal")
		d := &desk{t, d.dir}
		d.write(".config/khal/config", fmt.Sprintf("[calendars]\n[[mine]]\npath = %s/%s\ntype = calendar\n[locale]\ntimeformat = %%H:%%M\ndateformat = %%Y-%%m-%%d\nlongdateformat = %%Y-%%m-%%d\ndatetimeformat = %%Y-%%m-%%d %%H:%%M\nlongdatetimeformat = %%Y-%%m-%%d %%H:%%M\n[default]\ndefault_calendar = mine\n", d.dir, lc))
		if out := d.must(khal, "list", "2026-03-01", "2d"); !strings.Contains(out, "Conflict there") || !strings.Contains(out, "Made here") {
			t.Error(out)
		}
		d.must(khal, "new", "2026-03-05", "14:00", "15:00", "Typed into khal")
		d.must(vdirsyncer, "sync")
		s.has(s.want(207, "REPORT", cal, calQuery(comp("VEVENT", span("20260305T000000Z", "20260306T000000Z")), "<C:calendar-data/>"), "Depth: 1"), "Typed into khal")
	})
	t.Run("khard", func(t *testing.T) {
		khard := program(t, "khard")
		d := &desk{t, d.dir}
		d.write(".config/khard/khard.conf", fmt.Sprintf("[addressbooks]\n[[mine]]\npath = %s/%s\n[general]\ndefault_action = list\neditor = true\nmerge_editor = true\n", d.dir, lb))
		if out := d.must(khard, "list"); !strings.Contains(out, "Jane Here") {
			t.Error(out)
		}
		d.write("new.yaml", "First name: Typed\nLast name: Person\nEmail:\n  work: typed@example.test\n")
		d.must(khard, "new", "-i", d.dir+"/new.yaml", "-a", "mine")
		d.must(vdirsyncer, "sync")
		s.has(s.want(207, "REPORT", book, `<A:addressbook-query xmlns="DAV:" xmlns:A="urn:ietf:params:xml:ns:carddav"><prop><A:address-data/></prop></A:addressbook-query>`, "Depth: 1"), "typed@example.test", "Jane Here")
	})
	t.Run("todoman", func(t *testing.T) {
		todoman := program(t, "todoman")
		d := &desk{t, d.dir}
		d.write(".config/todoman/config.py", fmt.Sprintf("path = %q\ndefault_list = 'Tasks'\ndate_format = '%%Y-%%m-%%d'\ntime_format = '%%H:%%M'\n", d.dir+"/cal/*"))
		d.must(todoman, "new", "-l", "Tasks", "Typed into todoman")
		d.must(vdirsyncer, "sync")
		s.has(s.want(207, "REPORT", tasks, calQuery(comp("VTODO", `<C:prop-filter name="COMPLETED"><C:is-not-defined/></C:prop-filter>`), "<C:calendar-data/>"), "Depth: 1"), "Typed into todoman")
		id := ""
		for line := range strings.SplitSeq(d.must(todoman, "--color", "never", "list"), "\n") {
			if strings.Contains(line, "Typed into todoman") {
				id = strings.Fields(strings.TrimPrefix(line, "[ ]"))[0]
			}
		}
		d.must(todoman, "done", id)
		d.must(vdirsyncer, "sync")
		s.has(s.want(207, "REPORT", tasks, calQuery(comp("VTODO", `<C:prop-filter name="STATUS"><C:text-match>COMPLETED</C:text-match></C:prop-filter>`), ""), "Depth: 1"), "getetag")
	})
}

// TestPythonCaldav goes through testdata/pycaldav.py, which uses Debian's
// python3-caldav.
func TestPythonCaldav(t *testing.T) {
	d := newDesk(t)
	if _, err := d.try("/usr/bin/python3", "-c", "import caldav"); err != nil {
		t.Skip("python3-caldav is not installed")
	}
	s := newSite(t, Options{})
	script, err := filepath.Abs("testdata/pycaldav.py")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	out := d.must("/usr/bin/python3", script, s.serve()+"/dav/")
	if !strings.Contains(out, "all passed") {
		t.Error(out)
	}
	t.Log(time.Since(began))
}
