package eas

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"time"

	"waypost/directory"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

type settingsStore interface {
	Settings(ctx context.Context, as directory.Principal, box store.MailboxID) (store.Settings, error)
	UpdateSettings(ctx context.Context, as directory.Principal, box store.MailboxID, fn func(*store.Settings) error) (store.Settings, error)
}

// The Status values of Settings and of its properties (MS-ASCMD 2.2.3.177.16).
const (
	settingsOK       = 1
	settingsProtocol = 2
	settingsInvalid  = 5 // also: password too long
	settingsPolicy   = 7 // also: recovery is off
)

// settings reads and sets what the phone's owner may: each property of the
// request has one in the answer, in the same order (MS-ASCMD 2.2.1.18).
func (s *Server) settings(ctx context.Context, r *request) error {
	req, err := r.tree(nil)
	if err != nil {
		return err
	}
	properties := map[wbxml.Tag]func(context.Context, *request, *wbxml.Node) (*wbxml.Node, error){
		wbxml.SettingsRightsManagementInformation: s.rightsManagement,
		wbxml.SettingsOof:                         s.outOfOffice,
		wbxml.SettingsDevicePassword:              s.devicePassword,
		wbxml.SettingsDeviceInformation:           s.deviceInformation,
		wbxml.SettingsUserInformation:             s.userInformation,
	}
	var answers []*wbxml.Node
	for _, c := range req.Children {
		property := properties[c.Tag]
		if property == nil {
			continue
		}
		a, err := property(ctx, r, c)
		if err != nil {
			return err
		}
		answers = append(answers, a)
	}
	if len(answers) == 0 {
		return r.replyStatus(settingsProtocol)
	}
	r.done(strconv.Itoa(settingsOK))
	return r.reply(wbxml.New(wbxml.SettingsSettings, wbxml.NewInt(wbxml.SettingsStatus, settingsOK)).Add(answers...))
}

// property is the answer to one property.
func property(tag wbxml.Tag, status int, more ...*wbxml.Node) (*wbxml.Node, error) {
	return wbxml.New(tag, wbxml.NewInt(wbxml.SettingsStatus, status)).Add(more...), nil
}

// rightsManagement tells that there is none.
func (s *Server) rightsManagement(_ context.Context, _ *request, n *wbxml.Node) (*wbxml.Node, error) {
	return property(n.Tag, StatusIRMFeatureDisabled)
}

// informationFields are what a phone says about itself (MS-ASCMD 2.2.3.45).
var informationFields = []wbxml.Tag{
	wbxml.SettingsModel, wbxml.SettingsIMEI, wbxml.SettingsFriendlyName, wbxml.SettingsOS, wbxml.SettingsOSLanguage,
	wbxml.SettingsPhoneNumber, wbxml.SettingsUserAgent, wbxml.SettingsMobileOperator, wbxml.SettingsEnableOutboundSMS,
}

// maxInformation is the longest value kept, in bytes.
const maxInformation = 1024

func (s *Server) deviceInformation(ctx context.Context, r *request, n *wbxml.Node) (*wbxml.Node, error) {
	set := n.Child(wbxml.SettingsSet)
	if set == nil {
		return property(n.Tag, settingsProtocol)
	}
	if err := s.takeDeviceInformation(ctx, r, set); err != nil {
		return nil, err
	}
	return property(n.Tag, settingsOK)
}

// takeDeviceInformation notes what a phone says about itself. It is shown to
// administrators and believed by nobody.
func (s *Server) takeDeviceInformation(ctx context.Context, r *request, set *wbxml.Node) error {
	info := map[string]string{}
	for _, tag := range informationFields {
		if v := strings.TrimSpace(set.Get(tag)); v != "" {
			info[tag.Name()] = strings.ToValidUTF8(limit(v, maxInformation), "")
		}
	}
	if len(info) == 0 || maps.Equal(info, r.device.Info) {
		return nil
	}
	return s.updateDevice(ctx, r, func(d *store.Device) { d.Info = info })
}

