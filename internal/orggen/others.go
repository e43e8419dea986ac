package orggen

import (
	"encoding/binary"
	"fmt"
	"strings"

	"waypost/internal/ldif"
)

func (g *Generator) domain(i int) *ldif.Record {
	r := record(domainDN(g.domains[i]), "top", "domain", "domainDNS")
	set(r, "dc", strings.SplitN(g.domains[i], ".", 2)[0])
	return r
}

// containers are what objects of some kinds lie in, below the root domain (R)
// and the configuration (C).
var containers = []struct {
	dn, class string
	more      map[string]string
}{
	{"CN=Microsoft Exchange System Objects,R", "msExchSystemObjectsContainer", nil},
	{"CN=Policies,CN=System,R", "container", nil},
	{"CN=MicrosoftDNS,CN=System,R", "container", nil},
	{"DC=Z,CN=MicrosoftDNS,CN=System,R", "dnsZone", nil},
	{"CN=Inter-Site Transports,CN=Sites,C", "interSiteTransportContainer", nil},
	{"CN=IP,CN=Inter-Site Transports,CN=Sites,C", "interSiteTransport", map[string]string{"transportDLLName": "ismip.dll", "transportAddressAttribute": "dNSHostName"}},
}

func (g *Generator) container(i int) *ldif.Record {
	c := containers[i]
	dn := strings.NewReplacer("DC=Z", "DC="+g.domains[0], ",R", ","+g.rootDN(), ",C", ","+g.configDN()).Replace(
		strings.ReplaceAll(c.dn, ",CN=", "\x00"))
	dn = strings.ReplaceAll(dn, "\x00", ",CN=")
	classes := []string{"top", c.class}
	if c.class == "msExchSystemObjectsContainer" {
		classes = []string{"top", "container", c.class}
	}
	r := record(dn, classes...)
	if c.class == "dnsZone" {
		set(r, "dc", g.domains[0])
	} else {
		set(r, "cn", strings.TrimPrefix(strings.SplitN(c.dn, ",", 2)[0], "CN="))
	}
	for _, name := range []string{"transportDLLName", "transportAddressAttribute"} {
		set(r, name, c.more[name])
	}
	return r
}

func (g *Generator) siteName(i int) string {
	return fmt.Sprintf("%s-%03d", cities[i%len(cities)].code, i)
}

func (g *Generator) siteDN(i int) string { return "CN=" + g.siteName(i) + ",CN=Sites," + g.configDN() }

func (g *Generator) site(i int) *ldif.Record {
	r := record(g.siteDN(i), "top", "site")
	set(r, "cn", g.siteName(i))
	c := &cities[i%len(cities)]
	set(r, "description", "Site in "+c.name)
	set(r, "location", c.co+"/"+c.name)
	return r
}

// hubs are the sites that are linked with each other.
func (g *Generator) hubs() int { return min(max(g.p.Sites/23, 1), 8) }

// siteLinks are pairs of sites: the hubs among each other, every other site
// with one of them.
func (g *Generator) siteLinks() (pairs [][2]int) {
	hubs := g.hubs()
	for a := range hubs {
		for b := a + 1; b < hubs; b++ {
			pairs = append(pairs, [2]int{a, b})
		}
	}
	for s := hubs; s < g.p.Sites; s++ {
		pairs = append(pairs, [2]int{s % hubs, s})
	}
	return pairs
}

func (g *Generator) siteLink(i int) *ldif.Record {
	pair := g.siteLinks()[i]
	name := g.siteName(pair[0]) + " to " + g.siteName(pair[1])
	r := record("CN="+name+",CN=IP,CN=Inter-Site Transports,CN=Sites,"+g.configDN(), "top", "siteLink")
	set(r, "cn", name)
	set(r, "siteList", g.siteDN(pair[0]), g.siteDN(pair[1]))
	x := g.rand("site link", i)
	if pair[1] < g.hubs() {
		set(r, "cost", "50")
		set(r, "replInterval", "15")
		return r
	}
	set(r, "cost", fmt.Sprint(x.between(100, 500)))
	set(r, "replInterval", fmt.Sprint(x.between(1, 12)*15))
	if x.chance(0.1) {
		set(r, "schedule", night())
	}
	return r
}

