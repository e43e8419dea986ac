package zone

import (
	"bytes"
	"encoding/base64"
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	for id, want := range map[string]string{
		"Europe/Berlin":                                   "Europe/Berlin",
		"europe/berlin":                                   "Europe/Berlin",
		`"America/New York"`:                              "America/New_York",
		"W. Europe Standard Time":                         "Europe/Berlin",
		"eastern standard time":                           "America/New_York",
		"India Standard Time":                             "Asia/Kolkata",
		"/mozilla.org/20050126_1/Europe/Berlin":           "Europe/Berlin",
		"/mozilla.org/20070129_1/America/Indiana/Vevay":   "America/Indiana/Vevay",
		"/softwarestudio.org/Olson_20011030_5/Asia/Tokyo": "Asia/Tokyo",
		"/freeassociation.sourceforge.net/Tzfile/Japan":   "Japan",
		"US/Pacific":                                      "US/Pacific",
		"UTC":                                             "UTC",
		"tzone://Microsoft/Utc":                           "UTC",
		"GMT":                                             "UTC",
		"GMT+0530":                                        "GMT+0530",
		"UTC-05:00":                                       "UTC-05:00",
		"":                                                "",
		"Local":                                           "",
		"../../etc/passwd":                                "",
		"/etc/localtime":                                  "",
		"Nowhere/Atall":                                   "",
		"Nowhere/Japan":                                   "",
		"Customized Time Zone":                            "",
	} {
		got := ""
		if l := Load(id); l != nil {
			got = l.String()
		}
		if got != want {
			t.Errorf("%q is %q, want %q", id, got, want)
		}
	}
	if _, offset := time.Now().In(Load("GMT+0530")).Zone(); offset != 19800 {
		t.Errorf("GMT+0530 is %d seconds", offset)
	}
}

// Every name of CLDR's table is a zone here, and comes back.
func TestWindowsTable(t *testing.T) {
	for name, iana := range windows().toIANA {
		l := Load(name)
		if l == nil || l.String() != iana && l != time.UTC {
			t.Errorf("%s is %v, want %s", name, l, iana)
		}
	}
	for _, iana := range windows().order {
		if ianaZone(iana) == nil {
			t.Errorf("no zone %s", iana)
		}
	}
	for iana, want := range map[string]string{
		"Europe/Berlin": "W. Europe Standard Time", "Europe/Vienna": "W. Europe Standard Time", "Europe/Kiev": "FLE Standard Time",
		"Europe/Kyiv": "FLE Standard Time", "US/Eastern": "Eastern Standard Time", "Asia/Calcutta": "India Standard Time", "Etc/UTC": "UTC", "UTC": "UTC",
	} {
		if got, _ := Windows(iana); got != want {
			t.Errorf("%s is %q, want %q", iana, got, want)
		}
	}
}

// Gaps and overlaps: RFC 5545 section 3.3.5.
func TestInstant(t *testing.T) {
	for _, row := range []struct{ zone, wall, want string }{
		{"America/New_York", "2007-03-11 02:30", "2007-03-11T03:30:00-04:00"}, // a gap: the offset before
		{"America/New_York", "2007-11-04 01:30", "2007-11-04T01:30:00-04:00"}, // twice: the first
		{"America/New_York", "2007-11-04 02:00", "2007-11-04T02:00:00-05:00"},
		{"Europe/Berlin", "2024-03-31 02:00", "2024-03-31T03:00:00+02:00"},
		{"Europe/Berlin", "2024-03-31 03:00", "2024-03-31T03:00:00+02:00"},
		{"Australia/Lord_Howe", "2024-10-06 02:15", "2024-10-06T02:45:00+11:00"},
		{"Pacific/Apia", "2011-12-30 12:00", "2011-12-31T12:00:00+14:00"}, // a day that never was
		{"Asia/Kolkata", "2024-01-01 00:00", "2024-01-01T00:00:00+05:30"},
	} {
		wall, _ := time.Parse("2006-01-02 15:04", row.wall)
		if got := Instant(wall, Load(row.zone)).Format(time.RFC3339); got != row.want {
			t.Errorf("%s %s: %s, want %s", row.zone, row.wall, got, row.want)
		}
	}
}

// Every wall time that exists is placed where time.Date places it.
func TestInstantEverywhere(t *testing.T) {
	for _, name := range windows().order {
		l := ianaZone(name)
		for wall := time.Date(2024, 1, 1, 0, 30, 0, 0, time.UTC); wall.Year() == 2024; wall = wall.Add(7 * time.Hour) {
			if got := Wall(Instant(wall, l), l); !got.Equal(wall) {
				d := time.Date(2024, wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), 0, 0, l)
				if Wall(d, l).Equal(wall) {
					t.Errorf("%s %v became %v", name, wall, got)
				}
			}
		}
	}
}

