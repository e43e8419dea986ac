package zone

import (
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// window is how many years a zone is compared with others.
const window = 3

// span is some years from one on.
type span struct{ year, years int }

// firstYear and lastYear bound the years for which zones are compared.
const (
	firstYear = 1990
	lastYear  = 2050
)

// behaviour is what a zone does in some years, as a key: the offset at the
// beginning, then every change.
func behaviour(l *time.Location, in span) (key string, changes bool) {
	t := time.Date(in.year, 1, 1, 12, 0, 0, 0, time.UTC)
	until := time.Date(in.year+in.years, 1, 1, 12, 0, 0, 0, time.UTC)
	_, offset := t.In(l).Zone()
	b := strconv.AppendInt(nil, int64(offset), 10)
	for range 24 * window {
		end, more := next(t, l)
		if !more || !end.Before(until) {
			break
		}
		t = end
		if _, now := t.In(l).Zone(); now != offset { // a new name alone is no change
			offset = now
			b = strconv.AppendInt(append(b, ' '), t.Unix(), 10)
			b = strconv.AppendInt(append(b, ' '), int64(offset), 10)
			changes = true
		}
	}
	return string(b), changes
}

// behaviours has the known zones by what they do in some years.
var behaviours struct {
	sync.Mutex
	bySpan map[span]map[string][]string
}

func alike(key string, in span) []string {
	behaviours.Lock()
	defer behaviours.Unlock()
	if behaviours.bySpan == nil {
		behaviours.bySpan = map[span]map[string][]string{}
	}
	index := behaviours.bySpan[in]
	if index == nil {
		index = map[string][]string{}
		for _, name := range windows().order {
			if l := ianaZone(name); l != nil {
				k, _ := behaviour(l, in)
				index[k] = append(index[k], name)
			}
		}
		behaviours.bySpan[in] = index
	}
	return index[key]
}

// likely come first among zones that behave alike: most people live there.
var likely = []string{
	"Europe/Berlin", "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "Europe/London",
	"Europe/Kyiv", "Europe/Istanbul", "Europe/Moscow", "Asia/Kolkata", "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney",
	"America/Sao_Paulo", "Africa/Johannesburg", "Asia/Dubai", "Asia/Karachi", "Asia/Bangkok", "America/Bogota", "Etc/UTC",
}

// Match finds the known zone that behaves from a year on as l does. hint is any
// text that may name a place: among several the zone of that place is taken. A
// zone that never changes is matched only by such a place: an offset alone does
// not say where.
func Match(l *time.Location, year int, hint string) *time.Location {
	return match(l, span{clamp(year), window}, hint)
}

func clamp(year int) int { return min(max(year, firstYear), lastYear) }

func match(l *time.Location, in span, hint string) *time.Location {
	key, changes := behaviour(l, in)
	names := alike(key, in)
	if len(names) == 0 {
		return nil
	}
	hint = strings.ToLower(hint)
	for _, name := range names {
		city := strings.ToLower(strings.ReplaceAll(name[strings.LastIndexByte(name, '/')+1:], "_", " "))
		if hasWord(hint, city) && !strings.HasPrefix(name, "Etc/") {
			return ianaZone(name)
		}
	}
	if !changes {
		return nil
	}
	return ianaZone(mostLikely(names))
}

// hasWord tells whether a text names a place, and not only a longer word with it.
func hasWord(text, word string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		begin, end := from+i, from+i+len(word)
		before, _ := utf8.DecodeLastRuneInString(text[:begin])
		after, _ := utf8.DecodeRuneInString(text[end:])
		if !unicode.IsLetter(before) && !unicode.IsLetter(after) {
			return true
		}
		from = end
	}
}

func mostLikely(names []string) string {
	for _, want := range likely {
		for _, name := range names {
			if name == want {
				return name
			}
		}
	}
	return names[0]
}
