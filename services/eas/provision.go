package eas

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"strconv"
	"strings"

	"waypost/internal/fault"
	"waypost/services/eas/wbxml"
	"waypost/store"
)

// The policy types (MS-ASPROV 2.2.2.43).
const (
	policyWAP   = "MS-WAP-Provisioning-XML"
	policyWBXML = "MS-EAS-Provisioning-WBXML"
)

// The Status values of Provision and of Policy (MS-ASPROV 2.2.2.54).
const (
	provisionOK       = 1
	provisionProtocol = 2 // of Provision
	policyNone        = 2 // of Policy
	policyUnknownType = 3
	policyWrongKey    = 5
)

// What a phone says of a policy that it acknowledges (MS-ASPROV 2.2.2.54.2).
const (
	appliedPartly   = 2
	appliedNot      = 3
	appliedElsewhat = 4 // managed by somebody else
)

// provision is the handshake in two phases (MS-ASPROV 3.1.5.1, 3.2.5.1): the
// phone fetches the policy with a temporary key, acknowledges it, and gets the
// key that every other command must show. A wipe travels the same way.
func (s *Server) provision(ctx context.Context, r *request) error {
	req, err := r.tree(nil)
	if err != nil {
		return err
	}
	answer := wbxml.New(wbxml.ProvisionProvision)
	if info := req.Child(wbxml.SettingsDeviceInformation); info != nil {
		if err := s.takeDeviceInformation(ctx, r, info.Child(wbxml.SettingsSet)); err != nil {
			return err
		}
		answer.Add(wbxml.New(wbxml.SettingsDeviceInformation, wbxml.NewInt(wbxml.SettingsStatus, 1)))
	}
	for _, tag := range []wbxml.Tag{wbxml.ProvisionRemoteWipe, wbxml.ProvisionAccountOnlyRemoteWipe} {
		if wiped := req.Child(tag); wiped != nil {
			return s.wipeAcknowledged(ctx, r, answer, wiped)
		}
	}
	if wiping(&r.device) {
		return s.orderWipe(ctx, r, answer)
	}
	policy := req.Child(wbxml.ProvisionPolicies, wbxml.ProvisionPolicy)
	kind := policy.Get(wbxml.ProvisionPolicyType)
	if kind == "" {
		return r.provisioned(answer, provisionProtocol)
	}
	p := wbxml.New(wbxml.ProvisionPolicy, wbxml.NewText(wbxml.ProvisionPolicyType, kind))
	switch {
	case !policyTypeFits(kind, r.version):
		p.Add(wbxml.NewInt(wbxml.ProvisionStatus, policyUnknownType))
	case s.opt.Policy == nil:
		p.Add(wbxml.NewInt(wbxml.ProvisionStatus, policyNone))
	case policy.Has(wbxml.ProvisionStatus) || policy.Has(wbxml.ProvisionPolicyKey):
		err = s.policyAcknowledged(ctx, r, policy, p)
	case !r.before(wbxml.V141) && len(r.device.Info) == 0 && !r.transient():
		// 14.1 and later bring it along (MS-ASPROV 3.2.5.1.1).
		return status(StatusDeviceInformationRequired)
	default:
		err = s.offerPolicy(ctx, r, p)
	}
	if err != nil {
		return err
	}
	return r.provisioned(answer, provisionOK, wbxml.New(wbxml.ProvisionPolicies, p))
}

// provisioned answers; the order is DeviceInformation, Status, then the rest.
func (r *request) provisioned(answer *wbxml.Node, status int, rest ...*wbxml.Node) error {
	r.done(strconv.Itoa(status))
	return r.reply(answer.Add(wbxml.NewInt(wbxml.ProvisionStatus, status)).Add(rest...))
}

func policyTypeFits(kind string, v wbxml.Version) bool {
	if v < wbxml.V120 {
		return strings.EqualFold(kind, policyWAP)
	}
	return strings.EqualFold(kind, policyWBXML)
}

// newPolicyKey draws a temporary key; neither it nor its final key is 0, which
// means none and which iOS once refused.
func newPolicyKey() uint32 {
	var b [4]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		if key := binary.LittleEndian.Uint32(b[:]); key != 0 && finalKey(key) != 0 {
			return key
		}
	}
}

// finalKey follows from the temporary key, so that an acknowledgment whose
// answer was lost is answered the same again. A policy key is no secret.
func finalKey(temporary uint32) uint32 { return ^temporary }

