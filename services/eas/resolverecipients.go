package eas

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/directory"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// The Status values of ResolveRecipients (MS-ASCMD 2.2.3.177.14).
const (
	resolveOK        = 1
	resolveAmbiguous = 2 // of a Response
	resolvePartial   = 3
	resolveNone      = 4
	resolveProtocol  = 5 // of the command
	resolveNoCert    = 7 // of Certificates

	maxResolve    = 100 // names in a request (MS-ASCMD 3.1.5.10)
	maxCandidates = 20  // for one name, unless the phone says less
	maxAvailable  = 42 * 24 * time.Hour
)

// resolveRecipients finds the people that the phone's owner may mean
// (MS-ASCMD 2.2.1.15), and when they are free. Certificates are asked for along
// the way; there are none of them here, and that is what it says.
func (s *Server) resolveRecipients(ctx context.Context, r *request) error {
	req, err := r.tree(nil)
	if err != nil {
		return err
	}
	o := req.Child(wbxml.ResolveRecipientsOptions)
	most, err := o.Int(wbxml.ResolveRecipientsMaxAmbiguousRecipients, maxCandidates)
	extras, ok := resolveExtras(o)
	span, ok2 := askedTime(r.version, o)
	ok = ok && ok2
	asked := o.Child(wbxml.ResolveRecipientsPicture)
	if r.before(wbxml.V141) {
		asked = nil
	}
	pictures, fine := askedPhotos(resolvePhotos, asked)
	names := slices.Collect(req.All(wbxml.ResolveRecipientsTo))
	switch {
	case err != nil, !ok, !fine, len(names) == 0:
		return r.replyStatus(resolveProtocol)
	case len(names) > maxResolve:
		return status(StatusInvalidXML)
	}
	answer := wbxml.New(wbxml.ResolveRecipientsResolveRecipients, wbxml.NewInt(wbxml.ResolveRecipientsStatus, resolveOK))
	for _, n := range names {
		a, err := s.resolve(ctx, r, n.Value(), min(max(most, 0), maxCandidates), extras, span, pictures)
		if err != nil {
			return err
		}
		answer.Add(a)
	}
	r.done(strconv.Itoa(resolveOK))
	return r.reply(answer)
}

// resolve gives the Response for one name. An address that is somebody's means
// that person, whoever else it is the beginning of.
func (s *Server) resolve(ctx context.Context, r *request, name string, most int, extras []*wbxml.Node, span *timeSpan, pictures *photos) (*wbxml.Node, error) {
	var users []directory.User
	total := 0
	if text := strings.TrimSpace(name); text != "" && len(text) <= maxLongID {
		var err error
		users, total, err = s.people.People(ctx, r.who, directory.PeopleQuery{Text: text, Limit: maxCandidates})
		if err != nil {
			return nil, err
		}
		is := func(u directory.User) bool {
			same := func(a string) bool { return directory.Fold(a) == directory.Fold(text) }
			return same(u.Address) || slices.ContainsFunc(u.Addresses, same)
		}
		if i := slices.IndexFunc(users, is); i >= 0 {
			users, total = users[i:i+1], 1
		}
	}
	n := resolveOK
	switch {
	case total == 0:
		n = resolveNone
	case total > 1:
		n = resolveAmbiguous
		if users = users[:min(most, len(users))]; len(users) < total {
			n = resolvePartial
		}
	}
	answer := wbxml.New(wbxml.ResolveRecipientsResponse,
		wbxml.NewText(wbxml.ResolveRecipientsTo, name),
		wbxml.NewInt(wbxml.ResolveRecipientsStatus, n),
		wbxml.NewInt(wbxml.ResolveRecipientsRecipientCount, total))
	free, err := s.freeBusy(ctx, r, users, span)
	if err != nil {
		return nil, err
	}
	for i, u := range users {
		one := wbxml.New(wbxml.ResolveRecipientsRecipient,
			wbxml.NewInt(wbxml.ResolveRecipientsType, 1), // from the address list
			wbxml.NewText(wbxml.ResolveRecipientsDisplayName, u.Name),
			wbxml.NewText(wbxml.ResolveRecipientsEmailAddress, u.Address))
		if span != nil {
			one.Add(free[i])
		}
		one.Add(extras...)
		if err := pictures.add(ctx, s, r, one, u.ID); err != nil {
			return nil, err
		}
		answer.Add(one)
	}
	return answer, nil
}

