package zone

import (
	_ "embed"
	"strings"
	"sync"
)

// windowsTable is CLDR 48's windowsZones (Unicode License V3): a Windows name,
// then its IANA zones, the one for the whole world first. Where CLDR has the old
// name of a zone, today's stands before it.
//
//go:embed windows.txt
var windowsTable string

type windowsNames struct {
	order  []string          // IANA zones, the world's of each Windows zone first
	toIANA map[string]string // folded Windows name
	toWin  map[string]string // IANA name
	folded map[string]string // folded IANA name to IANA name
}

var windows = sync.OnceValue(func() *windowsNames {
	w := &windowsNames{toIANA: map[string]string{}, toWin: map[string]string{}, folded: map[string]string{}}
	var others []string
	for line := range strings.Lines(windowsTable) {
		name, list, found := strings.Cut(strings.TrimSpace(line), "=")
		if !found {
			continue // a comment
		}
		zones := strings.Fields(list)
		w.toIANA[strings.ToLower(name)] = zones[0]
		w.order = append(w.order, zones[0])
		others = append(others, zones[1:]...)
		for _, z := range zones {
			// Etc/GMT and the like are in two Windows zones.
			if _, twice := w.toWin[z]; !twice {
				w.toWin[z] = name
			}
			w.folded[strings.ToLower(z)] = z
		}
	}
	w.order = append(w.order, others...)
	return w
})

// Windows gives the Windows name of an IANA zone, if need be that of one which
// behaves alike today; false when there is none.
func Windows(iana string) (string, bool) {
	w := windows()
	if isUTC(iana) {
		return "UTC", true
	}
	if name, ok := w.toWin[iana]; ok {
		return name, true
	}
	l := ianaZone(iana)
	if l == nil {
		return "", false
	}
	key, _ := behaviour(l, today)
	for _, same := range alike(key, today) {
		return w.toWin[same], true
	}
	return "", false
}

// today are years of rules that are in force; always the same, so that an answer
// does not depend on the day.
var today = span{2026, window}