// night is a SCHEDULE (MS-DTYP's sibling in MS-ADTS 6.1.4.5.3): a header of 20
// bytes and a byte for each hour of the week, from midnight to five only.
func night() string {
	b := make([]byte, 20, 188)
	for i, v := range []uint32{188, 0, 1, 0, 20} {
		binary.LittleEndian.PutUint32(b[4*i:], v)
	}
	for hour := range 168 {
		v := byte(0)
		if hour%24 < 5 {
			v = 0x0f
		}
		b = append(b, v)
	}
	return string(b)
}

// prefix gives each subnet a part of its own of 10.0.0.0/8, the first ones a
// whole /16, one in ten a part of the one before it, one in twenty IPv6.
func (g *Generator) prefix(i int) string {
	x := g.rand("subnet size", i)
	block := func(i int) (int, int, int) { return i >> 6 & 255, i << 2 & 255, i >> 14 }
	switch {
	case i%20 == 7:
		return fmt.Sprintf("fd00:%x:%x::/48", i>>8+1, i&255)
	case i < 12:
		return fmt.Sprintf("172.%d.0.0/16", 16+i)
	case i%10 == 3:
		a, b, _ := block(i - 1)
		return fmt.Sprintf("10.%d.%d.64/26", a, b+1)
	case i%10 == 2:
		a, b, _ := block(i)
		return fmt.Sprintf("10.%d.%d.0/22", a, b)
	}
	a, b, _ := block(i)
	bits := x.between(22, 28)
	if x.chance(0.6) {
		bits = 24
	}
	return fmt.Sprintf("10.%d.%d.0/%d", a, b, bits)
}

func (g *Generator) subnet(i int) *ldif.Record {
	p := g.prefix(i)
	r := record("CN="+p+",CN=Subnets,CN=Sites,"+g.configDN(), "top", "subnet")
	set(r, "cn", p)
	site := i % g.p.Sites
	x := g.rand("subnet", i)
	if x.chance(0.97) {
		set(r, "siteObject", g.siteDN(site))
	}
	set(r, "location", cities[site%len(cities)].co+"/"+fmt.Sprint(i))
	return r
}

func (g *Generator) contactName(i int) (cn, given, surname string) {
	x := g.rand("contact name", i)
	l := &locales[x.skewed(len(locales), 2)]
	f, s := pick(&x, l.given), pick(&x, l.surname)
	return fmt.Sprintf("%s %s (External %d)", f.native, s.native, i), f.native, s.native
}

func (g *Generator) contactDN(i int) string {
	cn, _, _ := g.contactName(i)
	x := g.rand("contact place", i)
	return "CN=" + escape(cn) + "," + g.place(&x, 1+i%(len(g.domains)-1))
}

func (g *Generator) contact(i int) *ldif.Record {
	cn, given, surname := g.contactName(i)
	r := record(g.contactDN(i), "top", "person", "organizationalPerson", "contact")
	set(r, "cn", cn)
	set(r, "displayName", strings.Replace(cn, fmt.Sprintf("External %d", i), "External", 1))
	set(r, "givenName", given)
	set(r, "sn", surname)
	x := g.rand("contact", i)
	address := fmt.Sprintf("contact%d@%s%d.example", i, []string{"supplier", "customer", "partner", "agency"}[i%4], x.intn(500))
	switch {
	case i%200 == 17:
		address = fmt.Sprintf("contact%d@bücher%d.example", i, x.intn(500))
	case i%200 == 117:
		address = fmt.Sprintf("用户%d@例子.example", i)
	}
	set(r, "mail", address)
	set(r, "targetAddress", "SMTP:"+address)
	set(r, "proxyAddresses", "SMTP:"+address)
	set(r, "mailNickname", fmt.Sprintf("contact%d", i))
	set(r, "legacyExchangeDN", fmt.Sprintf("/o=Corp/ou=SITE%02d/cn=Recipients/cn=contact%d", i%93, i))
	set(r, "company", fmt.Sprintf("Partner %d", x.intn(500)))
	set(r, "telephoneNumber", fmt.Sprintf("+%d %d", x.between(1, 99), x.between(100_000, 99_999_999)))
	return r
}