func policyKey(key uint32) *wbxml.Node {
	return wbxml.NewText(wbxml.ProvisionPolicyKey, strconv.FormatUint(uint64(key), 10))
}

// offerPolicy is the first phase.
func (s *Server) offerPolicy(ctx context.Context, r *request, p *wbxml.Node) error {
	key := newPolicyKey()
	if err := s.updateDevice(ctx, r, func(d *store.Device) { d.Pending = key }); err != nil {
		return err
	}
	data := wbxml.New(wbxml.ProvisionData)
	if r.before(wbxml.V120) {
		data.Text = s.opt.Policy.wap()
	} else {
		data.Add(s.opt.Policy.document(r.version))
	}
	p.Add(wbxml.NewInt(wbxml.ProvisionStatus, provisionOK), policyKey(key), data)
	return nil
}

// policyAcknowledged is the second phase. The temporary key stays noted for a
// repetition.
func (s *Server) policyAcknowledged(ctx context.Context, r *request, policy, p *wbxml.Node) error {
	applied, err := policy.Int(wbxml.ProvisionStatus, provisionOK)
	if err != nil {
		return err
	}
	key, err := strconv.ParseUint(strings.TrimSpace(policy.Get(wbxml.ProvisionPolicyKey)), 10, 32)
	if err != nil {
		key = 0
	}
	rules := s.opt.Policy
	wrong := !r.transient() && (key == 0 || uint32(key) != r.device.Pending)
	switch {
	case applied == appliedElsewhat && !rules.AllowExternal:
		return status(StatusExternallyManagedDevicesNotAllowed)
	case wrong, applied == appliedNot, applied == appliedPartly && !rules.AllowPartial:
		p.Add(wbxml.NewInt(wbxml.ProvisionStatus, policyWrongKey))
		return nil
	}
	err = s.updateDevice(ctx, r, func(d *store.Device) {
		d.PolicyKey, d.PolicyHash, d.PolicyAt = finalKey(uint32(key)), rules.hash(r.version), s.opt.Now()
	})
	if err != nil {
		return err
	}
	p.Add(wbxml.NewInt(wbxml.ProvisionStatus, provisionOK), policyKey(r.device.PolicyKey))
	return nil
}

// orderWipe tells the phone to erase itself (MS-ASPROV 3.1.5.1.2.2); admit has
// seen to it that an account's wipe goes to 16.1 only.
func (s *Server) orderWipe(ctx context.Context, r *request, answer *wbxml.Node) error {
	err := s.updateDevice(ctx, r, func(d *store.Device) {
		if wiping(d) {
			d.Wipe = "sent"
		}
	})
	if err != nil {
		return err
	}
	r.log.Warn("device told to wipe itself", "user", r.who.Address, "device", r.device.ID, "account", r.device.WipeAccount)
	return r.provisioned(answer, provisionOK, wbxml.New(wipeTag(&r.device)))
}

func wipeTag(d *store.Device) wbxml.Tag {
	if d.WipeAccount {
		return wbxml.ProvisionAccountOnlyRemoteWipe
	}
	return wbxml.ProvisionRemoteWipe
}

// wipeAcknowledged notes what became of a wipe. A wiped device stays out until
// the administrator lets it in again; otherwise it would be wiped again.
func (s *Server) wipeAcknowledged(ctx context.Context, r *request, answer, wiped *wbxml.Node) error {
	result, err := wiped.Int(wbxml.ProvisionStatus, 0)
	if err != nil {
		return err
	}
	if !wiping(&r.device) {
		return r.provisioned(answer, provisionProtocol)
	}
	done := result == provisionOK
	err = s.updateDevice(ctx, r, func(d *store.Device) {
		d.WipeAt = s.opt.Now()
		if !done {
			d.Wipe = "failed"
			return
		}
		d.Wipe, d.Blocked = "done", true
		d.PolicyKey, d.Pending = 0, 0
	})
	if err != nil {
		return err
	}
	r.log.Warn("device answered the wipe", "user", r.who.Address, "device", r.device.ID, "done", done)
	if !done {
		return r.provisioned(answer, 2, wbxml.New(wipeTag(&r.device)))
	}
	if err := s.store.DropSyncStates(ctx, r.who, r.box(), r.client(), ""); err != nil && fault.Of(err) != fault.NotFound {
		return err
	}
	return r.provisioned(answer, provisionOK)
}
