package tree

// AVA is an attribute with its value in a name.
type AVA struct{ Attribute, Value string }

// RDN is a relative distinguished name; more than one AVA is multi-valued.
type RDN []AVA

// DN is a distinguished name, most specific RDN first; the empty one is the
// rootDSE's. AD's other forms of a base (<GUID=…>, <SID=…>, <WKGUID=…>) are one
// RDN with the Attribute "<GUID>", "<SID>" or "<WKGUID>".
type DN []RDN
