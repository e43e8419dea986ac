package eas

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"waypost/services/eas/wbxml"
)

// Policy is what the organisation asks of every phone (MS-ASPROV 2.2.2.28,
// EASProvisionDoc). The zero Policy asks for nothing but the handshake.
type Policy struct {
	Password        bool          // a PIN or password is required; without it the rest about passwords is void
	Alphanumeric    bool          // with letters
	MinLength       int           // 1 to 16; 0: no minimum
	MinGroups       int           // of lower, upper, digit and other; 1 to 4; 0: 1
	MaxAttempts     int           // before the phone wipes itself, 4 to 16; 0: no limit
	LockAfter       time.Duration // without use; 0: never
	ExpireAfterDays int           // 0: never
	History         int           // former passwords that may not come again
	ForbidSimple    bool          // 1111, 1234
	Recovery        bool          // the phone may keep a recovery password with us
	EncryptDevice   bool
	EncryptCard     bool
	// Rules are further elements of the document by name with their values,
	// such as AllowCamera: "0".
	Rules map[string]string

	Refresh       time.Duration // a key is good for this long; 0: until the policy changes
	AllowLegacy   bool          // let in clients that are known never to provision
	AllowPartial  bool          // let in phones that can keep a part of it only
	AllowExternal bool          // let in phones that somebody else manages
}

// policyElements are the document's elements in the order of their tokens, with
// what is sent when nothing is set. An empty default is an empty element, which
// lifts a former limit.
var policyElements = []struct {
	tag     wbxml.Tag
	absent  string
	allowed string // an enumeration "0 1", or a range "4-16"; "" for what Policy's own fields set
}{
	{wbxml.ProvisionDevicePasswordEnabled, "0", ""},
	{wbxml.ProvisionAlphanumericDevicePasswordRequired, "0", ""},
	{wbxml.ProvisionRequireStorageCardEncryption, "0", ""},
	{wbxml.ProvisionPasswordRecoveryEnabled, "0", ""},
	{wbxml.ProvisionAttachmentsEnabled, "1", "0 1"},
	{wbxml.ProvisionMinDevicePasswordLength, "", ""},
	{wbxml.ProvisionMaxInactivityTimeDeviceLock, "", ""},
	{wbxml.ProvisionMaxDevicePasswordFailedAttempts, "", ""},
	{wbxml.ProvisionMaxAttachmentSize, "", "0-4294967295"},
	{wbxml.ProvisionAllowSimpleDevicePassword, "1", ""},
	{wbxml.ProvisionDevicePasswordExpiration, "0", ""},
	{wbxml.ProvisionDevicePasswordHistory, "0", ""},
	{wbxml.ProvisionAllowStorageCard, "1", "0 1"},
	{wbxml.ProvisionAllowCamera, "1", "0 1"},
	{wbxml.ProvisionRequireDeviceEncryption, "0", ""},
	{wbxml.ProvisionAllowUnsignedApplications, "1", "0 1"},
	{wbxml.ProvisionAllowUnsignedInstallationPackages, "1", "0 1"},
	{wbxml.ProvisionMinDevicePasswordComplexCharacters, "1", ""},
	{wbxml.ProvisionAllowWiFi, "1", "0 1"},
	{wbxml.ProvisionAllowTextMessaging, "1", "0 1"},
	{wbxml.ProvisionAllowPOPIMAPEmail, "1", "0 1"},
	{wbxml.ProvisionAllowBluetooth, "2", "0 1 2"},
	{wbxml.ProvisionAllowIrDA, "1", "0 1"},
	{wbxml.ProvisionRequireManualSyncWhenRoaming, "0", "0 1"},
	{wbxml.ProvisionAllowDesktopSync, "1", "0 1"},
	{wbxml.ProvisionMaxCalendarAgeFilter, "0", "0 4 5 6 7"},
	{wbxml.ProvisionAllowHTMLEmail, "1", "0 1"},
	{wbxml.ProvisionMaxEmailAgeFilter, "0", "0-5"},
	{wbxml.ProvisionMaxEmailBodyTruncationSize, "-1", "-1-2147483647"},
	{wbxml.ProvisionMaxEmailHTMLBodyTruncationSize, "-1", "-1-2147483647"},
	{wbxml.ProvisionRequireSignedSMIMEMessages, "0", "0 1"},
	{wbxml.ProvisionRequireEncryptedSMIMEMessages, "0", "0 1"},
	{wbxml.ProvisionRequireSignedSMIMEAlgorithm, "0", "0 1"},
	{wbxml.ProvisionRequireEncryptionSMIMEAlgorithm, "0", "0-4"},
	{wbxml.ProvisionAllowSMIMEEncryptionAlgorithmNegotiation, "2", "0 1 2"},
	{wbxml.ProvisionAllowSMIMESoftCerts, "1", "0 1"},
	{wbxml.ProvisionAllowBrowser, "1", "0 1"},
	{wbxml.ProvisionAllowConsumerEmail, "1", "0 1"},
	{wbxml.ProvisionAllowRemoteDesktop, "1", "0 1"},
	{wbxml.ProvisionAllowInternetSharing, "1", "0 1"},
}

