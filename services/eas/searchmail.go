package eas

import (
	"bytes"
	"context"
	"strings"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// Further Status values of a Store in Search (MS-ASCMD 2.2.3.177.15).
const (
	searchNotFound   = 6
	searchTooComplex = 8
	searchFolderSync = 11
)

// searchMailbox looks for messages (MS-ASCMD 2.2.1.16, 2.2.3.132.1). A LongId
// is the item's id: it stays what it is wherever the item goes.
func (s *Server) searchMailbox(ctx context.Context, r *request, in *wbxml.Node) (*wbxml.Node, error) {
	options := in.Child(wbxml.SearchOptions)
	first, count, ok := searchRange(options.Get(wbxml.SearchRange))
	if !ok {
		return searchStatus(searchInvalid), nil
	}
	query := in.Child(wbxml.SearchQuery)
	if and := query.Child(wbxml.SearchAnd); and != nil {
		query = and
	}
	q, st := readFind(r, query)
	if st != searchOK {
		return searchStatus(st), nil
	}
	q.Offset, q.Limit, q.Deep = first, count, options.Has(wbxml.SearchDeepTraversal)
	opts := defaultOptions()
	if options != nil {
		var err error
		if opts, err = readOptionSet(options); err != nil {
			return searchStatus(searchInvalid), nil
		}
	}
	entries, total, err := s.store.FindMessages(ctx, r.who, r.box(), q)
	switch {
	case err == nil:
	case fault.Of(err) == fault.NotFound:
		return searchStatus(searchFolderSync), nil
	default:
		return nil, err
	}
	if first > 0 && first >= total {
		return searchStatus(searchPastEnd), nil
	}
	items := make([]store.ItemID, len(entries))
	for i, e := range entries {
		items[i] = e.Item
	}
	var msgs []*store.Message
	if len(items) > 0 {
		if msgs, err = s.store.Messages(ctx, r.who, r.box(), items); err != nil {
			return nil, err
		}
	}
	w := &itemWriter{mail: s.store, who: who{r.who, r.box()}, version: r.version, opts: &opts}
	var hits []*wbxml.Node
	left := int64(maxAnswer)
	for i, m := range msgs {
		if m == nil {
			continue
		}
		if left -= itemOverhead + estimateBody(m, &opts, r.version); left < 0 && len(hits) > 0 {
			break // the phone asks for the rest by another Range
		}
		hit, err := s.hit(ctx, w, m, &entries[i])
		if err != nil {
			return nil, err
		}
		hits = append(hits, hit)
	}
	return searchResults(first, total, hits), nil
}

// hit is one Result.
func (s *Server) hit(ctx context.Context, w *itemWriter, m *store.Message, n *store.Entry) (*wbxml.Node, error) {
	props, err := treeOf(func(e *wbxml.Encoder) error {
		e.Start(wbxml.SearchProperties)
		if err := w.write(ctx, e, m, n); err != nil && (fault.Of(err) != fault.NotFound || e.Err() != nil) {
			return err
		}
		e.End()
		return e.Err()
	})
	if err != nil {
		return nil, err
	}
	return wbxml.New(wbxml.SearchResult,
		wbxml.NewText(wbxml.AirSyncClass, "Email"),
		wbxml.NewText(wbxml.SearchLongId, itemID(m.Item)),
		wbxml.NewText(wbxml.AirSyncCollectionId, folderServerID(n.Folder)),
		props), nil
}

// treeOf gives what fn writes as a tree.
func treeOf(fn func(e *wbxml.Encoder) error) (*wbxml.Node, error) {
	var b buffer
	e := wbxml.NewEncoder(&b)
	if err := fn(e); err != nil {
		return nil, err
	}
	if err := e.Flush(); err != nil {
		return nil, err
	}
	d := wbxml.NewDecoder(bytes.NewReader(b), wbxml.Limits{})
	n := d.Tree(nil)
	return n, d.Err()
}

// readFind reads a Query: the conditions stand side by side in one And.
func readFind(r *request, n *wbxml.Node) (store.Find, int) {
	var q store.Find
	if n == nil {
		return q, searchInvalid
	}
	var text []string
	asked := false
	for _, c := range n.Children {
		switch c.Tag {
		case wbxml.AirSyncClass:
			if c.Value() != "Email" {
				return q, searchTooComplex
			}
		case wbxml.AirSyncCollectionId:
			id, ok := parseFolderID(c.Value())
			if !ok {
				return q, searchFolderSync
			}
			if id != 0 { // Outlook for phones means all folders by 0
				q.Folders = append(q.Folders, id)
			}
		case wbxml.SearchFreeText:
			asked = true
			text = append(text, strings.ReplaceAll(c.Value(), `"`, " "))
		case wbxml.SearchConversationId:
			asked = true
			t, ok := parseConversation(r.box(), []byte(c.Value()))
			if !ok {
				return q, searchNotFound
			}
			q.Thread = t
		case wbxml.SearchGreaterThan, wbxml.SearchLessThan:
			asked = true
			t, ok := parseTime(c.Get(wbxml.SearchValue))
			if !ok || !c.Has(wbxml.EmailDateReceived) {
				return q, searchInvalid
			}
			if c.Tag == wbxml.SearchGreaterThan {
				q.After = t
			} else {
				q.Before = t
			}
		case wbxml.SearchAnd, wbxml.SearchOr, wbxml.SearchEqualTo:
			return q, searchTooComplex
		}
	}
	q.Text = strings.Join(strings.Fields(strings.Join(text, " ")), " ")
	if !asked || len(q.Text) > maxParam || len(text) > 0 && q.Text == "" && q.Thread == 0 && q.After.IsZero() && q.Before.IsZero() {
		return q, searchInvalid
	}
	return q, searchOK
}