func (g *Generator) computer(i int) *ldif.Record {
	x := g.rand("computer", i)
	d := 1 + x.skewed(len(g.domains)-1, 2)
	name := fmt.Sprintf("%s-NB%06d", pick(&x, cities).code, i)
	r := record("CN="+name+","+g.place(&x, d), "top", "person", "organizationalPerson", "user", "computer")
	set(r, "cn", name)
	set(r, "sAMAccountName", name+"$")
	host := strings.ToLower(name) + "." + g.domains[d]
	set(r, "dNSHostName", host)
	os := [][2]string{
		{"Windows XP Professional", "5.1 (2600)"},
		{"Windows 2000 Professional", "5.0 (2195)"},
		{"Windows NT", "4.0"},
		{"Windows Server 2003", "5.2 (3790)"},
		{"Windows 11 Enterprise", "10.0 (22631)"},
		{"Debian GNU/Linux", "12"},
	}[x.skewed(6, 1.5)]
	set(r, "operatingSystem", os[0])
	set(r, "operatingSystemVersion", os[1])
	set(r, "servicePrincipalName", "HOST/"+host, "HOST/"+name)
	control := 4096
	if x.chance(0.03) {
		control |= disabled
	}
	set(r, "userAccountControl", fmt.Sprint(control))
	// 100 ns since 1601: a day in 2003, half a year earlier for stale ones.
	last := int64(127_000_000_000_000_000) + int64(x.intn(30))*864_000_000_000
	if x.chance(0.05) {
		last -= 200 * 864_000_000_000
	}
	set(r, "lastLogonTimestamp", fmt.Sprint(last))
	return r
}

// folders are the public folders; their tree is in folderPathname, because in
// the directory they lie beside each other.
type folders struct {
	parent []int32 // -1: the top
	depth  []uint8
}

func (g *Generator) makeFolders() {
	f := &g.folders
	wide := scaled(3000, g.p.Folders, 33_000, 3) // children of one folder
	for i := range g.p.Folders {
		r := g.rand("folder", i)
		parent, depth := int32(-1), uint8(1)
		switch {
		case i > 20 && i <= 20+wide:
			parent = 20
		case i > 12 || i > 3 && r.chance(0.5):
			parent = int32(r.skewed(i, 1.8))
			for f.depth[parent] >= 9 {
				parent = f.parent[parent]
			}
		}
		if parent >= 0 {
			depth = f.depth[parent] + 1
		}
		f.parent, f.depth = append(f.parent, parent), append(f.depth, depth)
	}
}

func (g *Generator) folderLeaf(i int) string {
	r := g.rand("folder name", i)
	return fmt.Sprintf("%s %d", pick(&r, departments), i)
}

