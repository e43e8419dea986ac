package messages

import (
	"regexp"
	"slices"
	"testing"
)

// TestCatalogues: every language has every text, and puts the same things in.
func TestCatalogues(t *testing.T) {
	holes := regexp.MustCompile(`\{\d\}`)
	of := func(text string) []string {
		found := holes.FindAllString(text, -1)
		slices.Sort(found)
		return found
	}
	en := Languages["en"]
	for name, c := range Languages {
		for key, text := range en {
			if c[key] == "" {
				t.Errorf("%s lacks %q", name, key)
			} else if !slices.Equal(of(c[key]), of(text)) {
				t.Errorf("%s: %q has %v, want %v", name, key, of(c[key]), of(text))
			}
		}
		for key := range c {
			if en[key] == "" {
				t.Errorf("%s has %q, which nobody asks for", name, key)
			}
		}
	}
	if got := Text("de", "created", "heute"); got != "Erstellt heute" {
		t.Errorf("Text: %q", got)
	}
}
