package mail

import (
	"strings"
	"time"
)

var months = [...]string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}

// zones are the names of RFC 5322 section 4.3, in minutes, and a few that are
// common in real mail.
var zones = map[string]int{
	"ut": 0, "utc": 0, "gmt": 0, "z": 0, "est": -300, "edt": -240, "cst": -360, "cdt": -300, "mst": -420,
	"mdt": -360, "pst": -480, "pdt": -420, "cet": 60, "cest": 120, "met": 60, "mest": 120, "bst": 60,
	"wet": 0, "west": 60, "eet": 120, "eest": 180, "msk": 180, "jst": 540, "ist": 330,
}

// quarters are the zones that occur, made once: a zone a quarter of an hour
// from -14 to +14 hours.
var quarters = func() (z [113]*time.Location) {
	for i := range z {
		z[i] = time.FixedZone("", (i-56)*900)
	}
	z[56] = time.UTC
	return
}()

func zone(minutes int) *time.Location {
	if minutes%15 == 0 && minutes >= -840 && minutes <= 840 {
		return quarters[minutes/15+56]
	}
	return time.FixedZone("", minutes*60)
}

// ParseDate reads a Date field (RFC 5322 sections 3.3 and 4.3), and tolerates
// what else is found there: a missing or wrong day of the week, names of
// months in full, the order of C's asctime, comments, and ISO 8601. It returns
// the zero time when it cannot make sense of s. An unknown zone is UTC.
func ParseDate(s string) time.Time {
	var tok [12]string
	n := 0
	for i := 0; i < len(s) && n < len(tok); {
		i = skipCFWS(s, i)
		for i < len(s) && s[i] == ',' {
			i = skipCFWS(s, i+1)
		}
		start := i
		for i < len(s) && s[i] > ' ' && s[i] != ',' && s[i] != '(' {
			i++
		}
		if i > start {
			tok[n] = s[start:i]
			n++
		} else if i < len(s) && s[i] <= ' ' {
			i++
		}
	}
	if n == 1 || n == 2 {
		if t := isoDate(strings.Join(tok[:n], "T")); !t.IsZero() {
			return t
		}
	}
	day, month, year := -1, -1, -1
	hour, minute, sec, offset := -1, 0, 0, 0
	for _, t := range tok[:n] {
		c := t[0]
		switch {
		case strings.Contains(t, ":") && hour < 0:
			var ok bool
			if hour, minute, sec, ok = clock(t); !ok {
				return time.Time{}
			}
		case (c == '+' || c == '-') && hour >= 0:
			if d, k := digits(t[1:]); k >= 3 {
				m := d/100*60 + d%100
				if c == '-' {
					m = -m
				}
				if m > -24*60 && m < 24*60 {
					offset = m
				}
			}
		case c >= '0' && c <= '9':
			if strings.Count(t, "-") == 2 { // 21-Nov-97, 2003-11-21
				p := strings.SplitN(t, "-", 3)
				a, _ := digits(p[0])
				b, _ := digits(p[2])
				if len(p[0]) == 4 {
					a, b = b, a
				}
				day, year, month = a, fullYear(b, max(len(p[0]), len(p[2]))), monthOf(p[1])
				if m, k := digits(p[1]); k > 0 {
					month = m
				}
				continue
			}
			d, k := digits(t)
			switch {
			case k == 0:
			case day < 0 && k <= 2:
				day = d
			case year < 0 && k <= 4:
				year = fullYear(d, k)
			}
		default:
			if m := monthOf(t); m > 0 && month < 0 {
				month = m
			} else if hour >= 0 {
				name, sign, rest := strings.ToLower(t), 1, ""
				if p := strings.IndexAny(name, "+-"); p > 0 { // GMT+0200
					if name[p] == '-' {
						sign = -1
					}
					name, rest = name[:p], name[p+1:]
				}
				if m, ok := zones[strings.Trim(name, `"`)]; ok {
					offset = m
					if d, k := digits(rest); k >= 3 {
						offset += sign * (d/100*60 + d%100)
					}
				}
			}
		}
	}
	if day < 1 || day > 31 || month < 1 || month > 12 || year < 1 || year > 9999 {
		return time.Time{}
	}
	if hour < 0 {
		hour = 0
	}
	if hour > 24 || minute > 59 || sec > 60 || offset <= -24*60 || offset >= 24*60 {
		return time.Time{}
	}
	return time.Date(year, time.Month(month), day, hour, minute, min(sec, 59), 0, zone(offset))
}

func isoDate(s string) time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() > 0 {
			_, off := t.Zone()
			return t.In(zone(off / 60)).Truncate(time.Second)
		}
	}
	return time.Time{}
}

// fullYear applies RFC 5322 section 4.3 to years of two and three digits.
func fullYear(y, digits int) int {
	switch {
	case digits <= 2 && y < 50:
		return 2000 + y
	case digits <= 3:
		return 1900 + y
	}
	return y
}

func monthOf(s string) int {
	if len(s) < 3 {
		return -1
	}
	for i, m := range months {
		if strings.EqualFold(s[:3], m) {
			return i + 1
		}
	}
	return -1
}

// digits reads the digits at the beginning of s, at most 9.
func digits(s string) (n, count int) {
	for count < len(s) && count < 9 && s[count] >= '0' && s[count] <= '9' {
		n = n*10 + int(s[count]-'0')
		count++
	}
	return n, count
}

func clock(s string) (h, m, sec int, ok bool) {
	a, b, _ := strings.Cut(s, ":")
	b, c, _ := strings.Cut(b, ":")
	h, n := digits(a)
	m, k := digits(b)
	sec, _ = digits(c)
	return h, m, sec, n > 0 && n <= 2 && k > 0
}
