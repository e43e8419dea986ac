package dav

import (
	"context"
	"encoding/xml"
	"net/http"

	"waypost/store"
)

// Calendars elsewhere that somebody subscribed to (calendarserver.org's
// caldav-subscribed): a program makes one by MKCOL or MKCALENDAR with the type
// CS:subscribed and CS:source, the address. The server reads it, so that every
// program of its owner sees what is in it, also those that know no subscriptions;
// therefore it is a C:calendar as well, for reading only.

var (
	subscribedType = serverName("subscribed")
	sourceName     = serverName("source")
)

// subscribedProperties are those of such a calendar.
func subscribedProperties() map[xml.Name]*property {
	return map[xml.Name]*property{
		sourceName: {on: isCalendar, write: writeSource, set: setSource},
	}
}

func writeSource(ctx context.Context, r *request, res *resource, x *xmlWriter) error {
	if res.folder.Origin != store.OriginFeed {
		return errAbsent
	}
	if r.feeds == nil {
		list, err := r.server.store.Feeds(ctx, r.who, res.owner.box)
		if err != nil {
			return err
		}
		r.feeds = map[store.FolderID]string{}
		for _, f := range list {
			r.feeds[f.Folder] = f.URL
		}
	}
	url := r.feeds[res.folder.ID]
	if url == "" {
		return errAbsent
	}
	x.href(url)
	return nil
}

// setSource takes the address of a calendar that is made; one that is there keeps
// its own.
func setSource(n *node, c *change) error {
	if !c.subscribed || n == nil {
		return failed(http.StatusForbidden, davName("cannot-modify-protected-property"), "")
	}
	c.source = n.child(davName("href")).text()
	if c.source == "" {
		return errValue
	}
	return nil
}

// asksSubscribed tells whether a calendar that is to be made is one elsewhere.
func asksSubscribed(list []update) bool {
	for _, u := range list {
		if u.name == davName("resourcetype") && !u.remove {
			return u.value.child(subscribedType) != nil
		}
	}
	return false
}

// make makes a folder of a name: one's own, or one that shows a calendar elsewhere.
func (s *Server) make(ctx context.Context, r *request, o owner, f store.Folder, c *change) (store.Folder, error) {
	if !c.subscribed {
		return s.store.CreateFolder(ctx, r.who, o.box, f)
	}
	return s.store.Subscribe(ctx, r.who, o.box, f, c.props, c.source)
}
