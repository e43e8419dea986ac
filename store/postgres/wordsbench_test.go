package postgres

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"waypost/internal/pgtest"
	"waypost/migrations"
	"waypost/store"
	"waypost/store/storetest"
)

// zipf writes texts with words as common and as rare as in a language.
type zipf struct {
	z *rand.Zipf
	r *rand.Rand
}

func newZipf(seed uint64) *zipf {
	r := rand.New(rand.NewPCG(seed, 7))
	return &zipf{rand.NewZipf(r, 1.15, 8, 400_000), r}
}

// word spells a number, so that neighbours look alike as words of a language do.
func word(n uint64) string {
	syllables := strings.Fields("ka lo mi ren tas vo gu she pra nil dor bex fy wum chi stel")
	var b strings.Builder
	for first := true; first || n > 0; n /= 16 {
		b.WriteString(syllables[n%16])
		first = false
	}
	return b.String()
}

func (z *zipf) text(words int) string {
	var b strings.Builder
	for i := range words {
		b.WriteString(word(z.z.Uint64()))
		b.WriteByte(" \n"[b2i(i%12 == 11)])
	}
	return b.String()
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestWordsMerge: a mailbox keeps few segments, whatever the steps in which it grew.
func TestWordsMerge(t *testing.T) {
	s := open(t, pgtest.New(t, migrations.Mail), Options{})
	z := newZipf(1)
	for range 200 {
		addText(t, s, z.text(20))
		if _, err := s.fillWords(t.Context(), s.homes[DefaultHome], 1, fillBatch); err != nil {
			t.Fatal(err)
		}
	}
	var segments, docs, most int
	if err := s.homes[DefaultHome].db.QueryRow(t.Context(), "select count(*), sum(docs), max(docs) from mail.words_segment").Scan(&segments, &docs, &most); err != nil {
		t.Fatal(err)
	}
	if segments > 2*tierFactor || docs != 200 || most < 64 {
		t.Errorf("%d segments of %d items, the greatest of %d", segments, docs, most)
	}
	if n := s.WordsBehind(); n != 0 {
		t.Errorf("%d behind", n)
	}
}

func addText(t testing.TB, s *Store, text string) {
	t.Helper()
	blob, sum, err := storetest.Upload(t.Context(), s, bytes.NewReader(storetest.Text("subject "+text[:min(40, len(text))], text)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(t.Context(), storetest.Owner(1), 1, store.NewMessage{Blob: blob, Summary: sum}); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkWords fills the index of a mailbox of WAYPOST_WORDS messages (5,000) of
// about 2 KiB and asks it.
func BenchmarkWords(b *testing.B) {
	size, _ := strconv.Atoi(os.Getenv("WAYPOST_WORDS"))
	if size == 0 {
		size = 5000
	}
	s := open(b, pgtest.New(b, migrations.Mail), Options{})
	h := s.homes[DefaultHome]
	done := make(chan error)
	begun := time.Now()
	for w := range 8 {
		go func() {
			z := newZipf(uint64(w))
			for range size / 8 {
				addText(b, s, z.text(250))
			}
			done <- nil
		}()
	}
	for range 8 {
		<-done
	}
	b.Logf("%d messages in %v", size, time.Since(begun).Round(time.Millisecond))
	begun = time.Now()
	for more := true; more; {
		var err error
		if more, err = s.fillWords(b.Context(), h, 1, 2*fillBatch); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("indexed in %v", time.Since(begun).Round(time.Millisecond))
	var segments int
	var bytes, index int64
	if err := h.db.QueryRow(b.Context(), `select count(*), (select sum(size) from mail.entry), pg_total_relation_size('mail.words_block') + pg_total_relation_size('mail.words_segment') from mail.words_segment`).Scan(&segments, &bytes, &index); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d segments, %d MiB of mail, %d MiB of index", segments, bytes>>20, index>>20)
	for _, q := range []struct{ name, text string }{
		{"rare", word(399_000)}, {"common", word(0)}, {"part", word(77)[1:]}, {"two", word(5) + " " + word(9)}, {"none", "zzzzqq"}, {"letter", "k"},
	} {
		b.Run(fmt.Sprintf("%s/%d", q.name, size), func(b *testing.B) {
			total := 0
			for b.Loop() {
				list, n, err := s.FindMessages(b.Context(), storetest.Owner(1), 1, store.Find{Text: q.text, Limit: 50})
				if err != nil {
					b.Fatal(err)
				}
				_, total = list, n
			}
			b.ReportMetric(float64(total), "found")
		})
	}
}