// Validate names the first value that no phone would take.
func (p *Policy) Validate() error {
	for _, v := range []struct {
		name      string
		got       int
		low, high int
	}{
		{"minimum length", p.MinLength, 1, 16},
		{"character groups", p.MinGroups, 1, 4},
		{"attempts", p.MaxAttempts, 4, 16},
		{"lock (seconds)", int(p.LockAfter.Seconds()), 1, 9998},
		{"expiry (days)", p.ExpireAfterDays, 1, 730},
		{"history", p.History, 1, 50},
	} {
		if v.got != 0 && (v.got < v.low || v.got > v.high) {
			return fmt.Errorf("policy: %s is %d, not %d to %d", v.name, v.got, v.low, v.high)
		}
	}
	for name, value := range p.Rules {
		if err := validRule(name, value); err != nil {
			return err
		}
	}
	return nil
}

func validRule(name, value string) error {
	for _, e := range policyElements {
		if e.tag.Name() != name || e.allowed == "" {
			continue
		}
		if strings.Contains(" "+e.allowed+" ", " "+value+" ") {
			return nil
		}
		if i := strings.LastIndexByte(e.allowed, '-'); i > 0 {
			low, err1 := strconv.ParseInt(e.allowed[:i], 10, 64)
			high, err2 := strconv.ParseInt(e.allowed[i+1:], 10, 64)
			n, err3 := strconv.ParseInt(value, 10, 64)
			if err1 == nil && err2 == nil && err3 == nil && n >= low && n <= high {
				return nil
			}
		}
		return fmt.Errorf("policy: %s is %q, allowed is %s", name, value, e.allowed)
	}
	return fmt.Errorf("policy: no rule is named %q", name)
}

func oneOrZero(v bool) string {
	if v {
		return "1"
	}
	return "0"
}

// number gives n, or nothing for zero.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// values gives what the Policy's own fields set.
func (p *Policy) values() map[wbxml.Tag]string {
	v := map[wbxml.Tag]string{
		wbxml.ProvisionDevicePasswordEnabled:              oneOrZero(p.Password),
		wbxml.ProvisionAlphanumericDevicePasswordRequired: oneOrZero(p.Alphanumeric),
		wbxml.ProvisionRequireStorageCardEncryption:       oneOrZero(p.EncryptCard),
		wbxml.ProvisionPasswordRecoveryEnabled:            oneOrZero(p.Recovery),
		wbxml.ProvisionMinDevicePasswordLength:            number(p.MinLength),
		wbxml.ProvisionMaxInactivityTimeDeviceLock:        number(int(p.LockAfter.Seconds())),
		wbxml.ProvisionMaxDevicePasswordFailedAttempts:    number(p.MaxAttempts),
		wbxml.ProvisionAllowSimpleDevicePassword:          oneOrZero(!p.ForbidSimple),
		wbxml.ProvisionDevicePasswordExpiration:           strconv.Itoa(p.ExpireAfterDays),
		wbxml.ProvisionDevicePasswordHistory:              strconv.Itoa(p.History),
		wbxml.ProvisionRequireDeviceEncryption:            oneOrZero(p.EncryptDevice),
		wbxml.ProvisionMinDevicePasswordComplexCharacters: strconv.Itoa(max(p.MinGroups, 1)),
	}
	for name, value := range p.Rules {
		if tag, ok := wbxml.Lookup("Provision", name); ok {
			v[tag] = value
		}
	}
	return v
}

