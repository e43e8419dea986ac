package vcard

import (
	"strings"
)

// compact turns the extended forms of ISO 8601, which 3.0 writes, into the basic
// ones, which 4.0 demands (RFC 6350 section 4.3). What is no date stays.
func compact(value string) string {
	date, clock, timed := strings.Cut(value, "T")
	if len(date) == 10 && date[4] == '-' && date[7] == '-' {
		date = date[:4] + date[5:7] + date[8:]
	}
	for _, c := range strings.TrimPrefix(date, "--") {
		if (c < '0' || c > '9') && c != '-' {
			return value
		}
	}
	if !timed {
		return date
	}
	return date + "T" + strings.ReplaceAll(clock, ":", "")
}

// omitYear is how Apple says in 3.0 that a birthday has no year.
const omitYear = "X-APPLE-OMIT-YEAR"

func dateTo4(p *Property) {
	if strings.EqualFold(p.ParamText("VALUE"), "text") {
		return
	}
	value := compact(strings.TrimSpace(p.Value))
	if year := p.ParamText(omitYear); year != "" && len(value) >= 8 && strings.HasPrefix(value, year) {
		value = "--" + value[4:8]
		p.SetParam(omitYear)
	}
	p.Value = value
	if v := p.ParamText("VALUE"); strings.EqualFold(v, "date") || strings.EqualFold(v, "date-time") {
		p.SetParam("VALUE") // 4.0 tells them apart by themselves
	}
}

func dateTo3(p *Property) {
	if strings.EqualFold(p.ParamText("VALUE"), "text") {
		return
	}
	date, clock, timed := strings.Cut(p.Value, "T")
	switch {
	case len(date) == 6 && strings.HasPrefix(date, "--") && digits(date[2:]):
		// 1604 was a leap year, so that the 29th of February is a day.
		p.SetParam(omitYear, "1604")
		p.Value = "1604-" + date[2:4] + "-" + date[4:]
		p.SetParam("VALUE")
	case len(date) == 8 && digits(date):
		p.Value = date[:4] + "-" + date[4:6] + "-" + date[6:]
		if timed && len(clock) >= 6 && digits(clock[:6]) {
			clock = clock[:2] + ":" + clock[2:4] + ":" + clock[4:]
		}
		if timed {
			p.Value += "T" + clock
		}
	}
}

func digits(s string) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}
