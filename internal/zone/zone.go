// Package zone finds the time zone that other systems mean: by an IANA name, a
// Windows name, the prefixed names of older calendars, by Microsoft's structure
// of 172 bytes, or by how a zone of unknown name behaves.
//
// Its law: every zone is a *time.Location, also one made from foreign rules, so
// that nobody else computes offsets. A name is trusted before the rules that
// come with it; rules of a nameless zone are compared with those of all known
// zones, and only when none behaves so is a zone of its own made. The IANA data
// are the system's, or those of the program where the system has none.
package zone

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	_ "time/tzdata" // for machines without
)

// maxName bounds what is taken for a name.
const maxName = 200

// found remembers names that were found; what a stranger makes up is not kept.
var (
	found      sync.Map
	foundCount atomic.Int32
)

const maxFound = 4096

// Load finds the zone that a TZID names, or nil.
func Load(id string) *time.Location {
	id = strings.Trim(strings.TrimSpace(id), `"'`)
	if id == "" || len(id) > maxName {
		return nil
	}
	if l, ok := found.Load(id); ok {
		return l.(*time.Location)
	}
	l := load(id)
	if l != nil && foundCount.Load() < maxFound {
		foundCount.Add(1)
		found.Store(id, l)
	}
	return l
}

// IsName tells names that say for themselves which zone is meant, from short
// ones (EST, IST) that mean different things to different people.
func IsName(id string) bool {
	id = strings.Trim(strings.TrimSpace(id), `"'`)
	if _, ok := windows().toIANA[strings.ToLower(id)]; ok {
		return true
	}
	return (strings.Contains(id, "/") || isUTC(id)) && Load(id) != nil
}

func isUTC(id string) bool {
	switch strings.ToLower(id) {
	case "utc", "z", "gmt", "etc/utc", "etc/gmt", "etc/zulu", "zulu", "utc/gmt", "tzone://microsoft/utc",
		"coordinated universal time", "(utc) coordinated universal time", "greenwich mean time":
		return true
	}
	return false
}

func load(id string) *time.Location {
	if isUTC(id) {
		return time.UTC
	}
	if iana, ok := windows().toIANA[strings.ToLower(id)]; ok {
		return ianaZone(iana)
	}
	if l := ianaZone(id); l != nil {
		return l
	}
	// /mozilla.org/20050126_1/Europe/Berlin, /softwarestudio.org/Tzfile/…
	for rest := id; ; {
		_, after, more := strings.Cut(rest, "/")
		if !more {
			break
		}
		rest = after
		if !strings.Contains(rest, "/") && !strings.HasPrefix(id, "/") {
			break // Antarctica/Nowhere/Japan is no name for Japan
		}
		if l := ianaZone(rest); l != nil {
			return l
		}
	}
	return fixed(id)
}

// ianaName keeps out file names that are none of the database's; all of those
// begin with a capital.
var ianaName = regexp.MustCompile(`^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,3}$`)

// ianaZone loads a zone of the database, whatever the case of its letters.
func ianaZone(name string) *time.Location {
	name = strings.ReplaceAll(name, " ", "_")
	if exact, ok := windows().folded[strings.ToLower(name)]; ok {
		name = exact
	}
	if !ianaName.MatchString(name) || strings.EqualFold(name, "Local") {
		return nil
	}
	l, err := time.LoadLocation(name)
	if err != nil {
		return nil
	}
	return l
}

var offsetName = regexp.MustCompile(`^(?:\()?(?:GMT|UTC)?\s*([+-])(\d{1,2})[:.]?(\d{2})?(?:\))?$`)

// fixed reads names that are nothing but an offset.
func fixed(id string) *time.Location {
	m := offsetName.FindStringSubmatch(strings.ToUpper(id))
	if m == nil {
		return nil
	}
	hours, _ := strconv.Atoi(m[2])
	minutes, _ := strconv.Atoi(m[3])
	if hours > 15 || minutes > 59 {
		return nil
	}
	offset := hours*3600 + minutes*60
	if m[1] == "-" {
		offset = -offset
	}
	return time.FixedZone(id, offset)
}

// Instant places a wall time (the digits of a time.Time in UTC) in a zone: in a
// gap with the offset before it, in an overlap the first (RFC 5545 section 3.3.5).
func Instant(wall time.Time, l *time.Location) time.Time {
	guess := wall.Unix()
	// No zone is further than a day from UTC and changes twice within one.
	_, early := time.Unix(guess-secondsPerDay, 0).In(l).Zone()
	first := time.Unix(guess-int64(early), 0).In(l)
	if _, offset := first.Zone(); offset == early {
		return first
	}
	_, late := time.Unix(guess+secondsPerDay, 0).In(l).Zone()
	second := time.Unix(guess-int64(late), 0).In(l)
	if _, offset := second.Zone(); offset == late {
		return second
	}
	return first // a gap: the offset before it
}

// Wall gives the digits of a moment in a zone as a time in UTC.
func Wall(t time.Time, l *time.Location) time.Time {
	_, offset := t.In(l).Zone()
	return time.Unix(t.Unix()+int64(offset), 0).UTC()
}

const secondsPerDay = 24 * 60 * 60
