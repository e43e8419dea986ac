package ldap

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypost/directory/schema"
	"waypost/directory/tree"
)

// localEntry is an entry that the server itself has: the rootDSE, the
// subschema.
type localEntry struct {
	name       string
	dn         tree.DN
	attributes []tree.Attribute
	onRequest  map[string]bool // given only when asked for by name, in lower case
}

// attributes finds attribute types; *schema.Schema is the real one.
type attributes interface {
	Attribute(name string) (*schema.Attribute, bool)
}

// Values implements tree.Subject.
func (e localEntry) Values(a *schema.Attribute) []string {
	for i := range e.attributes {
		if sameName(e.attributes[i].Name, a.Name) {
			return e.attributes[i].Values
		}
	}
	return nil
}

// InChain implements tree.Subject.
func (e localEntry) InChain(*schema.Attribute, tree.DN) bool { return false }

// Name implements tree.Subject.
func (e localEntry) Name() tree.DN { return e.dn }

func (e localEntry) wanted(sel *selection, name string) bool {
	if !e.onRequest[strings.ToLower(name)] {
		return sel.wants(name)
	}
	return slices.ContainsFunc(sel.names, func(n string) bool { return sameName(n, name) })
}

// rootOnly are attributes of the rootDSE that are no attribute types of the
// schema, in lower case (MS-ADTS 3.1.1.3.2).
var rootOnly = map[string]bool{
	"configurationnamingcontext": true, "currenttime": true, "defaultnamingcontext": true,
	"dnshostname": true, "dsservicename": true, "highestcommittedusn": true, "ldapservicename": true,
	"namingcontexts": true, "rootdomainnamingcontext": true, "schemanamingcontext": true,
	"servername": true, "subschemasubentry": true, "supportedcapabilities": true, "supportedcontrol": true,
	"supportedextension": true, "supportedfeatures": true, "supportedldappolicies": true,
	"supportedldapversion": true, "supportedsaslmechanisms": true, "issynchronized": true,
	"isglobalcatalogready": true, "domainfunctionality": true, "forestfunctionality": true,
	"domaincontrollerfunctionality": true, "dsschemaattrcount": true, "dsschemaclasscount": true,
	"msds-portldap": true, "msds-portssl": true, "vendorname": true, "vendorversion": true,
}

// rootOnRequest are those of them that are not among all.
var rootOnRequest = map[string]bool{
	"dsschemaattrcount": true, "dsschemaclasscount": true, "msds-portldap": true, "msds-portssl": true,
}

// capabilities are what Config.ActiveDirectory publishes (directory-schema §7).
var capabilities = []string{
	"1.2.840.113556.1.4.800", "1.2.840.113556.1.4.1670", "1.2.840.113556.1.4.1935",
	"1.2.840.113556.1.4.2080", "1.2.840.113556.1.4.2237",
}

// features of RFC 4512 §5.1.5: all operational attributes (RFC 3673), absolute
// true and false filters (RFC 4526), modify-increment (RFC 4525).
var features = []string{"1.3.6.1.4.1.4203.1.5.1", "1.3.6.1.4.1.4203.1.5.3", "1.3.6.1.1.14"}

// policies are the limits by AD's names (directory-schema §14).
var policies = []string{
	"InitRecvTimeout", "MaxConnections", "MaxConnIdleTime", "MaxNotificationPerConn", "MaxPageSize",
	"MaxQueryDuration", "MaxReceiveBuffer", "MaxValRange",
}

// rootDSE describes the server (RFC 4512 §5.1, directory-schema §7).
func (c *conn) rootDSE() localEntry {
	s := c.server
	e := localEntry{onRequest: rootOnRequest}
	put := func(name string, values ...string) {
		if len(values) > 0 && values[0] != "" {
			e.attributes = append(e.attributes, tree.Attribute{Name: name, Values: values})
		}
	}
	where := s.contexts()
	known := s.tree.Schema()
	put("objectClass", "top")
	put("currentTime", schema.FormatTime(time.Now()))
	put("subschemaSubentry", s.subschemaDN().String())
	server := ""
	if where.configuration != "" {
		host, _, _ := strings.Cut(s.cfg.Host, ".")
		server = "CN=" + strings.ToUpper(host) + ",CN=Servers,CN=Default-First-Site-Name,CN=Sites," + where.configuration
		put("dsServiceName", "CN=NTDS Settings,"+server)
	}
	put("namingContexts", where.all...)
	put("defaultNamingContext", where.root)
	put("schemaNamingContext", where.schema)
	put("configurationNamingContext", where.configuration)
	put("rootDomainNamingContext", where.root)
	put("supportedControl", slices.Sorted(maps.Keys(controlTable))...)
	put("supportedExtension", slices.Sorted(maps.Keys(extensions))...)
	put("supportedFeatures", features...)
	put("supportedLDAPVersion", "3")
	put("supportedLDAPPolicies", policies...)
	put("supportedSASLMechanisms", c.mechanisms()...)
	if s.cfg.ActiveDirectory {
		put("supportedCapabilities", capabilities...)
	}
	put("highestCommittedUSN", strconv.FormatInt(int64(s.tree.USN()), 10))
	put("dnsHostName", s.cfg.Host)
	if where.domain != "" {
		host, _, _ := strings.Cut(s.cfg.Host, ".")
		put("ldapServiceName", where.domain+":"+strings.ToLower(host)+"$@"+strings.ToUpper(where.domain))
	}
	put("serverName", server)
	put("isSynchronized", "TRUE")
	put("isGlobalCatalogReady", "TRUE")
	put("domainFunctionality", "7")
	put("forestFunctionality", "7")
	put("domainControllerFunctionality", "7")
	put("vendorName", "Waypost")
	put("dsSchemaAttrCount", strconv.Itoa(len(known.Attributes())))
	put("dsSchemaClassCount", strconv.Itoa(len(known.Classes())))
	if a, ok := c.socket.LocalAddr().(*net.TCPAddr); ok {
		if c.door.TLS {
			put("msDS-PortSSL", strconv.Itoa(a.Port))
		} else {
			put("msDS-PortLDAP", strconv.Itoa(a.Port))
		}
	}
	return e
}
