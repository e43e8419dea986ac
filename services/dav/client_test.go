package dav

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/emersion/go-ical"
	"github.com/emersion/go-vcard"
	"github.com/emersion/go-webdav"
	"github.com/emersion/go-webdav/caldav"
	"github.com/emersion/go-webdav/carddav"
)

func basic() webdav.HTTPClient {
	return webdav.HTTPClientWithBasicAuth(http.DefaultClient, "alice@example.test", "secret")
}

// TestGoClients goes through discovery, writing, queries and sync with clients
// that are not ours.
func TestGoClients(t *testing.T) {
	s := newSite(t, Options{})
	url := s.serve()
	ctx := context.Background()
	c, err := caldav.NewClient(basic(), url+"/dav/")
	if err != nil {
		t.Fatal(err)
	}
	me, err := c.FindCurrentUserPrincipal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	home, err := c.FindCalendarHomeSet(ctx, me)
	if err != nil {
		t.Fatal(err)
	}
	cals, err := c.FindCalendars(ctx, home)
	if err != nil || len(cals) != 4 || cals[0].Name != "Calendar" || strings.Join(cals[0].SupportedComponentSet, " ") != "VEVENT" || cals[0].MaxResourceSize != MaxObject {
		t.Fatalf("%+v %v", cals, err)
	}
	in, err := ical.NewDecoder(strings.NewReader(event("go", "DTSTART:20260301T100000Z\nDTEND:20260301T110000Z\nSUMMARY:From Go"))).Decode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutCalendarObject(ctx, cals[0].Path+"go.ics", in); err != nil {
		t.Fatal(err)
	}
	from, to := at("20260301T000000Z"), at("20260302T000000Z")
	found, err := c.QueryCalendar(ctx, cals[0].Path, &caldav.CalendarQuery{
		CompRequest: caldav.CalendarCompRequest{Name: "VCALENDAR", AllProps: true, AllComps: true, Expand: &caldav.CalendarExpandRequest{Start: from, End: to}},
		CompFilter:  caldav.CompFilter{Name: "VCALENDAR", Comps: []caldav.CompFilter{{Name: "VEVENT", Start: from, End: to}}},
	})
	if err != nil || len(found) != 1 || found[0].ETag == "" || found[0].Data.Events()[0].Props.Get("SUMMARY").Value != "From Go" {
		t.Fatalf("%+v %v", found, err)
	}
	got, err := c.MultiGetCalendar(ctx, cals[0].Path, &caldav.CalendarMultiGet{Paths: []string{found[0].Path}, CompRequest: caldav.CalendarCompRequest{Name: "VCALENDAR", AllProps: true, AllComps: true}})
	if err != nil || len(got) != 1 || got[0].ETag != found[0].ETag {
		t.Fatalf("%+v %v", got, err)
	}
	if o, err := c.GetCalendarObject(ctx, found[0].Path); err != nil || o.ETag != found[0].ETag {
		t.Fatalf("%+v %v", o, err)
	}
	if err := c.RemoveAll(ctx, found[0].Path); err != nil {
		t.Fatal(err)
	}

	d, err := carddav.NewClient(basic(), url+"/dav/")
	if err != nil {
		t.Fatal(err)
	}
	if home, err = d.FindAddressBookHomeSet(ctx, me); err != nil {
		t.Fatal(err)
	}
	books, err := d.FindAddressBooks(ctx, home)
	if err != nil || len(books) != 2 || books[0].Name != "Contacts" {
		t.Fatalf("%+v %v", books, err)
	}
	first, err := d.SyncCollection(ctx, books[0].Path, &carddav.SyncQuery{DataRequest: carddav.AddressDataRequest{AllProp: true}})
	if err != nil || first.SyncToken == "" || len(first.Updated) != 0 {
		t.Fatalf("%+v %v", first, err)
	}
	v, err := vcard.NewDecoder(strings.NewReader(card("go", "FN:Go Pher\nN:Pher;Go;;;"))).Decode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.PutAddressObject(ctx, books[0].Path+"go.vcf", v); err != nil {
		t.Fatal(err)
	}
	next, err := d.SyncCollection(ctx, books[0].Path, &carddav.SyncQuery{SyncToken: first.SyncToken, DataRequest: carddav.AddressDataRequest{AllProp: true}})
	if err != nil || len(next.Updated) != 1 {
		t.Fatalf("%+v %v", next, err)
	}
	people, err := d.QueryAddressBook(ctx, books[0].Path, &carddav.AddressBookQuery{
		DataRequest: carddav.AddressDataRequest{Props: []string{"FN"}}, Limit: 5,
		PropFilters: []carddav.PropFilter{{Name: "FN", TextMatches: []carddav.TextMatch{{Text: "pher", MatchType: carddav.MatchEndsWith}}}},
	})
	if err != nil || len(people) != 1 || people[0].Card.Value("FN") != "Go Pher" {
		t.Fatalf("%+v %v", people, err)
	}
	if err := d.RemoveAll(ctx, books[0].Path+"go.vcf"); err != nil {
		t.Fatal(err)
	}
	gone, err := d.SyncCollection(ctx, books[0].Path, &carddav.SyncQuery{SyncToken: next.SyncToken})
	if err != nil || len(gone.Deleted) != 1 || gone.Deleted[0] != books[0].Path+"go.vcf" {
		t.Fatalf("%+v %v", gone, err)
	}
}
