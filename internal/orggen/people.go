package orggen

import (
	"fmt"
	"strings"

	"waypost/internal/ldif"
)

// What somebody is.
const (
	staff = iota
	room
	equipment
	shared  // a mailbox of several people
	service // an account of a program, in the root domain
)

// people are what is kept of each user: about 20 bytes.
type people struct {
	domain  []uint8
	what    []uint8
	locale  []uint8
	given   []uint8
	surname []uint8
	ordinal []uint16 // how many before have the same name in Latin letters
	unit    []int32
	manager []int32 // -1: none
	by      [][]int32
	person  []int32     // the staff in order
	forward map[int]int // altRecipient where it is planted
}

func (g *Generator) makePeople() {
	n := g.p.Users
	p := &g.people
	p.domain, p.what, p.locale = make([]uint8, n), make([]uint8, n), make([]uint8, n)
	p.given, p.surname, p.ordinal = make([]uint8, n), make([]uint8, n), make([]uint16, n)
	p.unit, p.manager = make([]int32, n), make([]int32, n)
	p.by = make([][]int32, len(g.domains))

	services := min(50, n/20)
	sizes := append([]int{services}, split(n-services, g.shares()[1:])...)
	used := make([]int, len(sizes))
	special := g.shuffle("what", 0, n)
	rooms, things, boxes := scaled(2500, n, allUsers, 1), scaled(800, n, allUsers, 1), scaled(6000, n, allUsers, 1)
	flat := scaled(25_000, n, allUsers, 5)
	var codes []float64
	for _, l := range locales {
		codes = append(codes, l.share)
	}
	seen := map[uint32]uint16{}
	for i := range n {
		d := 0
		if i >= services {
			// Who lags most behind its share comes next.
			best := -1.0
			for k := 1; k < len(sizes); k++ {
				if lag := float64(sizes[k])*float64(i-services+1)/float64(n-services) - float64(used[k]); used[k] < sizes[k] && lag > best {
					best, d = lag, k
				}
			}
			if d == 0 { // rounding: whoever is not full
				for d = 1; used[d] >= sizes[d]; d++ {
				}
			}
		}
		k := used[d]
		used[d]++
		p.domain[i] = uint8(d)
		p.by[d] = append(p.by[d], int32(i))
		r := g.rand("person", i)
		switch at := special.at(i); {
		case i < services:
			p.what[i] = service
		case at < rooms:
			p.what[i] = room
		case at < rooms+things:
			p.what[i] = equipment
		case at < rooms+things+boxes:
			p.what[i] = shared
		}
		if d == 1 && (k+1)*flat/sizes[1] != k*flat/sizes[1] {
			p.unit[i] = int32(g.units.flat)
		} else {
			p.unit[i] = g.home(&r, d)
		}
		l := weighted(&r, codes)
		p.locale[i] = uint8(l)
		p.given[i] = uint8(r.skewed(len(locales[l].given), 1.4))
		p.surname[i] = uint8(r.skewed(len(locales[l].surname), 1.4))
		if p.what[i] == staff {
			given, surname := locales[l].given[p.given[i]], locales[l].surname[p.surname[i]]
			key := uint32(mix(hash(given.roman+"."+surname.roman)) >> 32)
			p.ordinal[i] = seen[key]
			seen[key]++
			p.person = append(p.person, int32(i))
		}
	}
	g.makeManagers()
	g.plantForwards()
}

// hash is FNV-1a.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// Where cycles of managers are planted: at these persons and the one after.
func (g *Generator) managerCycles() []int {
	n := len(g.people.person)
	return []int{n / 3, n / 2}
}

// makeManagers gives everybody but the first a manager: each has 3 to 12
// people, few more often than many, which makes a tree about 8 deep.
func (g *Generator) makeManagers() {
	p := &g.people
	for i := range p.manager {
		p.manager[i] = -1
	}
	boss, room := 0, 0
	for k := 1; k < len(p.person); k++ {
		if room == 0 {
			if k > 1 {
				boss++
			}
			r := g.rand("fan-out", boss)
			room = 3 + r.skewed(10, 3.5)
		}
		room--
		r := g.rand("orphan", k)
		if !r.chance(0.002) {
			p.manager[p.person[k]] = p.person[boss]
		}
	}
	for _, k := range g.managerCycles() {
		a, b := p.person[k], p.person[k+1]
		p.manager[a], p.manager[b] = b, a
	}
}

// plantForwards makes chains of five and loops of two, among people next to
// each other.
func (g *Generator) plantForwards() {
	p := &g.people
	p.forward = map[int]int{}
	n := len(p.person)
	step := max(n/40, 7)
	for c := range 5 {
		at := n/8 + c*step
		for k := range 5 {
			p.forward[int(p.person[at+k+1])] = int(p.person[at+k])
		}
	}
	for c := range 2 {
		at := n/4*3 + c*step
		a, b := int(p.person[at]), int(p.person[at+1])
		p.forward[a], p.forward[b] = b, a
	}
}

