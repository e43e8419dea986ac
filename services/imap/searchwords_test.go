package imap

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"waypost/directory"
	"waypost/store"
	"waypost/store/postgres"
)

// countingStore counts the messages that are opened.
type countingStore struct {
	*postgres.Store
	opened atomic.Int64
}

func (s *countingStore) Content(ctx context.Context, as directory.Principal, box store.MailboxID, item store.ItemID) (store.Content, error) {
	s.opened.Add(1)
	return s.Store.Content(ctx, as, box, item)
}

// TestSearchAsksTheIndex: a search finds what the texts have, letter by letter, and
// opens only what the index of words does not exclude.
func TestSearchAsksTheIndex(t *testing.T) {
	s := &countingStore{Store: openPostgres(t)}
	d := open(t, testConfig(), s, nil, nil)
	bob, _ := d.accounts.person("bob")
	r := rand.New(rand.NewPCG(4, 2))
	alphabet := strings.Fields("alpha beta gamma straße delta-wave under_score x1y2 東京都庁 naïve.dot")
	var texts []string
	for i := range 60 {
		var words []string
		for range 1 + r.IntN(4) {
			words = append(words, alphabet[r.IntN(len(alphabet))])
		}
		text := strings.Join(words, " ")
		texts = append(texts, text)
		deliverTo(t, s, bob, fmt.Sprintf("From: a@example.test\r\nSubject: number %d\r\nX-Colour: dark %s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n", i, []string{"red", "green"}[i%2], text))
	}
	cl, err := imapclient.NewStartTLS(d.dial(t), &imapclient.Options{TLSConfig: &tls.Config{InsecureSkipVerify: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close() //nolint:errcheck // a test's client
	if err := cl.Login("bob", "secret").Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	search := func(c *imap.SearchCriteria) []uint32 {
		t.Helper()
		data, err := cl.Search(c, &imap.SearchOptions{ReturnAll: true}).Wait()
		if err != nil {
			t.Fatal(err)
		}
		return data.AllSeqNums()
	}
	for range 60 {
		whole := []rune(texts[r.IntN(len(texts))])
		from := r.IntN(len(whole))
		part := strings.TrimSpace(string(whole[from : from+1+r.IntN(len(whole)-from)]))
		if part == "" {
			continue
		}
		var want []uint32
		for i, text := range texts {
			if strings.Contains(strings.ToLower(text), strings.ToLower(part)) {
				want = append(want, uint32(i)+1)
			}
		}
		if got := search(&imap.SearchCriteria{Body: []string{part}}); !slices.Equal(got, want) {
			t.Errorf("BODY %q: %v, want %v", part, got, want)
		}
		if got := search(&imap.SearchCriteria{Text: []string{part}, Not: []imap.SearchCriteria{{Header: []imap.SearchCriteriaHeaderField{{Key: "X-Colour", Value: "k green"}}}}}); slices.ContainsFunc(got, func(n uint32) bool { return n%2 == 0 }) {
			t.Errorf("TEXT %q NOT HEADER X-Colour: %v", part, got)
		}
	}
	s.opened.Store(0)
	if got := search(&imap.SearchCriteria{Body: []string{"nowhere"}, Text: []string{"elsewhere"}}); got != nil {
		t.Errorf("found %v", got)
	}
	if n := s.opened.Load(); n != 0 {
		t.Errorf("%d messages were opened", n)
	}
}
