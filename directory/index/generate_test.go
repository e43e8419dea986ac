package index_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/tree"
)

// objectCount is the size of the organisation of benchmarks and tests:
// WAYPOST_INDEX_OBJECTS, by default 10,000; production has 480,000.
func objectCount() int {
	if n, err := strconv.Atoi(os.Getenv("WAYPOST_INDEX_OBJECTS")); err == nil && n >= 1000 {
		return n
	}
	return 10_000
}

// organisation makes the simulated organisation of so many objects, always the
// same: root, two domains, OUs, groups with nesting, stores, then people,
// computers, folders and contacts in the proportions of production.
type organisation struct {
	rand    *rand.Rand
	objects []index.Object
	usn     directory.USN

	ous, stores, groups, people []directory.ObjectID
}

const (
	rootID   directory.ObjectID = 1
	domainID directory.ObjectID = 2
	euID     directory.ObjectID = 3
)

var (
	givenNames = strings.Fields("John Mary Anna Peter Li Wei Jürgen José Renée Pierre Yuki Aiko Raj Priya Tom Sarah Emma Paul Laura Max Nina Oscar Olga Ivan Chloe Zoë Noël Björn Søren Łukasz")
	surnames   = strings.Fields("Smith Johnson Müller Schmidt García López Silva Santos Dubois Lefèvre Tanaka Suzuki Kumar Sharma Brown Taylor Wilson Clark Lewis Walker Smithson Blacksmith Hall Young King Wright O'Neill Ng Li Wu Østergård Żak Novák")
	titles     = strings.Fields("Engineer Manager Director Clerk Analyst Consultant Accountant Nurse Driver Buyer")
	offices    = []string{"Berlin", "Paris", "London", "New York", "Tokyo", "São Paulo", "Mumbai", "Sydney"}
)

