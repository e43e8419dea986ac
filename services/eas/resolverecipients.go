package eas

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/directory"
	"waypost/services/eas/wbxml"
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
// (MS-ASCMD 2.2.1.15). Certificates and free/busy times are asked for along the
// way; there are none of them here, and that is what it says.
func (s *Server) resolveRecipients(ctx context.Context, r *request) error {
	req, err := r.tree(nil)
	if err != nil {
		return err
	}
	o := req.Child(wbxml.ResolveRecipientsOptions)
	most, err := o.Int(wbxml.ResolveRecipientsMaxAmbiguousRecipients, maxCandidates)
	extras, ok := resolveExtras(r.version, o)
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
		a, err := s.resolve(ctx, r, n.Value(), min(max(most, 0), maxCandidates), extras, pictures)
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
func (s *Server) resolve(ctx context.Context, r *request, name string, most int, extras []*wbxml.Node, pictures *photos) (*wbxml.Node, error) {
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
	for _, u := range users {
		one := wbxml.New(wbxml.ResolveRecipientsRecipient,
			wbxml.NewInt(wbxml.ResolveRecipientsType, 1), // from the address list
			wbxml.NewText(wbxml.ResolveRecipientsDisplayName, u.Name),
			wbxml.NewText(wbxml.ResolveRecipientsEmailAddress, u.Address)).Add(extras...)
		if err := pictures.add(ctx, s, r, one, u.ID); err != nil {
			return nil, err
		}
		answer.Add(one)
	}
	return answer, nil
}

// resolveExtras is what every recipient gets of what the phone asks for beside
// names; ok is false for options that make no sense.
func resolveExtras(v wbxml.Version, o *wbxml.Node) (extras []*wbxml.Node, ok bool) {
	if a := o.Child(wbxml.ResolveRecipientsAvailability); a != nil && v >= wbxml.V140 {
		start, err1 := readNoticeTime(a.Get(wbxml.ResolveRecipientsStartTime))
		end, err2 := readNoticeTime(a.Get(wbxml.ResolveRecipientsEndTime))
		span := end.Sub(start)
		if err1 != nil || err2 != nil || start.IsZero() || span <= 0 || span > maxAvailable {
			return nil, false
		}
		half := int((span + 30*time.Minute - 1) / (30 * time.Minute))
		extras = append(extras, wbxml.New(wbxml.ResolveRecipientsAvailability,
			wbxml.NewInt(wbxml.ResolveRecipientsStatus, resolveOK),
			wbxml.NewText(wbxml.ResolveRecipientsMergedFreeBusy, strings.Repeat("4", half)))) // 4: no data
	}
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
