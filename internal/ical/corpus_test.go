package ical

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"waypost/internal/corpus"
)

// corpusFiles gives the names of the corpus's calendars.
func corpusFiles(t testing.TB) (dir string, paths []string) {
	dir = corpus.Dir(t)
	rows, err := corpus.Rows(dir, "ics")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		paths = append(paths, row["path"])
	}
	return dir, paths
}

var folded = regexp.MustCompile(`(\r\r\n|\r\n|\r|\n)[ \t]`)

// plainLines is another reading of a text: unfolded lines without quotes, the
// structure left out.
func plainLines(text []byte) []string {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	var all []string
	for line := range strings.SplitSeq(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(folded.ReplaceAllString(string(text), "")), "\n") {
		if strings.TrimSpace(line) != "" {
			all = append(all, strings.ReplaceAll(line, `"`, ""))
		}
	}
	return all
}

// tooDeep is a fuzzer's finding with components in components without end.
const tooDeep = "ics/libical_libical/test-data--malloc.ics"

// Every calendar of the corpus is read, is written as text that reads the same,
// and has every line of the file as an independent reading sees it. The
// normalisations that the package names are the only exceptions.
func TestCorpus(t *testing.T) {
	dir, paths := corpusFiles(t)
	lines, files, odd := 0, 0, 0
	for _, path := range paths {
		text, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		root, problems, err := Parse(text, Import)
		if err != nil {
			if path != tooDeep {
				t.Errorf("%s: %v", path, err)
			}
			continue
		}
		odd += len(problems)
		again, _, err := Parse([]byte(root.String()), Import)
		if err != nil || !root.Equal(again) {
			t.Errorf("%s came back otherwise: %v", path, err)
		}
		for line := range strings.SplitSeq(root.String(), "\r\n") {
			if len(line) > 75 || !utf8.ValidString(line) {
				t.Errorf("%s: a line of %d octets, valid %v", path, len(line), utf8.ValidString(line))
			}
		}
		if normalised(text) {
			continue
		}
		files++
		want, got := plainLines(text), plainLines([]byte(root.String()))
		lines += len(want)
		// What is not closed is closed, and the ends of nothing are left out.
		structure := func(line string) bool {
			return strings.HasPrefix(strings.ToUpper(strings.TrimSpace(line)), "BEGIN:") || strings.HasPrefix(strings.ToUpper(strings.TrimSpace(line)), "END:")
		}
		want, got = slices.DeleteFunc(want, structure), slices.DeleteFunc(got, structure)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			for i := range want {
				if i >= len(got) || want[i] != got[i] {
					other := ""
					if i < len(got) {
						other = got[i]
					}
					if !sameButParameters(want[i], other) {
						t.Errorf("%s: %d lines, %d here; the first that differs: %q, %q", path, len(want), len(got), want[i], other)
						break
					}
				}
			}
		}
	}
	t.Logf("%d files, %d of them compared line by line: %d lines; %d odd ones in all", len(paths), files, lines, odd)
	if files < 700 {
		t.Errorf("only %d files were compared", files)
	}
}

// sameButParameters allows for spaces around names, carets, which RFC 6868
// doubles, empty parameters, and a CHARSET that says what is so anyway.
func sameButParameters(a, b string) bool {
	simple := strings.NewReplacer(" ", "", "^^", "^", "^'", "", "\t", "", ";;", ";", ";CHARSET=UTF-8", "")
	return simple.Replace(a) == simple.Replace(b)
}

// readOtherwise are files that libical reads otherwise than what is written of
// them, and why.
var readOtherwise = map[string]string{
	"ics/KDE_kcalendarcore/Compat--eGroupware.ics":                                                "CHARSET=UTF-8 goes",
	"ics/collective_icalendar/src--icalendar--tests--calendars--multiple_calendar_components.ics": "a space before a bad line goes",
	"ics/kewisch_ical.js/parser--property_params.ics":                                             "an escaped quote in a quoted parameter, which neither grammar has",
	"ics/libical_libical/test-data--fuzzmerge4.ics":                                               "garbage",
}