func (g *Generator) folder(i int) *ldif.Record {
	x := g.rand("folder more", i)
	leaf := g.folderLeaf(i)
	path := ""
	for at := int32(i); at >= 0; at = g.folders.parent[at] {
		path = `\` + g.folderLeaf(int(at)) + path
	}
	r := record("CN="+escape(leaf)+",CN=Microsoft Exchange System Objects,"+g.rootDN(), "top", "publicFolder")
	set(r, "cn", leaf)
	set(r, "displayName", leaf)
	set(r, "folderPathname", path)
	kinds := []struct {
		class string
		share float64
	}{{"IPF.Note", 70}, {"IPF.Appointment", 12}, {"IPF.Contact", 8}, {"IPF.Task", 4}, {"IPF.StickyNote", 6}}
	at := x.float() * 100
	for _, k := range kinds {
		if at -= k.share; at < 0 {
			set(r, "extensionAttribute1", k.class)
			break
		}
	}
	set(r, "extensionAttribute2", fmt.Sprint(1+x.geometric(0.55, 5))) // replicas
	if x.chance(0.05) {
		set(r, "garbageCollPeriod", fmt.Sprint(x.between(7, 365)*86400))
	}
	if x.chance(0.2) {
		local := fmt.Sprintf("pf-%d", i)
		set(r, "mail", local+"@"+g.domains[0])
		set(r, "proxyAddresses", "SMTP:"+local+"@"+g.domains[0])
		set(r, "mailNickname", local)
		set(r, "legacyExchangeDN", fmt.Sprintf("/o=Corp/ou=SITE%02d/cn=Recipients/cn=%s", i%93, local))
		set(r, "pFContacts", g.userDN(x.intn(g.p.Users)))
	}
	return r
}

// policyName is the name of a group policy.
func (g *Generator) policyName(i int) string {
	r := g.rand("policy", i)
	a, b := r.next(), r.next()
	return fmt.Sprintf("{%08X-%04X-%04X-%04X-%012X}", uint32(a), uint16(a>>32), uint16(a>>48), uint16(b), b>>16)
}

// other makes printers, services, policies, names in the DNS and shares, in
// turn.
func (g *Generator) other(i int) *ldif.Record {
	x := g.rand("other", i)
	d := 1 + x.skewed(len(g.domains)-1, 2)
	city := pick(&x, cities)
	switch k := i % 20; {
	case k < 8:
		name := fmt.Sprintf("PRN-%s-%d", city.code, i)
		server := fmt.Sprintf("print%02d.%s", i%40, g.domains[d])
		r := record("CN="+name+","+g.place(&x, d), "top", "leaf", "connectionPoint", "printQueue")
		set(r, "cn", name)
		set(r, "printerName", name)
		set(r, "serverName", server)
		set(r, "shortServerName", fmt.Sprintf("print%02d", i%40))
		set(r, "uNCName", `\\`+server+`\`+name)
		set(r, "versionNumber", "4")
		set(r, "location", city.co+"/"+city.name+"/"+fmt.Sprint(x.intn(20)))
		return r
	case k < 12:
		name := fmt.Sprintf("Service %d", i)
		r := record("CN="+name+","+g.place(&x, d), "top", "leaf", "connectionPoint", "serviceConnectionPoint")
		set(r, "cn", name)
		set(r, "serviceClassName", "intranet")
		set(r, "serviceBindingInformation", fmt.Sprintf("https://service%d.%s/", i, g.domains[d]))
		set(r, "keywords", "intranet", city.code)
		return r
	case k == 12:
		name := g.policyName(i)
		r := record("CN="+name+",CN=Policies,CN=System,"+g.rootDN(), "top", "container", "groupPolicyContainer")
		set(r, "cn", name)
		set(r, "displayName", fmt.Sprintf("Policy %d for %s", i, city.name))
		set(r, "gPCFileSysPath", `\\`+g.domains[0]+`\SysVol\`+g.domains[0]+`\Policies\`+name)
		set(r, "gPCFunctionalityVersion", "2")
		set(r, "versionNumber", fmt.Sprint(x.intn(1000)))
		set(r, "flags", "0")
		return r
	case k < 19:
		host := fmt.Sprintf("host%d", i)
		r := record("DC="+host+",DC="+g.domains[0]+",CN=MicrosoftDNS,CN=System,"+g.rootDN(), "top", "dnsNode")
		set(r, "dc", host)
		// DNS_RPC_RECORD (MS-DNSP 2.3.2.2) of type A.
		rec := make([]byte, 28)
		binary.LittleEndian.PutUint16(rec, 4)
		binary.LittleEndian.PutUint16(rec[2:], 1)
		rec[4], rec[5] = 5, 0xf0
		binary.BigEndian.PutUint32(rec[12:], 3600)
		binary.BigEndian.PutUint32(rec[24:], 10<<24|uint32(i))
		set(r, "dnsRecord", string(rec))
		return r
	}
	name := fmt.Sprintf("Share %s %d", city.code, i)
	r := record("CN="+name+","+g.place(&x, d), "top", "leaf", "connectionPoint", "volume")
	set(r, "cn", name)
	set(r, "uNCName", fmt.Sprintf(`\\files%02d.%s\share%d`, i%30, g.domains[d], i))
	return r
}