// A zone that is described and found again behaves as before.
func TestInfoRoundTrip(t *testing.T) {
	for _, name := range windows().order {
		l := ianaZone(name)
		for _, year := range []int{2008, 2019, 2026} {
			if _, _, ok := yearly(l, year); !ok && len(Transitions(l, time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(year+1, 1, 2, 0, 0, 0, 0, time.UTC))) > 0 {
				continue // a year of which the structure cannot tell
			}
			blob := InfoOf(l, year).Append(nil)
			info, err := ParseInfo(blob)
			if err != nil {
				t.Fatal(err)
			}
			if again := info.Append(nil); !bytes.Equal(again, blob) {
				t.Errorf("%s: the structure changed", name)
			}
			info.StandardName, info.DaylightName = "", ""
			back := info.Location(year)
			for at := time.Date(year, 1, 2, 0, 0, 0, 0, time.UTC); at.Year() == year; at = at.Add(11 * time.Hour) {
				_, want := at.In(l).Zone()
				if _, got := at.In(back).Zone(); got != want {
					t.Errorf("%s in %d came back as %s: at %v %d, want %d", name, year, back, at, got, want)
					break
				}
			}
		}
	}
}

func TestInfo(t *testing.T) {
	info := InfoOf(Load("Europe/Berlin"), 2026)
	want := Info{
		Bias: -60, StandardName: "W. Europe Standard Time", DaylightName: "W. Europe Daylight Time", DaylightBias: -60,
		StandardDate: SystemTime{Month: 10, Nth: 5, Hour: 3}, DaylightDate: SystemTime{Month: 3, Nth: 5, Hour: 2},
	}
	if info != want {
		t.Errorf("Berlin is %+v", info)
	}
	ny := InfoOf(Load("America/New_York"), 2026)
	if ny.Bias != 300 || ny.DaylightDate.Nth != 2 || ny.StandardDate.Nth != 1 || ny.StandardDate.Month != 11 {
		t.Errorf("New York is %+v", ny)
	}
	if l := (Info{}).Location(2026); l != time.UTC {
		t.Errorf("all zero is %v", l)
	}
	// Localized names do not matter, and rules that nobody has make a zone of their own.
	info.StandardName = "Mitteleuropäische Zeit"
	if l := info.Location(2026); l.String() != "Europe/Berlin" {
		t.Errorf("localized: %v", l)
	}
	info.DaylightDate.Month = 5
	l := info.Location(2026)
	if _, offset := time.Date(2026, 4, 15, 0, 0, 0, 0, time.UTC).In(l).Zone(); offset != 3600 || l.String() != "Mitteleuropäische Zeit" {
		t.Errorf("made up: %v %d", l, offset)
	}
	if _, err := ParseInfo(make([]byte, 171)); err == nil {
		t.Error("171 bytes were taken")
	}
}

func TestMatch(t *testing.T) {
	for _, row := range []struct{ zone, hint, want string }{
		{"Europe/Vienna", "", "Europe/Berlin"},
		{"Europe/Vienna", "(GMT+01:00) Vienna", "Europe/Vienna"},
		{"America/Toronto", "Eastern", "America/New_York"},
		{"Europe/Vienna", "Romer und Viennas", "Europe/Berlin"},
		{"Africa/Lagos", "", ""},
		{"Asia/Tokyo", "GMT +0900 Tokyo", "Asia/Tokyo"},
	} {
		got := ""
		if l := Match(Load(row.zone), 2026, row.hint); l != nil {
			got = l.String()
		}
		if got != row.want {
			t.Errorf("%s with %q is %q, want %q", row.zone, row.hint, got, row.want)
		}
	}
}

func FuzzInfo(f *testing.F) {
	f.Add(InfoOf(Load("Europe/Berlin"), 2026).Append(nil), 2026)
	f.Add(make([]byte, BlobSize), 1990)
	// A blob as phones send it: no names.
	raw, _ := base64.StdEncoding.DecodeString("xP///wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAoAAAAFAAMAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAMAAAAFAAIAAAAAAAAAxP///w==")
	f.Add(raw, 2024)
	f.Fuzz(func(t *testing.T, blob []byte, year int) {
		info, err := ParseInfo(blob)
		if err != nil {
			return
		}
		l := info.Location(year)
		year = min(max(year, firstYear), lastYear)
		again, err := ParseInfo(InfoOf(l, year).Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		again.Location(year)
	})
}