// libical reads what is written as it reads the file.
func TestCorpusAsLibicalReadsIt(t *testing.T) {
	dir, paths := corpusFiles(t)
	tmp := t.TempDir()
	var in bytes.Buffer
	var asked []string
	for i, path := range paths {
		text, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		root, _, err := Parse(text, Import)
		if err != nil || normalised(text) || readOtherwise[path] != "" {
			continue
		}
		ours := filepath.Join(tmp, strconv.Itoa(i))
		if err := os.WriteFile(ours, root.Append(nil), 0o600); err != nil {
			t.Fatal(err)
		}
		in.WriteString(filepath.Join(dir, path) + "\t" + ours + "\n")
		asked = append(asked, path)
	}
	out := oracle(t, "same", &in)
	answers := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if len(answers) != len(asked) {
		t.Fatalf("%d answers to %d questions", len(answers), len(asked))
	}
	for i, answer := range answers {
		if string(answer) != "null" {
			t.Errorf("%s: libical reads\n%s", asked[i], answer)
		}
	}
	t.Logf("%d files", len(asked))
}

// normalised tells texts that are not written as they came: charset, vCalendar
// 1.0, control characters.
func normalised(text []byte) bool {
	upper := strings.ToUpper(string(text))
	return !utf8.Valid(text) || strings.Contains(upper, "VERSION:1.0") || strings.Contains(upper, "QUOTED-PRINTABLE") ||
		strings.ContainsFunc(string(text), func(r rune) bool { return r < ' ' && !strings.ContainsRune("\r\n\t", r) })
}

// oracle asks the script that knows python3-dateutil and libical.
func oracle(t testing.TB, mode string, in *bytes.Buffer) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "../recur/testdata/oracle.py", mode)
	cmd.Stdin = in
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() != 3 {
		t.Fatalf("oracle: %v\n%s", err, exit.Stderr)
	} else if err != nil {
		t.Skipf("python3-dateutil or libical3 is missing: %v", err)
	}
	return out
}

// explained are files whose recurring components differ from an oracle, and why.
var explained = map[string]string{
	"ics/ical-org_ical.net/Ical.Net.Tests--Calendars--Recurrence--YearlyByWeekNo2.ics": "BYWEEKNO without BYDAY is the weekday of DTSTART (RFC 5545 section 3.3.10); dateutil takes the whole week, libical loses weeks",
	"ics/ical-org_ical.net/Ical.Net.Tests--Calendars--Recurrence--YearlyByWeekNo3.ics": "the same; libical agrees",
	"ics/ical-org_ical.net/Ical.Net.Tests--Calendars--Recurrence--YearlyInterval1.ics": "libical looks for BYDAY with BYMONTHDAY in the month of DTSTART alone; dateutil agrees",
	"ics/collective_icalendar/src--icalendar--tests--calendars--rfc_7529.ics":          "other calendars and SKIP are not supported (docs/decisions.md): only DTSTART is there",
	"ics/cyrusimap_cyrus-imapd/cassandane--data--icalendar--rscale.ics":                "the same",
	"ics/py-vobject_vobject/test_files--ruby_rrule.ics":                                "escaped semicolons; the oracles refuse the rule or misread it",
}

// garbage is a fuzzer's finding in which no two readers see the same.
const garbage = "ics/libical_libical/test-data--issue253.ics"

// Occurrences from 1990 to 2050 of everything in the corpus that recurs are
// those of python3-dateutil and of libical.
func TestCorpusOccurrences(t *testing.T) {
	dir, paths := corpusFiles(t)
	var in bytes.Buffer
	for _, path := range paths {
		in.WriteString(filepath.Join(dir, path) + "\n")
	}
	out := oracle(t, "files", &in)
	type answer struct {
		File, UID, DateutilError, LibicalError string
		DateutilEnd, LibicalEnd                string // as far as it went
		Dateutil, Libical                      []string
	}
	answers := map[string][]answer{}
	scan := bufio.NewScanner(bytes.NewReader(out))
	scan.Buffer(nil, 1<<24)
	for scan.Scan() {
		var a answer
		if err := json.Unmarshal(scan.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		answers[a.File] = append(answers[a.File], a)
	}
	compared, both := 0, 0
	for _, path := range paths {
		list := answers[filepath.Join(dir, path)]
		if len(list) == 0 {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		root, _, err := Parse(text, Import)
		if err != nil {
			continue // told by the test above
		}
		zones := ZonesOf(root, nil)
		masters := recurring(root)
		if path == garbage {
			continue
		}
		if len(masters) != len(list) {
			t.Errorf("%s: %d components recur, the oracle sees %d", path, len(masters), len(list))
			continue
		}
		for i, c := range masters {
			a := list[i]
			all := instances(t, path, c, zones)
			same := 0
			for name, want := range map[string][]string{"dateutil": a.Dateutil, "libical": a.Libical} {
				end := map[string]string{"dateutil": a.DateutilEnd, "libical": a.LibicalEnd}[name]
				got := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s > end })
				failed := map[string]string{"dateutil": a.DateutilError, "libical": a.LibicalError}[name]
				switch {
				case failed != "":
					t.Logf("%s %s: %s: %s; ours: %d", path, a.UID, name, failed, len(all))
				case slices.Equal(got, want):
					same++
				case explained[path] != "":
					t.Logf("%s differs from %s: %s", path, name, explained[path])
				default:
					t.Errorf("%s %s %v: %d, %s has %d; the first that differs: %s", path, a.UID, c.All("RRULE"), len(got), name, len(want), firstDifference(got, want))
				}
			}
			if same > 0 {
				compared++
			}
			if same == 2 {
				both++
			}
		}
	}
	t.Logf("%d components as one of the two at least, %d as both", compared, both)
	if compared < 300 {
		t.Errorf("only %d components were compared", compared)
	}
}

