package ldap

import (
	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// applies are the operations that a control may come with.
type applies uint16

const (
	onBind applies = 1 << iota
	onSearch
	onModify
	onAdd
	onDelete
	onModifyDN
	onCompare
	onExtended

	onWrite  = onModify | onAdd | onDelete | onModifyDN
	onUpdate = onWrite | onCompare
)

// control is a row of the table of controls.
type control struct {
	on applies
	// read takes the control's value; nil for what is accepted and changes
	// nothing here.
	read func(o *op, v controlValue) error
}

// controlValue is a control as it came.
type controlValue struct {
	value    string
	present  bool // it has a value, which may be empty
	critical bool
}

// The controls that are named elsewhere.
const (
	oidPaged         = "1.2.840.113556.1.4.319"
	oidSortRequest   = "1.2.840.113556.1.4.473"
	oidSortResponse  = "1.2.840.113556.1.4.474"
	oidVLVRequest    = "2.16.840.1.113730.3.4.9"
	oidVLVResponse   = "2.16.840.1.113730.3.4.10"
	oidPreRead       = "1.3.6.1.1.13.1"
	oidPostRead      = "1.3.6.1.1.13.2"
	oidDirSync       = "1.2.840.113556.1.4.841"
	oidSync          = "1.3.6.1.4.1.4203.1.9.1.1"
	oidSyncState     = "1.3.6.1.4.1.4203.1.9.1.2"
	oidSyncDone      = "1.3.6.1.4.1.4203.1.9.1.3"
	oidSyncInfo      = "1.3.6.1.4.1.4203.1.9.1.4"
	oidPersistent    = "2.16.840.1.113730.3.4.3"
	oidEntryChange   = "2.16.840.1.113730.3.4.7"
	oidManageDSA     = "2.16.840.1.113730.3.4.2"
	oidShowDeleted   = "1.2.840.113556.1.4.417"
	oidNotification  = "1.2.840.113556.1.4.528"
	oidExtendedDN    = "1.2.840.113556.1.4.529"
	oidTreeDelete    = "1.2.840.113556.1.4.805"
	oidDomainScope   = "1.2.840.113556.1.4.1339"
	oidSearchOptions = "1.2.840.113556.1.4.1340"
	oidPermissive    = "1.2.840.113556.1.4.1413"
	oidAssertion     = "1.3.6.1.1.12"
	oidMatchedValues = "1.2.826.0.1.3344810.2.3"
)

// controlTable is every control that is understood; the rootDSE lists them.
var controlTable map[string]*control

func init() { // for the readers refer to handlers
	controlTable = map[string]*control{
		oidPaged:                  {onSearch, (*op).readPaged},                                        // RFC 2696
		oidSortRequest:            {onSearch, (*op).readSort},                                         // RFC 2891
		oidVLVRequest:             {onSearch, (*op).readVLV},                                          // draft-ietf-ldapext-ldapv3-vlv-09
		oidMatchedValues:          {onSearch, (*op).readMatched},                                      // RFC 3876
		oidAssertion:              {onSearch | onUpdate, (*op).readAssertion},                         // RFC 4528
		oidPreRead:                {onModify | onDelete | onModifyDN, (*op).readPreRead},              // RFC 4527
		oidPostRead:               {onModify | onAdd | onModifyDN, (*op).readPostRead},                // RFC 4527
		oidSync:                   {onSearch, (*op).readSync},                                         // RFC 4533
		oidPersistent:             {onSearch, (*op).readPersistent},                                   // draft-ietf-ldapext-psearch-03
		oidManageDSA:              {onSearch | onUpdate | onExtended, flag((*controls).setManageDSA)}, // RFC 3296
		oidShowDeleted:            {onSearch | onUpdate, flag((*controls).setDeleted)},                // MS-ADTS 3.1.1.3.4.1, as all below
		"1.2.840.113556.1.4.2064": {onSearch | onUpdate, flag((*controls).setDeleted)},                // show recycled: there are none apart
		"1.2.840.113556.1.4.2065": {onSearch | onUpdate, nil},                                         // show deactivated links: likewise
		oidNotification:           {onSearch, (*op).readNotification},
		oidExtendedDN:             {onSearch, (*op).readExtendedDN},
		oidTreeDelete:             {onDelete, flag((*controls).setTree)},
		oidDirSync:                {onSearch, (*op).readDirSync},
		oidDomainScope:            {onSearch, flag((*controls).setDomainScope)},
		oidSearchOptions:          {onSearch, (*op).readSearchOptions},
		oidPolicy:                 {onBind | onExtended, (*op).readPolicy},
		oidPermissive:             {onModify, flag((*controls).setPermissive)},
		// SD flags choose parts of a security descriptor; whoever may see one
		// sees it whole.
		"1.2.840.113556.1.4.801": {onSearch | onAdd | onModify, nil},
		// Range option: only published (MS-ADTS 3.1.1.3.4.1.24).
		"1.2.840.113556.1.4.802": {onSearch, nil},
		// Lazy commit: everything is durable here anyway.
		"1.2.840.113556.1.4.619": {onUpdate, nil},
		// Cross-domain move target and verify name: there is one directory.
		"1.2.840.113556.1.4.521":  {onModifyDN, nil},
		"1.2.840.113556.1.4.1338": {onSearch | onAdd | onModify | onModifyDN, nil},
		// Policy hints: password policies always hold.
		"1.2.840.113556.1.4.2239": {onModify | onExtended, nil},
		"1.2.840.113556.1.4.2066": {onModify | onExtended, nil},
	}
}

// controls are what a request's controls ask for.
type controls struct {
	paged    *pageRequest
	sort     *sortRequest
	vlv      *vlvRequest
	matched  []tree.Filter
	assert   *tree.Filter
	pre      []string // nil: not asked for
	post     []string
	dirSync  *dirSyncRequest
	sync     *syncRequest
	persist  *persistRequest
	notify   bool
	policy   bool
	extended *extendedDN
	// fixed are those controls, as they came, that a cookie is bound to.
	fixed string

	manageDSA, deleted, tree, domainScope, phantom, permissive bool
}

func (c *controls) setManageDSA()   { c.manageDSA = true }
func (c *controls) setDeleted()     { c.deleted = true }
func (c *controls) setTree()        { c.tree = true }
func (c *controls) setDomainScope() { c.domainScope = true }
func (c *controls) setPermissive()  { c.permissive = true }

// flag reads a control that has no value.
func flag(set func(*controls)) func(*op, controlValue) error {
	return func(o *op, v controlValue) error {
		set(o.ctl)
		return nil
	}
}

var noControls controls

// readControls reads the controls of a request (RFC 4511 §4.1.11). A critical
// one that is unknown, or that does not go with the operation, refuses it;
// others that do are ignored.
func (o *op) readControls() error {
	if o.rawControls == "" {
		o.ctl = &noControls
		return nil
	}
	o.ctl = &controls{}
	d := ber.NewDecoder(o.rawControls)
	var seen []string
	for d.More() {
		whole := d.Rest()
		in := d.Inside(ber.Sequence)
		oid := in.Octets()
		v := controlValue{critical: in.OptionalBool(ber.Boolean)}
		v.value, v.present = in.Optional(ber.Octets)
		if d.Close(&in); d.Err() != nil {
			return d.Err()
		}
		if len(seen) == maxControls {
			return refuse(codeAdminLimit, "more than %d controls", maxControls)
		}
		for _, s := range seen {
			if s == oid {
				return refuse(codeProtocolError, "the control %s comes twice", oid)
			}
		}
		seen = append(seen, oid)
		if oid != oidPaged && oid != oidVLVRequest {
			o.ctl.fixed += whole[:len(whole)-len(d.Rest())]
		}
		row := controlTable[oid]
		if row == nil || row.on&o.kind.on == 0 {
			if v.critical {
				return refuse(codeCriticalExtension, "the critical control %.80q is not available here", oid)
			}
			continue
		}
		if row.read == nil {
			continue
		}
		if err := row.read(o, v); err != nil {
			if malformed(err) {
				err = refuse(codeProtocolError, "the value of the control %s cannot be read", oid)
			}
			return err
		}
	}
	return nil
}

// options are what the controls say about a write.
func (o *op) options() tree.Options {
	return tree.Options{
		Assert: o.ctl.assert, PreRead: o.ctl.pre, PostRead: o.ctl.post,
		Permissive: o.ctl.permissive, Tree: o.ctl.tree, From: o.c.from.String(),
	}
}

// readSearchOptions reads AD's search options: SEQUENCE { flags INTEGER }.
func (o *op) readSearchOptions(v controlValue) error {
	const domainScope, phantomRoot = 1, 2
	d := ber.NewDecoder(v.value)
	s := d.Inside(ber.Sequence)
	flags := s.Int()
	d.Close(&s)
	o.ctl.domainScope = o.ctl.domainScope || flags&domainScope != 0
	o.ctl.phantom = flags&phantomRoot != 0
	return d.Err()
}