// resolveExtras is what every recipient gets of what the phone asks for beside
// names; ok is false for options that make no sense.
func resolveExtras(o *wbxml.Node) (extras []*wbxml.Node, ok bool) {
	kind, err := o.Int(wbxml.ResolveRecipientsCertificateRetrieval, 1)
	if err != nil || kind < 1 || kind > 3 {
		return nil, false
	}
	if kind > 1 {
		extras = append(extras, wbxml.New(wbxml.ResolveRecipientsCertificates,
			wbxml.NewInt(wbxml.ResolveRecipientsStatus, resolveNoCert),
			wbxml.NewInt(wbxml.ResolveRecipientsCertificateCount, 0)))
	}
	return extras, true
}

// timeSpan is what a phone asks people's time of.
type timeSpan struct{ from, to time.Time }

// halfHours is how many digits it is told in.
func (t timeSpan) halfHours() int { return int((t.to.Sub(t.from) + halfHour - 1) / halfHour) }

const halfHour = 30 * time.Minute

// askedTime reads Availability; nil when none is asked for. ok is false for a
// time that makes no sense.
func askedTime(v wbxml.Version, o *wbxml.Node) (_ *timeSpan, ok bool) {
	a := o.Child(wbxml.ResolveRecipientsAvailability)
	if a == nil || v < wbxml.V140 {
		return nil, true
	}
	start, err1 := readNoticeTime(a.Get(wbxml.ResolveRecipientsStartTime))
	end, err2 := readNoticeTime(a.Get(wbxml.ResolveRecipientsEndTime))
	if err1 != nil || err2 != nil || start.IsZero() || !start.Before(end) || end.Sub(start) > maxAvailable {
		return nil, false
	}
	return &timeSpan{start, end}, true
}

// freeBusy gives Availability of people, in their order.
func (s *Server) freeBusy(ctx context.Context, r *request, users []directory.User, span *timeSpan) ([]*wbxml.Node, error) {
	if span == nil || len(users) == 0 {
		return nil, nil
	}
	addresses := make([]string, len(users))
	for i, u := range users {
		addresses[i] = u.Address
	}
	all, err := s.opt.Meetings.FreeBusy(ctx, r.who, addresses, span.from, span.to)
	if err != nil {
		return nil, err
	}
	nodes := make([]*wbxml.Node, len(users))
	for i := range users {
		merged := strings.Repeat("4", span.halfHours()) // no data
		if i < len(all) && all[i].View != store.ViewNone {
			merged = mergedFreeBusy(all[i].Slots, span)
		}
		nodes[i] = wbxml.New(wbxml.ResolveRecipientsAvailability,
			wbxml.NewInt(wbxml.ResolveRecipientsStatus, resolveOK), wbxml.NewText(wbxml.ResolveRecipientsMergedFreeBusy, merged))
	}
	return nodes, nil
}

// mergedFreeBusy writes a digit for each half hour: 0 free, 1 tentative, 2 busy,
// 3 away (MS-ASCMD 2.2.3.108). Of several the greatest counts; who works
// elsewhere is free to meet.
func mergedFreeBusy(slots []store.Slot, span *timeSpan) string {
	digits := []byte(strings.Repeat("0", span.halfHours()))
	for _, x := range slots {
		d := byte('0' + min(x.Busy, store.BusyOut))
		if x.Busy == store.BusyElsewhere {
			d = '0'
		}
		for i := max(int(x.Start.Sub(span.from)/halfHour), 0); i < len(digits); i++ {
			begin := span.from.Add(time.Duration(i) * halfHour)
			if !begin.Before(x.End) {
				break
			}
			if begin.Add(halfHour).After(x.Start) {
				digits[i] = max(digits[i], d)
			}
		}
	}
	return string(digits)
}
