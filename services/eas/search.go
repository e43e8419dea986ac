package eas

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"waypost/directory"
	"waypost/services/eas/wbxml"
)

// The Status values of Search and of its Store (MS-ASCMD 2.2.3.177.15).
const (
	searchOK       = 1
	searchInvalid  = 2
	searchServer   = 3
	searchPastEnd  = 12
	searchMaxRange = 100 // results at a time
)

// searcher looks in one store and gives the Store element of the answer.
type searcher func(ctx context.Context, r *request, in *wbxml.Node) (*wbxml.Node, error)

// searchers are the stores that exist, by name (MS-ASCMD 2.2.3.110.2).
func (s *Server) searchers() map[string]searcher {
	return map[string]searcher{
		"gal":     s.searchPeople,
		"mailbox": s.searchMailbox,
	}
}

// search looks in the global address list or the mailbox (MS-ASCMD 2.2.1.16).
func (s *Server) search(ctx context.Context, r *request) error {
	req, err := r.tree(nil)
	if err != nil {
		return err
	}
	in := req.Child(wbxml.SearchStore)
	find := s.searchers()[strings.ToLower(in.Get(wbxml.SearchName))]
	var out *wbxml.Node
	if find == nil {
		out = searchStatus(searchInvalid)
	} else if out, err = find(ctx, r, in); err != nil {
		return err
	}
	r.done(out.Get(wbxml.SearchStatus))
	return r.reply(wbxml.New(wbxml.SearchSearch,
		wbxml.NewInt(wbxml.SearchStatus, searchOK),
		wbxml.New(wbxml.SearchResponse, out)))
}

func searchStatus(n int) *wbxml.Node {
	return wbxml.New(wbxml.SearchStore, wbxml.NewInt(wbxml.SearchStatus, n))
}

// results is the Store element with the hits of a range. Android shows nothing
// without Range and Total; no hits are one empty Result.
func searchResults(first, total int, hits []*wbxml.Node) *wbxml.Node {
	out := searchStatus(searchOK)
	last := max(first+len(hits)-1, first)
	if len(hits) == 0 {
		hits = []*wbxml.Node{wbxml.New(wbxml.SearchResult)}
	}
	return out.Add(hits...).Add(
		wbxml.NewText(wbxml.SearchRange, fmt.Sprintf("%d-%d", first, last)),
		wbxml.NewInt(wbxml.SearchTotal, total))
}

// searchRange reads "m-n", counted from 0 (MS-ASCMD 2.2.3.143); without one it
// is the first page.
func searchRange(s string) (first, count int, ok bool) {
	if s = strings.TrimSpace(s); s == "" {
		return 0, searchMaxRange, true
	}
	m, n, cut := strings.Cut(s, "-")
	first, err1 := strconv.Atoi(m)
	last, err2 := strconv.Atoi(n)
	if !cut || err1 != nil || err2 != nil || first < 0 || last < first || last > 1<<24 {
		return 0, 0, false
	}
	return first, min(last-first+1, searchMaxRange), true
}

// searchPeople looks in the global address list for names, aliases and
// addresses that begin with the query.
func (s *Server) searchPeople(ctx context.Context, r *request, in *wbxml.Node) (*wbxml.Node, error) {
	options := in.Child(wbxml.SearchOptions)
	first, count, ok := searchRange(options.Get(wbxml.SearchRange))
	text := strings.TrimSpace(in.Get(wbxml.SearchQuery))
	asked := options.Child(wbxml.SearchPicture)
	if r.before(wbxml.V141) {
		asked = nil
	}
	pictures, fine := askedPhotos(searchPhotos, asked)
	if !ok || !fine || text == "" || len(text) > maxLongID {
		return searchStatus(searchInvalid), nil
	}
	users, total, err := s.people.People(ctx, r.who, directory.PeopleQuery{Text: text, Offset: first, Limit: count})
	if err != nil {
		return nil, err
	}
	if first > 0 && first >= total {
		return searchStatus(searchPastEnd), nil
	}
	var hits []*wbxml.Node
	for _, u := range users {
		p := person(u)
		if err := pictures.add(ctx, s, r, p, u.ID); err != nil {
			return nil, err
		}
		hits = append(hits, wbxml.New(wbxml.SearchResult, p))
	}
	return searchResults(first, total, hits), nil
}

// person gives a user's entry in the address list. Nokia's client wants first
// and last name even when they are empty.
func person(u directory.User) *wbxml.Node {
	p := wbxml.New(wbxml.SearchProperties)
	for _, f := range []struct {
		tag    wbxml.Tag
		value  string
		always bool
	}{
		{wbxml.GalDisplayName, u.Name, true},
		{wbxml.GalPhone, u.Phone, false},
		{wbxml.GalOffice, u.Office, false},
		{wbxml.GalTitle, u.Title, false},
		{wbxml.GalCompany, u.Company, false},
		{wbxml.GalAlias, u.Account, false},
		{wbxml.GalFirstName, u.Given, true},
		{wbxml.GalLastName, u.Surname, true},
		{wbxml.GalHomePhone, u.HomePhone, false},
		{wbxml.GalMobilePhone, u.Mobile, false},
		{wbxml.GalEmailAddress, u.Address, true},
	} {
		if f.always || f.value != "" {
			p.Add(wbxml.NewText(f.tag, f.value))
		}
	}
	return p
}
