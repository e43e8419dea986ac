package ldap

import "waypost/services/ldap/ber"

// extensions is every extended operation, by its OID; the rootDSE lists them.
var extensions map[string]*operation

const (
	oidStartTLS       = "1.3.6.1.4.1.1466.20037"
	oidPasswordModify = "1.3.6.1.4.1.4203.1.11.1"
	oidWhoAmI         = "1.3.6.1.4.1.4203.1.11.3"
	oidCancel         = "1.3.6.1.1.8"
)

func init() { // for the handlers refer to the tables
	extensions = map[string]*operation{
		oidStartTLS:       {name: "starttls", run: (*op).startTLS, response: 24, on: onExtended, alone: true, guest: true},       // RFC 4511 §4.14
		oidPasswordModify: {name: "password", run: (*op).passwordModify, response: 24, on: onExtended, write: true, guest: true}, // RFC 3062
		oidWhoAmI:         {name: "whoami", run: (*op).whoAmI, response: 24, on: onExtended, guest: true},                        // RFC 4532
		oidCancel:         {name: "cancel", run: (*op).cancelOperation, response: 24, on: onExtended, guest: true, free: true},   // RFC 3909
	}
}

// extended finds the operation of an ExtendedRequest (RFC 4511 §4.12).
func (o *op) extended() error {
	d := ber.NewDecoder(o.body)
	name := d.Value(ber.Context(0))
	o.body, o.hasValue = d.Optional(ber.Context(1))
	if err := d.Err(); err != nil {
		return err
	}
	if kind := extensions[name]; kind != nil {
		o.kind = kind
	}
	return nil
}

func (o *op) unknownExtension() error {
	return refuse(codeProtocolError, "no such extended operation")
}
