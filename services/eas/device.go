package eas

import (
	"context"
	"maps"
	"strings"
	"time"

	"waypost/directory"
	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

type deviceStore interface {
	Device(ctx context.Context, as directory.Principal, box store.MailboxID, id string) (store.Device, error)
	UpdateDevice(ctx context.Context, as directory.Principal, box store.MailboxID, id string, fn func(*store.Device) error) (store.Device, error)
}

// validation is the id that AOSP's Android sends while it checks an account. It
// is answered, and keeps no state (services/eas has no partnership for it).
const validation = "validate"

// seenEvery is how often a device's last use is written down.
const seenEvery = 10 * time.Minute

// loadDevice reads the device's record; a new one begins empty.
func (s *Server) loadDevice(ctx context.Context, r *request) error {
	r.device = store.Device{ID: r.query.deviceID}
	if r.transient() {
		return nil
	}
	dev, err := s.store.Device(ctx, r.who, r.box(), r.query.deviceID)
	switch {
	case err == nil:
		r.device = dev
	case fault.Of(err) != fault.NotFound:
		return err
	}
	return nil
}

// transient tells whether the request keeps no state.
func (r *request) transient() bool { return r.query.deviceID == validation }

// noteDevice writes down what the request says about its device: all of a new
// one, and of a known one what changed, and now and then its last use.
func (s *Server) noteDevice(ctx context.Context, r *request) error {
	agent := limit(strings.ToValidUTF8(r.http.UserAgent(), ""), 256)
	dev, now := r.device, s.opt.Now()
	dev.Version = r.version.String()
	if agent != "" {
		dev.Agent = agent
	}
	if r.query.deviceType != "" {
		dev.Type = r.query.deviceType
	}
	changed := dev.Version != r.device.Version || dev.Agent != r.device.Agent || dev.Type != r.device.Type
	if r.transient() || !changed && now.Sub(r.device.LastSeen) < seenEvery {
		r.device.Version = dev.Version
		return nil
	}
	return s.updateDevice(ctx, r, func(d *store.Device) {
		if d.FirstSeen.IsZero() {
			d.FirstSeen = now
		}
		d.Type, d.Agent, d.Version = dev.Type, dev.Agent, dev.Version
		d.LastSeen, d.LastFrom = now, r.from.String()
	})
}

// updateDevice changes the device's record and the request's copy of it.
func (s *Server) updateDevice(ctx context.Context, r *request, fn func(*store.Device)) error {
	if r.transient() {
		fn(&r.device)
		return nil
	}
	dev, err := s.store.UpdateDevice(ctx, r.who, r.box(), r.device.ID, func(d *store.Device) error {
		d.Info = maps.Clone(d.Info)
		fn(d)
		return nil
	})
	if fault.Of(err) == fault.Limit && err != nil {
		return statusFor(StatusMaximumDevicesReached, err)
	}
	if err == nil {
		r.device = dev
	}
	return err
}

// admit refuses what the administrator refuses: a device to be wiped, a blocked
// one, and one that does not keep the policy (MS-ASPROV 3.1.5.1).
func (s *Server) admit(r *request) error {
	d := &r.device
	if r.transient() && !r.command.open && r.command.name != "FolderSync" && r.command.name != "Settings" {
		return status(StatusDeviceIDMissing) // checking an account needs no more
	}
	if wiping(d) {
		if !d.WipeAccount || !r.before(wbxml.V161) {
			if r.command.open {
				return nil
			}
			return status(StatusRemoteWipeRequested)
		}
		// Only 16.1 can wipe an account alone. The whole device is never wiped
		// instead; it is kept out.
		return status(StatusDeviceIsBlockedForThisUser)
	}
	if d.Blocked {
		return status(StatusDeviceIsBlockedForThisUser)
	}
	if r.command.open {
		return nil
	}
	return s.policyAdmits(r)
}

// wiping tells whether a wipe was ordered and is not known to be done. A failed
// one is asked for again.
func wiping(d *store.Device) bool {
	return d.Wipe == "pending" || d.Wipe == "sent" || d.Wipe == "failed"
}
