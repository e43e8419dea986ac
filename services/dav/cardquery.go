package dav

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"waypost/directory"
	"waypost/internal/vcard"
	"waypost/store"
)

// cardMatcher judges cards by a filter (RFC 6352 section 10.5).
type cardMatcher struct {
	props []propFilter
	all   bool
}

func (m *cardMatcher) matches(c *vcard.Card) bool {
	if len(m.props) == 0 {
		return true
	}
	for i := range m.props {
		if m.props[i].among(&c.Properties, nil) != m.all {
			return !m.all
		}
	}
	return m.all
}

func readCardFilter(n *node) (*cardMatcher, error) {
	m := &cardMatcher{all: n.attr("test") == "allof"}
	for _, c := range n.children() {
		if c.name != cardName("prop-filter") {
			return nil, failed(http.StatusForbidden, cardName("supported-filter"), "%s", c.name.Local)
		}
		f, err := cardDialect.prop(c)
		if err != nil {
			return nil, err
		}
		m.props = append(m.props, f)
	}
	return m, nil
}

// readLimit reads nresults in a limit; 0 without one (RFC 6352 section 10.6, RFC
// 5323 section 5.17).
func readLimit(n *node, invalid error) (int, error) {
	if n == nil {
		return 0, nil
	}
	for _, c := range n.children() {
		if c.name.Local == "nresults" {
			v, err := strconv.Atoi(c.text())
			if err != nil || v <= 0 {
				return 0, invalid
			}
			return v, nil
		}
	}
	return 0, invalid
}

// addressbookQuery finds cards by a filter (RFC 6352 section 8.6).
func (s *Server) addressbookQuery(ctx context.Context, r *request, res *resource, n *node) error {
	// Without the header it is 0 (RFC 3253 section 3.6), and nobody asks a
	// collection for nothing: who forgets it means what is in it.
	depth, err := r.depth(1)
	if err != nil {
		return err
	}
	filter, err := readCardFilter(n.child(cardName("filter")))
	if err != nil {
		return err
	}
	limit, err := readLimit(n.child(cardName("limit")), cardDialect.invalid("nresults is a number"))
	if err != nil {
		return err
	}
	if r.data, err = readData(n.child(davName("prop")), nil); err != nil {
		return err
	}
	m := r.multistatus(readAsked(n))
	given := 0
	give := func(in *resource) error {
		if limit > 0 && given == limit {
			return errMore
		}
		given++
		return m.add(ctx, in)
	}
	switch {
	case depth == 0:
	case res.is(isDirectory):
		err = s.findPeople(ctx, r, res, filter, limit, give)
	default:
		err = s.findCards(ctx, r, res, filter, give)
	}
	if errors.Is(err, errMore) { // RFC 6352 section 8.6.2
		err = m.status(res.href, http.StatusInsufficientStorage, &condition{name: davName("number-of-matches-within-limits")})
	}
	if err != nil {
		return err
	}
	return m.end(nil)
}

// findCards looks through an address book.
func (s *Server) findCards(ctx context.Context, r *request, res *resource, filter *cardMatcher, give func(*resource) error) error {
	version := "3.0"
	if r.data != nil {
		version = r.data.version
	}
	return s.objects(ctx, r, res, func(list []*store.Object) error {
		if len(filter.props) == 0 && r.data == nil {
			for _, o := range list {
				if err := give(res.of(o)); err != nil {
					return err
				}
			}
			return nil
		}
		return s.withTexts(ctx, r, res, list, func(o *store.Object) error {
			cards, _, err := vcard.Parse(o.Text, vcard.Object)
			if err != nil || len(cards) == 0 || !filter.matches(cards[0].To(version)) {
				return err
			}
			return give(res.of(o))
		})
	})
}

// maxFound bounds what one question of the address list gives.
const maxFound = 1000

// findPeople looks in the global address list. It finds beginnings of words, as
// every door of the directory does, and of those what the filter wants.
func (s *Server) findPeople(ctx context.Context, r *request, res *resource, filter *cardMatcher, limit int, give func(*resource) error) error {
	if limit == 0 || limit > maxFound {
		limit = maxFound
	}
	var words []string
	for _, f := range filter.props {
		for _, m := range f.texts {
			if !m.negate && m.text != "" {
				words = append(words, m.text)
			}
		}
	}
	if len(words) == 0 {
		words = []string{""}
	} else if filter.all {
		words = words[:1] // what the others want is seen below
	}
	seen := map[directory.ObjectID]bool{}
	for _, word := range words {
		for offset := 0; ; {
			people, total, err := s.people.People(ctx, r.who, directory.PeopleQuery{Text: word, Offset: offset, Limit: 100})
			if err != nil {
				return err
			}
			for i := range people {
				u := &people[i]
				if seen[u.ID] || u.Address == "" {
					continue
				}
				if len(filter.props) > 0 {
					text, err := (&request{server: s, who: r.who, data: &dataRequest{props: []propWish{{name: "FN"}}}}).personCard(ctx, u, "3.0")
					if err != nil {
						return err
					}
					cards, _, err := vcard.Parse(text, vcard.Object)
					if err != nil || len(cards) == 0 || !filter.matches(cards[0]) {
						continue
					}
				}
				if len(seen) == limit {
					return errMore
				}
				seen[u.ID] = true
				if err := give(res.ofPerson(u)); err != nil {
					return err
				}
			}
			if offset += len(people); len(people) == 0 || offset >= total || offset >= maxListed {
				break
			}
		}
	}
	return nil
}
