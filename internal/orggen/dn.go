package orggen

import "strings"

// escape writes a value of a name (RFC 4514 §2.4).
func escape(v string) string {
	if !strings.ContainsAny(v, `,+"\<>;=#`) && !strings.HasPrefix(v, " ") && !strings.HasSuffix(v, " ") {
		return v
	}
	var b strings.Builder
	for i := range len(v) {
		switch c := v[i]; {
		case strings.IndexByte(`,+"\<>;`, c) >= 0, c == '#' && i == 0, c == ' ' && (i == 0 || i == len(v)-1):
			b.WriteByte('\\')
		}
		b.WriteByte(v[i])
	}
	return b.String()
}

// domainDN is the name of a domain's object.
func domainDN(domain string) string { return "DC=" + strings.ReplaceAll(domain, ".", ",DC=") }

func (g *Generator) rootDN() string { return domainDN(g.domains[0]) }

func (g *Generator) configDN() string { return "CN=Configuration," + g.rootDN() }
