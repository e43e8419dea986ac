package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"waypost/internal/fault"
	"waypost/store"
)

func (b *suite) withWords(text string, fields store.WordField) []store.ItemID {
	b.Helper()
	found, err := b.Store.WithWords(b.Context(), b.me(), b.box, store.WordQuery{Text: text, Fields: fields})
	b.must(err)
	return found.Items
}

// wordsOfMessages: where words are looked for, and how.
func wordsOfMessages(t *testing.T, b *suite) {
	plain := b.add(b.message(Text("Überblick über alles", "Die Straße nach München, 50 km\r\nПривет мир 東京都庁へ行く", "Cc: =?utf-8?q?J=C3=BCrgen?= <juergen@example.net>"))).Entry.Item
	html := b.add(b.message([]byte("From: a@example.org\r\nSubject: Report\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" +
		"--x\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p class=3D\"hidden\">Caf=E9 &amp; croiss<b>ant</b></p>\r\n" +
		"--x\r\nContent-Type: text/csv; name=\"=?utf-8?q?Gesch=C3=A4fte_2026.csv?=\"\r\nContent-Disposition: attachment\r\n\r\nname,amount\r\nzebra,42\r\n" +
		"--x\r\nContent-Type: message/rfc822\r\n\r\nFrom: Inner <inner@example.com>\r\nSubject: Embedded matter\r\n\r\ndeep down\r\n--x--\r\n"))).Entry.Item
	both := []store.ItemID{plain, html}
	for _, tt := range []struct {
		text   string
		fields store.WordField
		want   []store.ItemID
	}{
		{"uberblick", store.WordsSubject, both[:1]},
		{"ÜBERBLICK ALLES", store.WordsAnywhere, both[:1]},
		{"blick", store.WordsSubject, both[:1]}, // a part of a word
		{"blick", store.WordsBody, nil},
		{"strasse munchen", store.WordsBody, both[:1]},
		{"strasse alles", store.WordsBody, nil},
		{"strasse alles", store.WordsAnywhere, both[:1]},
		{"прив", store.WordsBody, both[:1]},
		{"東京", store.WordsBody, both[:1]},
		{"京都庁", store.WordsBody, both[:1]},
		{"庁京", store.WordsBody, nil},
		{"juergen@example.net", store.WordsCc, both[:1]},
		{"jürgen", store.WordsCc, both[:1]},
		{"jürgen", store.WordsFrom | store.WordsTo, nil},
		{"café croissant", store.WordsBody, both[1:]},
		{"hidden", store.WordsBody, nil},
		{"geschäfte", store.WordsFile, both[1:]},
		{"zebra", store.WordsBody, both[1:]},
		{"embedded inner", store.WordsBody, both[1:]},
		{"deep", store.WordsBody, both[1:]},
		{"example", store.WordsFrom, both},
		{"a", store.WordsFrom, both}, // the beginning of a word
		{"...", store.WordsAnywhere, nil},
		{"", store.WordsAnywhere, nil},
	} {
		if got := b.withWords(tt.text, tt.fields); !slices.Equal(got, tt.want) {
			t.Errorf("%q in %b: %v, want %v", tt.text, tt.fields, got, tt.want)
		}
	}
	_, err := b.Store.WithWords(t.Context(), Owner(2), b.box, store.WordQuery{Text: "x", Fields: store.WordsBody})
	b.wantFault(err, fault.NotFound)
}

// wordsModel compares with the words that were written, while messages arrive, move,
// go and are purged, and while others ask.
func wordsModel(t *testing.T, b *suite) {
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := strings.Fields("alpha beta gamma delta alphabet epsilon zeta eta theta iota kappa lambda mu nu xi omicron")
	texts := map[store.ItemID]string{}
	gone := map[store.ItemID]bool{} // found until their segment is written anew; nobody sees them
	inbox := b.folder(store.RoleInbox).ID
	ask := func() {
		t.Helper()
		word := alphabet[r.IntN(len(alphabet))]
		word = word[:2+r.IntN(len(word)-1)]
		if len(word) > 2 && r.IntN(2) == 0 {
			word = word[1:]
		}
		other := alphabet[r.IntN(len(alphabet))]
		var want []store.ItemID
		for item, text := range texts {
			if strings.Contains(text, word) && strings.Contains(text, other) {
				want = append(want, item)
			}
		}
		slices.Sort(want)
		got := slices.DeleteFunc(b.withWords(word+" "+other, store.WordsBody), func(i store.ItemID) bool { return gone[i] })
		if !slices.Equal(got, want) {
			t.Fatalf("%s %s: %d items, want %d", word, other, len(got), len(want))
		}
	}
	var wait sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		wait.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := b.Store.WithWords(t.Context(), b.me(), b.box, store.WordQuery{Text: "alpha", Fields: store.WordsBody}); err != nil {
					t.Errorf("WithWords: %v", err)
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	for i := range 300 {
		var words []string
		for range r.IntN(6) {
			words = append(words, alphabet[r.IntN(len(alphabet))])
		}
		text := fmt.Sprintf("%d %s", i, strings.Join(words, " "))
		texts[b.add(b.message(Text("x", text))).Entry.Item] = text
		switch r.IntN(6) {
		case 0, 1:
			ask()
		case 2:
			for item := range texts {
				_, _, err := b.Store.Delete(t.Context(), b.me(), b.box, inbox, []store.ItemID{item}, false)
				b.must(err)
				delete(texts, item)
				gone[item] = true
				if r.IntN(4) == 0 {
					b.must(b.Purge(time.Now().Add(20 * 24 * time.Hour)))
				}
				break
			}
		}
	}
	close(done)
	wait.Wait()
	for _, word := range alphabet {
		var want []store.ItemID
		for item, text := range texts {
			if strings.Contains(text, word) {
				want = append(want, item)
			}
		}
		slices.Sort(want)
		list, total, err := b.Store.FindMessages(t.Context(), b.me(), b.box, store.Find{Text: word, Folders: []store.FolderID{inbox}, Limit: 1000})
		b.must(err)
		var got []store.ItemID
		for _, e := range list {
			got = append(got, e.Item)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || total != len(want) {
			t.Errorf("%s: %d messages of %d, want %d", word, len(got), total, len(want))
		}
	}
}
