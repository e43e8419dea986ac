package main

import (
	"slices"
	"testing"
)

func TestWorkHours(t *testing.T) {
	for _, tt := range []struct {
		in   []string
		want []string // nil: refused
	}{
		{nil, []string{"mon-fri=09:00-17:00"}},
		{[]string{"default"}, []string{"mon-fri=09:00-17:00"}},
		{[]string{"none"}, []string{"none"}},
		{[]string{"Mon-Tue=9-12:30", "mon=13-17", "sat-sun=0:00-24:00"}, []string{"sun=00:00-24:00", "mon=09:00-12:30", "mon=13:00-17:00", "tue=09:00-12:30", "sat=00:00-24:00"}},
		{[]string{"mon=9-17", "mon=16-18"}, nil},
		{[]string{"mon=17-9"}, nil},
		{[]string{"mon=9-25"}, nil},
		{[]string{"monday=9-17"}, nil},
		{[]string{"9-17"}, nil},
	} {
		work, err := workHours(tt.in)
		if (err != nil) != (tt.want == nil) {
			t.Errorf("%q: %v", tt.in, err)
		} else if got := hoursText(work); err == nil && !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}