func (o *organisation) add(class, rdnAttr, rdn string, parent directory.ObjectID, rid bool) *index.Object {
	id := directory.ObjectID(len(o.objects) + 1)
	o.usn++
	at := time.Unix(1_600_000_000+int64(id)*61, 0)
	obj := index.Object{
		ID: id, Parent: parent, Class: class, RDN: tree.AVA{Attribute: rdnAttr, Value: rdn},
		Created: o.usn, Changed: o.usn + directory.USN(o.rand.IntN(3))*1000, CreatedAt: at, ChangedAt: at.Add(time.Duration(o.rand.IntN(1e6)) * time.Second),
	}
	binary.LittleEndian.PutUint64(obj.GUID[:], uint64(id)*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint64(obj.GUID[8:], o.rand.Uint64())
	if rid {
		obj.RID = uint32(id) + 1000
	}
	o.objects = append(o.objects, obj)
	return &o.objects[len(o.objects)-1]
}

func (b *builder) set(name string, values ...string) *builder {
	b.o.Attributes = append(b.o.Attributes, tree.Attribute{Name: name, Values: values})
	return b
}

type builder struct{ o *index.Object }

var sidOf = func(n byte) string {
	return string([]byte{1, 4, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})
}

func generate(n int) *organisation {
	o := &organisation{rand: rand.New(rand.NewPCG(7, uint64(n)))}
	o.add("top", "", "", 0, false)
	b := &builder{o.add("domainDNS", "dc", "example.test", rootID, false)}
	b.set("objectSid", sidOf(1))
	b = &builder{o.add("domainDNS", "dc", "eu.example.test", rootID, false)}
	b.set("objectSid", sidOf(2))
	config := o.add("configuration", "cn", "Configuration", domainID, false).ID
	server := o.add("container", "cn", "Stores", config, false).ID
	for i := range 16 {
		o.stores = append(o.stores, o.add("msExchPrivateMDB", "cn", fmt.Sprintf("Mailbox Store %d", i), server, false).ID)
	}
	users := o.add("container", "cn", "Users", domainID, false).ID
	o.add("group", "cn", "Domain Users", users, true)
	o.objects[len(o.objects)-1].RID = 513
	for i := range max(20, n*27/1000) {
		parent := domainID
		switch {
		case i%10 == 9:
			parent = euID
		case i > 20:
			parent = o.ous[o.rand.IntN(min(len(o.ous), 1+i/3))]
		}
		o.ous = append(o.ous, o.add("organizationalUnit", "ou", fmt.Sprintf("Unit %d, %s", i, offices[i%len(offices)]), parent, false).ID)
	}
	first := len(o.objects)
	for i := range n * 9 / 100 {
		g := o.add("group", "cn", fmt.Sprintf("Team %s %d", surnames[i%len(surnames)], i), o.ous[o.rand.IntN(len(o.ous))], true)
		o.groups = append(o.groups, g.ID)
	}
	people := n * 58 / 100
	for i := range people {
		o.person(i)
	}
	for i := range n * 9 / 100 {
		o.computer(i)
	}
	for i := 0; len(o.objects) < n; i++ {
		if i%2 == 0 {
			o.contact(i)
			continue
		}
		b := &builder{o.add("publicFolder", "cn", fmt.Sprintf("Folder %d", i), o.ous[o.rand.IntN(len(o.ous))], false)}
		b.set("displayName", fmt.Sprintf("Folder %d", i))
	}
	for i := range o.groups {
		o.fill(&o.objects[first+i], i, n)
	}
	return o
}

func (o *organisation) person(i int) {
	given, sur := givenNames[o.rand.IntN(len(givenNames))], surnames[o.rand.IntN(len(surnames))]
	if o.rand.IntN(3) == 0 {
		sur += surnames[o.rand.IntN(len(surnames))]
	}
	parent := o.ous[int(float64(len(o.ous))*math.Pow(o.rand.Float64(), 3))]
	if i%20 == 0 {
		parent = o.ous[0] // the flat one
	}
	account := fmt.Sprintf("u%06d", i)
	alias := fmt.Sprintf("%s.%s%d", strings.ToLower(given), strings.ToLower(sur), i)
	office := offices[o.rand.IntN(len(offices))]
	p := o.add("user", "cn", fmt.Sprintf("%s %s %d", given, sur, i), parent, true)
	o.people = append(o.people, p.ID)
	b := builder{p}
	b.set("sn", sur).set("givenName", given).set("displayName", given+" "+sur)
	if o.rand.IntN(4) > 0 {
		b.o.Attributes[len(b.o.Attributes)-1].Values[0] = p.RDN.Value
	}
	b.set("sAMAccountName", account).set("userPrincipalName", account+"@example.test")
	b.set("mail", alias+"@example.test").set("mailNickname", alias)
	proxies := []string{"SMTP:" + alias + "@example.test", "smtp:" + account + "@example.test"}
	for o.rand.IntN(2) == 0 && len(proxies) < 6 {
		proxies = append(proxies, fmt.Sprintf("smtp:%s-%d@old%d.example.test", account, len(proxies), o.rand.IntN(20)))
	}
	b.set("proxyAddresses", proxies...)
	b.set("legacyExchangeDN", "/o=Example/ou=First Administrative Group/cn=Recipients/cn="+account)
	b.set("telephoneNumber", fmt.Sprintf("+49 30 %07d", o.rand.IntN(1e7)))
	b.set("title", titles[o.rand.IntN(len(titles))]).set("department", fmt.Sprintf("Department %d", o.rand.IntN(300)))
	b.set("company", fmt.Sprintf("Example %d Ltd", o.rand.IntN(9))).set("l", office).set("physicalDeliveryOfficeName", office+" "+strconv.Itoa(o.rand.IntN(40)))
	b.set("streetAddress", fmt.Sprintf("%d High Street", o.rand.IntN(2000))).set("postalCode", strconv.Itoa(10000+o.rand.IntN(80000)))
	b.set("co", "Germany").set("c", "DE").set("countryCode", "276")
	b.set("userAccountControl", []string{"512", "512", "512", "514"}[o.rand.IntN(4)]).set("primaryGroupID", "513").set("sAMAccountType", "805306368")
	b.set("msExchHomeServerName", fmt.Sprintf("/o=Example/ou=First Administrative Group/cn=Configuration/cn=Servers/cn=MBX%03d", o.rand.IntN(188)))
	b.set("employeeID", strconv.Itoa(100000+i)).set("mDBUseDefaults", "TRUE").set("lastLogonTimestamp", strconv.FormatInt(132000000000000000+o.rand.Int64N(1e15), 10))
	p.Links = append(p.Links, index.Link{Attribute: "homeMDB", Targets: o.stores[o.rand.IntN(len(o.stores)):][:1]})
	if i > 0 {
		p.Links = append(p.Links, index.Link{Attribute: "manager", Targets: o.people[i/8 : i/8+1]})
	}
	if o.rand.IntN(50) == 0 {
		p.Cold = []string{"thumbnailPhoto"}
	}
}

func (o *organisation) computer(i int) {
	name := fmt.Sprintf("PC%05d", i)
	b := builder{o.add("computer", "cn", name, o.ous[o.rand.IntN(len(o.ous))], true)}
	b.set("sAMAccountName", name+"$").set("dNSHostName", strings.ToLower(name)+".example.test").set("operatingSystem", "Windows 2000 Professional")
	b.set("servicePrincipalName", "HOST/"+name, "HOST/"+strings.ToLower(name)+".example.test").set("userAccountControl", "4096").set("primaryGroupID", "515").set("sAMAccountType", "805306369")
	b.set("lastLogonTimestamp", strconv.FormatInt(132000000000000000+o.rand.Int64N(1e15), 10)).set("description", "a machine of "+offices[i%8])
}

func (o *organisation) contact(i int) {
	given, sur := givenNames[o.rand.IntN(len(givenNames))], surnames[o.rand.IntN(len(surnames))]
	mail := fmt.Sprintf("%s%d@partner.test", strings.ToLower(sur), i)
	b := builder{o.add("contact", "cn", fmt.Sprintf("%s %s (%d)", given, sur, i), o.ous[o.rand.IntN(len(o.ous))], false)}
	b.set("displayName", given+" "+sur).set("givenName", given).set("sn", sur).set("mail", mail)
	b.set("targetAddress", "SMTP:"+mail).set("proxyAddresses", "SMTP:"+mail).set("mailNickname", fmt.Sprintf("c%d", i))
}

// fill gives a group its members: log-normal with mean 28.8, some large, some
// groups within groups, cycles.
func (o *organisation) fill(g *index.Object, i, n int) {
	name := fmt.Sprintf("team%d", i)
	b := builder{g}
	b.set("sAMAccountName", name).set("groupType", "-2147483640").set("sAMAccountType", "268435456").set("mail", name+"@example.test").set("mailNickname", name)
	b.set("proxyAddresses", "SMTP:"+name+"@example.test").set("displayName", g.RDN.Value)
	size := int(math.Exp(2.079 + 1.6*o.rand.NormFloat64()))
	switch {
	case i == 0:
		size = n / 4 // 120,000
	case i <= 5:
		size = n * 10 / 480
	}
	var members []directory.ObjectID
	for range min(size, len(o.people)) {
		members = append(members, o.people[o.rand.IntN(len(o.people))])
	}
	if i == 1 {
		// A nested group of n/48 members in all: 20 of 500.
		members = nil
		for j := range 20 {
			members = append(members, o.groups[6+j])
		}
	}
	if i >= 6 && i < 26 {
		members = nil
		for j := range max(1, n/48/20) {
			members = append(members, o.people[(i*n/48/20+j)%len(o.people)])
		}
		members = append(members, o.groups[6+(i-5)%20]) // a ring
	}
	if i > 30 && o.rand.IntN(3) == 0 {
		members = append(members, o.groups[o.rand.IntN(i)])
	}
	g.Links = append(g.Links, index.Link{Attribute: "member", Targets: members})
	if i%20 == 0 {
		g.Links = append(g.Links, index.Link{Attribute: "managedBy", Targets: o.people[i%len(o.people) : i%len(o.people)+1]})
	}
}
