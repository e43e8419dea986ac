package dav

import (
	"bytes"
	"testing"
	"time"

	"waypost/internal/ical"
	"waypost/internal/vcard"
)

// FuzzReport reads anything as a request, judges objects by the filters in it and
// writes what it asks of them. Whatever comes, the answer is XML.
func FuzzReport(f *testing.F) {
	for _, seed := range []string{
		calQuery(comp("VEVENT", span("20260301T000000Z", "20260401T000000Z")), `<C:calendar-data><C:expand start="20260301T000000Z" end="20260401T000000Z"/></C:calendar-data>`),
		calQuery(comp("VTODO", `<C:prop-filter name="COMPLETED"><C:is-not-defined/></C:prop-filter>`), `<C:calendar-data><C:comp name="VCALENDAR"><C:comp name="VTODO"><C:prop name="UID"/></C:comp></C:comp></C:calendar-data>`),
		calQuery(comp("VEVENT", `<C:comp-filter name="VALARM">`+span("20260301T000000Z", "")+`</C:comp-filter>`), `<C:calendar-data><C:limit-recurrence-set start="20260301T000000Z" end="20260401T000000Z"/></C:calendar-data>`),
		`<A:addressbook-query xmlns="DAV:" xmlns:A="urn:ietf:params:xml:ns:carddav"><prop><A:address-data version="4.0"><A:prop name="FN"/></A:address-data></prop><A:filter test="allof"><A:prop-filter name="TEL"><A:param-filter name="TYPE"><A:text-match match-type="ends-with">x</A:text-match></A:param-filter></A:prop-filter></A:filter><A:limit><A:nresults>3</A:nresults></A:limit></A:addressbook-query>`,
		syncBody("urn:waypost:sync:F1:1:2:3@4", "<limit><nresults>1</nresults></limit>"),
		`<propertyupdate xmlns="DAV:"><set><prop><displayname>x</displayname><a b:c="d" xmlns:b="urn:b" xmlns="urn:a">t<e/>&#13;</a></prop></set><remove><prop><a/></prop></remove></propertyupdate>`,
		`<mkcol xmlns="DAV:"><set><prop><resourcetype><collection/></resourcetype></prop></set></mkcol>`,
		`<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`,
	} {
		f.Add([]byte(seed))
	}
	cal, err := parseCalendar([]byte(event("x", "DTSTART;TZID=Europe/Berlin:20260301T100000\nRRULE:FREQ=SECONDLY\nSUMMARY:x\nBEGIN:VALARM\nTRIGGER:-PT5M\nREPEAT:3\nDURATION:PT1M\nEND:VALARM")))
	if err != nil {
		f.Fatal(err)
	}
	cards, _, err := vcard.Parse([]byte(card("x", "FN:X\nTEL;TYPE=home:1")), vcard.Object)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := readXML(bytes.NewReader(b))
		if err != nil || n == nil {
			return
		}
		began := time.Now()
		if top := n.child(calName("filter"), calName("comp-filter")); top != nil {
			if filter, err := calDialect.comp(top); err == nil {
				(&calendarMatcher{filter: filter, floating: time.UTC}).matches(cal.Clone())
			}
		}
		if m, err := readCardFilter(n.child(cardName("filter"))); err == nil {
			m.matches(cards[0].Clone())
		}
		if d, err := readData(n.child(davName("prop")), time.UTC); err == nil && d != nil {
			if text, err := d.calendar(cal.Append(nil)); err == nil {
				if _, _, err := ical.Parse(text, ical.Object); err != nil {
					t.Errorf("what is given of a calendar: %v", err)
				}
			}
			if d.props != nil {
				_, _ = d.card(cards[0].Append(nil))
			}
		}
		_, _ = readLimit(n.child(davName("limit")), errValue)
		c := change{now: time.Now()}
		list := updates(n)
		errs, _ := c.applyAll(list, isCalendar)
		var x xmlWriter
		x.begin(davName("multistatus"))
		x.fates(list, errs)
		for key, value := range c.props.Dead {
			if keyOfName(nameOfKey(key)) != key {
				t.Errorf("key %q", key)
			}
			x.str(value)
		}
		x.text(davName("displayname"), string(b))
		x.node(n)
		x.end(davName("multistatus"))
		if _, err := readXML(bytes.NewReader(x.b)); err != nil && len(list) < 1000 {
			t.Errorf("what is written is no XML: %v\n%q", err, x.b)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