func firstDifference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return "no " + want[i]
		case i >= len(want):
			return got[i] + " too many"
		case got[i] != want[i]:
			return got[i] + ", theirs " + want[i]
		}
	}
	return ""
}

// recurring are the series in the order in which their components end.
func recurring(c *Component) []*Component {
	var all []*Component
	for _, child := range c.Children {
		all = append(all, recurring(child)...)
		if (child.Is("VEVENT") || child.Is("VTODO") || child.Is("VJOURNAL")) && child.Prop("RECURRENCE-ID") == nil &&
			(child.Prop("RRULE") != nil || child.Prop("RDATE") != nil) {
			all = append(all, child)
		}
	}
	return all
}

// instances are the wall times of a series from 1990 to 2050, without overrides.
func instances(t testing.TB, path string, c *Component, zones *Zones) []string {
	const most = 30_000 // every day of those years
	s := NewSet([]*Component{c}, zones)
	from, to := time.Date(1989, 12, 30, 0, 0, 0, 0, time.UTC), time.Date(2050, 1, 2, 0, 0, 0, 0, time.UTC)
	got := []string{}
	for o, err := range s.Occurrences(from, to) {
		if err != nil {
			t.Logf("%s: %v", path, err)
			break
		}
		wall := o.ID.Wall
		if o.ID.IsZero() { // one that does not recur after all
			wall = s.span.start.Wall
		}
		if text := wall.Format("20060102T150405"); text >= "1990" && text < "2050" {
			if got = append(got, text); len(got) == most {
				break
			}
		}
	}
	return got
}

// Whatever is read can be asked everything, and comes back as it was.
func FuzzParse(f *testing.F) {
	f.Add([]byte(lines(series)))
	f.Add([]byte("BEGIN:VCALENDAR\nVERSION:1.0\nBEGIN:VEVENT\nDTSTART:20240101\nRRULE:W1 MO #3\nAALARM:20240101T000000;;;\nEND:VEVENT"))
	f.Add([]byte("BEGIN:VTIMEZONE\nTZID:x\nBEGIN:STANDARD\nDTSTART:19700101T000000\nRRULE:FREQ=SECONDLY\nTZOFFSETTO:+0100\nEND:STANDARD\nEND:VTIMEZONE\nBEGIN:VEVENT\nDTSTART;TZID=x:20240101T000000\nRRULE:FREQ=HOURLY\nRDATE;VALUE=PERIOD:20240101T000000Z/P1D\nEXDATE:20240101\nEND:VEVENT"))
	f.Fuzz(func(t *testing.T, text []byte) {
		root, _, err := Parse(text, Object)
		if err != nil {
			return
		}
		again, _, err := Parse([]byte(root.String()), Object)
		if err != nil || !again.Equal(root) {
			t.Fatalf("%q came back as %q, %v", root, again, err)
		}
		zones := ZonesOf(root, nil)
		for _, parts := range Series(root) {
			s := NewSet(parts, zones)
			n := 0
			for o, err := range s.Occurrences(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)) {
				if n++; err != nil || n > 200 {
					break
				}
				if o.End.Before(o.Start) {
					t.Fatalf("ends %v before it begins %v:\n%s", o.End, o.Start, root)
				}
				o.Component.Reminder()
				for _, part := range o.Component.Parts("VALARM") {
					if a, err := ParseAlarm(part); err == nil {
						a.Rings(o, zones)
					}
				}
			}
		}
	})
}
