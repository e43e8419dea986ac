package index

import (
	"testing"

	"pgregory.net/rapid"

	"waypost/directory/schema"
)

// TestKey holds the short cuts of folding against the syntax's own keys.
func TestKey(t *testing.T) {
	info := attributesOf(schema.Base())
	pick := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.RuneFrom([]rune("aAzZ 09\t~\x7f'-ßéÉİıŉǅøŁж中\u0301\u00ad\u00a0ﬁ")), 0, 8, -1))
	rapid.Check(t, func(t *rapid.T) {
		v := pick.Draw(t, "value")
		a := &info[rapid.IntRange(0, len(info)-1).Draw(t, "attribute")]
		if got, want := string(a.key(nil, v)), a.Syntax.Key(v); got != want {
			t.Errorf("key of %q under %s: got %q, want %q", v, a.Syntax, got, want)
		}
		if a.fold == foldLower {
			key := a.Syntax.Key(pick.Draw(t, "other"))
			if equal, sure := equalFold(v, key); sure && equal != (a.Syntax.Key(v) == key) {
				t.Errorf("%q is %q under %s: got %v", v, key, a.Syntax, equal)
			}
		}
	})
}