// document gives the policy as version v can carry it. A 12.0 client that got
// an element of 12.1 would provision for ever.
func (p *Policy) document(v wbxml.Version) *wbxml.Node {
	values := p.values()
	doc := wbxml.New(wbxml.ProvisionEASProvisionDoc)
	for _, e := range policyElements {
		if !e.tag.In(v) {
			continue
		}
		value, set := values[e.tag]
		if !set {
			value = e.absent
		}
		doc.Add(wbxml.NewText(e.tag, value))
	}
	return doc
}

// wap gives the policy as 2.5 carries it (MS-ASPROV 2.2.2.24.2).
func (p *Policy) wap() string {
	var b strings.Builder
	parm := func(path, name string, value int) {
		fmt.Fprintf(&b, `<characteristic type="%s"><parm name="%s" value="%d"/></characteristic>`, path, name, value)
	}
	const lassd = `HKLM\Comm\Security\Policy\LASSD`
	required := 1 // 4131: 0 asks for a password, 1 does not
	if p.Password {
		required = 0
	}
	b.WriteString(`<wap-provisioningdoc><characteristic type="SecurityPolicy">`)
	fmt.Fprintf(&b, `<parm name="4131" value="%d"/><parm name="4133" value="1"/></characteristic>`, required)
	if p.Password {
		b.WriteString(`<characteristic type="Registry">`)
		lock, minutes := 0, int((p.LockAfter+time.Minute-1)/time.Minute)
		if minutes > 0 {
			lock = 1
		}
		fmt.Fprintf(&b, `<characteristic type="%s\AE\{50C13377-C66D-400C-889E-C316FC4AB374}">`, lassd)
		fmt.Fprintf(&b, `<parm name="AEFrequencyType" value="%d"/><parm name="AEFrequencyValue" value="%d"/></characteristic>`, lock, minutes)
		if p.MaxAttempts > 0 {
			parm(lassd, "DeviceWipeThreshold", p.MaxAttempts)
			parm(lassd, "CodewordFrequency", max(p.MaxAttempts/2, 1))
		}
		if p.MinLength > 0 {
			parm(lassd+`\LAP\lap_pw`, "MinimumPasswordLength", p.MinLength)
		}
		complexity := 2 // any
		if p.Alphanumeric {
			complexity = 0
		}
		parm(lassd+`\LAP\lap_pw`, "PasswordComplexity", complexity)
		b.WriteString(`</characteristic>`)
	}
	b.WriteString(`</wap-provisioningdoc>`)
	return b.String()
}

// hash names the policy as version v carries it: a device whose hash differs
// must provision again.
func (p *Policy) hash(v wbxml.Version) string {
	text := p.wap()
	if v >= wbxml.V120 {
		text = wbxml.Format(p.document(v), 0)
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// policyAdmits refuses a device that does not keep the policy (MS-ASPROV
// 3.1.5.1, MS-ASCMD 2.2.2).
func (s *Server) policyAdmits(r *request) error {
	p, d := s.opt.Policy, &r.device
	if p == nil {
		return nil
	}
	if neverProvisions(r.http.UserAgent()) && !r.query.hasKey {
		if p.AllowLegacy {
			return nil
		}
		return status(StatusLegacyDeviceOnStrictPolicy)
	}
	switch {
	case !r.query.hasKey:
		return status(StatusDeviceNotProvisioned)
	case r.transient():
		return nil // keeps no key to compare with
	case d.PolicyKey == 0:
		return status(StatusDeviceNotProvisioned)
	case r.query.policyKey != d.PolicyKey, d.PolicyHash != p.hash(r.version):
		return status(StatusInvalidPolicyKey)
	case p.Refresh > 0 && s.opt.Now().Sub(d.PolicyAt) > p.Refresh:
		return status(StatusPolicyRefresh)
	}
	return nil
}

// neverProvisions tells of clients that do not provision though it is demanded
// (the list is Horde's, Device.php).
func neverProvisions(agent string) bool {
	for _, name := range []string{"MicrosoftOutlook", "Outlook/15", "TestActiveSyncConnectivity"} {
		if strings.Contains(agent, name) {
			return true
		}
	}
	if _, v, ok := strings.Cut(agent, "EAS"); ok && strings.HasPrefix(agent, "Android") {
		v = strings.TrimLeft(v, "-/ ")
		return strings.HasPrefix(v, "0.") || strings.HasPrefix(v, "1.0") || strings.HasPrefix(v, "1.1") || strings.HasPrefix(v, "1.2")
	}
	return false
}