// who is the name of a user in its forms.
type who struct {
	cn, display, given, surname, local, account string
}

func (g *Generator) who(i int) who {
	p := &g.people
	l := &locales[p.locale[i]]
	given, surname := l.given[p.given[i]], l.surname[p.surname[i]]
	c := &cities[i%len(cities)]
	switch p.what[i] {
	case service:
		return who{cn: fmt.Sprintf("svc-%s-%d", []string{"backup", "monitor", "scan", "voice", "fax", "sync", "print", "build"}[i%8], i), account: fmt.Sprintf("svc%06d", i), local: fmt.Sprintf("svc-%d", i)}.same()
	case room:
		return who{cn: fmt.Sprintf("Room %s %d.%02d (%d)", c.code, i%9, i%40, i), account: fmt.Sprintf("rm%06d", i), local: fmt.Sprintf("room-%s-%d", strings.ToLower(c.code), i)}.same()
	case equipment:
		return who{cn: fmt.Sprintf("%s %s (%d)", []string{"Projector", "Car", "Camera", "Van"}[i%4], c.code, i), account: fmt.Sprintf("eq%06d", i), local: fmt.Sprintf("equipment-%d", i)}.same()
	case shared:
		return who{cn: fmt.Sprintf("%s %s (%d)", departments[i%len(departments)], c.name, i), account: fmt.Sprintf("sh%06d", i), local: fmt.Sprintf("%s-%s-%d", plainWord(departments[i%len(departments)]), strings.ToLower(c.code), i)}.same()
	}
	w := who{given: given.native, surname: surname.native, local: given.roman + "." + surname.roman}
	w.account = fmt.Sprintf("%.1s%.1s%06d", plainWord(given.roman), plainWord(surname.roman), i)
	r := g.rand("style", i)
	style := r.intn(100)
	switch {
	case l.family:
		w.display = w.surname + w.given
		if strings.ContainsAny(w.surname, "abcdefghijklmnopqrstuvwxyz") {
			w.display = w.surname + " " + w.given
		}
	case style < 8:
		w.display = w.surname + ", " + w.given
	case style < 11:
		w.display = w.surname + ", " + w.given + " (Contractor)"
	case style < 13:
		w.display = w.given + ` "` + w.given[:1] + `" ` + w.surname
		if w.given[0] > 127 {
			w.display = w.given + " " + w.surname
		}
	default:
		w.display = w.given + " " + w.surname
	}
	w.cn = w.display
	if o := p.ordinal[i]; o > 0 {
		w.cn += fmt.Sprintf(" %d", o+1)
		w.local += fmt.Sprint(o + 1)
	}
	return w
}

func (w who) same() who {
	w.display = w.cn
	return w
}

// userDN is the name of user i.
func (g *Generator) userDN(i int) string {
	return "CN=" + escape(g.who(i).cn) + "," + g.units.dn[g.people.unit[i]]
}

// earlier is a user before i, for a link; -1 when there is none.
func earlier(r *rng, i int) int { return r.intn(i+1) - 1 }

// Numbers of userAccountControl.
const (
	normalAccount = 512
	disabled      = 2
)

