package words

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func terms(f Field, text string) []string {
	d := NewDoc()
	d.Add(f, text)
	return d.Terms()
}

func TestWords(t *testing.T) {
	for _, c := range []struct {
		text string
		want string
	}{
		{"Hello, World! hello", "yhello yworld"},
		{"alice@example.test", "yalice yexample ytest"},
		{"Grüße aus KÖLN, café", "yaus ycafe ygrusse ykoln"},
		{"ΣΊΣΥΦΟΣ", "yσισυφοσ"},
		{"ﬁne Ｗｉｄｅ", "yfine ywide"},
		{"東京都に", "yに y京都 y東京 y都に"},
		{"v2東京", "yv2 y京 y東京"},
		{"don't 3.14", "y14 y3 ydon yt"},
		{"Ёлка", "yелка"},
		{"مرحبا", "yمرحبا"},
		{"", ""},
	} {
		if got := strings.Join(terms(Body, c.text), " "); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// TestReadInPieces: where the stream is cut makes no difference.
func TestReadInPieces(t *testing.T) {
	text := strings.Repeat("Grüße 東京都に "+strings.Repeat("z", 41)+" ", 2000)
	d := NewDoc()
	if err := d.Read(Body, oneByOne{strings.NewReader(text)}); err != nil {
		t.Fatal(err)
	}
	if got, want := d.Terms(), terms(Body, text); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

type oneByOne struct{ r *strings.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

func TestOverfull(t *testing.T) {
	d := NewDoc()
	var b strings.Builder
	for i := range MaxTerms + 10 {
		b.WriteString(" w")
		for ; i > 0; i /= 26 {
			b.WriteByte(byte('a' + i%26))
		}
	}
	d.Add(Body, b.String())
	list := d.Terms()
	if len(list) != MaxTerms+1 || list[0] != "+" {
		t.Fatalf("%d terms, first %q", len(list), list[0])
	}
	blocks := Build([][]string{list, terms(Body, "other")})
	for _, loose := range []bool{false, true} {
		if got := find(t, blocks, 2, NewMatcher("absent", loose, Body)); loose != slices.Equal(got, []int{0}) {
			t.Errorf("overfull %v: found %v", loose, got)
		}
	}
}

// find asks as the store does.
func find(t interface{ Fatal(...any) }, blocks []Block, size int, m *Matcher) (list []int) {
	f := m.NewFound(size)
	for i := range blocks {
		b := &blocks[i]
		if !slices.ContainsFunc(m.Ranges(), func(r Range) bool { return b.Last >= r.Low && b.First < r.High }) {
			continue
		}
		hits, err := m.Hits(&Block{Terms: b.Terms})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hits {
			if err := f.Add(h, b.Lists); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.Places(func(p int) { list = append(list, p) })
	return list
}

// TestModel compares with a search through the texts: whatever has the text that
// is looked for is found, and what is found has a word for each of its words.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-cA-C東京都éß]{1,6}`)
		text := rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(word, 0, 8).Draw(t, "words"), rapid.SampledFrom([]string{" ", ". ", "-"}).Draw(t, "space"))
		})
		texts := rapid.SliceOfN(text, 1, 40).Draw(t, "texts")
		fields := make([]Field, len(texts))
		var segments []Input
		gone := map[int]bool{}
		place, from := int32(0), 0
		size := rapid.IntRange(1, 10).Draw(t, "size")
		for from < len(texts) {
			to := min(from+size, len(texts))
			var docs [][]string
			in := Input{}
			for i := from; i < to; i++ {
				fields[i] = rapid.SampledFrom([]Field{Body, Subject}).Draw(t, "field")
				docs = append(docs, terms(fields[i], texts[i]))
				if rapid.IntRange(0, 4).Draw(t, "gone") == 0 {
					gone[i] = true
					in.Place = append(in.Place, -1)
					continue
				}
				in.Place = append(in.Place, place)
				place++
			}
			in.Blocks = Build(docs)
			segments = append(segments, in)
			from = to
		}
		merged, err := Merge(segments)
		if err != nil {
			t.Fatal(err)
		}
		ask := text.Draw(t, "ask")
		m := NewMatcher(ask, true, Body)
		got := find(t, merged, int(place), m)
		var want, may []int
		p := 0
		for i, text := range texts {
			if gone[i] {
				continue
			}
			if fields[i] == Body && !m.Empty() {
				if strings.Contains(Fold(text), Fold(ask)) {
					want = append(want, p)
				}
				list := terms(Body, text)
				if !slices.ContainsFunc(Needles(ask), func(n Needle) bool {
					return !slices.ContainsFunc(list, func(w string) bool { return strings.Contains(w[1:], n.Word) && (!n.Exact || w[1:] == n.Word) })
				}) {
					may = append(may, p)
				}
			}
			p++
		}
		for _, p := range want {
			if !slices.Contains(got, p) {
				t.Fatalf("%q: item %d was not found among %v", ask, p, got)
			}
		}
		if !slices.Equal(got, may) {
			t.Fatalf("%q: found %v, want %v", ask, got, may)
		}
	})
}

// TestLongWords: what is looked for is found in words of any length, up to the
// length of a needle.
func TestLongWords(t *testing.T) {
	var b strings.Builder
	for i := range 300 {
		b.WriteByte("abcdefghijklmnopqrstuvwxyz0123456789"[i*i%36])
	}
	long := b.String()
	blocks := Build([][]string{terms(Body, long)})
	for i := range len(long) - maxNeedle {
		if find(t, blocks, 1, NewMatcher(long[i:i+maxNeedle], false, Body)) == nil {
			t.Fatalf("%q was not found", long[i:i+maxNeedle])
		}
	}
}

func FuzzBlock(f *testing.F) {
	b := Build([][]string{terms(Body, "alpha beta alphabet"), terms(Subject, "beta 東京")})
	f.Add(b[0].Terms, b[0].Lists)
	f.Fuzz(func(t *testing.T, terms, lists []byte) {
		begun := time.Now()
		b := Block{Terms: terms, Lists: lists}
		m := NewMatcher("beta a", true, Body, Subject)
		hits, err := m.Hits(&b)
		found := m.NewFound(2)
		for _, h := range hits {
			if found.Add(h, lists) != nil {
				break
			}
		}
		found.Places(func(int) {})
		_, _ = Merge([]Input{{Blocks: []Block{b}, Place: []int32{0, 1}}, {Blocks: []Block{b}, Place: []int32{2, -1}}})
		if err == nil && time.Since(begun) > 5*time.Second {
			t.Fatal("slow")
		}
	})
}

func FuzzWords(f *testing.F) {
	f.Add("Grüße 東京都に a\u0301\u0301 \xff x")
	f.Fuzz(func(t *testing.T, text string) {
		for _, w := range terms(Body, text) {
			if !utf8.ValidString(w) || len(w) < 2 && w != "+" {
				t.Fatalf("%q gives %q", text, w)
			}
		}
		Needles(text)
	})
}

func BenchmarkDoc(b *testing.B) {
	text := strings.Repeat("The quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs. ", 60)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		terms(Body, text)
	}
}