// maxRecovery is the longest recovery password (MS-ASCMD 2.2.3.46).
const maxRecovery = 255

func (s *Server) devicePassword(ctx context.Context, r *request, n *wbxml.Node) (*wbxml.Node, error) {
	password := n.Child(wbxml.SettingsSet, wbxml.SettingsPassword)
	switch {
	case password == nil:
		return property(n.Tag, settingsProtocol)
	case s.opt.Seal == nil || s.opt.Policy == nil || !s.opt.Policy.Recovery:
		return property(n.Tag, settingsPolicy)
	case len(password.Value()) > maxRecovery:
		return property(n.Tag, settingsInvalid)
	}
	var sealed []byte
	if v := password.Value(); v != "" {
		var err error
		if sealed, err = s.opt.Seal([]byte(v)); err != nil {
			return nil, err
		}
	}
	if err := s.updateDevice(ctx, r, func(d *store.Device) { d.Secret = sealed }); err != nil {
		return nil, err
	}
	return property(n.Tag, settingsOK)
}

// userInformation gives the owner's addresses, from 14.1 on by account.
func (s *Server) userInformation(ctx context.Context, r *request, n *wbxml.Node) (*wbxml.Node, error) {
	if !n.Has(wbxml.SettingsGet) {
		return property(n.Tag, settingsProtocol)
	}
	u, err := s.people.User(ctx, r.who, r.who.ID)
	if err != nil {
		return nil, err
	}
	addresses := wbxml.New(wbxml.SettingsEmailAddresses)
	add := func(a string) { addresses.Add(wbxml.NewText(wbxml.SettingsSMTPAddress, a)) }
	add(u.Address)
	for _, a := range u.Addresses {
		if !strings.EqualFold(a, u.Address) {
			add(a)
		}
	}
	if r.before(wbxml.V141) {
		return property(n.Tag, settingsOK, wbxml.New(wbxml.SettingsGet, addresses))
	}
	addresses.Add(wbxml.NewText(wbxml.SettingsPrimarySmtpAddress, u.Address))
	account := wbxml.New(wbxml.SettingsAccount)
	if u.Name != "" {
		account.Add(wbxml.NewText(wbxml.SettingsUserDisplayName, u.Name))
	}
	account.Add(addresses)
	return property(n.Tag, settingsOK, wbxml.New(wbxml.SettingsGet, wbxml.New(wbxml.SettingsAccounts, account)))
}

// audiences are the three groups that an absence notice may differ for
// (MS-ASCMD 2.2.3.113).
var audiences = []struct {
	tag wbxml.Tag
	of  func(*store.OutOfOffice) *store.OutOfMessage
}{
	{wbxml.SettingsAppliesToInternal, func(o *store.OutOfOffice) *store.OutOfMessage { return &o.Internal }},
	{wbxml.SettingsAppliesToExternalKnown, func(o *store.OutOfOffice) *store.OutOfMessage { return &o.Known }},
	{wbxml.SettingsAppliesToExternalUnknown, func(o *store.OutOfOffice) *store.OutOfMessage { return &o.Unknown }},
}

// oofStates are the states of an absence notice, by their number.
var oofStates = []string{"", "on", "timed"}

// maxNotice is the longest text of an absence notice, in bytes.
const maxNotice = 256 << 10

func (s *Server) outOfOffice(ctx context.Context, r *request, n *wbxml.Node) (*wbxml.Node, error) {
	switch {
	case n.Has(wbxml.SettingsGet):
		st, err := s.store.Settings(ctx, r.who, r.box())
		if err != nil {
			return nil, err
		}
		return property(n.Tag, settingsOK, oofAnswer(&st.OutOfOffice))
	case n.Has(wbxml.SettingsSet):
		set, status := oofRequest(n.Child(wbxml.SettingsSet))
		if status != settingsOK {
			return property(n.Tag, status)
		}
		_, err := s.store.UpdateSettings(ctx, r.who, r.box(), func(st *store.Settings) error {
			set(&st.OutOfOffice)
			return nil
		})
		if err != nil {
			return nil, err
		}
		return property(n.Tag, settingsOK)
	}
	return property(n.Tag, settingsProtocol)
}