func (g *Generator) user(i int) *ldif.Record {
	p := &g.people
	w := g.who(i)
	domain := g.domains[p.domain[i]]
	root := g.domains[0]
	x := g.rand("user", i)
	r := record(g.userDN(i), "top", "person", "organizationalPerson", "user")
	set(r, "cn", w.cn)
	set(r, "displayName", w.display)
	set(r, "givenName", w.given)
	set(r, "sn", w.surname)
	set(r, "sAMAccountName", w.account)
	set(r, "userPrincipalName", w.account+"@"+root)

	control := normalAccount
	mailbox, mail := true, true
	if p.what[i] == staff {
		switch status := x.intn(100); {
		case status < 3:
			control |= disabled
		case status < 6:
			mailbox = false
		case status < 8:
			mailbox, mail = false, false
		}
	}
	if p.what[i] == room || p.what[i] == equipment {
		control |= disabled
	}
	set(r, "userAccountControl", fmt.Sprint(control))
	address := w.local + "@" + domain
	if mail {
		g.addresses(r, &x, i, w, mailbox)
	}
	switch {
	case mailbox:
		set(r, "homeMDB", "CN=default,CN=Mailbox Databases,CN=Waypost,CN=Services,"+g.configDN())
		g.mailboxMore(r, &x, i)
	case mail:
		set(r, "targetAddress", "SMTP:"+strings.ReplaceAll(w.local, "'", "")+"@partner.example")
	}
	c := &cities[int(p.unit[i])%len(cities)]
	set(r, "physicalDeliveryOfficeName", fmt.Sprintf("%s/%d.%03d", c.code, x.intn(20), x.intn(400)))
	set(r, "l", c.name)
	set(r, "c", c.country)
	set(r, "co", c.co)
	set(r, "telephoneNumber", fmt.Sprintf("+%d %d %d-%d", x.between(1, 99), x.between(20, 999), x.between(1000, 99999), i))
	switch p.what[i] {
	case room:
		set(r, "msExchResourceMetaData", "ResourceType:Room")
		set(r, "msExchResourceCapacity", fmt.Sprint(x.between(2, 60)))
	case equipment:
		set(r, "msExchResourceMetaData", "ResourceType:Equipment")
	case staff:
		set(r, "title", pick(&x, titles))
		set(r, "department", departments[int(p.unit[i])%len(departments)])
		set(r, "company", "Corp "+strings.ToUpper(strings.SplitN(domain, ".", 2)[0]))
		set(r, "employeeID", fmt.Sprintf("%07d", i))
		if x.chance(0.5) {
			set(r, "mobile", fmt.Sprintf("+%d 17%d %07d", x.between(1, 99), x.intn(10), i))
		}
		if m := p.manager[i]; m >= 0 {
			set(r, "manager", g.userDN(int(m)))
		}
		set(r, "thumbnailPhoto", g.photo(i))
		if i < g.o.Passwords {
			set(r, "userPassword", g.Password())
		}
	}
	if len(r.Get("mail")) > 0 && r.Get("mail")[0] != address {
		panic("orggen: a primary address that is not the user's own")
	}
	return r
}

// addresses gives mail, proxyAddresses and the old names.
func (g *Generator) addresses(r *ldif.Record, x *rng, i int, w who, mailbox bool) {
	domain, root := g.domains[g.people.domain[i]], g.domains[0]
	site := int(g.people.unit[i]) % 93
	list := []string{"SMTP:" + w.local + "@" + domain}
	for k := range x.geometric(0.45, 38) {
		switch {
		case k == 0 && domain != root:
			list = append(list, "smtp:"+w.local+"@"+root)
		case k == 1:
			list = append(list, "smtp:"+w.account+"@"+domain)
		default:
			list = append(list, fmt.Sprintf("smtp:%s.%d@%s", w.local, k+1, domain))
		}
	}
	if x.chance(0.3) {
		list = append(list, fmt.Sprintf("X500:/o=OldCorp/ou=SITE%02d/cn=Recipients/cn=%s", (site+7)%93, w.account))
	}
	if site%5 == 0 { // a legacy site
		list = append(list, fmt.Sprintf("X400:c=US;a= ;p=Corp;o=SITE%02d;s=%s;", site, w.account))
	}
	set(r, "mail", w.local+"@"+domain)
	set(r, "proxyAddresses", list...)
	set(r, "mailNickname", w.account)
	set(r, "legacyExchangeDN", fmt.Sprintf("/o=Corp/ou=SITE%02d/cn=Recipients/cn=%s", site, w.account))
	if x.chance(0.01) {
		set(r, "msExchHideFromAddressLists", "TRUE")
	}
	if !mailbox {
		return
	}
	if to, ok := g.people.forward[i]; ok {
		set(r, "altRecipient", g.userDN(to))
	} else if to := earlier(x, i); x.chance(0.005) && to >= 0 {
		set(r, "altRecipient", g.userDN(to))
		if x.chance(0.5) {
			set(r, "deliverAndRedirect", "TRUE")
		}
	}
	if x.chance(0.01) {
		if from := earlier(x, i); x.chance(0.5) && from >= 0 {
			set(r, "authOrig", g.userDN(from))
		} else {
			set(r, "msExchRequireAuthToSendTo", "TRUE")
		}
	}
}

// mailboxMore gives quotas and delegates.
func (g *Generator) mailboxMore(r *ldif.Record, x *rng, i int) {
	if x.chance(0.04) {
		kib := x.between(1, 40) * 51_200
		set(r, "mDBUseDefaults", "FALSE")
		set(r, "mDBStorageQuota", fmt.Sprint(kib))
		set(r, "mDBOverQuotaLimit", fmt.Sprint(kib/10*11))
	}
	if x.chance(0.02) && i > 0 {
		var list []string
		s := g.shuffle("delegates", i, i)
		for k := range min(x.between(1, 10), i) {
			list = append(list, g.userDN(s.at(k)))
		}
		set(r, "publicDelegates", list...)
	}
}
