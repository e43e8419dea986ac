package store

import "testing"

func TestIDs(t *testing.T) {
	if got := ItemID(1234).String() + FolderID(7).String() + ThreadID(1<<62).String(); got != "M1234F7T4611686018427387904" {
		t.Errorf("got %s", got)
	}
	if id, ok := ParseItemID("M1234"); !ok || id != 1234 {
		t.Errorf("ParseItemID = %v %v", id, ok)
	}
	for _, s := range []string{"", "M", "1234", "F12", "M0", "M01", "M-1", "M+1", "M1 ", "m1", "M99999999999999999999", "M9223372036854775808"} {
		if id, ok := ParseItemID(s); ok {
			t.Errorf("ParseItemID(%q) = %d", s, id)
		}
	}
}