// noticeTime is how the times of a notice are written (MS-ASDTYPE 2.3).
const noticeTime = "2006-01-02T15:04:05.000Z"

// readNoticeTime reads such a time, with or without a fraction and dashes; an
// empty text is the zero time.
func readNoticeTime(s string) (t time.Time, err error) {
	if s = strings.TrimSpace(s); s == "" {
		return time.Time{}, nil
	}
	if t, err = time.Parse(time.RFC3339Nano, s); err != nil {
		t, err = time.Parse("20060102T150405Z", s)
	}
	return t.UTC(), err
}

// oofAnswer gives the notice for all audiences.
func oofAnswer(o *store.OutOfOffice) *wbxml.Node {
	state := 0
	for i, name := range oofStates {
		if name == o.State {
			state = i
		}
	}
	get := wbxml.New(wbxml.SettingsGet, wbxml.NewInt(wbxml.SettingsOofState, state))
	if !o.Start.IsZero() && !o.End.IsZero() {
		get.Add(wbxml.NewText(wbxml.SettingsStartTime, o.Start.UTC().Format(noticeTime)), wbxml.NewText(wbxml.SettingsEndTime, o.End.UTC().Format(noticeTime)))
	}
	for _, a := range audiences {
		m := a.of(o)
		body := "Text"
		if m.HTML {
			body = "HTML"
		}
		msg := wbxml.New(wbxml.SettingsOofMessage, wbxml.New(a.tag), wbxml.NewText(wbxml.SettingsEnabled, oneOrZero(m.Enabled)))
		if m.Text != "" {
			msg.Add(wbxml.NewText(wbxml.SettingsReplyMessage, m.Text), wbxml.NewText(wbxml.SettingsBodyType, body))
		}
		get.Add(msg)
	}
	return get
}

// oofRequest reads what the phone sets; audiences that it does not name stay.
func oofRequest(set *wbxml.Node) (func(*store.OutOfOffice), int) {
	state, err := set.Int(wbxml.SettingsOofState, 0)
	if err != nil || state < 0 || state >= len(oofStates) {
		return nil, settingsInvalid
	}
	start, errStart := readNoticeTime(set.Get(wbxml.SettingsStartTime))
	end, errEnd := readNoticeTime(set.Get(wbxml.SettingsEndTime))
	switch {
	case errStart != nil || errEnd != nil:
		return nil, settingsInvalid
	case start.IsZero() != end.IsZero(), oofStates[state] == "timed" && start.IsZero(): // both or none
		return nil, settingsProtocol
	case end.Before(start):
		return nil, settingsInvalid
	}
	type change struct {
		of func(*store.OutOfOffice) *store.OutOfMessage
		to store.OutOfMessage
	}
	var changes []change
	for m := range set.All(wbxml.SettingsOofMessage) {
		text := m.Get(wbxml.SettingsReplyMessage)
		if len(text) > maxNotice {
			return nil, settingsInvalid
		}
		to := store.OutOfMessage{
			Enabled: m.Bool(wbxml.SettingsEnabled, false), Text: text,
			HTML: strings.EqualFold(m.Get(wbxml.SettingsBodyType), "HTML"),
		}
		for _, a := range audiences {
			if m.Has(a.tag) {
				changes = append(changes, change{a.of, to})
			}
		}
	}
	return func(o *store.OutOfOffice) {
		o.State = oofStates[state]
		if o.Start, o.End = start, end; o.State != "timed" {
			o.Start, o.End = time.Time{}, time.Time{}
		}
		for _, c := range changes {
			*c.of(o) = c.to
		}
	}, settingsOK
}
